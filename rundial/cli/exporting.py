"""Exports: all pages of a query into one file, in whatever format; one that was interrupted goes on where it was.

Pages are appended to ``.<name>.part`` as JSON lines, and ``.<name>.part.json`` says how far that is good. At the end
the lines become the file, which appears whole or not at all.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from rundial.cli.output import progress
from rundial.errors import ConfigError, RundialError
from rundial.http import Json, next_cursor

Format = Literal["json", "jsonl", "csv", "parquet"]
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_BATCH = 50_000
STANDARD_OUTPUT = frozenset({Path("-"), Path("/dev/stdout")})


class Query(NamedTuple):
    """What is exported.

    Args:
        type: ``metrics`` or ``logs``.
        columns: of a row, in order.
        page: gives the page that begins at a cursor.
        about: the query in words, by which an interrupted export is known again.
    """

    type: str
    columns: Sequence[str]
    page: Callable[[str | None], Json]
    about: Json


def export(query: Query, out: Path, format: Format) -> int:
    """Write everything into a file and give the number of rows; ``-`` is the standard output.

    Raises:
        ConfigError: the file cannot be written, or Parquet's library is not there.
        RundialError: what the server raises; what has come by then is kept for the next attempt.
    """
    if format == "parquet":
        _parquet()
    if not out.parent.is_dir():
        raise ConfigError(f"there is no folder {out.parent}. Make it first.")
    if out in STANDARD_OUTPUT or (out.exists() and not out.is_file() and not out.is_dir()):
        return _pour(query, out, format)
    part = out.with_name(f".{out.name}.part")
    journal = out.with_name(f".{out.name}.part.json")
    try:
        rows, pages = _fetch(query, part, journal)
        draft = out.with_name(f".{out.name}.{os.getpid()}")
        try:
            _WRITERS[format](part, draft, query, pages)
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(out)
        finally:
            draft.unlink(missing_ok=True)
        journal.unlink(missing_ok=True)
        part.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror or error}.") from error
    return rows


def _pour(query: Query, out: Path, format: Format) -> int:
    """Export into what cannot be replaced by a file: a pipe, a device, the standard output."""
    with tempfile.TemporaryDirectory(prefix="rundial-export-") as folder:
        whole = Path(folder) / "export"
        rows = export(query, whole, format)
        with whole.open("rb") as content:
            if out in STANDARD_OUTPUT:
                shutil.copyfileobj(content, sys.stdout.buffer)
                sys.stdout.buffer.flush()
            else:
                with out.open("wb") as sink:
                    shutil.copyfileobj(content, sink)
    return rows


def _fetch(query: Query, part: Path, journal: Path) -> tuple[int, int]:
    """All pages as lines of ``part``; how many rows and pages they are."""
    cursor, rows, pages, good = _state(query, part, journal)
    with part.open("r+b" if good else "wb") as file, progress(f"Exporting {query.type}", None, "rows") as advance:
        file.seek(good)
        file.truncate()
        advance(rows)
        while pages == 0 or cursor is not None:
            page = query.page(cursor)
            for row in page["rows"]:
                file.write(msgspec.json.encode(row) + b"\n")
            file.flush()
            rows, pages, following = rows + len(page["rows"]), pages + 1, next_cursor(page)
            if following is not None and following == cursor:
                raise RundialError("the server answers the same page again and again; nothing was written.")
            cursor = following
            advance(len(page["rows"]))
            _write_state(
                journal, {"about": query.about, "cursor": cursor, "rows": rows, "pages": pages, "bytes": file.tell()}
            )
    return rows, pages


def _state(query: Query, part: Path, journal: Path) -> tuple[str | None, int, int, int]:
    try:
        state = msgspec.json.decode(journal.read_bytes(), type=Json)
        if state["about"] == query.about and part.stat().st_size >= state["bytes"]:
            return state["cursor"], state["rows"], state["pages"], state["bytes"]
    except (OSError, msgspec.MsgspecError, KeyError):
        pass  # there is none, or none that is whole: from the beginning
    return None, 0, 0, 0


def _write_state(journal: Path, state: Json) -> None:
    draft = journal.with_name(f"{journal.name}.tmp")
    draft.write_bytes(msgspec.json.encode(state))
    draft.replace(journal)


def _rows(part: Path) -> Iterator[Json]:
    decoder = msgspec.json.Decoder(Json)
    with part.open("rb") as file:
        for line in file:
            yield decoder.decode(line)


def _as_json(part: Path, draft: Path, query: Query, pages: int) -> None:
    head = {"type": query.type, "version": 1, **query.about}
    tail = {"export": {"pageCount": pages, "truncatedByPageLimit": False}}
    with draft.open("w", encoding="utf-8") as file, part.open(encoding="utf-8") as lines:
        file.write(json.dumps(head)[:-1] + ', "rows": [')
        separator = "\n"
        for line in lines:
            file.write(separator + line.rstrip("\n"))
            separator = ",\n"
        file.write("\n], " + json.dumps(tail)[1:] + "\n")


def _as_lines(part: Path, draft: Path, query: Query, pages: int) -> None:
    shutil.copyfile(part, draft)


def _as_csv(part: Path, draft: Path, query: Query, pages: int) -> None:
    with draft.open("w", encoding="utf-8", newline="") as file:
        write = csv.writer(file, lineterminator="\n").writerow
        write(query.columns)
        for row in _rows(part):
            write([csv_cell(row.get(column)) for column in query.columns])


def csv_cell(value: Any) -> Any:
    """A value as a spreadsheet may read it: a text that would be a formula is quoted, a number stays one."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _as_parquet(part: Path, draft: Path, query: Query, pages: int) -> None:
    pyarrow, parquet = _parquet()
    columns = dict(zip(query.columns, _kinds(part, query.columns)))
    types = {"int": pyarrow.int64(), "number": pyarrow.float64(), "text": pyarrow.string(), "bool": pyarrow.bool_()}
    schema = pyarrow.schema([(column, types[kind]) for column, kind in columns.items()])
    with parquet.ParquetWriter(draft, schema) as writer:
        batch: list[Json] = []
        for row in _rows(part):
            batch.append({column: _typed(row.get(column), kind) for column, kind in columns.items()})
            if len(batch) == _BATCH:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
                batch = []
        writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))


def _kinds(part: Path, columns: Sequence[str]) -> Iterator[str]:
    """The kind of each column: a text if any of its values is one."""
    seen: dict[str, set[type]] = {column: set() for column in columns}
    for row in _rows(part):
        for column in columns:
            seen[column].add(type(row.get(column)))
    for column in columns:
        kinds = seen[column] - {type(None)}
        if kinds == {bool}:
            yield "bool"
        elif kinds == {int} and column != "value":
            yield "int"
        else:
            yield "number" if kinds <= {int, float} and kinds else "text"


def _typed(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "text":
        return value if isinstance(value, str) else json.dumps(value)
    return float(value) if kind == "number" else value


def _parquet() -> tuple[Any, Any]:
    import importlib

    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigError("Parquet needs pyarrow: pip install 'rundial[export]'.") from error


_WRITERS = {"json": _as_json, "jsonl": _as_lines, "csv": _as_csv, "parquet": _as_parquet}
