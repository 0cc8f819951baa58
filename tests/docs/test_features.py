"""The list of features does not promise what no test holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in (ROOT / "docs/features.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| Feature |")
]
WORKING = [row for row in ROWS if row[1] == "works"]


def exists(reference: str) -> bool:
    """Whether ``tests/a.py`` or ``tests/a.py::test_b`` is there."""
    name, _, test = reference.partition("::")
    path = ROOT / name
    return path.exists() and (
        not test or re.search(rf"^\s*(async )?def {re.escape(test)}\(", path.read_text(), re.MULTILINE) is not None
    )


def test_every_row_has_a_state() -> None:
    """A feature works, or names the issue that brings it."""
    assert [row for row in ROWS if len(row) != 3 or not re.fullmatch(r"works|not yet \(issue \d+\)", row[1])] == []


@pytest.mark.parametrize("row", WORKING, ids=lambda row: row[0])
def test_working_feature_names_its_tests(row: list[str]) -> None:
    """A feature that works names at least one test, and each test named is there."""
    references = re.findall(r"`([^`]+)`", row[2])

    assert references
    assert [reference for reference in references if not exists(reference)] == []
