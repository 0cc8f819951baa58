"""Columns of numbers as bytes: small on disk, quick to read. Pure functions.

Integers are stored as their first value, the smallest difference, and what each difference has beyond it, in the
narrowest width that holds the widest (frame of reference over deltas). What is left, and floats as they are, is
split into byte planes (the first bytes of all values, then the second ones ...: the shuffle filter of HDF5 and
Blosc), and each plane is deflated only if that pays: the low planes of a mantissa are noise and stay a plain copy.
"""

from __future__ import annotations

import struct
import zlib

import msgspec
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Labels = list[tuple[int, str | None, dict[str, str] | None]]
"""Stage and context of a column as (how many points in a row, stage, context)."""

_SHUFFLE_FROM = 16
"""Shorter columns are stored as they are: plane headers would cost more than they save."""
_LEAST_SAMPLE = 512
_PAYS = 0.9
_RAW, _DEFLATED, _CONSTANT = 0, 1, 2
_PLANE = struct.Struct("<BI")
_INTS = struct.Struct("<Bqq")


def pack_floats(values: Floats) -> bytes:
    """Float64 values, bit for bit, NaN payloads included."""
    return _pack_planes(np.ascontiguousarray(values, dtype="<f8").view(np.uint8).reshape(-1, 8))


def unpack_floats(data: bytes, count: int) -> Floats:
    """The ``count`` values that :func:`pack_floats` packed."""
    values = np.empty(count, "<f8")
    read_floats(data, values)
    return values


def read_floats(data: bytes, into: Floats) -> None:
    """Fill ``into``, which is contiguous and as long as what :func:`pack_floats` packed."""
    _read_planes(data, 0, into.view(np.uint8).reshape(-1, 8))


def pack_ints(values: Ints) -> bytes:
    """Int64 values; differences wrap around, so that every int64 may follow every other."""
    if not len(values):
        return b""
    deltas = values[1:] - values[:-1]
    least = int(deltas.min()) if len(deltas) else 0
    excess = (deltas - np.int64(least)).view(np.uint64)
    width = _width(int(excess.max())) if len(deltas) else 0
    header = _INTS.pack(width, int(values[0]), least)
    if width == 0:
        return header
    return header + _pack_planes(excess.astype(f"<u{width}").view(np.uint8).reshape(-1, width))


def unpack_ints(data: bytes, count: int) -> Ints:
    """The ``count`` values that :func:`pack_ints` packed."""
    values = np.empty(count, "<i8")
    read_ints(data, values)
    return values


def read_ints(data: bytes, into: Ints) -> None:
    """Fill ``into``, which is as long as what :func:`pack_ints` packed."""
    if not len(into):
        return
    width, first, least = _INTS.unpack_from(data)
    into[0] = first
    into[1:] = least
    if width:
        excess = np.empty((len(into) - 1, width), np.uint8)
        _read_planes(data, _INTS.size, excess)
        # The widest are read as signed: NumPy would make floats of a sum of int64 and uint64.
        into[1:] += excess.view("<i8" if width == 8 else f"<u{width}").reshape(-1)
    np.cumsum(into, out=into)


def pack_texts(values: list[str]) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(values), 1)


def unpack_texts(data: bytes) -> list[str]:
    return _decode_texts(zlib.decompress(data))


def pack_labels(labels: Labels) -> bytes | None:
    """Stages and contexts, None when no point has either, which is the rule."""
    if all(stage is None and context is None for _, stage, context in labels):
        return None
    return zlib.compress(msgspec.msgpack.encode(labels), 1)


def unpack_labels(data: bytes | None, count: int) -> Labels:
    """The labels that :func:`pack_labels` packed of a column of ``count`` points."""
    return [(count, None, None)] if data is None else _decode_labels(zlib.decompress(data))


_decode_texts = msgspec.msgpack.Decoder(list[str]).decode
_decode_labels = msgspec.msgpack.Decoder(Labels).decode


def _width(largest: int) -> int:
    """Bytes of the narrowest unsigned integer that holds ``largest``; 0 when nothing need be stored."""
    if largest == 0:
        return 0
    return next(width for width in (1, 2, 4, 8) if largest < 1 << 8 * width)


def _pack_planes(rows: Bytes) -> bytes:
    if len(rows) < _SHUFFLE_FROM:
        return rows.tobytes()
    return b"".join(_pack_plane(plane) for plane in np.ascontiguousarray(rows.T))


def _pack_plane(plane: Bytes) -> bytes:
    if (plane == plane[0]).all():
        return _PLANE.pack(_CONSTANT, 1) + plane[:1].tobytes()
    raw = plane.tobytes()
    # Deflating noise is the dearest part of all; a sample from the middle tells noise well enough.
    half = max(_LEAST_SAMPLE, len(raw) // 8) // 2
    middle = len(raw) // 2
    sample = raw[middle - half : middle + half] if len(raw) > 4 * half else raw
    if len(small := zlib.compress(sample, 1)) < _PAYS * len(sample):
        if sample is not raw:
            small = zlib.compress(raw, 1)
        if len(small) < _PAYS * len(raw):
            return _PLANE.pack(_DEFLATED, len(small)) + small
    return _PLANE.pack(_RAW, len(raw)) + raw


def _read_planes(data: bytes, offset: int, rows: Bytes) -> None:
    count, width = rows.shape
    if count < _SHUFFLE_FROM:
        rows[:] = np.frombuffer(data, np.uint8, count * width, offset).reshape(count, width)
        return
    for place in range(width):
        kind, length = _PLANE.unpack_from(data, offset)
        offset += _PLANE.size
        if kind == _DEFLATED:
            rows[:, place] = np.frombuffer(zlib.decompress(data[offset : offset + length], bufsize=count), np.uint8)
        else:  # a constant plane is one byte, spread over all
            rows[:, place] = np.frombuffer(data, np.uint8, length, offset)
        offset += length
