"""The page about security promises nothing that no test holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ROWS = re.findall(r"^\| (?!Promise|---)(.+?) \| (.+) \|$", (ROOT / "docs/security.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize(("promise", "tests"), ROWS, ids=[promise[:60] for promise, _ in ROWS])
def test_a_promise_names_its_tests(promise: str, tests: str) -> None:
    """Each test that is named is there."""
    named = re.findall(r"`([^`]+)`", tests)

    assert named
    for reference in named:
        name, _, function = reference.partition("::")
        path = ROOT / name
        assert path.is_file(), reference
        assert not function or re.search(rf"^(async )?def {re.escape(function)}\(", path.read_text(), re.MULTILINE), (
            reference
        )
