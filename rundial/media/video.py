"""Moving pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, ClassVar

from rundial.media.base import Encoded, Media, Snapshot, array_of, copied, file_of, size_of, stored_file
from rundial.media.image import bytes_of

_KINDS = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".webm": "video/webm",
    ".ogv": "video/ogg",
    ".mov": "video/quicktime",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
_CHANNELS = frozenset({1, 3, 4})
MIN_FRAME_MS = 20
"""Browsers slow faster GIFs down."""


class Video(Media):
    """A video. Arrays become GIF files: 256 colours, at most 50 frames a second; other formats come from files.

    Args:
        video: a file; or frames of shape (t, channels, h, w) or (t, h, w, channels) with 1, 3 or 4 channels, of the
            values that :class:`Image` takes.
        fps: frames per second of an array.
        caption: shown below it.
        format: of an array: ``gif`` or ``webp``; for another one ``gif`` is made, and noted.
        metadata: further facts.
    """

    __slots__ = ("format", "fps", "video")
    kind: ClassVar[str] = "video"

    def __init__(
        self,
        video: Any,
        fps: float = 8,
        caption: str | None = None,
        format: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(caption, metadata)
        self.video = video
        self.fps = fps
        self.format = format

    def snapshot(self) -> Snapshot:
        """A copy of the frames, or the file."""
        path = file_of(self.video)
        if path is not None:
            return Snapshot(lambda _: stored_file(path, ".mp4", _KINDS), source=path)
        fps = float(self.fps)
        if not 0 < fps <= 1000:
            raise ValueError(f"fps {fps:g} is no number of frames per second")
        wanted = "gif" if self.format is None else str(self.format).lower().lstrip(".")
        frames = copied(self.video)
        return Snapshot(lambda _: _encoded(frames, fps, wanted), size_of(frames))


def _encoded(frames: Any, fps: float, wanted: str) -> Encoded:
    import PIL.Image

    array = array_of(frames)
    while array.ndim > 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3:
        array = array[:, :, :, None]
    elif array.ndim == 4 and array.shape[1] in _CHANNELS:
        array = array.transpose(0, 2, 3, 1)
    if array.ndim != 4 or array.shape[3] not in _CHANNELS or not array.size:
        raise ValueError(f"frames have shape (t, 1 | 3 | 4, h, w) or (t, h, w, 1 | 3 | 4), not {array.shape}")
    pixels, facts = bytes_of(array)
    pictures = [PIL.Image.fromarray(frame[:, :, 0] if frame.shape[2] == 1 else frame) for frame in pixels]
    kind = "WEBP" if wanted == "webp" else "GIF"
    milliseconds = max(MIN_FRAME_MS, round(1000 / fps))
    buffer = io.BytesIO()
    pictures[0].save(buffer, kind, save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)
    facts |= {"frames": len(pictures), "fps": fps}
    if wanted not in ("gif", "webp"):
        facts["requestedFormat"] = wanted
    suffix = f".{kind.lower()}"
    return Encoded(suffix, _KINDS[suffix], buffer.getvalue(), pixels.shape[2], pixels.shape[1], facts=facts)
