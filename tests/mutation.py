"""Do the tests notice every small change of the maths? Changes one operator, number or condition at a time, and says.

    python tests/mutation.py                       every file of FILES: hours on one core
    python tests/mutation.py losses.py layers/     the files whose names begin so
    python tests/mutation.py --sample 100          at most so many mutants of each file, drawn at random
    python tests/mutation.py --jobs 4              four mutants at a time

It needs cosmic-ray (``pip install -e '.[mutation]'``), which makes the mutants, and a system that can fork.
Compilation is off where the code can do without, because it would take longer than the tests. A mutant is killed when
a test of its file fails, or takes many times its usual time. The others survive: those that behave like the original
are in mutation_survivors.txt, with the reason. The exit code is 1 if another one survives, or if one of the list is
gone or is killed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

os.environ |= {"NUMBA_DISABLE_JIT": "1", "HYPOTHESIS_PROFILE": "mutants", "OPENBLAS_NUM_THREADS": "1"}

# Each run of the tests is a fork of this process. What takes long to import is imported here, once; tinynet is not.
import hypothesis.extra.numpy  # noqa: F401
import numba
import pytest
import safetensors.numpy  # noqa: F401
import tqdm  # noqa: F401
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).resolve().parents[1]
SURVIVORS = ROOT / "tests" / "mutation_survivors.txt"
MEMORY = 4 << 30  # bytes of address space: a mutant that asks for more is killed

# The files to mutate, each with the tests that state what it does; its own doctests come first.
FILES = {
    "losses.py": "test_losses.py",
    "initializers.py": "test_initializers.py",
    "regularizers.py": "test_regularizers.py",
    "metrics.py": "test_metrics.py",
    "plan.py": "test_plan.py test_passes.py",
    "passes.py": "test_passes.py test_plan.py",
    "program.py": "test_program.py",
    "network.py": "test_layer.py test_errors.py test_pooled_gradient.py",
    "optimizers/__init__.py": "test_sgd.py test_adam.py",
    "optimizers/adam.py": "test_adam.py",
    "optimizers/optimizer.py": "test_sgd.py test_adam.py",
    "optimizers/schedules.py": "test_sgd.py",
    "optimizers/sgd.py": "test_sgd.py",
    "layers/activation.py": "test_activations.py",
    "layers/average_pooling2d.py": "test_average_pooling2d.py",
    "layers/conv2d.py": "test_conv2d.py test_plan.py",
    "layers/dense.py": "test_dense.py",
    "layers/dropout.py": "test_dropout.py",
    "layers/flatten.py": "test_layer.py",
    "layers/input.py": "test_layer.py",
    "layers/layer.py": "test_layer.py test_errors.py test_plan.py",
    "layers/outer_products.py": "test_products.py",
    "layers/products.py": "test_products.py",
    "layers/returned.py": "test_returned.py",
    "layers/step.py": "test_plan.py",
    "layers/pooled_gradient.py": "test_pooled_gradient.py",
    "layers/max_pooling2d.py": "test_max_pooling2d.py",
    "layers/pooling.py": "test_max_pooling2d.py test_average_pooling2d.py",
    "layers/weighted.py": "test_dense.py test_conv2d.py test_regularizers.py test_plan.py",
    "layers/window.py": "test_conv2d.py test_max_pooling2d.py test_average_pooling2d.py test_pooled_gradient.py",
    "layers/convolution.py": "test_convolution.py test_conv2d.py",
    "parallel.py": "test_parallel.py",
    "sharding.py": "test_training.py",
    "training.py": "test_layer.py test_interrupt.py test_resuming.py::test_epochs_that_end_early_are_not_counted",
    "evaluation.py": "test_evaluation.py test_plan.py",
    "reference.py": "test_kernels.py test_max_pooling2d.py test_average_pooling2d.py test_convolution.py",
    "kernels/activations.py": "test_kernels.py",
    "kernels/arrays.py": "test_kernels.py",
    "kernels/common.py": "test_kernels.py test_convolution.py",
    "kernels/convolution.py": "test_kernels.py test_convolution.py",
    "kernels/convolution_winograd.py": "test_kernels.py test_convolution.py",
    "kernels/calls.py": "test_program.py test_kernels.py",
    "kernels/optimizers.py": "test_kernels.py",
    "kernels/patches.py": "test_kernels.py test_convolution.py",
    "kernels/pooling.py": "test_kernels.py test_max_pooling2d.py test_average_pooling2d.py",
    "kernels/products.py": "test_kernels.py",
    "kernels/settings.py": "test_kernels.py",
    "kernels/sparse.py": "test_kernels.py test_convolution.py",
    "kernels/tiles.py": "test_kernels.py test_convolution.py",
    "kernels/vectors.py": "test_kernels.py",
}

# What survives these meets the tests of how the files work together, without those that take seconds where nothing is
# compiled. (Not where it is the kernels or the products made of them: their own tests compare every number.)
WIDER = (
    "--hypothesis-profile=surviving_mutants",
    *("tests/test_errors.py", "tests/test_layer.py", "tests/test_gradient_check.py", "tests/test_regularizers.py"),
    *("tests/test_dropout.py", "tests/test_callbacks.py", "tests/test_training.py", "tests/test_properties.py"),
    *("tests/test_contract.py", "-k"),
    "not one_two_and_three_threads and not two_models and not nested_models and not predict_is_forward"
    " and not (Sequential and finite_differences)",
)
# The definitions of kernels that exist only where there is compilation, so that their mutants are compiled; and the
# kernels that need each.
COMPILED = {
    r"_write_add_runs.*": "sum_patches or add_filters",
    r"_write_max_of_fours": "max_pool",
    # not in test_kernels.py: see below
    r"run_calls|_write_call|_from_word|machine_code|table_of|_words|signature_of": "program",
    r"_write_all_zero|_write_multiply_positions": "convolve",
    r"_write_dots": "convolve or winograd",
    r"_write_add_rows": "vecmat",
    r"_write_copy_run|_write_transpose": "convolve or matmul or sum_patches or winograd",
    r"_array|_bytes_of|_write_empty|_write_flat|_type_of_flat": "convolve or matmul or relu",
    r"_products_of(.write)?": "convolve or matmul or winograd",
    r"_writer_of_terms.*|_pixels_of_.*|_weights_of_.*|_write_two_by_two.*": "winograd",
    r"|Code.*|Vector\b.*|compiled_as.*": "sum_patches or add_filters or convolve or matmul or max_pool or winograd"
    " or release_the_gil",
}
JIT = ("jit", "short_jit")
PYTEST = ("-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")

# Mutants that say nothing, by the name of cosmic-ray's operator.
EXCLUDED = (
    r"ReplaceBinaryOperator_(Add|Sub|Mul|Div|FloorDiv|Mod|Pow)_(RShift|LShift|Bit)",  # floats have none of these
    r"ReplaceComparisonOperator_(Eq|NotEq|Lt|LtE|Gt|GtE)_Is",  # up to the interpreter, for small numbers
)
# reshape takes any negative size, not only -1, for the one to be worked out.
ALSO_RESHAPES = re.compile(r"reshape\((?:[^()]|\([^()]*\))*(?:~1|- 2)[,)]")
# A function equals itself and no other one.
ALSO_COMPARES = re.compile(r"kernel (?:==|!=) kernels\.")
# How much is done at a time, and when another way is worth it: numbers that change the time taken, and no result.
TUNING = (
    *("PATCH_BYTES", "WEIGHT_BYTES", "COLUMN_BYTES", "PART_SIZE", "WAVE_SIZE", "LARGE"),
    *(
        "SUMS",
        "TILE",
        "LIST_BYTES",
        "FAST_BYTES",
        "COLUMNS",
        "BLANK",
        "FEW",
        "POSITIONS",
        "PADDED_BYTES",
        "LINES",
        "ROWS",
    ),
    *("PITCH", "FEW", "POSITIONS", "COUNTED", "TERM_BYTES", "WORTH_TAKING_APART", "MANY_CHANNELS", "WORTH_SHARING"),
    *("AHEAD", "DEPTH", "NARROW", "NARROW_DEPTH", "ROWS_AT_ONCE", "IMAGES_AT_ONCE", "SAMPLES_AT_ONCE"),
    *("SHARDS_AT_ONCE", "MOST_ROWS", "TRIALS", "AGAIN", "LONG", "ONE_RUN"),
)


class Mutant(NamedTuple):
    """A change of a file of the package: where it is, and its lines before and after."""

    file: str
    definition: str
    before: str
    after: str

    def __str__(self) -> str:
        return "\n".join(
            [f"{self.file} {self.definition}".rstrip()]
            + [f"- {line}" for line in self.before.split("\n")]
            + [f"+ {line}" for line in self.after.split("\n")]
        )


def program(source: str) -> str:
    """What Python is told to do: the same for two sources that differ in annotations, which nothing evaluates.

    The decorators @jit and @short_jit are left out too: where compilation is off, they do nothing.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if hasattr(node, name):
                setattr(node, name, None)
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = [kept for kept in node.decorator_list if ast.unparse(kept) not in JIT]
    return ast.dump(tree)


