"""Lists of values in a statement: ``IN (?, ?, …)``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
SQL_LIST = 500
"""Values of one list at most."""


def parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values in lists that are short enough for one statement each."""
    return (values[at : at + SQL_LIST] for at in range(0, len(values), SQL_LIST))


def marks(values: Sequence[T]) -> str:
    """The placeholders of a list of values."""
    return ", ".join("?" * len(values))
