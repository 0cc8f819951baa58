"""Tables as a terminal shows them."""

from __future__ import annotations

import re
import sys

import pytest

from rundial.cli.output import table

RUN = "run_1a1fef52f1b5dc0fd3ccff0"


@pytest.mark.parametrize(("columns", "whole"), [(80, True), (40, False)])
def test_what_is_copied_is_not_broken(
    columns: int, whole: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first column stands in one piece where there is room; no line is longer than the terminal is wide."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    table(
        ("run", "status", "name", "started", "updated"), [(RUN, "completed", "a name " * 5, *["2026-11-21 16:34"] * 2)]
    )

    lines = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert any(line.startswith(RUN) for line in lines) is whole
    assert all(len(line) <= columns for line in lines)
