"""Do the tests catch mistakes? Plants bugs in a copy of the package, one at a time, and says which test finds each.

    python tests/planted_bugs.py                  all of them: about twenty minutes on one core
    python tests/planted_bugs.py stride pool      those with one of these words in their title
    python tests/planted_bugs.py --jobs 4         four at a time

The bugs are in planted_bugs.txt: mistakes that people make in such code. Compilation is off, because it would take
longer than the tests. The exit code is 1 if a bug survives.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 600  # seconds for the tests of one bug: a loop that no longer ends counts as found

# The quick tests of the maths and of training, the quickest first.
TESTS = """
    test_activations.py test_dense.py test_conv2d.py test_max_pooling2d.py test_average_pooling2d.py test_losses.py
    test_sgd.py test_adam.py test_initializers.py test_metrics.py test_utils.py test_kernels.py test_convolution.py
    test_pooled_gradient.py test_properties.py test_gradient_check.py test_training.py test_contract.py test_errors.py
    test_plan.py test_passes.py test_program.py test_products.py test_evaluation.py test_parallel.py
"""


@dataclass
class Bug:
    """A mistake: in ``file`` of the package, each right piece of text is replaced by a wrong one."""

    title: str
    file: str
    replacements: list[tuple[str, str]] = field(default_factory=list)

    def plant(self, package: Path) -> None:
        """Make the mistake in this copy of the package; SystemExit where the code has changed too much for it."""
        path = package / self.file
        text = path.read_text()
        for right, wrong in self.replacements:
            if text.count(right) != 1:
                raise SystemExit(
                    f"{self.title}: {self.file} has this text {text.count(right)} times, not once:\n{right}"
                )
            text = text.replace(right, wrong)
        path.write_text(text)


def read_bugs(path: Path) -> list[Bug]:
    """The bugs of a file, in which "# title" and the name of a file are followed by lines to replace, as in a diff.

    Lines that begin with "- " are, together, a text that stands in the file once (the first and the last of them need
    not be whole lines); those after them that begin with "+ " take its place.
    """
    bugs: list[Bug] = []
    for paragraph in path.read_text().strip().split("\n\n"):
        title, file, *lines = paragraph.split("\n")
        bugs.append(Bug(title.removeprefix("# "), file))
        for group in re.findall(r"(?:^- .*\n)+(?:^\+ .*\n)*", "\n".join([*lines, ""]), re.MULTILINE):
            right, wrong = (
                "\n".join(line[2:] for line in group.splitlines() if line.startswith(sign)) for sign in ("- ", "+ ")
            )
            bugs[-1].replacements.append((right, wrong))
    return bugs


def find(bug: Bug | None) -> str | None:
    """The test that fails in a copy of the package with this bug; None where none does."""
    with tempfile.TemporaryDirectory(prefix="planted_bug_") as folder:
        copy = Path(folder)
        for name in ("tinynet", "tests"):
            shutil.copytree(
                ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.gz", "references")
            )
        for name in ("conftest.py", "pyproject.toml"):
            shutil.copy(ROOT / name, copy)
        if bug:
            bug.plant(copy / "tinynet")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider"]
        tests = [f"tests/{name}" for name in TESTS.split()]
        environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": folder}
        environment["HYPOTHESIS_PROFILE"] = "mutants"  # which simplifies no failure: that can take minutes
        try:
            run = subprocess.run(
                [*command, *tests], cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT
            )
        except subprocess.TimeoutExpired:
            return f"no end within {TIMEOUT} seconds"
    if run.returncode == 0:
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(\S+)", run.stdout, re.MULTILINE)
    return failed[1] if failed else run.stdout + run.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description="Plant bugs in a copy of the package and see which test finds each.")
    parser.add_argument("words", nargs="*", help="only bugs with one of these words in their title")
    parser.add_argument("--jobs", type=int, default=1, help="bugs at a time")
    options = parser.parse_args()
    bugs = read_bugs(Path(__file__).with_suffix(".txt"))
    chosen = [bug for bug in bugs if not options.words or any(word in bug.title for word in options.words)]
    failed = find(None)
    if failed:
        raise SystemExit(f"The tests fail without any bug: {failed}")
    survivors = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for bug, test in zip(chosen, pool.map(find, chosen), strict=True):
            print(f"{bug.title:<60} {test or 'SURVIVES'}", flush=True)
            survivors += test is None
    print(f"{len(chosen) - survivors} of {len(chosen)} planted bugs found")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
