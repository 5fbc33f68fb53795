"""Prediction for 128 images and for one (latency), against ONNX Runtime, PyTorch and Keras.

Run it with ``python benchmarks/inference.py``.
"""

from __future__ import annotations

from comparisons import compare_jobs
from networks import NETWORKS
from options import parse
from worker import Job

SIDES = ("tinynet", "onnxruntime", "pytorch", "keras-tensorflow", "keras-jax")


def main() -> None:
    options = parse(__doc__, rounds=15, sides=SIDES, trains=False)
    jobs = [
        Job("inference", NETWORKS[name], batch_size, threads)
        for name in options.networks
        for batch_size in (128, 1)
        for threads in options.threads
    ]
    compare_jobs("inference", options, jobs)


if __name__ == "__main__":
    main()
