"""Tables and other media in artifacts, in the files that W&B keeps them in: ``<name>.table.json`` and the like."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rundial.compat.wandb.data_types import Audio, Classes, Html, Image, Object3D, Table, Video
from rundial.media.base import Media
from rundial.media.table import Table as OurTable
from rundial.values import plain

if TYPE_CHECKING:
    from rundial.compat.wandb._artifact_content import Content
    from rundial.compat.wandb._artifact_draft import Draft
    from rundial.compat.wandb._artifact_entry import ArtifactManifestEntry

_TYPES: dict[str, tuple[str, Any]] = {
    "image": ("image-file", Image),
    "audio": ("audio-file", Audio),
    "video": ("video-file", Video),
    "html": ("html-file", Html),
    "object3d": ("object3D-file", Object3D),
}
"""Media by their kind: what the file calls them, and the class that reads them back."""
_SUFFIXES = tuple(
    f".{name}.json"
    for name in ("table", "joined-table", "partitioned-table", "classes", *(name for name, _ in _TYPES.values()))
)


def add(artifact: Draft, obj: Any, name: str) -> ArtifactManifestEntry:
    """Write an object into an artifact.

    Args:
        artifact: a draft.
        obj: a table, media or classes.
        name: under which it is found again.

    Raises:
        ValueError: an object of another kind.
    """
    if isinstance(obj, OurTable):
        rows = [[_cell(artifact, cell) for cell in row] for row in obj.data]
        document: dict[str, Any] = {"_type": "table", "columns": list(obj.columns), "data": rows}
        document |= {"ncols": len(obj.columns), "nrows": len(rows)}
    elif isinstance(obj, Classes):
        document = {"_type": "classes", "class_set": obj._class_set}
    elif isinstance(obj, Media) and obj.kind in _TYPES:
        document = _file(artifact, obj)
    else:
        raise ValueError(f"Expected obj to be a table or media, not {type(obj).__name__}")
    suffix = f".{document['_type']}.json"
    path = name if name.endswith(suffix) else name + suffix
    with artifact.new_file(path, mode="wb") as file:
        file.write(msgspec.json.encode(document, enc_hook=str))
    return artifact.manifest.entries[path]


def _cell(artifact: Draft, cell: Any) -> Any:
    if isinstance(cell, Media) and cell.kind in _TYPES:
        return _file(artifact, cell)
    if hasattr(cell, "tolist"):
        return cell.tolist()
    return plain(cell)


def _file(artifact: Draft, item: Any) -> dict[str, Any]:
    """Store the content of an item, and give what refers to it."""
    snapshot = item.snapshot()
    encoded = snapshot.encode(snapshot.source)
    content = encoded.data if encoded.data is not None else Path(snapshot.source).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    path = f"media/{item.kind}/{digest[:20]}{encoded.suffix}"
    if path not in artifact.manifest.entries:
        with artifact.new_file(path, mode="wb") as file:
            file.write(content)
    facts = {"caption": item.caption, "width": encoded.width, "height": encoded.height, "format": encoded.suffix[1:]}
    known = {name: value for name, value in facts.items() if value is not None}
    return {"_type": _TYPES[item.kind][0], "path": path, "sha256": digest, "size": len(content), **known}


def entry_of(artifact: Draft, name: str) -> ArtifactManifestEntry | None:
    """The file that an object was written to; None when there is none of this name."""
    entries = artifact.manifest.entries
    return next((entries[name + suffix] for suffix in _SUFFIXES if name + suffix in entries), None)


def get(artifact: Content, name: str) -> Any:
    """An object read back; None when there is none of this name, or it is an ordinary file.

    Raises:
        CommError: the server does not answer.
    """
    entry = artifact.manifest.entries.get(name) if name.endswith(_SUFFIXES) else entry_of(artifact, name)
    if entry is None:
        return None
    return _read(artifact, msgspec.json.decode(Path(entry.download()).read_bytes()))


def _read(artifact: Content, document: Any) -> Any:
    kind = document.get("_type") if isinstance(document, dict) else None
    if kind in ("table", "joined-table", "partitioned-table"):
        rows = [[_read(artifact, cell) for cell in row] for row in document.get("data", ())]
        return Table(columns=document.get("columns", []), data=rows)
    if kind == "classes":
        return Classes(document["class_set"])
    for name, read in _TYPES.values():
        if kind == name:
            place = artifact.get_entry(document["path"]).download()
            # A caption is no argument of every kind.
            item = read(place)
            item.caption = document.get("caption")
            return item
    return document
