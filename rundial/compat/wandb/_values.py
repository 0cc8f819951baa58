"""What a script hands to ``wandb.log``, as :meth:`rundial.Run.log` takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rundial.values import MAX_DEPTH, Media, is_media, on_accelerator, scalar

MAX_LISTED = 32
"""Elements of an array that are kept one by one; a larger one becomes a histogram, as W&B makes it."""


class Row(msgspec.Struct):
    """One call of ``log``."""

    sent: dict[str, Any] = {}
    """What goes to the run, by flat names: ``a.b`` for ``{"a": {"b": 1}}``."""
    latest: dict[str, Any] = {}
    """What the summary says from now on; nested as it was given."""
    numbers: dict[str, float] = {}
    """The plain numbers among them, by flat names."""
    traces: dict[str, Any] = {}
    """Trees of spans, by flat names."""


def row_of(data: Mapping[Any, Any]) -> Row:
    """Sort the values of one call. Waits for no device."""
    row = Row()
    for key, value in data.items():
        name = str(key)
        latest = _take(row, name, value, 0)
        if latest is not _NOTHING:
            row.latest[name] = latest
    return row


_NOTHING = object()


def _take(row: Row, name: str, value: Any, depth: int) -> Any:
    """Put one value into the row, and give what the summary keeps of it."""
    if isinstance(value, (bool, int, float)):
        number = value.item() if hasattr(value, "item") else value
        row.sent[name] = number
        row.numbers[name] = number
        return number
    if value is None or isinstance(value, str):
        if value is None:
            return _NOTHING
        row.sent[name] = value
        return value
    if isinstance(value, Mapping):
        if depth >= MAX_DEPTH:
            row.sent[name] = str(value)
            return row.sent[name]
        inner = {str(key): _take(row, f"{name}.{key}", item, depth + 1) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item is not _NOTHING}
    if hasattr(value, "send_spans"):
        row.traces[name] = value
        return {"_type": value.kind}
    media = _media(value)
    if media is not None:
        return _take_media(row, name, media)
    count = _count(value)
    if count is not None and count > 1:
        if count > MAX_LISTED or on_accelerator(value):
            from rundial.compat.wandb.data_types import Histogram

            row.sent[name] = Histogram(value, num_bins=32)
            return {"_type": "histogram"}
        value = value.tolist()
    if isinstance(value, (list, tuple, set, frozenset)):
        listed = _listed(value)
        row.sent[name] = msgspec.json.encode(listed, enc_hook=str).decode()
        return listed
    return _take_scalar(row, name, value)


def _take_scalar(row: Row, name: str, value: Any) -> Any:
    if on_accelerator(value):
        copy = value.detach().clone()
        row.sent[name] = copy
        return copy
    row.sent[name] = value
    try:
        number = scalar(value)
    except Exception:  # noqa: BLE001 - a stranger's object may raise anything; the run says what is wrong with it
        return _NOTHING
    row.sent[name] = number
    if not isinstance(number, str):
        row.numbers[name] = number
    return number


def _listed(value: Any) -> list[Any]:
    return [item.tolist() if hasattr(item, "tolist") and not isinstance(item, type) else item for item in value]


def _count(value: Any) -> int | None:
    """How many elements an array or tensor has; None for anything else."""
    if not hasattr(value, "dtype") or not hasattr(value, "tolist"):
        return None
    count = value.numel() if hasattr(value, "numel") else getattr(value, "size", None)
    return count if isinstance(count, int) else None


def _media(value: Any) -> Any:
    """Media as it is, and what becomes media: figures of Matplotlib, in any form, and data frames."""
    if isinstance(value, Media) or is_media(value):
        return value
    module = (value.__name__ if isinstance(value, type(msgspec)) else type(value).__module__).partition(".")[0]
    if module == "matplotlib":
        from rundial.compat.wandb.data_types import Image

        return Image(value)
    if module == "pandas" and hasattr(value, "itertuples"):
        from rundial.compat.wandb.data_types import Table

        return Table(dataframe=value)
    if hasattr(value, "as_media"):  # a chart of wandb.plot
        return value
    return None


def _take_media(row: Row, name: str, media: Any) -> Any:
    if hasattr(media, "as_media"):
        figure, table = media.as_media()
        row.sent[name] = figure
        row.sent[f"{name}_table"] = table
        return {"_type": "custom-chart"}
    row.sent[name] = media
    first = media[0] if isinstance(media, (list, tuple)) else media
    kind = getattr(first, "kind", type(first).__name__.lower())
    return {"_type": kind, "count": len(media)} if isinstance(media, (list, tuple)) else {"_type": kind}