def definition_at(tree: ast.Module, line: int) -> str:
    """The class and function around a line, as "Class.function"; empty on the outermost level."""
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    return ".".join(node.name for node in sorted(around, key=lambda node: node.lineno))


def in_common(some: list[str], others: list[str]) -> int:
    """How many lines both begin with."""
    pairs = enumerate(zip(some, others, strict=False))
    return next((i for i, (one, other) in pairs if one != other), min(len(some), len(others)))


def mutants(file: str) -> Iterator[tuple[Mutant, str]]:
    """Every mutant of a file with its whole source, without those that are no Python or the same program as another.

    The outermost statements are mutated one by one, because that takes less time than to parse the whole file again
    for every mutant.
    """
    source = (ROOT / "tinynet" / file).read_text()
    tree, lines = ast.parse(source), source.splitlines()
    end = 0
    for statement in get_ast(source).children:
        code = statement.get_code()
        start, end = end, end + len(code)
        assigned = re.search(r"^(\w+)(?:, \w+)* = ", code, re.MULTILINE)
        if assigned and assigned[1] in TUNING:
            continue
        seen = {program(code)}
        for mutated in mutated_codes(code):
            with contextlib.suppress(SyntaxError):
                what_it_does = program(mutated)
                says_nothing = ALSO_RESHAPES.search(mutated) or ALSO_COMPARES.search(mutated)
                if what_it_does not in seen and not says_nothing:
                    seen.add(what_it_does)
                    whole = source[:start] + mutated + source[end:]
                    new = whole.splitlines()
                    same = in_common(lines, new)
                    tail = in_common(lines[same:][::-1], new[same:][::-1])
                    before, after = ("\n".join(map(str.strip, text[same : len(text) - tail])) for text in (lines, new))
                    yield Mutant(file, definition_at(tree, same + 1), before, after), whole


