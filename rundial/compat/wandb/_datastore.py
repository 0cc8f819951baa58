"""Reads ``.wandb`` files: records of protobuf in the framing of LevelDB's log, without either library."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rundial.errors import RundialError

BLOCK_BYTES = 32768
_MAGIC = b":W&B"
_FILE_HEADER = struct.Struct("<4sHB")
_CHUNK_HEADER = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4

Message = dict[int, list[Any]]
"""The fields of a message by their numbers: ints, floats as bytes, texts and messages as bytes."""


class Damaged(RundialError):
    """The file is no ``.wandb`` file, or breaks off: what came before it is whole."""


def records(path: Path) -> Iterator[bytes]:
    """The records of a file, in order.

    Raises:
        Damaged: at the place where it cannot be read on, as a run leaves it that was killed.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_FILE_HEADER.size)
        if len(head) < _FILE_HEADER.size or head[:4] != _MAGIC:
            raise Damaged(f"{path} is no .wandb file.")
        offset = _FILE_HEADER.size
        pieces: list[bytes] = []
        while True:
            left = BLOCK_BYTES - offset % BLOCK_BYTES
            if left < _CHUNK_HEADER.size:
                file.read(left)
                offset += left
                continue
            header = file.read(_CHUNK_HEADER.size)
            if not header:
                return
            if len(header) < _CHUNK_HEADER.size:
                raise Damaged(f"{path} breaks off at byte {offset:,}.")
            checksum, length, kind = _CHUNK_HEADER.unpack(header)
            data = file.read(length)
            if len(data) < length or kind not in (_FULL, _FIRST, _MIDDLE, _LAST) or not _is_whole(checksum, kind, data):
                raise Damaged(f"{path} is damaged at byte {offset:,}.")
            offset += _CHUNK_HEADER.size + length
            pieces = [data] if kind in (_FULL, _FIRST) else [*pieces, data]
            if kind in (_FULL, _LAST):
                yield b"".join(pieces)
                pieces = []


def _is_whole(checksum: int, kind: int, data: bytes) -> bool:
    """W&B's sum is the CRC-32 of the kind and the data."""
    return zlib.crc32(data, zlib.crc32(bytes([kind]))) == checksum


def message(data: bytes) -> Message:
    """The fields of a message. Raises :class:`Damaged` for bytes that are none."""
    fields: Message = {}
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, wire = tag >> 3, tag & 7
        value: Any
        if wire == 0:
            value, place = _varint(data, place)
        elif wire == 1:
            value, place = data[place : place + 8], place + 8
        elif wire == 2:
            length, place = _varint(data, place)
            value, place = data[place : place + length], place + length
        elif wire == 5:
            value, place = data[place : place + 4], place + 4
        else:
            raise Damaged(f"a record has a field of the unknown kind {wire}.")
        if place > len(data):
            raise Damaged("a record breaks off.")
        fields.setdefault(number, []).append(value)
    return fields


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value, place
        shift += 7
    raise Damaged("a record breaks off.")


def text(fields: Message, number: int) -> str:
    """A text, empty when it is not there."""
    return fields[number][-1].decode("utf-8", "replace") if number in fields else ""


def texts(fields: Message, number: int) -> list[str]:
    """A repeated text."""
    return [value.decode("utf-8", "replace") for value in fields.get(number, ())]


def inner(fields: Message, number: int) -> list[Message]:
    """The messages in a field."""
    return [message(value) for value in fields.get(number, ())]


def integer(fields: Message, number: int) -> int:
    """A signed number, 0 when it is not there."""
    value = int(fields[number][-1]) if number in fields else 0
    return value - (1 << 64) if value >= 1 << 63 else value
