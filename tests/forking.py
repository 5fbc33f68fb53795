"""A child process, forked from the one that runs the tests."""

import multiprocessing
import warnings

import pytest

needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")


def answer_of_child(target):
    """What ``target(connection)`` sends in a forked child, which must end well."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=target, args=(sender,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forking with threads at all
        child.start()
    assert receiver.poll(60), "the child hangs"
    answer = receiver.recv()
    child.join(60)
    assert child.exitcode == 0
    return answer
