"""Orders of a list of runs: by what the database can sort, or by an entry of the config or the summary.

A page ends at a position in the order, and the next one begins behind it (keyset paging): what arrives or goes
meanwhile moves nothing. Runs that are equal in an order are ordered by id, in the same direction.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from rundial.server.store.cursors import behind, cursor_of, cut_page, position_of
from rundial.server.store.engine import Db
from rundial.server.store.refusal import invalid

TABLES = """
CREATE INDEX runs_by_name ON runs (project_id, name, run_id);
"""
CONFIG, SUMMARY = "config.", "summary."
MAX_FIELD = 500
_COLUMNS: dict[str, tuple[str, type[str] | type[int]]] = {
    "runId": ("r.run_id", str),
    "startedAtMs": ("r.started_ms", int),
    "updatedAtMs": ("r.updated_ms", int),
    "runName": ("r.name", str),
    "status": ("r.status", str),
    "duration": ("coalesce(r.finished_ms, r.updated_ms) - r.started_ms", int),
}
ORDERS = tuple(_COLUMNS)
_BEST = {"best_metric_value": "r.best_value", "best_metric_step": "r.best_step"}
_MOST = sys.float_info.max
_NUMBER, _TEXT, _NOTHING = range(3)
"""What a run has in an order by an entry: numbers stand before texts, and who has nothing comes last."""


class Filter(NamedTuple):
    """Which runs ``r`` of a project are wanted: conditions on them, and the values of their placeholders."""

    project_id: str
    sql: str
    more: Sequence[Any]

    @property
    def values(self) -> tuple[Any, ...]:
        """The project, and the values of the conditions."""
        return self.project_id, *self.more


class _Ranked(NamedTuple):
    """A run and what it has."""

    rank: int
    value: float | str
    run_id: str


def check_order(order_by: str, order: str) -> None:
    """Raises :class:`Refusal` for what :func:`ordered` does not know."""
    is_entry = any(order_by.startswith(of) and len(order_by) > len(of) for of in (CONFIG, SUMMARY))
    if order not in ("asc", "desc") or not (order_by in _COLUMNS or (is_entry and len(order_by) <= MAX_FIELD)):
        raise invalid(
            f"Runs cannot be ordered by {order_by[:40]!r} {order[:40]!r}.",
            f"Order by {', '.join(ORDERS)}, config.KEY or summary.KEY.",
        )


def ordered(
    db: Db, wanted: Filter, order_by: str, order: str, cursor: str | None, limit: int
) -> tuple[list[str], str | None]:
    """The ids of a page of runs, and where the next page begins; None at the end.

    Args:
        order_by: one of :data:`ORDERS`, ``config.KEY`` or ``summary.KEY``; a key of nested mappings has dots. What
            is in the summary because it was logged is as old there as the last pass of the compactor: some seconds.
        order: ``asc`` or ``desc``. Runs that lack an entry come last in both.
        cursor: where the page before ended.

    Raises :class:`Refusal` for a cursor that is none.
    """
    if order_by in _COLUMNS:
        return _by_column(db, wanted, order_by, order, cursor, limit)
    if order_by.startswith(CONFIG):
        values = _entries(db, wanted, "config", order_by[len(CONFIG) :])
    else:
        values = _summary(db, wanted, order_by[len(SUMMARY) :])
    return _by_value(values, order, cursor, limit)


def _by_column(
    db: Db, wanted: Filter, order_by: str, order: str, cursor: str | None, limit: int
) -> tuple[list[str], str | None]:
    column, kind = _COLUMNS[order_by]
    after, values = behind(f"{column}, r.run_id", position_of(cursor, kind, str), order)
    rows = db.execute(
        f"SELECT r.run_id, {column} FROM runs r WHERE r.project_id = ? AND {wanted.sql}{after}"
        f" ORDER BY {column} {order}, r.run_id {order} LIMIT ?",
        (*wanted.values, *values, limit + 1),
    ).fetchall()
    return cut_page(rows, limit, lambda row: str(row[0]), lambda row: (row[1], row[0]))


def _by_value(values: dict[str, Any], order: str, cursor: str | None, limit: int) -> tuple[list[str], str | None]:
    """A page of runs by what each has. All of them are looked at: a database cannot sort what is in documents."""
    ranked = [_ranked(run_id, value) for run_id, value in values.items()]
    after = _position(cursor)
    down = order == "desc"
    page: list[_Ranked] = []
    for rank in (_NUMBER, _TEXT, _NOTHING):
        some = [one for one in ranked if one.rank == rank]
        if after is not None and rank <= after.rank:
            some = [one for one in some if rank == after.rank and (one < after if down else one > after)]
        page += sorted(some, reverse=down)
        if len(page) > limit:
            break
    found = page[:limit]
    return [one.run_id for one in found], cursor_of(*map(_word, found[-1])) if len(page) > limit else None


def _ranked(run_id: str, value: Any) -> _Ranked:
    if isinstance(value, (int, float)):
        # JSON may have whole numbers beyond every float.
        return _Ranked(_NUMBER, float(min(max(value, -_MOST), _MOST)), run_id)
    return _Ranked(_TEXT, value, run_id) if isinstance(value, str) else _Ranked(_NOTHING, "", run_id)


def _word(part: float | str) -> int | str:
    return repr(part) if isinstance(part, float) else part


def _position(cursor: str | None) -> _Ranked | None:
    position = position_of(cursor, int, str, str)
    if position is None:
        return None
    rank, value, run_id = position
    try:
        return _Ranked(rank, float(value) if rank == _NUMBER else value, run_id)
    except ValueError as error:
        raise invalid("The cursor is not one of this server.", "Begin again without a cursor.") from error


def _entries(db: Db, wanted: Filter, column: str, field: str) -> dict[str, Any]:
    """An entry of a document of each run, by the run's id; None of those that have none."""
    rows = db.execute(f"SELECT r.run_id, r.{column} FROM runs r WHERE r.project_id = ? AND {wanted.sql}", wanted.values)
    return _found(rows, field)


