"""Cursors: where a page of results ended, as one opaque word of an address."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from rundial.server.store.refusal import invalid

Row = TypeVar("Row")
T = TypeVar("T")
_INT64 = 1 << 63


def cursor_of(*position: str | int) -> str:
    """The cursor of a position."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def position_of(cursor: str | None, *kinds: type[str] | type[int]) -> list[Any] | None:
    """The position of a cursor, in parts of these kinds; None without one.

    Raises :class:`Refusal` for what :func:`cursor_of` did not write: a database may compare a column with its own kind
    of value only.
    """
    if not cursor:
        return None
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        position = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=list[str | int])
    except (ValueError, binascii.Error, UnicodeEncodeError) as error:
        raise invalid("The cursor is not one of this server.", "Begin again without a cursor.") from error
    if len(position) != len(kinds) or not all(_is(part, kind) for part, kind in zip(position, kinds, strict=True)):
        raise invalid("The cursor is not one of this server.", "Begin again without a cursor.")
    return position


def behind(columns: str, position: Sequence[Any] | None, order: str = "desc") -> tuple[str, Sequence[Any]]:
    """What comes behind a position of an order by these columns, to be put after other conditions, and its values."""
    if position is None:
        return "", ()
    marks = ", ".join("?" * len(position))
    return f" AND ({columns}) {'>' if order == 'asc' else '<'} ({marks})", position


def cut_page(
    rows: Sequence[Row], limit: int, document: Callable[[Row], T], position: Callable[[Row], tuple[str | int, ...]]
) -> tuple[list[T], str | None]:
    """The first ``limit`` rows as documents, and the cursor of the last of them if there are more."""
    found = [document(row) for row in rows[:limit]]
    return found, cursor_of(*position(rows[limit - 1])) if len(rows) > limit else None


def _is(part: str | int, kind: type[str] | type[int]) -> bool:
    if isinstance(part, str):
        return kind is str and "\0" not in part
    return kind is int and -_INT64 <= part < _INT64
