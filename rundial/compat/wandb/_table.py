"""Tables under W&B's names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rundial.compat.wandb._value import WBValue
from rundial.media import Table as OurTable

_DEFAULT_COLUMNS = ("Input", "Output", "Expected")


class Table(OurTable, WBValue):
    """A table.

    Args:
        columns: their names; ``Input``, ``Output``, ``Expected`` when nothing says otherwise.
        data: rows, an array of two dimensions, or a data frame.
        rows: the same as ``data``.
        dataframe: a data frame of pandas; wins.
        dtype, optional, allow_mixed_types: types are not checked.
        log_mode: every ``log`` of the table logs it as it is then.
    """

    __slots__ = ("log_mode",)
    MAX_ROWS = 10_000

    def __init__(
        self,
        columns: Sequence[Any] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        dtype: Any = None,
        optional: Any = True,
        allow_mixed_types: bool = False,
        log_mode: str | None = "IMMUTABLE",
    ) -> None:
        data = rows if data is None else data
        if hasattr(data, "tolist") and not hasattr(data, "columns"):
            data = data.tolist()
            columns = list(range(len(data[0]))) if columns is None and data else columns
        if columns is None and dataframe is None and not hasattr(data, "columns"):
            width = len(data[0]) if data and isinstance(data[0], (list, tuple)) else 3
            columns = _DEFAULT_COLUMNS if width == 3 else [str(number) for number in range(width)]
        super().__init__(columns=columns, data=data, dataframe=dataframe)
        self.log_mode = log_mode

    def add_row(self, *row: Any) -> None:
        """The same as :meth:`add_data`."""
        self.add_data(*row)

    def get_column(self, name: str, convert_to: str | None = None) -> Any:
        """The cells of a column, as an array of NumPy when ``convert_to`` is ``"numpy"``."""
        cells = super().get_column(name)
        if convert_to != "numpy":
            return cells
        import numpy as np

        return np.array(cells)

    def get_index(self) -> list[int]:
        """The numbers of the rows."""
        return list(range(len(self.data)))

    def index_ref(self, index: int) -> int:
        """The number of a row."""
        return index

    def get_dataframe(self) -> Any:
        """The table as a data frame of pandas."""
        import pandas as pd

        return pd.DataFrame.from_records(self.data, columns=self.columns)

    def iterrows(self) -> Iterator[tuple[int, list[Any]]]:
        """Numbers and rows."""
        yield from enumerate(self.data)

    def cast(self, col_name: str, dtype: Any, optional: bool = False) -> None:
        """Nothing: cells keep the types they have."""

    def add_computed_columns(self, fn: Callable[[int, dict[str, Any]], dict[str, Any]]) -> None:
        """Add what a function of the row's number and its cells by name gives."""
        names = list(self.columns)
        new: dict[str, list[Any]] = {}
        for number, row in enumerate(self.data):
            for name, cell in fn(number, dict(zip(names, row))).items():
                new.setdefault(name, []).append(cell)
        for name, cells in new.items():
            self.add_column(name, cells)


class JoinedTable(OurTable, WBValue):
    """The rows of two tables that agree in one column, joined when it is made.

    Args:
        table1, table2: tables.
        join_key: the column, or the two columns, that must agree.
    """

    __slots__ = ()

    def __init__(self, table1: Any, table2: Any, join_key: Any) -> None:
        for table in (table1, table2):
            if not isinstance(table, OurTable):
                raise ValueError(f"JoinedTable takes two tables, not {type(table).__name__}.")
        one, other = (join_key, join_key) if isinstance(join_key, str) else join_key
        rows: dict[Any, list[list[Any]]] = {}
        for key, row in zip(table2.get_column(other), table2.data):
            rows.setdefault(key, []).append(list(row))
        joined = [
            [*left, *right] for key, left in zip(table1.get_column(one), table1.data) for right in rows.get(key, ())
        ]
        columns = [f"0.{name}" for name in table1.columns] + [f"1.{name}" for name in table2.columns]
        super().__init__(columns=columns, data=joined)


class PartitionedTable(OurTable, WBValue):
    """The rows of all tables among the JSON files of a folder.

    Args:
        parts_path: the folder.
    """

    __slots__ = ("parts_path",)

    def __init__(self, parts_path: str) -> None:
        import json
        from pathlib import Path

        columns: list[str] = []
        rows: list[Any] = []
        for path in sorted(Path(parts_path).glob("*.json")):
            document = json.loads(path.read_text(encoding="utf-8"))
            columns = columns or [str(name) for name in document.get("columns", ())]
            rows += document.get("data", document.get("rows", []))
        super().__init__(columns=columns, data=rows)
        self.parts_path = parts_path
