"""One training step: 128 MNIST digits, float32, plain SGD, against PyTorch and Keras.

Run it with ``python benchmarks/training_step.py``.
"""

from __future__ import annotations

from comparisons import compare_jobs
from networks import NETWORKS
from options import parse
from worker import Job

BATCH_SIZE = 128


def main() -> None:
    options = parse(__doc__, rounds=15, sides=("tinynet", "pytorch", "keras-tensorflow", "keras-jax"))
    jobs = [
        Job("training", NETWORKS[name], BATCH_SIZE, threads=threads)
        for name in options.networks
        for threads in options.threads
    ]
    compare_jobs("training_step", options, jobs)


if __name__ == "__main__":
    main()
