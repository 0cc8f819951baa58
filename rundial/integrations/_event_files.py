"""TensorBoard's event files: records in a frame, each an ``Event`` of protocol buffers. Needs none of TensorBoard.

A scalar becomes a number; images, histograms, sounds, texts and curves become media; hyper-parameters a mapping.
"""

from __future__ import annotations

import io
import re
import struct
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rundial.media import Histogram

    Numbers = NDArray[np.float64]

Fields = dict[int, list[Any]]
"""What a message holds, by the number of the field: ints, and bytes for everything else."""

MAX_BINS = 1024
MAX_RECORD = 1 << 30
_HPARAMS = "_hparams_/"
_START = _HPARAMS + "session_start_info"
_DRAWN_ELSEWHERE = re.compile(r"graph|mesh|projector|custom_scalars|profile")
_STRING = 7
_NUMBERS = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 17: "<u2", 19: "<f2"}
_NUMBERS |= {22: "<u4", 23: "<u8"}
"""NumPy's names of TensorFlow's types."""
_VALUES = {1: (5, "<f4"), 2: (6, "<f8")}
"""Fields that hold numbers one by one, of 4 or 8 bytes each."""
_VARINTS = {3: 7, 4: 7, 5: 7, 6: 7, 9: 10, 10: 11, 17: 7, 19: 13, 22: 16, 23: 17}


class Event(NamedTuple):
    """What one record says."""

    time_ms: int
    step: int
    values: dict[str, Any]
    """Numbers and media by tag."""
    hyper_parameters: dict[str, Any]
    strange: dict[str, str]
    """Why a tag could not be read."""


class EventFile:
    """A file that is being written, read from where reading stopped the last time.

    Args:
        path: the file.
        offset: where to begin, in bytes.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset

    def records(self) -> Iterator[bytes]:
        """The complete records that have not been read. Raises ValueError where there is none to be found."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            while len(head := file.read(12)) == 12:
                size = int.from_bytes(head[:8], "little")
                if _masked_crc(head[:8]) != int.from_bytes(head[8:], "little") or size > MAX_RECORD:
                    raise ValueError(f"no record begins at byte {self.offset}")
                body = file.read(size + 4)
                if len(body) < size + 4:
                    return
                self.offset += 12 + size + 4
                yield body[:size]


