"""From ``log()`` to the upload worker: one job for each item."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rundial.media.base import Media, Snapshot, copied
from rundial.media.figure import Plotly
from rundial.media.image import Image
from rundial.staging import FILES, File, Job, remove_job, stage_file
from rundial.values import plain, text

if TYPE_CHECKING:
    from rundial.pipeline import Pipeline

MAX_CAPTION = 4096
MAX_METADATA_BYTES = 64 * 1024
"""Of what the user adds to an item, as JSON."""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")


def log_media(pipeline: Pipeline, key: str, value: Any, step: int, time_ns: int) -> bool:
    """Copy media and hand it to the upload worker. Never raises for what is wrong with an item.

    Args:
        key: under which name.
        value: a :class:`Media`, a figure or image of another library, or a list of them: its items share the step.
        step: the step they belong to.
        time_ns: when, Unix time in nanoseconds.

    Returns:
        False when an item was not taken; that is counted, and warned about once.
    """
    taken = [_log_item(pipeline, key, item, index, step, time_ns) for index, item in enumerate(_items(value))]
    return all(taken)


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _items(item)
    else:
        yield value


def as_media(value: Any) -> Media:
    """Media as it is, a figure of Plotly as :class:`Plotly`, anything else as :class:`Image`."""
    if isinstance(value, Media):
        return value
    return Plotly(value) if type(value).__module__.startswith("plotly") else Image(value)


def _log_item(pipeline: Pipeline, key: str, value: Any, index: int, step: int, time_ns: int) -> bool:
    folder: Path | None = None
    file: File | None = None
    try:
        item = as_media(value)
        snapshot = item.snapshot()
        caption = None if item.caption is None else text(str(item.caption))[:MAX_CAPTION]
        metadata = {} if item.metadata is None else copied(dict(item.metadata))
        if snapshot.source is not None:
            folder = pipeline.uploads.new_folder()
            file = stage_file(snapshot.source, folder, "staged", snapshot.source.name, small=True)
    except Exception as error:  # noqa: BLE001 - nothing a stranger's object does may reach the training loop
        if folder is not None:
            remove_job(folder)
        pipeline.uploads.refuse("media", "invalid", f"{key!r} was not logged: {type(error).__name__}: {error}.")
        return False

    def prepare(folder: Path) -> Job:
        return _job(folder, key, index, step, time_ns, item.kind, caption, metadata, snapshot, file)

    size = snapshot.size or (1024 if file is None else 0)
    return pipeline.uploads.submit(prepare, size=size, kind="media", folder=folder)


def _job(
    folder: Path,
    key: str,
    index: int,
    step: int,
    time_ns: int,
    kind: str,
    caption: str | None,
    metadata: dict[str, Any],
    snapshot: Snapshot,
    file: File | None,
) -> Job:
    """Encode one item into its folder; in the background."""
    staged: Path | None = None
    if file is not None:
        staged = folder / FILES / file.staged if file.staged is not None else Path(str(file.source))
    try:
        encoded = snapshot.encode(staged)
    except Exception as error:
        raise ValueError(f"{key!r}, {kind} {index} of step {step}: {error}") from error
    name = f"{kind}{encoded.suffix}"
    if file is None or encoded.data is not None:
        (folder / FILES / name).write_bytes(encoded.data or b"")
        file = File(name, staged=name)
    file.path, file.content_type = name, encoded.content_type
    media = {
        "key": key,
        "step": step,
        "timeMs": time_ns // 1_000_000,
        "mediaType": kind,
        "index": index,
        "caption": caption,
        "width": encoded.width,
        "height": encoded.height,
        "tableRows": encoded.rows,
        "tableColumns": encoded.columns,
        "metadata": {**_bounded(metadata), **encoded.facts},
    }
    name = _NOT_IN_NAMES.sub("-", f"media-{key}")[:96]
    return Job(name, [file], f"media_{kind}", step=step, time_ns=time_ns, media=media)


def _bounded(metadata: dict[str, Any]) -> dict[str, Any]:
    """The user's metadata as plain values; flagged and without the rest from where it becomes too long."""
    kept: dict[str, Any] = {}
    room = MAX_METADATA_BYTES
    for name, value in plain(metadata).items():
        room -= len(msgspec.json.encode((name, value)))
        if room < 0:
            return kept | {"metadataTruncated": True}
        kept[name] = value
    return kept
