"""Medians, ratios and the table they are printed in."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

Figures = Mapping[str, float]


class Column(NamedTuple):
    """One column: which figure, its heading with the unit, and what to multiply it with to get that unit."""

    figure: str
    heading: str
    scale: float = 1.0
    ratio: bool = True
    """Whether the figure is also shown as a multiple of the reference row's."""
    against_empty: bool = False
    """Whether a last column shows it as a multiple of the empty function's; only the first column is asked."""
    over_empty: bool = False
    """Whether the figure holds the harness's own cost, which is what the empty function's row shows: taken off."""


def medians(rounds: Iterable[Figures]) -> dict[str, float]:
    """The median over rounds of each figure; a figure that a round lacks is taken from the others."""
    gathered: dict[str, list[float]] = {}
    for figures in rounds:
        for name, value in figures.items():
            gathered.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in gathered.items()}


def number(value: float) -> str:
    """A figure in three significant digits, thousands separated: 0.071, 1.25, 52.3, 4,713."""
    if value and abs(value) < 0.0005:
        return "0"
    for limit, digits in ((0.1, 3), (10, 2), (100, 1)):
        if abs(value) < limit:
            return f"{value:.{digits}f}" if value else "0"
    return f"{value:,.0f}"


def times(value: float, reference: float | None) -> str:
    """``value`` as a multiple of ``reference``, ``8.7x``; empty where there is no such multiple."""
    if not reference or reference < 0 or value < 0:
        return ""
    ratio = value / reference
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:,.0f}x"


def table(title: str, rows: Mapping[str, Figures], columns: Sequence[Column], reference: str = "rundial") -> str:
    """A table of one line a row: the absolute figures, and beside each its multiple of the reference row's.

    Where the first column asks for it, the last one says how many times the empty function's figure each is.
    """
    rows = over_empty(rows, columns)
    base, empty = rows.get(reference, {}), rows.get("empty", {})
    against_empty = columns[0].against_empty and bool(empty.get(columns[0].figure))
    lines = [["", *(column.heading for column in columns), *(["x empty"] if against_empty else [])]]
    for name, figures in rows.items():
        cells = [_cell(figures, {} if name in ("empty", reference) else base, column) for column in columns]
        if against_empty:
            first = columns[0].figure
            cells.append(times(figures[first], empty.get(first)) if first in figures else "-")
        lines.append([name, *cells])
    return f"{title}\n{_aligned(lines)}\n"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells in columns, the first flush left, below a ruled heading."""
    first, *others = [max(len(cell) for cell in cells) for cells in zip(*lines, strict=True)]
    text = [
        "  ".join([line[0].ljust(first), *(cell.rjust(width) for cell, width in zip(line[1:], others))])
        for line in lines
    ]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


def over_empty(rows: Mapping[str, Figures], columns: Sequence[Column]) -> dict[str, dict[str, float]]:
    """The rows, the empty function's figure taken off the others' where the column says so."""
    empty = rows.get("empty", {})
    cost = {column.figure: empty.get(column.figure, 0.0) for column in columns if column.over_empty}
    return {
        name: {figure: value - (cost.get(figure, 0.0) if name != "empty" else 0.0) for figure, value in figures.items()}
        for name, figures in rows.items()
    }


def _cell(figures: Figures, base: Figures, column: Column) -> str:
    if column.figure not in figures:
        return "-"
    value = figures[column.figure]
    multiple = times(value, base.get(column.figure)) if column.ratio else ""
    return f"{number(value * column.scale)} ({multiple})" if multiple else number(value * column.scale)


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": psutil.cpu_count(),
        "load": psutil.getloadavg()[0],
    }


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Every round's figures and their medians, for whoever wants to compute something else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **document}, indent=1) + "\n", encoding="utf-8")
