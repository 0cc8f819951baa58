"""Pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rundial.media.base import Encoded, Media, Snapshot, array_of, copied, file_of, module_of, size_of, suffix_of
from rundial.media.overlay import overlay_facts

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from rundial.media.base import Array

KINDS = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".avif": "image/avif",
    ".svg": "image/svg+xml",
}
_FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}
_CHANNELS = frozenset({1, 3, 4})
_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
MAX_PIXELS = 178_956_970
"""Where Pillow takes a picture for an attack."""
_LIGHT_COMPRESSION = 3
"""Of PNG's 1 to 9: a third of the time of the usual 6, for files a tenth larger."""


class Image(Media):
    """A picture.

    Args:
        image: a file; the bytes of one; a picture of Pillow; a figure of Matplotlib, which is drawn at the call; an
            array or tensor of shape (H, W), (H, W, 1 | 3 | 4) or (1 | 3 | 4, H, W). Integers count from 0 to 255,
            floats from 0 to 1, bools are black and white; what lies outside is scaled, and the metadata says how.
        caption: shown below it.
        boxes: rectangles on it: ``[[x0, y0, x1, y1], ...]`` in pixels, mappings with ``position``, ``label``,
            ``scores``, or groups of them by name; see ``docs/media.md``.
        masks: class numbers of shape (H, W), by name.
        classes: names of the classes: ``{0: "cat"}``, ``["cat"]`` or ``[{"id": 0, "name": "cat"}]``.
        metadata: further facts.
        format: of arrays and pictures: ``png``, ``jpg`` or ``webp``. A file stays what it is.
        quality: of ``jpg`` and ``webp``, 1 to 100.
        value_range: the values that become black and white, so that a row of pictures is scaled alike.
    """

    __slots__ = ("boxes", "classes", "format", "image", "masks", "quality", "value_range")
    kind: ClassVar[str] = "image"

    def __init__(
        self,
        image: Any,
        caption: str | None = None,
        *,
        boxes: Any = None,
        masks: Any = None,
        classes: Any = None,
        metadata: Mapping[str, Any] | None = None,
        format: str = "png",
        quality: int = 90,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(caption, metadata)
        self.image = image
        self.boxes = boxes
        self.masks = masks
        self.classes = classes
        self.format = format
        self.quality = quality
        self.value_range = value_range

    def snapshot(self) -> Snapshot:
        """A copy of the pixels, or the file; a figure is drawn."""
        data, limits = self.image, self.value_range
        target = _FORMATS.get(str(self.format).lower().lstrip("."))
        if target is None:
            raise ValueError(f"format {self.format!r} is not png, jpg or webp")
        quality = max(1, min(int(self.quality), 100))
        boxes, masks, classes = _copied_masks(self.boxes), _copied_masks(self.masks), copied(self.classes)

        def with_overlay(encoded: Encoded) -> Encoded:
            facts = overlay_facts(boxes, masks, classes, encoded.width, encoded.height)
            return encoded._replace(facts={**encoded.facts, **facts}) if facts else encoded

        path = file_of(data)
        if path is not None:
            return Snapshot(lambda staged: with_overlay(_of_file(staged or path, path)), source=path)
        if isinstance(data, (bytes, bytearray)):
            content = bytes(data)
            return Snapshot(lambda _: with_overlay(_of_bytes(content)), len(content))
        if module_of(data) == "PIL":
            picture = data.copy()
            size = picture.width * picture.height * len(picture.getbands())
            return Snapshot(lambda _: with_overlay(_of_picture(picture, target, quality)), size)
        drawn = _drawn(data)
        if drawn is not None:
            return Snapshot(lambda _: with_overlay(_of_bytes(drawn)), len(drawn))
        if not (hasattr(data, "dtype") or hasattr(data, "__array__") or isinstance(data, (list, tuple))):
            raise TypeError(f"no picture can be made of {type(data).__name__}")
        pixels = copied(data)
        channels_first = hasattr(data, "detach")
        return Snapshot(
            lambda _: with_overlay(_of_array(pixels, channels_first, limits, target, quality)), size_of(pixels)
        )


def _copied_masks(value: Any) -> Any:
    """As :func:`copied`, and a mask that is a file is read: such files are small, and may be gone in a moment."""
    if isinstance(value, Mapping) and isinstance(value.get("path"), (str, Path)):
        return {**copied(dict(value)), "path": Path(value["path"]).read_bytes()}
    if isinstance(value, Mapping):
        return {key: _copied_masks(item) for key, item in value.items()}
    return copied(value)


def _drawn(value: Any) -> bytes | None:
    """The PNG of a figure, of axes or of pyplot's present figure; of another object that saves itself as PNG.

    It is drawn here and now, which takes milliseconds: nobody can copy a figure, and the next batch draws over it.
    """
    if hasattr(value, "gcf"):
        value = value.gcf()
    figure = value if hasattr(value, "savefig") else getattr(value, "figure", None)
    buffer = io.BytesIO()
    if figure is not None and hasattr(figure, "savefig"):
        figure.savefig(buffer, format="png")
    elif hasattr(value, "save") and not hasattr(value, "dtype"):
        value.save(buffer, format="PNG")
    else:
        return None
    return buffer.getvalue()


def _of_file(path: Path, name: Path) -> Encoded:
    import PIL.Image

    suffix = suffix_of(name, "")
    if suffix == ".svg":
        return Encoded(suffix, KINDS[suffix])
    try:
        with PIL.Image.open(path) as picture:
            suffix = suffix if suffix in KINDS else f".{(picture.format or 'png').lower()}"
            return Encoded(suffix, KINDS.get(suffix, "application/octet-stream"), None, *picture.size)
    except PIL.UnidentifiedImageError:
        if suffix not in KINDS:
            raise ValueError(f"{name} is no picture") from None
    return Encoded(suffix, KINDS[suffix])  # a kind that this Pillow cannot read; a browser may


def _of_bytes(content: bytes) -> Encoded:
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(content)) as picture:
            suffix = f".{(picture.format or 'png').lower()}"
            return Encoded(suffix, KINDS.get(suffix, "application/octet-stream"), content, *picture.size)
    except PIL.UnidentifiedImageError:
        raise ValueError(f"{len(content):,} bytes that are no picture") from None


