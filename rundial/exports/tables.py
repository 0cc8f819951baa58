"""Tables as Parquet, JSON lines or CSV, written and read again without loss.

A column is an ``int`` of 64 bits, a ``number`` (float64), a ``text``, a ``bool`` or ``json``; any cell may be empty.
In CSV an empty cell is None; a text that is empty, begins with ``'`` or would be a formula to a spreadsheet has a ``'``
before it, which the reader takes away again.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from rundial.errors import ConfigError, RundialError
from rundial.http import Json

Format = Literal["parquet", "jsonl", "csv"]
Kind = Literal["int", "number", "text", "bool", "json"]
Columns = Mapping[str, Kind]

FORMATS: tuple[Format, ...] = get_args(Format)
_MARKED = ("'", "=", "+", "-", "@", "\t", "\r", "\n")
_BATCH = 20_000

METRICS: Columns = {
    "metricKey": "text",
    "step": "int",
    "timestampMs": "int",
    "value": "number",
    "text": "text",
    "order": "int",
    "stage": "text",
    "context": "json",
}
"""``value`` is a number's, ``text`` that of a series of texts; ``order`` counts the arrivals of each key."""
LOGS: Columns = {
    "timestampMs": "int",
    "level": "text",
    "message": "text",
    "source": "text",
    "truncated": "bool",
}
SPANS: Columns = {
    "traceId": "text",
    "spanId": "text",
    "parentSpanId": "text",
    "name": "text",
    "kind": "text",
    "startNs": "int",
    "endNs": "int",
    "status": "text",
    "message": "text",
    "model": "text",
    "system": "text",
    "tokensIn": "int",
    "tokensOut": "int",
    "costUsd": "number",
    "attrs": "json",
    "events": "json",
}
RESULTS: Columns = {
    "evalRunId": "text",
    "exampleId": "text",
    "scorer": "text",
    "score": "number",
    "passed": "bool",
    "timestampMs": "int",
    "runId": "text",
    "traceId": "text",
    "evidenceRef": "json",
    "meta": "json",
}
MARKERS: Columns = {"timeMs": "int", "kind": "text", "name": "text", "step": "int", "attrs": "json"}
MEDIA: Columns = {
    "key": "text",
    "step": "int",
    "index": "int",
    "mediaType": "text",
    "timeMs": "int",
    "caption": "text",
    "width": "int",
    "height": "int",
    "tableRows": "int",
    "tableColumns": "int",
    "metadata": "json",
    "contentType": "text",
    "sizeBytes": "int",
    "sha256": "text",
    "file": "text",
}
"""``file`` is where its content lies, seen from the run's folder."""


def write_table(rows: Iterable[Json], out: Path, columns: Columns, form: Format) -> int:
    """Write rows into a file, which appears whole or not at all; how many there were.

    Raises:
        OSError: it cannot be written.
        ConfigError: Parquet's library is not there.
    """
    draft = out.with_name(f".{out.name}.draft")
    try:
        count = _WRITERS[form](rows, draft, columns)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return count


def read_table(path: Path, columns: Columns) -> Iterator[Json]:
    """The rows of a file that :func:`write_table` wrote, by the ending of its name.

    Raises:
        RundialError: it is no such table; OSError: it cannot be read.
    """
    try:
        yield from _READERS[path.suffix](path, columns)
    except (ValueError, KeyError, csv.Error) as error:
        raise RundialError(f"{path} is not the table it should be: {error}.") from error


def pyarrow() -> tuple[Any, Any]:
    """PyArrow and its module for Parquet. Raises :class:`ConfigError` when it is not installed."""
    import importlib

    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigError("Parquet needs pyarrow: pip install 'rundial[export]'.") from error


# -- JSON lines --------------------------------------------------------------------------------------------------------


def _write_lines(rows: Iterable[Json], draft: Path, columns: Columns) -> int:
    count = 0
    with draft.open("wb") as file:
        for row in rows:
            file.write(msgspec.json.encode({name: row.get(name) for name in columns}) + b"\n")
            count += 1
    return count


