"""Train the networks of `networks.py` with Keras and store what it gets, for tinynet to be compared with.

    KERAS_BACKEND=tensorflow PYTHONPATH=.:tests python -m references.make_keras_training

Needs keras and tensorflow, which the tests do not. For each network NAME, `keras_training.npz` holds:

    NAME/losses        (50,)   the loss of each training step, before its update
    NAME/evaluation    (2,)    [loss, accuracy] of the trained network on samples it has not seen
    NAME/projections   (w, 2)  of each weight array: how far it moved, and how far along a random direction
    NAME/checksum      ()      of the batches and the starting weights

Each network is trained again in float64, and from starting weights changed by as little as float32 rounding changes
them. If that alone moves a result by more than a tenth of what the tests allow, then the network is no fair test (its
training meets ties between pooled numbers, and a large learning rate magnifies what follows), and the script stops.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow
from references.networks import (
    EVALUATE_BATCH_SIZE,
    NETWORKS,
    Network,
    build,
    data_checksum,
    evaluation_samples,
    initial_weights,
    train_batches,
    weight_projections,
)

FILE = Path(__file__).with_name("keras_training.npz")
NUM_JITTERS = 4


def train(network: Network, dtype: str = "float32", jitter: int = 0) -> dict[str, np.ndarray]:
    """What Keras gets; `jitter` numbers a random change of the starting weights by at most one part in 10 million."""
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    model = build(network, keras)
    start = initial_weights(network, [w.shape for w in model.get_weights()])
    rng = np.random.default_rng(jitter)
    model.set_weights([w * (1 + 2e-7 * (rng.random(w.shape) - 0.5)) if jitter else w for w in start])
    losses = [model.train_on_batch(x, y)[0] for x, y in train_batches(network)]
    x_test, y_test = evaluation_samples(network)
    check_margins(network, model.predict(x_test, verbose=0))
    return {
        "losses": np.array(losses, dtype=np.float64),
        "evaluation": np.array(model.evaluate(x_test, y_test, batch_size=EVALUATE_BATCH_SIZE, verbose=0)),
        "projections": weight_projections(network, start, model.get_weights()),
        "checksum": np.array(data_checksum(network, start)),
    }


def check_margins(network: Network, predictions: np.ndarray) -> None:
    """Refuse a network whose accuracy hangs on two outputs that are nearly the same."""
    second, first = np.sort(predictions, axis=1)[:, -2:].T
    if (first - second).min() < 1e-5:
        sys.exit(f"{network.name}: a prediction is a tie but for rounding; choose another seed")


def largest_differences(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> dict[str, float]:
    """Relative differences; of a projection, relative to how far the weights moved."""
    scales = {"losses": b["losses"], "evaluation": b["evaluation"], "projections": b["projections"][:, :1]}
    return {key: float(np.max(np.abs(a[key] - b[key]) / (scale + 1e-2))) for key, scale in scales.items()}


def main() -> None:
    stored = {}
    for network in NETWORKS:
        results = train(network)
        others = [train(network, "float64")] + [train(network, jitter=jitter) for jitter in range(1, 1 + NUM_JITTERS)]
        differences = [largest_differences(other, results) for other in others]
        worst = {key: max(d[key] for d in differences) for key in differences[0]}
        losses, (test_loss, accuracy) = results["losses"], results["evaluation"]
        print(f"{network.name}: loss {losses[0]:.3f} -> {losses[-1]:.3f}, on the test {test_loss:.3f}, {accuracy:.2f}")
        print("    changed by rounding: " + ", ".join(f"{key} {error:.1e}" for key, error in worst.items()), flush=True)
        if max(worst.values()) > 1e-4:
            sys.exit(f"{network.name}: rounding matters; choose another seed or a smaller learning rate")
        stored |= {f"{network.name}/{key}": value for key, value in results.items()}
    np.savez_compressed(FILE, **stored)
    print(f"{FILE.name}: {FILE.stat().st_size} bytes, Keras {keras.__version__} on TensorFlow {tensorflow.__version__}")


if __name__ == "__main__":
    main()
