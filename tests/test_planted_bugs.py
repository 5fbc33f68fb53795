"""The likely mistakes that ``planted_bugs.py`` plants still have their places in the code, and README counts them."""

from pathlib import Path

import pytest
from planted_bugs import Bug, read_bugs

ROOT = Path(__file__).parents[1]
BUGS = read_bugs(ROOT / "tests" / "planted_bugs.txt")


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.title)
def test_a_bug_can_be_planted(bug: Bug, tmp_path: Path):
    copy = tmp_path / bug.file
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text((ROOT / "tinynet" / bug.file).read_text())
    before = copy.read_text()
    bug.plant(tmp_path)
    assert copy.read_text() != before


def test_readme_counts_them():
    assert f"plants {len(BUGS)} likely mistakes" in (ROOT / "README.md").read_text()
