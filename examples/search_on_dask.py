"""Search for a good learning rate on several processes or machines at once, through Dask.

    python examples/search_on_dask.py                               two worker processes on this machine
    python examples/search_on_dask.py --scheduler tcp://host:8786   the workers of a cluster, with tinynet installed
    python examples/search_on_dask.py --without-dask                one fit after another, in this process

All three print the same table. The search itself is scikit-learn's: because ``SequentialClassifier`` is one of its
estimators, joblib can send each of the search's fits to Dask. Each fit trains on one thread, so two workers keep two
cores busy. The functions in ``tinynet.kernels`` are compiled, or read from Numba's cache, in the first fit of each
worker; later fits find them in memory.

Needs ``pip install -e '.[dask]'``, except with ``--without-dask``.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import joblib
import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from tinynet.datasets import mnist
from tinynet.estimator import SequentialClassifier
from tinynet.layers import Conv2D, Dense, Flatten, Layer, MaxPooling2D

LEARNING_RATES = (0.0001, 0.001, 0.01, 0.1)
FOLDS = 3


def small_lenet(input_shape: tuple[int, ...], num_classes: int) -> list[Layer]:
    """Two convolutions and one dense layer: small enough to train a dozen times."""
    return [
        Conv2D(8, 5, activation="relu"),
        MaxPooling2D(2),
        Conv2D(16, 5, activation="relu"),
        MaxPooling2D(2),
        Flatten(),
        Dense(num_classes, activation="softmax"),
    ]


def make_search(epochs: int, seed: int) -> GridSearchCV:
    """A search for the learning rate with the best mean accuracy on the folds that were left out of training."""
    classifier = SequentialClassifier(
        small_lenet, image_shape=(28, 28, 1), epochs=epochs, batch_size=32, random_state=seed, num_threads=1
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return GridSearchCV(classifier, {"learning_rate": LEARNING_RATES}, cv=folds)


def positive(text: str) -> int:
    """The value of an option, as an integer above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer above 0")
    return int(text)


def not_negative(text: str) -> int:
    """The value of an option, as an integer from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 0")
    return int(text)


@contextlib.contextmanager
def dask_client(scheduler: str | None) -> Iterator[Any]:
    """A connection to the Dask scheduler at an address, or to one that is started here with two workers.

    Raises:
        ConnectionError: there is no scheduler at this address.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise SystemExit("Dask is missing: pip install -e '.[dask]', or run with --without-dask.") from None
    with contextlib.ExitStack() as stack:
        if scheduler is None:
            cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
            scheduler = stack.enter_context(cluster).scheduler_address
        try:
            client = stack.enter_context(Client(scheduler))
        except (OSError, ValueError) as error:  # nobody answers, or it is no address
            raise ConnectionError(f"no Dask scheduler at {scheduler!r}, an address such as tcp://host:8786") from error
        yield client


def run_on_dask(search: GridSearchCV, x: np.ndarray, y: np.ndarray, client: Any) -> None:
    """``search.fit(x, y)`` on the client's workers. The data goes to each of them once, not with each fit."""
    with client.as_current(), joblib.parallel_config(backend="dask", scatter=[x, y]):
        search.fit(x, y)


def print_table(search: GridSearchCV) -> None:
    """The accuracy of each learning rate on the held-out folds."""
    results = search.cv_results_
    print("learning rate  mean accuracy  std of folds")
    for rate, mean, std in zip(
        results["param_learning_rate"], results["mean_test_score"], results["std_test_score"], strict=True
    ):
        best = "  <- best" if rate == search.best_params_["learning_rate"] else ""
        print(f"{rate:>13g}  {mean:>13.2%}  {std:>12.2%}{best}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Search for a good learning rate on a Dask cluster.")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask scheduler, such as tcp://host:8786")
    where.add_argument("--without-dask", action="store_true", help="search in this process")
    parser.add_argument("--samples", type=positive, default=3000, help="digits to learn from (default: 3000)")
    parser.add_argument("--epochs", type=positive, default=3, help="epochs of each fit (default: 3)")
    parser.add_argument("--seed", type=not_negative, default=0, help="start of all randomness (default: 0)")
    options = parser.parse_args(arguments)

    (x, y), _ = mnist.load_data()
    x, y = x[: options.samples, :, :, None] / np.float32(255), y[: options.samples]
    if np.bincount(y, minlength=10).min() < FOLDS:
        parser.error(f"--samples: the first {options.samples} have fewer than {FOLDS} of a digit, one for each fold")
    search = make_search(options.epochs, options.seed)
    fits = len(LEARNING_RATES) * FOLDS
    with contextlib.ExitStack() as stack:
        client = None
        if not options.without_dask:
            try:
                client = stack.enter_context(dask_client(options.scheduler))
            except ConnectionError as error:
                parser.error(f"--scheduler: {error}")
        place = "in this process" if client is None else f"on {len(client.scheduler_info()['workers'])} Dask workers"
        print(f"{fits} fits {place}, each on {len(x) * (FOLDS - 1) // FOLDS:,} of {len(x):,} digits ...", flush=True)
        start = time.perf_counter()
        if client is None:
            search.fit(x, y)
        else:
            run_on_dask(search, x, y, client)
        print(f"... and one on all of them with the best learning rate: {time.perf_counter() - start:.1f} s")
    print_table(search)


if __name__ == "__main__":
    main()