def mutated_codes(code: str) -> Iterator[str]:
    """What all operators of cosmic-ray make of a piece of code, but those of EXCLUDED."""
    nodes = list(ast_nodes(get_ast(code)))
    for name in operator_names():
        kind = get_operator(name)
        if not kind.arguments() and not re.match("|".join(EXCLUDED), name.partition("/")[2]):
            for occurrence in range(sum(len(list(kind().mutation_positions(node))) for node in nodes)):
                yield mutate_code(code, kind(), occurrence)


class Copy:
    """A copy of the project in which mutants stand trial, one after another."""

    def __init__(self, parent: str):
        gc.freeze()  # what is imported stays: no fork need look through it
        self.folder = Path(tempfile.mkdtemp(dir=parent))
        self.usual: dict[tuple[str, ...], float] = {}
        for name in ("tinynet", "tests"):
            ignore = shutil.ignore_patterns("__pycache__", "*.gz", "references")
            shutil.copytree(ROOT / name, self.folder / name, ignore=ignore)
        for name in ("conftest.py", "pyproject.toml"):
            shutil.copy(ROOT / name, self.folder)

    def survives(self, mutant: Mutant, source: str) -> bool:
        """Whether all tests pass with this source in the place of the file."""
        own = (f"tinynet/{mutant.file}", *(f"tests/{name}" for name in FILES[mutant.file].split()))
        stages = [own, WIDER]
        if mutant.file == "layers/convolution.py":
            stages = [own]
        is_kernel = mutant.file.startswith("kernels/")
        if is_kernel or mutant.file == "reference.py":
            its_name = ("tests/test_kernels.py", "-k", f"test_a_kernel and {mutant.definition or 'none'}")
            stages = [its_name, own]
        its_kernels = [names for definition, names in COMPILED.items() if re.fullmatch(definition, mutant.definition)]
        compiled = is_kernel and its_kernels != []
        if compiled:
            stages = [("tests/test_kernels.py", "-k", f"(test_a_kernel or test_kernels) and ({its_kernels[0]})")]
            if mutant.file == "kernels/calls.py":
                stages = [("tests/test_program.py",), ("tests/test_passes.py", "-k", "usual_networks")]
        for tests in stages:
            if tests not in self.usual:
                passed, self.usual[tests] = self.run(tests, 600, compiled=compiled, write_bytecode=True)
                if not passed:
                    raise RuntimeError(f"These fail without any mutant: {' '.join(tests)}")
            path = self.folder / "tinynet" / mutant.file
            original, times = path.read_text(), path.stat()
            path.write_text(source)
            os.utime(path, (0, 0))  # the original's bytecode is known by the time of its source: make sure to differ
            passed, _ = self.run(tests, int(3 * self.usual[tests]) + 2, compiled=compiled)
            path.write_text(original)
            os.utime(path, (times.st_atime, times.st_mtime))
            if not passed:
                return False
        return True

    def run(
        self, tests: tuple[str, ...], seconds: int, *, compiled: bool, write_bytecode: bool = False
    ) -> tuple[bool, float]:
        """Whether these tests pass within so many seconds, and the seconds taken, both of the CPU's time."""
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            signal.alarm(10 * seconds)  # for a thread that waits for ever: that takes no time of the CPU
            os.chdir(self.folder)
            sys.path.insert(0, str(self.folder))
            sys.dont_write_bytecode = not write_bytecode
            if compiled:
                os.environ["NUMBA_DISABLE_JIT"] = "0"
                os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(dir=self.folder)  # nothing of another mutant
                numba.config.reload_config()
            null = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(null, stream)
            try:
                result = int(pytest.main([*PYTEST, *tests]))
            except BaseException:
                result = 1
            os._exit(0 if result == pytest.ExitCode.NO_TESTS_COLLECTED else result)  # no test has its name
        _, status, usage = os.wait4(child, 0)
        return status == 0, usage.ru_utime + usage.ru_stime


