"""Scenes in three dimensions: files and clouds of points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from rundial.media.base import Encoded, Media, Snapshot, array_of, copied, file_of, size_of, stored_file

MAX_POINTS = 300_000
_KINDS = {
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".obj": "model/obj",
    ".stl": "model/stl",
    ".ply": "application/octet-stream",
    ".json": "application/json",
}


class Object3D(Media):
    """A scene in three dimensions.

    Args:
        scene: a file (GLB, glTF, OBJ, STL, PLY, JSON); or points of shape (n, 3): x, y, z, (n, 4) with a category, or
            (n, 6) with red, green and blue from 0 to 255; or a mapping with ``points`` and whatever else belongs to it.
            Of more than 300,000 points an even sample is kept, which is noted.
        caption: shown below it.
        metadata: further facts.
    """

    __slots__ = ("scene",)
    kind: ClassVar[str] = "object3d"

    def __init__(self, scene: Any, caption: str | None = None, *, metadata: Mapping[str, Any] | None = None) -> None:
        super().__init__(caption, metadata)
        self.scene = scene

    def snapshot(self) -> Snapshot:
        """A copy of the points, or the file."""
        path = file_of(self.scene)
        if path is not None:
            return Snapshot(lambda _: stored_file(path, ".bin", _KINDS), source=path)
        scene = copied(self.scene)
        size = sum(map(size_of, scene.values())) if isinstance(scene, Mapping) else size_of(scene)
        return Snapshot(lambda _: _encoded(scene), size)


def _encoded(scene: Any) -> Encoded:
    import numpy as np

    rest: dict[str, Any] = dict(scene) if isinstance(scene, Mapping) else {}
    points = array_of(rest.pop("points", None) if isinstance(scene, Mapping) else scene)
    if points.ndim != 2 or points.shape[1] not in (3, 4, 6):
        raise ValueError(f"points have shape (n, 3), (n, 4) or (n, 6), not {points.shape}")
    facts: dict[str, Any] = {"points": len(points)}
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        facts["nonFinite"] = int(len(points) - finite.sum())
        points = points[finite]
    if len(points) > MAX_POINTS:
        facts["truncated"] = True
        points = points[np.linspace(0, len(points) - 1, MAX_POINTS).astype(np.int64)]
    document = rest | {"points": np.round(points.astype(np.float64), 5).tolist()}
    data = msgspec.json.encode(document, enc_hook=_plain)
    return Encoded(".pts.json", "application/json", data, facts=facts)


def _plain(value: Any) -> Any:
    """What JSON has no word for: numbers of NumPy, arrays of them, and arrays of mappings, as boxes often are."""
    holds_objects = getattr(getattr(value, "dtype", None), "kind", None) == "O"
    return value.tolist() if holds_objects else array_of(value).tolist()
