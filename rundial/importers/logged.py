"""What other loggers have logged as events and uploads, as ``log()`` would make them of the same values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rundial.artifact_paths import clean_name, clean_path
from rundial.events import SYSTEM_PREFIX, Event, Marker, Metrics, clean_key
from rundial.importers.draft import Upload
from rundial.media.log import _items, _job, as_media
from rundial.staging import Job, stage_file
from rundial.values import normalise

MAX_PROJECT = 100
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_INT64 = 2**63


def logged(
    time_ns: int, step: int, values: Mapping[Any, Any], leave_out: Callable[[str], object] = lambda what: None
) -> Iterator[Event]:
    """One call of ``log()``: a marker for what is not finite, the rest as metrics; ``leave_out`` hears of others."""
    numbers, non_finite, invalid = normalise(values)
    for key in invalid:
        leave_out(f"values of {key!r:.60} that are neither numbers nor texts")
    if not -_INT64 <= step < _INT64:
        leave_out("values at steps of more than 64 bits")
        return
    for key, value in non_finite.items():
        yield Marker(time_ns, "non_finite", key, step, {"value": str(value)})
    own = {key: value for key, value in numbers.items() if not key.startswith(SYSTEM_PREFIX)}
    machine = {key: value for key, value in numbers.items() if key.startswith(SYSTEM_PREFIX)}
    if own:
        yield Metrics(time_ns, step, own)
    if machine:
        yield Metrics(time_ns, time_ns // 1_000_000_000, machine)


def media_uploads(key: str, value: Any, step: int, time_ns: int) -> Iterator[Upload]:
    """Media of a step as uploads, one for each item of a list."""
    for index, item in enumerate(_items(value)):
        name = f"media {key}\0{step}\0{index}\0{time_ns}"
        yield Upload(name, partial(_media_job, clean_key(key), item, index, step, time_ns))


def _media_job(key: str, item: Any, index: int, step: int, time_ns: int, folder: Path) -> Job:
    media = as_media(item)
    snapshot = media.snapshot()
    file = None
    if snapshot.source is not None:
        file = stage_file(snapshot.source, folder, "staged", snapshot.source.name, small=True)
    caption = None if media.caption is None else str(media.caption)
    return _job(folder, key, index, step, time_ns, media.kind, caption, dict(media.metadata or {}), snapshot, file)


def folder_uploads(root: Path, type: str, time_ns: int) -> Iterator[Upload]:
    """What lies in a folder as artifacts: each of its folders and files is one. Links are left alone."""
    for entry in sorted(root.iterdir()) if root.is_dir() else ():
        if not entry.is_symlink() and (files := _files(entry)):
            yield Upload(f"artifact {entry.name}", partial(_folder_job, entry, files, type, time_ns))


def _files(entry: Path) -> list[tuple[str, Path]]:
    if entry.is_file():
        return [(clean_path(entry.name), entry)]
    found = sorted(path for path in entry.rglob("*") if path.is_file() and not path.is_symlink())
    real = entry.resolve()
    return [
        (clean_path(path.relative_to(entry).as_posix()), path) for path in found if path.resolve().is_relative_to(real)
    ]


def _folder_job(entry: Path, files: list[tuple[str, Path]], type: str, time_ns: int, folder: Path) -> Job:
    job = Job(clean_name(entry.name), type=type, time_ns=time_ns, retention={"strategy": "keep_all"})
    for number, (inside, path) in enumerate(files):
        job.files.append(stage_file(path, folder, str(number), inside))
    return job


def project_name(text: str) -> str:
    """Any name as that of a project."""
    name = "".join(c if c.isprintable() and c not in "/\\?#%" else "-" for c in text).strip(" .")
    return name[:MAX_PROJECT] or "imported"


def typed(text: str) -> Any:
    """A text as the number or truth it spells, so that it can be compared and sorted; anything else as it is."""
    if text in ("True", "False", "true", "false"):
        return text in ("True", "true")
    if not _NUMBER.fullmatch(text):
        return text
    if text.lstrip("-").isdigit():
        return int(text) if abs(int(text)) < _INT64 and str(int(text)) == text else text
    number = float(text)
    return number if abs(number) < float("inf") else text
