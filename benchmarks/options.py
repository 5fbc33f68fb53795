"""The options that the benchmarks have in common."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from networks import NETWORKS
from sides import SIDES

RESULTS = Path(__file__).resolve().parent / "results"


def all_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parse(
    description: str | None,
    *,
    rounds: int,
    quick_rounds: int = 3,
    sides: Sequence[str] = (),
    networks: Sequence[str] = tuple(NETWORKS),
    choices: Sequence[str] = tuple(NETWORKS),
    threads: Sequence[int] | None = None,
    trains: bool = True,
    arguments: Sequence[str] | None = None,
) -> argparse.Namespace:
    """Read the command line.

    Args:
        description: a benchmark's docstring; its first line is shown by ``--help``.
        rounds, quick_rounds: how often each side has its turn.
        sides, networks, threads: what is measured unless the user says otherwise; without ``sides`` or ``networks``
            there is no such option. Threads are 1 and all by default.
        choices: what networks there are to choose from.
        trains: whether sides are to be refused that cannot train.
        arguments: the command line, by default this process's.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    default_threads = list(threads or sorted({1, all_cores()}))
    parser.add_argument("--rounds", type=_positive, help=f"turns of each side; default {rounds}, quick {quick_rounds}")
    parser.add_argument("--quick", action="store_true", help="see whether it works; no figures to quote")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the JSON file and the plot")
    if sides:
        names = [side for side in SIDES if side != "sgemm" and not (trains and side == "onnxruntime")]
        parser.add_argument("--sides", nargs="+", choices=names, default=list(sides), help="the first is the yardstick")
        parser.add_argument("--threads", nargs="+", type=_positive, default=default_threads)
    if networks:
        parser.add_argument("--networks", nargs="+", choices=list(choices), default=list(networks))
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (quick_rounds if options.quick else rounds)
    options.load_at_start = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if options.load_at_start > all_cores() / 4:
        print(
            f"note: other programs are at work here (load {options.load_at_start:.1f} on {all_cores()} cores); "
            "libraries whose threads wait for each other suffer most from that, so do not quote the figures"
        )
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)