def _of_picture(picture: Picture, target: str, quality: int) -> Encoded:
    import PIL.Image

    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(f"{picture.width} x {picture.height} pixels are too many")
    if picture.mode.startswith(("I", "F")):
        return _of_array(picture, False, None, target, quality)
    if picture.mode not in _MODES:
        picture = picture.convert("RGB")
    if target == "JPEG" and picture.mode not in ("L", "RGB"):
        ground = PIL.Image.new("RGBA", picture.size, "white")
        picture = PIL.Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")
    buffer = io.BytesIO()
    if target == "PNG":
        picture.save(buffer, "PNG", compress_level=_LIGHT_COMPRESSION)
    else:
        picture.save(buffer, target, quality=quality)
    suffix = ".jpg" if target == "JPEG" else f".{target.lower()}"
    return Encoded(suffix, KINDS[suffix], buffer.getvalue(), picture.width, picture.height)


def _of_array(
    value: Any, channels_first: bool, limits: tuple[float, float] | None, target: str, quality: int
) -> Encoded:
    import PIL.Image

    pixels, facts = bytes_of(channels_last(array_of(value), channels_first), limits)
    picture = PIL.Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return _of_picture(picture, target, quality)._replace(facts=facts)


def channels_last(array: Array, channels_first: bool) -> Array:
    """A picture as (H, W, channels), also when its channels come first or it has none.

    Where both ends could be the channels, ``channels_first`` decides. Raises :class:`ValueError` for other shapes.
    """
    shape = array.shape
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[:, :, None]
    elif array.ndim == 3:
        first, last = array.shape[0] in _CHANNELS, array.shape[2] in _CHANNELS
        if first and (channels_first or not last):
            array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in _CHANNELS:
        raise ValueError(f"a picture has shape (H, W), (H, W, 1 | 3 | 4) or (1 | 3 | 4, H, W), not {shape}")
    if not array.size:
        raise ValueError(f"a picture of shape {shape} has no pixels")
    return array


def bytes_of(array: Array, limits: tuple[float, float] | None = None) -> tuple[Array, dict[str, Any]]:
    """Values of any type as uint8, contiguous, and what was done to them.

    ``limits`` become 0 and 255. Without them bytes stay, bools become 0 and 255, integers stay if they lie in 0..255,
    floats in 0..1 are multiplied by 255, and whatever lies elsewhere is scaled from: -1..1 if it lies there, 0..255 if
    it lies there and exceeds 2, else from its lowest to its highest value. ``scaledFrom`` tells.
    """
    import numpy as np

    if array.dtype == np.uint8 and limits is None:
        return np.ascontiguousarray(array), {}
    if array.dtype.kind == "b":
        return np.ascontiguousarray(array).astype(np.uint8) * 255, {}
    facts: dict[str, Any] = {}
    exact = array.astype(np.float32 if array.dtype.itemsize <= 4 else np.float64)
    finite = np.isfinite(exact)
    if not finite.all():
        facts["nonFinite"] = int(exact.size - finite.sum())
    low, high = _limits(exact[finite], array.dtype.kind != "f") if limits is None else map(float, limits)
    if not high > low:
        raise ValueError(f"value_range {low:g} to {high:g} is no range")
    if (low, high) != ((0.0, 255.0) if array.dtype.kind in "iu" else (0.0, 1.0)):
        facts["scaledFrom"] = [low, high]
    scaled = (np.where(finite, exact, low) - low) * (255.0 / (high - low))
    return np.ascontiguousarray(np.clip(np.rint(scaled), 0, 255)).astype(np.uint8), facts


def _limits(values: Array, whole: bool) -> tuple[float, float]:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if whole:
        return (0.0, 255.0) if low >= 0 and high <= 255 else (low, high)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= -1 and high <= 1:
        return -1.0, 1.0
    if low >= 0 and 2 < high <= 255:
        return 0.0, 255.0
    return (low, high) if high > low else (low - 1, high + 1)
