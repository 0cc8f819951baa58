"""What all media have in common: a copy at the call, an encoding in the background."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rundial import values
from rundial.values import MAX_DEPTH

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
"""Types whose objects nobody can change."""
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


class Encoded(NamedTuple):
    """One item as the file that is uploaded, and what is known of it without opening the file."""

    suffix: str
    """With its dot: ``.png``."""
    content_type: str
    data: bytes | None = None
    """None: the staged file as it is."""
    width: int | None = None
    height: int | None = None
    rows: int | None = None
    columns: int | None = None
    facts: Mapping[str, Any] = {}
    """What the reader should know besides, such as how pixels were scaled; goes into the metadata."""


class Snapshot(NamedTuple):
    """What is kept of an item at the call."""

    encode: Callable[[Path | None], Encoded]
    """Called in the background, with the staged file of ``source``. May raise anything: it costs this item."""
    size: int = 0
    """Bytes of memory that it holds on to."""
    source: Path | None = None
    """A file that is staged at the call."""


class Media(values.Media):
    """One item of media.

    Args:
        caption: shown below it.
        metadata: further facts about it, plain values.
    """

    __slots__ = ("caption", "metadata")
    kind: ClassVar[str]
    """``mediaType`` of ``docs/http.md``."""

    def __init__(self, caption: str | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        self.caption = caption
        self.metadata = metadata

    def snapshot(self) -> Snapshot:
        """Copy what may change, and nothing else: it runs in the training thread.

        Raises :class:`ValueError`, :class:`TypeError` or whatever a stranger's object raises when it cannot be logged.
        """
        raise NotImplementedError


def file_of(value: Any) -> Path | None:
    """The path that a str or path object is; None for anything else."""
    return Path(value) if isinstance(value, (str, os.PathLike)) else None


def suffix_of(path: Path, otherwise: str) -> str:
    """The ending of a file's name with its dot, in small letters, if it is an ordinary one."""
    suffix = path.suffix.lower()
    return suffix if _SUFFIX.fullmatch(suffix) else otherwise


def stored_file(path: Path, otherwise: str, kinds: Mapping[str, str]) -> Encoded:
    """A file that is uploaded as it is.

    Args:
        path: the file.
        otherwise: the ending when its name has none.
        kinds: content types by ending.
    """
    suffix = suffix_of(path, otherwise)
    return Encoded(suffix, kinds.get(suffix, "application/octet-stream"))


def module_of(value: Any) -> str:
    """The library that an object comes from."""
    return type(value).__module__.partition(".")[0]


class _Buffer(NamedTuple):
    """The bytes of an array whose library we do not know."""

    data: bytes
    shape: tuple[int, ...]
    dtype: str


def copied(value: Any, depth: int = 0) -> Any:
    """A value that nothing the training does can change any more. Waits for no device.

    Arrays and tensors are copied where they lie, containers with what is in them; other objects stay what they are.
    """
    if value.__class__ in PLAIN:
        return value
    if hasattr(value, "detach"):
        return value.detach().clone()
    if hasattr(value, "dtype"):
        if module_of(value) == "tensorflow":  # its tensors never change, its variables do
            return value.read_value() if hasattr(value, "read_value") else value
        if hasattr(value, "copy"):
            return value.copy()
        if hasattr(value, "__array__"):
            import numpy as np

            return np.array(value)
        if hasattr(value, "tobytes") and hasattr(value, "shape"):
            return _Buffer(bytes(value.tobytes()), tuple(value.shape), str(value.dtype))
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if depth < MAX_DEPTH:
        if isinstance(value, Mapping):
            return {key: copied(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [copied(item, depth + 1) for item in value]
    return value


def array_of(value: Any) -> Array:
    """An array, tensor or nested list as an array of NumPy; waits for the device it lies on.

    Raises:
        ValueError: it holds no numbers, or rows of different length.
    """
    import numpy as np

    if isinstance(value, _Buffer):
        return np.frombuffer(value.data, value.dtype).reshape(value.shape)
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        return np.asarray((tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy())
    if module_of(value) == "cupy":
        return np.asarray(value.get())
    array = np.asarray(value)
    if array.dtype.kind == "V":  # NumPy has no name for bfloat16
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"no array of numbers: {type(value).__name__} of {array.dtype}")
    return array


def size_of(value: Any) -> int:
    """About how many bytes a copy takes."""
    if isinstance(value, (bytes, str)):
        return len(value)
    if isinstance(value, _Buffer):
        return len(value.data)
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return size
    if isinstance(value, (list, tuple)):
        return 64 * len(value) * (len(value[0]) if value and isinstance(value[0], (list, tuple)) else 1)
    return 64
