"""What lies over a picture: boxes and masks, as plain facts in its metadata."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from typing import Any

from rundial.media.base import array_of
from rundial.values import plain

MAX_BOXES = 1000
"""Boxes of one picture."""
MAX_SCORES = 16
MAX_MASKS = 16
MAX_MASK_BYTES = 32 * 1024
"""Of one mask as PNG; a larger one is made coarser until it fits."""
_CORNERS = (("minX", "minY", "maxX", "maxY"), ("x0", "y0", "x1", "y1"))


def overlay_facts(boxes: Any, masks: Any, classes: Any, width: int | None, height: int | None) -> dict[str, Any]:
    """Boxes and masks as ``docs/media.md`` describes them.

    Args:
        boxes: groups by name, or one group; each a list of boxes, or a mapping with ``box_data`` and ``class_labels``.
        masks: by name, or one; each an array of class numbers, or a mapping with ``mask_data`` and ``class_labels``.
        classes: names of the classes of those that bring none.
        width: of the picture, in pixels.
        height: of the picture, in pixels.

    Raises:
        ValueError: something is no box or no mask.
    """
    facts: dict[str, Any] = {}
    names = class_names(classes)
    if boxes is not None:
        facts |= _all_boxes(boxes, names, width, height)
    if masks is not None:
        facts["masks"] = {name: _mask(mask, names) for name, mask in _masks(masks)}
    return facts


def class_names(classes: Any) -> dict[str, str]:
    """Names of classes by their number as text."""
    if classes is None:
        return {}
    if isinstance(classes, Mapping):
        return {str(number): str(name) for number, name in classes.items()}
    pairs = [
        (item["id"], item["name"]) if isinstance(item, Mapping) else (number, item)
        for number, item in enumerate(classes)
    ]
    return {str(number): str(name) for number, name in pairs}


def _all_boxes(boxes: Any, names: dict[str, str], width: int | None, height: int | None) -> dict[str, Any]:
    if not isinstance(boxes, Mapping):
        groups: dict[str, Any] = {"boxes": boxes}
    elif "box_data" in boxes:
        groups = {"boxes": boxes}
    else:
        groups = {str(name): group for name, group in boxes.items()}
    result: dict[str, list[dict[str, Any]]] = {}
    room, total = MAX_BOXES, 0
    for name, group in groups.items():
        labels = names
        if isinstance(group, Mapping):
            labels = names | class_names(group.get("class_labels"))
            group = group.get("box_data", ())
        entries = _listed(group)
        total += len(entries)
        result[name] = [_box(entry, labels, width, height) for entry in entries[:room]]
        room -= len(result[name])
    return {"boxes": result} | ({"boxesTruncated": total} if total > MAX_BOXES else {})


def _listed(boxes: Any) -> list[Any]:
    if hasattr(boxes, "dtype"):
        return list(array_of(boxes).reshape(-1, 4).tolist())
    if not isinstance(boxes, Iterable):
        raise ValueError(f"boxes are a list, not {type(boxes).__name__}")
    entries = list(boxes)
    return [entries] if entries and all(isinstance(entry, (int, float)) for entry in entries) else entries


def _box(entry: Any, labels: dict[str, str], width: int | None, height: int | None) -> dict[str, Any]:
    """One box: its corners as fractions of the picture, its words and scores."""
    if not isinstance(entry, Mapping):
        return {"box": _fractions(array_of(entry).ravel().tolist(), True, width, height)}
    position = entry.get("position", entry.get("box", entry))
    fractions = entry.get("domain") != "pixel"
    if not isinstance(position, Mapping):
        corners, fractions = array_of(position).ravel().tolist(), entry.get("domain") == "fraction"
    elif "middle" in position:
        (x, y), w, h = position["middle"], position["width"], position["height"]
        corners = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    else:
        found = next((names for names in _CORNERS if all(name in position for name in names)), None)
        if found is None:
            raise ValueError(f"a box has minX, minY, maxX and maxY, not {', '.join(map(str, position))[:80]}")
        corners = [position[name] for name in found]
    box: dict[str, Any] = {"box": _fractions(corners, not fractions, width, height)}
    number = entry.get("class_id")
    label = entry.get("label", entry.get("box_caption"))
    if label is None and number is not None:
        label = labels.get(str(number), str(number))
    if label is not None:
        box["label"] = str(label)[:200]
    if number is not None:
        box["class"] = plain(number)
    scores = entry.get("scores", entry.get("score"))
    if scores is not None:
        named = scores if isinstance(scores, Mapping) else {"score": scores}
        box["scores"] = plain(dict(list(named.items())[:MAX_SCORES]))
    return box


def _fractions(corners: list[Any], pixels: bool, width: int | None, height: int | None) -> list[float]:
    if len(corners) != 4:
        raise ValueError(f"a box has 4 numbers, not {len(corners)}")
    if pixels and not (width and height):
        raise ValueError("the size of the picture is not known; give boxes as fractions of it (domain: fraction)")
    scale = (float(width or 1), float(height or 1)) * 2 if pixels else (1.0,) * 4
    values = [float(corner) / size for corner, size in zip(corners, scale)]
    if not all(-1e6 < value < 1e6 for value in values):
        raise ValueError("the corners of a box are finite numbers")
    return [round(value, 6) for value in values]


def _masks(masks: Any) -> list[tuple[str, Any]]:
    if not isinstance(masks, Mapping) or "mask_data" in masks or "path" in masks:
        return [("mask", masks)]
    if len(masks) > MAX_MASKS:
        raise ValueError(f"at most {MAX_MASKS} masks, not {len(masks)}")
    return [(str(name), mask) for name, mask in masks.items()]


def _mask(mask: Any, names: dict[str, str]) -> dict[str, Any]:
    """One mask: a PNG of class numbers as grey, in base64, and the names of the classes in it."""
    import numpy as np
    import PIL.Image

    labels = names
    if isinstance(mask, Mapping):
        labels = names | class_names(mask.get("class_labels"))
        if "path" in mask:
            with PIL.Image.open(io.BytesIO(mask["path"])) as picture:
                mask = np.asarray(picture if picture.mode in ("P", "L", "1") else picture.convert("L"))
        else:
            mask = mask.get("mask_data")
    numbers = array_of(mask)
    while numbers.ndim > 2 and numbers.shape[0] == 1:
        numbers = numbers[0]
    if numbers.ndim != 2 or not numbers.size:
        raise ValueError(f"a mask has shape (H, W), not {numbers.shape}")
    if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        raise ValueError("a mask has finite numbers")
    grey = np.clip(numbers, 0, 255).astype(np.uint8)
    fact: dict[str, Any] = {"width": grey.shape[1], "height": grey.shape[0]}
    while True:
        buffer = io.BytesIO()
        PIL.Image.fromarray(grey).save(buffer, "PNG", optimize=True)
        if buffer.tell() <= MAX_MASK_BYTES:
            break
        grey = np.ascontiguousarray(grey[::2, ::2])
        fact["coarse"] = True
    present = {str(number) for number in np.unique(grey).tolist()}
    fact["classes"] = {number: name for number, name in labels.items() if number in present}
    return fact | {"png": base64.b64encode(buffer.getvalue()).decode()}
