"""Sounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from rundial.media.base import Encoded, Media, Snapshot, array_of, copied, file_of, size_of, stored_file

if TYPE_CHECKING:
    from rundial.media.base import Array

MAX_CHANNELS = 8
_KINDS = {
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
    ".webm": "audio/webm",
}


class Audio(Media):
    """A sound. Arrays become WAV files of 16 bits.

    Args:
        audio: a file; or samples of shape (n,) or (n, channels), floats from -1 to 1 or integers. (channels, n) is
            understood, too, for at most 8 channels. Floats beyond -1 to 1 are made quieter as a whole, which is noted.
        sample_rate: samples per second; needed for arrays.
        caption: shown below it.
        metadata: further facts.
    """

    __slots__ = ("audio", "sample_rate")
    kind: ClassVar[str] = "audio"

    def __init__(
        self,
        audio: Any,
        sample_rate: int | None = None,
        caption: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(caption, metadata)
        self.audio = audio
        self.sample_rate = sample_rate

    def snapshot(self) -> Snapshot:
        """A copy of the samples, or the file."""
        path = file_of(self.audio)
        if path is not None:
            return Snapshot(lambda _: stored_file(path, ".wav", _KINDS), source=path)
        if self.sample_rate is None:
            raise ValueError("an array of samples needs sample_rate")
        rate = int(self.sample_rate)
        if not 0 < rate < 1 << 31:
            raise ValueError(f"sample_rate {rate} is no number of samples per second")
        samples = copied(self.audio)
        return Snapshot(lambda _: _encoded(samples, rate), size_of(samples))


def _encoded(samples: Any, rate: int) -> Encoded:
    import io
    import wave

    array = array_of(samples)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise ValueError(f"samples have shape (n,) or (n, channels), not {array.shape}")
    if array.shape[1] > MAX_CHANNELS >= array.shape[0] > 0:
        array = array.T
    if not 1 <= array.shape[1] <= MAX_CHANNELS:
        raise ValueError(f"1 to {MAX_CHANNELS} channels, not {array.shape[1]}")
    pulses, facts = _sixteen_bits(array)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(pulses.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pulses.astype("<i2").tobytes())
    facts |= {"sampleRate": rate, "channels": pulses.shape[1], "seconds": len(pulses) / rate}
    return Encoded(".wav", "audio/wav", buffer.getvalue(), facts=facts)


def _sixteen_bits(array: Array) -> tuple[Array, dict[str, Any]]:
    """Samples of any type as int16, and what was done to them."""
    import numpy as np

    if array.dtype.kind in "iu":
        if array.dtype == np.int16:
            return array, {}
        if array.dtype == np.uint8:
            return (array.astype(np.int16) - 128) * 256, {}
        if array.dtype == np.int32:
            return (array >> 16).astype(np.int16), {}
        raise ValueError(f"samples are floats, int16, int32 or uint8, not {array.dtype}")
    if array.dtype.kind != "f":
        raise ValueError(f"samples are floats, int16, int32 or uint8, not {array.dtype}")
    exact = array.astype(np.float64)
    finite = np.isfinite(exact)
    facts: dict[str, Any] = {}
    if not finite.all():
        facts["nonFinite"] = int(exact.size - finite.sum())
        exact = np.where(finite, exact, 0.0)
    peak = float(np.abs(exact).max(initial=0.0))
    if peak > 1:
        facts["scaledFrom"] = [-peak, peak]
        exact = exact / peak
    return np.round(exact * 32767).astype(np.int16), facts
