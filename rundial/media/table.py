"""Tables."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from rundial.media.base import PLAIN, Encoded, Media, Snapshot, copied, size_of
from rundial.media.image import Image
from rundial.values import is_media, on_accelerator, plain

MAX_TABLE_ROWS = 10_000
MAX_TABLE_COLUMNS = 256
MAX_TABLE_BYTES = 64 * 1024 * 1024
MAX_CELL_CHARACTERS = 65_536
MAX_CELL_IMAGE_BYTES = 256 * 1024
"""A larger picture in a cell is made smaller until it fits."""
MAX_CELL_ELEMENTS = 1024
_SAMPLE = 64


class Table(Media):
    """A table. Its cells hold numbers, texts, bools, None, lists, mappings, and pictures.

    More than 10,000 rows or 256 columns are cut off when it is logged; its metadata says how many there were.

    Args:
        columns: their names. Left out, those of the mappings or of the data frame, else their numbers.
        data: rows: sequences in the order of the columns, or mappings by column.
        rows: the same as ``data``.
        dataframe: a data frame of pandas or Polars in place of columns and rows.
        caption: shown below it.
        metadata: further facts.
        max_rows: how many rows are kept.
    """

    __slots__ = ("_columns", "_data", "_frame", "max_rows")
    kind: ClassVar[str] = "table"

    def __init__(
        self,
        columns: Iterable[Any] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        *,
        caption: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        max_rows: int = MAX_TABLE_ROWS,
    ) -> None:
        super().__init__(caption, metadata)
        data = rows if data is None else data
        if dataframe is None and hasattr(data, "columns") and hasattr(data, "itertuples"):
            data, dataframe = None, data
        self.max_rows = max_rows
        self._frame = dataframe
        self._data: list[Any] = [] if data is None else list(data)
        self._columns: list[str] = _column_names(columns, self._data)

    @property
    def columns(self) -> list[str]:
        """The names of the columns; the list itself."""
        self._take_frame()
        return self._columns

    @property
    def data(self) -> list[Any]:
        """The rows; the list itself."""
        self._take_frame()
        return self._data

    def __len__(self) -> int:
        return len(self._data) if self._frame is None else len(self._frame)

    def add_data(self, *row: Any) -> None:
        """Add a row. Raises :class:`ValueError` when it has more or fewer cells than there are columns."""
        self._take_frame()
        if not self._columns and not self._data:
            self._columns = [str(number) for number in range(len(row))]
        if len(row) != len(self._columns):
            raise ValueError(f"a row of {len(row)} cells for {len(self._columns)} columns: {', '.join(self._columns)}")
        self._data.append(list(row))

    def add_row(self, *row: Any) -> None:
        """The same as :meth:`add_data`; also takes a single mapping by column."""
        if len(row) == 1 and isinstance(row[0], Mapping) and len(self.columns) != 1:
            if not self._columns:
                self._columns = [str(name) for name in row[0]]
            row = tuple(_cells(row[0], self._columns))
        self.add_data(*row)

    def add_column(self, name: str, data: Sequence[Any]) -> None:
        """Add a column. Raises :class:`ValueError` when it has more or fewer cells than there are rows."""
        self._take_frame()
        cells = list(data)
        if self._data and len(cells) != len(self._data):
            raise ValueError(f"a column of {len(cells)} cells for {len(self._data)} rows")
        before = [_cells(row, self._columns) for row in self._data] if self._data else [[] for _ in cells]
        self._data[:] = [[*row, cell] for row, cell in zip(before, cells)]
        self._columns.append(str(name))

    def get_column(self, name: str) -> list[Any]:
        """The cells of a column. Raises :class:`KeyError` when there is none of that name."""
        if name not in self.columns:
            raise KeyError(name)
        place = self._columns.index(name)
        return [_cells(row, self._columns)[place] for row in self._data]

    def _take_frame(self) -> None:
        """Turn the data frame into rows, once somebody wants to see or change them."""
        if self._frame is not None:
            self._columns, self._data = _frame_columns(self._frame), _frame_rows(self._frame)
            self._frame = None

    def snapshot(self) -> Snapshot:
        """A copy of the rows and of what in them may change."""
        most = max(0, min(int(self.max_rows), MAX_TABLE_ROWS))
        total = len(self)
        if self._frame is not None:
            frame = self._frame.head(most)
            kept = frame.copy() if hasattr(frame, "copy") else frame.clone()
            size = 64 * len(kept) * len(kept.columns)
            return Snapshot(lambda _: _encoded(_frame_columns(kept), _frame_rows(kept), total), size)
        columns = [str(name) for name in self._columns]
        rows = [
            [
                cell if cell.__class__ in PLAIN else _kept_cell(cell)
                for cell in (row if row.__class__ is list else _cells(row, columns))
            ]
            for row in self._data[:most]
        ]
        return Snapshot(lambda _: _encoded(columns, rows, total), _size(rows))


def _column_names(columns: Iterable[Any] | None, rows: list[Any]) -> list[str]:
    if columns is not None:
        return [str(name) for name in ([columns] if isinstance(columns, str) else columns)]
    first = rows[0] if rows else ()
    if isinstance(first, Mapping):
        return list(dict.fromkeys(str(name) for row in rows if isinstance(row, Mapping) for name in row))
    return [str(number) for number in range(len(_cells(first, [])))]


def _cells(row: Any, columns: list[str]) -> list[Any]:
    """The cells of one row, whatever form it has."""
    if row.__class__ is list or row.__class__ is tuple:
        return list(row)
    if isinstance(row, Mapping):
        named = {str(name): cell for name, cell in row.items()}
        return [named.get(name) for name in columns]
    if hasattr(row, "tolist"):
        values = row.tolist()
        return values if isinstance(values, list) else [values]
    return list(row) if isinstance(row, Sequence) and not isinstance(row, (str, bytes)) else [row]


def _frame_columns(frame: Any) -> list[str]:
    return [str(name) for name in frame.columns]


def _frame_rows(frame: Any) -> list[Any]:
    if hasattr(frame, "itertuples"):
        return [list(row) for row in frame.itertuples(index=False, name=None)]
    return [list(row) for row in frame.rows()]


class _Picture:
    """A picture in a cell, copied."""

    def __init__(self, image: Image) -> None:
        self.snapshot = image.snapshot()
        self.caption = image.caption


def _kept_cell(cell: Any) -> Any:
    if isinstance(cell, Image):
        return _Picture(cell)
    if isinstance(cell, Media):
        return f"({type(cell).__name__})" if cell.caption is None else str(cell.caption)
    return _Picture(Image(cell)) if not isinstance(cell, (list, tuple)) and is_media(cell) else copied(cell)


def _size(rows: list[list[Any]]) -> int:
    """About how many bytes the rows take, by a sample of them."""
    sample = rows[:: max(1, len(rows) // _SAMPLE)]
    size = sum(cell.snapshot.size if isinstance(cell, _Picture) else size_of(cell) for row in sample for cell in row)
    return size * len(rows) // max(1, len(sample))


def _encoded(columns: list[str], rows: list[list[Any]], total: int) -> Encoded:
    facts: dict[str, Any] = {}
    if len(columns) > MAX_TABLE_COLUMNS:
        facts["totalColumns"] = len(columns)
        columns = columns[:MAX_TABLE_COLUMNS]
    writer = _Cells()
    lines: list[bytes] = []
    room = MAX_TABLE_BYTES
    encoder = msgspec.json.Encoder(enc_hook=str)
    for row in rows:
        if len(row) != len(columns):
            if not facts.get("totalColumns"):
                facts["unevenRows"] = facts.get("unevenRows", 0) + 1
            row = (row + [None] * len(columns))[: len(columns)]
        line = encoder.encode([writer.cell(cell) for cell in row])
        room -= len(line) + 1
        if room < 0:
            break
        lines.append(line)
    if len(lines) < total:
        facts |= {"truncated": True, "totalRows": total}
    if writer.cut:
        facts["cutCells"] = writer.cut
    names = encoder.encode([writer.cell(name) for name in columns])
    data = b'{"columns":%s,"rows":[%s]}' % (names, b",".join(lines))
    return Encoded(".json", "application/json", data, rows=len(lines), columns=len(columns), facts=facts)


class _Cells:
    """Turns cells into what JSON has a form for."""

    def __init__(self) -> None:
        self.cut = 0
        """Texts that were too long, pictures that were made smaller."""

    def cell(self, value: Any) -> Any:
        kind = value.__class__
        if kind is float:
            return value if isfinite(value) else _number_text(value)
        if kind is bool or value is None:
            return value
        if kind is str:
            if len(value) > MAX_CELL_CHARACTERS:
                self.cut += 1
                value = value[:MAX_CELL_CHARACTERS]
            return value if value.isascii() else value.encode("utf-8", "replace").decode()
        if kind is _Picture:
            return self._picture(value)
        if hasattr(value, "dtype") and not isinstance(value, Mapping):
            return self._array(value)
        if isinstance(value, float):  # such as numpy.float64
            return self.cell(float(value))
        if type(value).__name__ in ("NaTType", "NAType"):  # what pandas has for None
            return None
        return plain(value)

    def _array(self, value: Any) -> Any:
        value = value.detach().cpu() if on_accelerator(value) else value
        count = value.numel() if hasattr(value, "numel") else getattr(value, "size", 1)
        if count > MAX_CELL_ELEMENTS:
            return f"({type(value).__name__} of shape {tuple(value.shape)}, {value.dtype})"
        items = value.tolist() if hasattr(value, "tolist") else str(value)
        return [self.cell(item) for item in items] if isinstance(items, list) else self.cell(items)

    def _picture(self, picture: _Picture) -> dict[str, Any]:
        """A picture as the cell holds it: the file itself, in base64."""
        try:
            encoded = picture.snapshot.encode(picture.snapshot.source)
            data = encoded.data
            if data is None:
                data = Path(str(picture.snapshot.source)).read_bytes()
        except Exception as error:  # noqa: BLE001 - a picture that cannot be read costs its own cell only
            self.cut += 1
            return {"_type": "image", "error": str(error)[:200]}
        fact = {"_type": "image", "contentType": encoded.content_type, "width": encoded.width, "height": encoded.height}
        if len(data) > MAX_CELL_IMAGE_BYTES:
            self.cut += 1
            fact["contentType"], data = "image/webp", _smaller(data)
        if picture.caption is not None:
            fact["caption"] = str(picture.caption)[:200]
        return fact | {"data": base64.b64encode(data).decode()}


def _number_text(value: float) -> str:
    """A float that JSON has no form for, as the text that it is everywhere else."""
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _smaller(data: bytes) -> bytes:
    import PIL.Image

    with PIL.Image.open(io.BytesIO(data)) as opened:
        picture = opened.convert("RGBA" if "A" in opened.getbands() else "RGB")
    while True:
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=85)
        if buffer.tell() <= MAX_CELL_IMAGE_BYTES:
            return buffer.getvalue()
        picture = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)))
