"""Networks that tinynet was not tuned for: a training step and the prediction of a batch, against PyTorch and Keras.

Run it with ``python benchmarks/other_networks.py``.

A small network of dense layers (that of the README's first lines), a large one, and a convolutional network whose
windows are 3x3.
"""

from __future__ import annotations

from comparisons import compare_jobs
from networks import OTHER_NETWORKS
from options import parse
from worker import Job

SIDES = ("tinynet", "pytorch", "keras-tensorflow")


def main() -> None:
    options = parse(__doc__, rounds=11, sides=SIDES, networks=tuple(OTHER_NETWORKS), choices=tuple(OTHER_NETWORKS))
    jobs = [
        Job(kind, network, batch_size, threads)
        for network, batch_size in map(OTHER_NETWORKS.__getitem__, options.networks)
        for kind in ("training", "inference")
        for threads in options.threads
    ]
    compare_jobs("other_networks", options, jobs)


if __name__ == "__main__":
    main()
