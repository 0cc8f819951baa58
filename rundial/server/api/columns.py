"""Buckets of series as bytes that a browser reads without parsing: a JSON header and Float64 columns behind it.

Layout, little-endian: ``"RDcol1\\0\\0"``, header length u32, zero u32, the header as JSON padded with spaces to a
multiple of eight, then the columns ``x min max mean last`` of each series in the header's order.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from rundial.server.store.series import Buckets

CONTENT_TYPE = "application/vnd.rundial.columns"
COLUMNS = ("x", "min", "max", "mean", "last")

_MAGIC = b"RDcol1\0\0"
_PREFIX = struct.Struct("<8sII")


def _head(buckets: Buckets) -> dict[str, Any]:
    return {"runId": buckets.run_id, "metricKey": buckets.key, "count": buckets.count}


def pack_columns(x: str, series: Sequence[Buckets]) -> bytes:
    """The answer as columns; ``x`` is what the x column holds: step, relative or wall."""
    heads = [_head(one) | {"length": len(one.x)} for one in series]
    header = msgspec.json.encode({"x": x, "series": heads})
    header += b" " * (-(len(header) + _PREFIX.size) % 8)
    parts = [_PREFIX.pack(_MAGIC, len(header), 0), header]
    for one in series:
        parts.extend(np.asarray(getattr(one, name), dtype="<f8").tobytes() for name in COLUMNS)
    return b"".join(parts)


def json_columns(x: str, series: Sequence[Buckets]) -> bytes:
    """The same answer as JSON."""
    rows = [_head(one) | {name: getattr(one, name).tolist() for name in COLUMNS} for one in series]
    return msgspec.json.encode({"x": x, "series": rows})
