"""What the README says is so: its snippets run, its map is whole, its commands and links name what is there."""

import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest

import tinynet

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    """The code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def shell_commands():
    """The single commands of all shell blocks, split at &&, without what follows a #."""
    lines = [line.split(" #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [command.strip() for line in lines for command in line.split("&&") if command.strip()]


@pytest.mark.trains_for_long
def test_the_snippets_run_one_after_another_and_do_what_they_say(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for snippet in blocks("python"):
        exec(compile(snippet, "README.md", "exec"), names)
    printed = capsys.readouterr().out

    assert re.search(r"^Epoch 3/3 .*val_accuracy 0\.9\d+$", printed, re.MULTILINE)
    assert re.search(r"^\[\d \d \d \d \d\] should be \[7 2 1 0 4\]$", printed, re.MULTILINE)
    assert (tmp_path / "digits.safetensors").is_file()
    assert "Gradients of Swish are right" in printed


def test_the_first_network_takes_ten_lines_at_most():
    lines = [line for line in blocks("python")[0].splitlines() if line]
    assert 5 <= len(lines) <= 10


def test_the_map_names_every_file_of_the_package_once():
    (the_map,) = blocks("text")
    named = re.findall(r"^  (tinynet/\S+\.py)", the_map, re.MULTILINE)
    package = Path(tinynet.__file__).parent
    present = [path.relative_to(package.parent).as_posix() for path in package.rglob("*.py")]
    assert sorted(named) == sorted(present)


def test_every_line_of_the_map_says_what_the_file_is_for():
    (the_map,) = blocks("text")
    for line in the_map.splitlines():
        if line.startswith("  ") and "__init__" not in line:
            assert re.fullmatch(r"  tinynet/\S+\.py +\S.*", line), line


def test_the_table_names_what_the_package_has_and_nothing_else():
    modules = (
        tinynet.models,
        tinynet.layers,
        tinynet.losses,
        tinynet.optimizers,
        tinynet.optimizers.schedules,
        tinynet.callbacks,
        tinynet.regularizers,
    )
    public = {name for module in modules for name in module.__all__ if name[0].isupper()}
    rows = re.findall(r"^\| \w[^|]* \|([^|]*)\|([^|]*)\|$", README, re.MULTILINE)
    assert len(rows) >= 10
    supported = {name for there_is, _ in rows for name in re.findall(r"`([A-Z]\w+)`", there_is)}
    assert public <= supported
    for name in supported:
        assert any(name in vars(module) for module in (*modules, tinynet.initializers)), f"there is no {name}"


def test_the_run_and_the_test_command_are_one_line_each():
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    run, test = (line for line in commands if line.startswith("python3 -m venv"))
    assert run.startswith("python3 -m venv .venv && .venv/bin/pip install -e . && ")
    assert run.endswith(".venv/bin/python examples/lenet_mnist.py")
    assert test.startswith("python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && ")
    assert test.endswith(".venv/bin/python -m pytest")


def test_the_commands_name_what_is_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert len(shell_commands()) >= 6
    for command in shell_commands():
        for path in re.findall(r"(?<!\S)((?:examples|tests|benchmarks)/\S+|\.ci/\S+)", command):
            if "--output" not in command or not command.endswith(path):
                assert (ROOT / path).exists(), f"{command}: there is no {path}"
        for module in re.findall(r"-m ((?:benchmarks|tinynet)[\w.]*)", command):
            path = ROOT / module.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").is_file(), f"{command}: there is no module {module}"
        for extras in re.findall(r"\.\[([\w,]+)\]", command):
            assert set(extras.split(",")) <= project["optional-dependencies"].keys(), command


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:|#)([^)]+)\)", README))
def test_links_and_pictures_lead_somewhere(link):
    assert (ROOT / link).is_file()


@pytest.mark.parametrize(
    "module",
    [
        "backend callbacks datasets datasets.mnist estimator gradient_check initializers interop layers losses metrics",
        "models optimizers optimizers.schedules plots regularizers saving utils",
    ],
    ids=["a to m", "m to z"],
)
def test_every_public_name_has_an_example(module):
    for name in module.split():
        found = importlib.import_module(f"tinynet.{name}")
        here = [key for key, value in vars(found).items() if getattr(value, "__module__", None) == found.__name__]
        for key in getattr(found, "__all__", [key for key in here if not key.startswith("_")]):
            thing = getattr(found, key)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                assert ">>>" in (inspect.getdoc(thing) or ""), f"tinynet.{name}.{key} has no example"