def _found(rows: Iterable[tuple[str, str]], field: str) -> dict[str, Any]:
    known: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for run_id, text in rows:
        if text not in known:  # the runs of a sweep often have the same
            known[text] = _entry(_decode(text), field) if len(text) > 2 else None
        found[run_id] = known[text]
    return found


_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _entry(document: dict[str, Any], field: str) -> Any:
    """The value behind a dotted name; a name may have dots of its own."""
    if field in document:
        value = document[field]
        return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
    at = field.find(".")
    while at > 0:
        inner = document.get(field[:at])
        inner = msgspec.json.decode(inner) if isinstance(inner, msgspec.Raw) else inner
        if isinstance(inner, dict) and (value := _entry(inner, field[at + 1 :])) is not None:
            return value
        at = field.find(".", at + 1)
    return None


def _summary(db: Db, wanted: Filter, field: str) -> dict[str, Any]:
    """What the run set, or else its best value, or else the last value of the metric of that name."""
    found = _entries(db, wanted, "summary", field)
    logged: dict[str, Any] = {}
    for run_id, number, text in db.execute(
        "SELECT k.run_id, k.last_number, k.last_text FROM runs r JOIN metric_keys k ON k.run_id = r.run_id"
        f" AND k.name = ? WHERE r.project_id = ? AND {wanted.sql} ORDER BY k.kind",
        (field, *wanted.values),
    ):
        logged[run_id] = number if text is None else text
    if field in _BEST:
        rows = db.execute(
            f"SELECT r.run_id, {_BEST[field]} FROM runs r WHERE r.project_id = ? AND {wanted.sql}", wanted.values
        )
        logged |= dict(rows.fetchall())
    return {run_id: logged.get(run_id) if value is None else value for run_id, value in found.items()}
