"""Figures of Plotly."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from rundial.media.base import Encoded, Media, Snapshot, copied, size_of
from rundial.values import MAX_DEPTH

MAX_FIGURE_BYTES = 32 * 1024 * 1024


class Plotly(Media):
    """A figure of Plotly, stored as its JSON.

    Args:
        figure: a figure, or what its ``to_dict()`` or ``to_json()`` gives: a mapping with ``data`` and ``layout``.
        caption: shown below it.
        metadata: further facts.
    """

    __slots__ = ("figure",)
    kind: ClassVar[str] = "plotly"

    def __init__(self, figure: Any, caption: str | None = None, *, metadata: Mapping[str, Any] | None = None) -> None:
        super().__init__(caption, metadata)
        self.figure = figure

    def snapshot(self) -> Snapshot:
        """The figure's own copy of what it holds."""
        figure = self.figure
        if isinstance(figure, (str, Mapping)):
            document = copied(figure)
        elif hasattr(figure, "to_dict"):
            document = figure.to_dict()  # a deep copy
        else:
            raise TypeError(f"no figure of Plotly can be made of {type(figure).__name__}")
        return Snapshot(lambda _: _encoded(document), _size(document))


def _size(document: Any) -> int:
    traces = document.get("data") if isinstance(document, dict) else None
    if not isinstance(traces, (list, tuple)):
        return size_of(document)
    return sum(size_of(value) for trace in traces if isinstance(trace, dict) for value in trace.values())


def _encoded(document: Any) -> Encoded:
    if isinstance(document, str):
        document = msgspec.json.decode(document.encode("utf-8", "replace"))
    if not isinstance(document, dict) or not isinstance(document.get("data"), (list, tuple)):
        raise ValueError("a figure of Plotly is a mapping with a list as data")
    shown = {name: _plain(document[name], 0) for name in ("data", "layout") if name in document}
    data = msgspec.json.encode(shown, enc_hook=str)
    if len(data) > MAX_FIGURE_BYTES:
        raise ValueError(f"a figure of {len(data):,} bytes; at most {MAX_FIGURE_BYTES:,} are stored")
    return Encoded(".json", "application/json", data, facts={"traces": len(document["data"])})


def _plain(value: Any, depth: int) -> Any:
    """A figure without arrays: Plotly packs those into base64 (``bdata``), which other readers do not know."""
    if depth > MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        if "bdata" in value and "dtype" in value:
            return _unpacked(value)
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    return _plain(value.tolist(), depth + 1) if hasattr(value, "tolist") else value


def _unpacked(value: Mapping[str, Any]) -> Any:
    import numpy as np

    array = np.frombuffer(base64.b64decode(value["bdata"]), np.dtype(str(value["dtype"])))
    shape = value.get("shape")
    if shape is not None:
        array = array.reshape([int(size) for size in (shape.split(",") if isinstance(shape, str) else shape)])
    return array.tolist()