def work_in(parent: str) -> None:
    global copy
    copy = Copy(parent)


def survives(trial: tuple[Mutant, str]) -> bool:
    return copy.survives(*trial)


def read_survivors() -> Counter[Mutant]:
    """The mutants of mutation_survivors.txt: under each reason, "file definition" and lines as in a diff."""
    entry = re.compile(r"^(\S+\.py)(?: (\S+))?\n((?:-.*\n)+)((?:\+.*\n)*)", re.MULTILINE)
    return Counter(
        Mutant(file, definition, *("\n".join(line[2:] for line in part.splitlines()) for part in (before, after)))
        for file, definition, before, after in entry.findall(SURVIVORS.read_text())
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Make small changes in the maths and see which no test notices.")
    parser.add_argument("files", nargs="*", default=[""], help="only files whose names begin so")
    parser.add_argument("--sample", type=int, help="at most so many mutants of each file")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    options = parser.parse_args()
    listed = read_survivors()
    unknown_files = {mutant.file for mutant in listed} - FILES.keys()
    if unknown_files:
        raise SystemExit(f"{SURVIVORS.name} has mutants of files that are not mutated: {unknown_files}")
    tried = killed = equivalent = stale = 0
    with (
        tempfile.TemporaryDirectory(prefix="mutation_") as parent,
        ProcessPoolExecutor(options.jobs, get_context("fork"), work_in, (parent,)) as pool,
    ):
        for file in FILES:
            if not file.startswith(tuple(options.files)):
                continue
            started = time.monotonic()
            trials = list(mutants(file))
            if options.sample and options.sample < len(trials):
                trials = random.Random(0).sample(trials, options.sample)
            expected = listed & Counter(mutant for mutant, _ in trials)
            alive: Counter[Mutant] = Counter()
            for (mutant, _), lives in zip(trials, pool.map(survives, trials), strict=True):
                alive[mutant] += lives
                if lives and alive[mutant] > expected[mutant]:
                    print(f"SURVIVES\n{mutant}\n", flush=True)
            gone = expected - alive
            if not options.sample:
                gone += Counter({mutant: n for mutant, n in listed.items() if mutant.file == file}) - expected
            for mutant in gone.elements():
                print(f"LISTED, BUT KILLED OR NOT MADE\n{mutant}\n")
            known = (alive & expected).total()
            print(
                f"{file:<30} {len(trials):>5} mutants {len(trials) - alive.total():>5} killed {known:>4} equivalent "
                f"{alive.total() - known:>4} survive  {time.monotonic() - started:>5.0f} s",
                flush=True,
            )
            tried += len(trials)
            killed += len(trials) - alive.total()
            equivalent += known
            stale += gone.total()
    different = tried - equivalent
    print(f"{killed} of {different} mutants that behave differently are killed: {killed / different:.1%}")
    sys.exit(killed < different or stale > 0)


if __name__ == "__main__":
    main()