def _read_lines(path: Path, columns: Columns) -> Iterator[Json]:
    decode = msgspec.json.Decoder(Json).decode
    with path.open("rb") as file:
        for line in file:
            row = decode(line)
            yield {name: _exact(row[name], kind) for name, kind in columns.items()}


def _exact(value: Any, kind: Kind) -> Any:
    return float(value) if kind == "number" and value is not None else value


# -- CSV ---------------------------------------------------------------------------------------------------------------


def _write_csv(rows: Iterable[Json], draft: Path, columns: Columns) -> int:
    count = 0
    with draft.open("w", encoding="utf-8", newline="") as file:
        # Every line break is inside quotes, which Python's reader wants for a lone carriage return.
        write = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerow
        write(columns)
        for row in rows:
            write([_cell(row.get(name), kind) for name, kind in columns.items()])
            count += 1
    return count


def _cell(value: Any, kind: Kind) -> Any:
    if value is None:
        return ""
    if kind == "bool":
        return "true" if value else "false"
    if kind == "number":
        return float(value)
    if kind == "int":
        return int(value)
    text = value if kind == "text" else msgspec.json.encode(value).decode()
    return f"'{text}" if not text or text.startswith(_MARKED) else text


def _read_csv(path: Path, columns: Columns) -> Iterator[Json]:
    with _any_length(), path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        places = {name: place for place, name in enumerate(next(reader, ()))}
        wanted = [(name, places[name], kind) for name, kind in columns.items()]
        for cells in reader:
            yield {name: _of_cell(cells[place], kind) for name, place, kind in wanted}


@contextmanager
def _any_length() -> Iterator[None]:
    before = csv.field_size_limit(1 << 30)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _of_cell(cell: str, kind: Kind) -> Any:
    if cell == "":
        return None
    if kind == "int":
        return int(cell)
    if kind == "number":
        return float(cell)
    if kind == "bool":
        return cell == "true"
    text = cell.removeprefix("'")
    return text if kind == "text" else msgspec.json.decode(text)


# -- Parquet -----------------------------------------------------------------------------------------------------------


def _write_parquet(rows: Iterable[Json], draft: Path, columns: Columns) -> int:
    arrow, parquet = pyarrow()
    types = {"int": arrow.int64(), "number": arrow.float64(), "bool": arrow.bool_()}
    schema = arrow.schema([(name, types.get(kind, arrow.string())) for name, kind in columns.items()])
    documents = [name for name, kind in columns.items() if kind == "json"]
    count = 0
    with parquet.ParquetWriter(draft, schema, compression="zstd") as writer:
        batch: list[Json] = []

        def flush() -> None:
            writer.write_table(arrow.Table.from_pylist(batch, schema=schema))
            batch.clear()

        for row in rows:
            packed = {name: row.get(name) for name in columns}
            for name in documents:
                if packed[name] is not None:
                    packed[name] = msgspec.json.encode(packed[name]).decode()
            batch.append(packed)
            count += 1
            if len(batch) == _BATCH:
                flush()
        flush()
    return count


def _read_parquet(path: Path, columns: Columns) -> Iterator[Json]:
    arrow, parquet = pyarrow()
    documents = [name for name, kind in columns.items() if kind == "json"]
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH, columns=list(columns)):
                for row in batch.to_pylist():
                    for name in documents:
                        if row[name] is not None:
                            row[name] = msgspec.json.decode(row[name])
                    yield row
    except arrow.ArrowException as error:
        raise ValueError(str(error)) from error


_WRITERS: dict[Format, Callable[[Iterable[Json], Path, Columns], int]] = {
    "parquet": _write_parquet,
    "jsonl": _write_lines,
    "csv": _write_csv,
}
_READERS: dict[str, Callable[[Path, Columns], Iterator[Json]]] = {
    ".parquet": _read_parquet,
    ".jsonl": _read_lines,
    ".csv": _read_csv,
}