def _masked_crc(data: bytes) -> int:
    """The checksum of a frame's length: CRC-32C, turned by fifteen bits and moved."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_event(data: bytes) -> Event:
    """What a record says. Raises ValueError when it is none; a value that cannot be read is named in ``strange``."""
    event = _fields(data)
    found = Event(int(_double(event, 1) * 1000), _signed(_last(event, 2, 0)), {}, {}, {})
    for summary in event.get(5, ()):
        for value in _fields(summary).get(1, ()):
            fields = _fields(value)
            tag = _text(fields, 1)
            try:
                _read_value(tag, fields, found)
            except Exception as error:  # noqa: BLE001 - another version's value must not cost its neighbours
                found.strange[tag] = f"{type(error).__name__}: {error}"
    return found


def _read_value(tag: str, value: Fields, found: Event) -> None:
    metadata = _fields(_last(value, 9, b""))
    plugin = _fields(_last(metadata, 1, b""))
    name = _text(plugin, 1)
    if tag == _START or name == "hparams":
        if tag == _START:
            found.hyper_parameters.update(_hyper_parameters(_last(plugin, 2, b"")))
        return
    if 2 in value:
        found.values[tag] = struct.unpack("<f", value[2][-1])[0]
    elif 4 in value:
        found.values[tag] = _image(_last(_fields(value[4][-1]), 4, b""))
    elif 5 in value:
        found.values[tag] = _histogram(_fields(value[5][-1]))
    elif 6 in value:
        found.values[tag] = _sound(_last(_fields(value[6][-1]), 4, b""))
    elif 8 in value and not _DRAWN_ELSEWHERE.match(name):
        found.values[tag.removesuffix("/text_summary")] = _of_tensor(name, _tensor(_fields(value[8][-1])))


def _of_tensor(plugin: str, tensor: Any) -> Any:
    """What a tensor means to the plugin that would show it."""
    from rundial.media import Histogram, Table, Text

    if isinstance(tensor, list):
        if plugin == "images":  # width and height come first
            return [_image(content) for content in tensor[2:]]
        if plugin == "audio":  # each is followed by its label
            return [_sound(content) for content in tensor[::2]]
        return Text("\n\n".join(content.decode(errors="replace") for content in tensor), markdown=True)
    if plugin == "histograms" and tensor.ndim == 2:
        return _merged(tensor[:, 2], [*tensor[:1, 0], *tensor[:, 1]])
    if plugin == "pr_curves" and tensor.ndim == 2 and len(tensor) == 6:
        return Table(columns=["tp", "fp", "tn", "fn", "precision", "recall"], data=tensor.T.tolist())
    return tensor.reshape(-1)[0].item() if tensor.size == 1 else Histogram(tensor)


def _image(content: bytes) -> Any:
    from rundial.media import Image

    return Image(content)


def _sound(content: bytes) -> Any:
    import numpy as np

    from rundial.media import Audio

    with wave.open(io.BytesIO(content)) as file:
        if file.getsampwidth() != 2:
            raise ValueError(f"a sound of {8 * file.getsampwidth()} bits")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return Audio(samples, sample_rate=file.getframerate())


def _histogram(fields: Fields) -> Histogram:
    """Counts below growing limits; the lowest and highest value close the outer ones."""
    import numpy as np

    limits = np.frombuffer(b"".join(fields.get(6, ())), "<f8").copy()
    counts = np.frombuffer(b"".join(fields.get(7, ())), "<f8")
    lowest, highest = _double(fields, 1), _double(fields, 2)
    used = np.flatnonzero(counts)
    if not used.size:
        return _merged(counts[:1], [lowest, highest])
    first, last = int(used[0]), int(used[-1])
    limits[last] = max(min(float(limits[last]), highest), float(limits[last - 1]) if last > first else lowest)
    left = min(max(lowest, float(limits[first - 1])) if first else lowest, float(limits[first]))
    return _merged(counts[first : last + 1], [left, *limits[first : last + 1]])


def _merged(counts: Any, edges: Any) -> Histogram:
    """A histogram of few enough intervals: neighbours are counted together."""
    import numpy as np

    from rundial.media import Histogram

    counts, edges = np.asarray(counts, "f8"), np.asarray(edges, "f8")
    together = -(-len(counts) // MAX_BINS)
    starts = np.arange(0, len(counts), together)
    return Histogram(np_histogram=(np.add.reduceat(counts, starts), edges[[*starts, len(counts)]]))


def _tensor(fields: Fields) -> Any:
    """An array, or a list of bytes for a tensor of texts."""
    import numpy as np

    kind = _last(fields, 1, 0)
    if kind == _STRING:
        return fields.get(8, [])
    if kind not in _NUMBERS:
        raise ValueError(f"a tensor of type {kind}")
    shape = [_signed(_last(_fields(size), 1, 0)) for size in _fields(_last(fields, 2, b"")).get(2, ())]
    count = int(np.prod(shape))
    if 4 in fields:
        return np.frombuffer(fields[4][-1], _NUMBERS[kind]).reshape(shape)
    if kind in _VALUES:
        number, code = _VALUES[kind]
        flat = np.frombuffer(b"".join(fields.get(number, ())), code)
    else:
        whole = [_signed(one) for part in fields.get(_VARINTS[kind], ()) for one in _varints(part)]
        flat = np.asarray(whole, "<u2").view("<f2") if kind == 19 else np.asarray(whole, "O").astype(_NUMBERS[kind])
    if len(flat) < count:  # the last one stands for all that follow
        flat = np.concatenate([flat, np.repeat(flat[-1:] if len(flat) else np.zeros(1), count - len(flat))])
    return flat.reshape(shape)


def _hyper_parameters(content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in _fields(_last(_fields(content), 3, b"")).get(1, ()):
        pair = _fields(entry)
        value = _fields(_last(pair, 2, b""))
        if 2 in value:
            number = _double(value, 2)
            found[_text(pair, 1)] = int(number) if number.is_integer() and abs(number) < 1 << 53 else number
        elif 4 in value:
            found[_text(pair, 1)] = bool(value[4][-1])
        else:
            found[_text(pair, 1)] = _text(value, 3) if 3 in value else None
    return found


# -- protocol buffers --------------------------------------------------------------------------------------------------


def _fields(data: bytes) -> Fields:
    """The fields of a message. Raises ValueError when it is none."""
    found: Fields = {}
    place, end = 0, len(data)
    while place < end:
        key, place = _varint(data, place)
        kind = key & 7
        value: Any
        if kind == 0:
            value, place = _varint(data, place)
        else:
            size = {1: 8, 5: 4}.get(kind)
            if kind == 2:
                size, place = _varint(data, place)
            if size is None or place + size > end:
                raise ValueError("no message of protocol buffers")
            value = data[place : place + size]
            place += size
        found.setdefault(key >> 3, []).append(value)
    return found


def _varint(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while place < len(data) and shift < 70:
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
        shift += 7
    raise ValueError("no message of protocol buffers")


def _varints(part: Any) -> Iterator[int]:
    """The numbers of a repeated field, which come one by one or packed together."""
    if isinstance(part, int):
        yield part
        return
    place = 0
    while place < len(part):
        number, place = _varint(part, place)
        yield number


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _last(fields: Fields, number: int, otherwise: Any) -> Any:
    return fields[number][-1] if number in fields else otherwise


def _text(fields: Fields, number: int) -> str:
    return str(_last(fields, number, b"").decode(errors="replace"))


def _double(fields: Fields, number: int) -> float:
    return float(struct.unpack("<d", fields[number][-1])[0]) if number in fields else 0.0
