"""Runs out of TensorBoard's event files. Needs none of TensorBoard."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rundial.errors import RundialError
from rundial.events import Event, RunEnd, RunStart, RunUpdate
from rundial.importers.draft import CLIENT, HEARTBEAT_SECONDS, Draft, Upload
from rundial.importers.logged import logged, media_uploads, project_name
from rundial.integrations import _event_files as files
from rundial.integrations._event_files import EventFile, read_event
from rundial.values import is_media, plain, redacted

VERSION = "tensorboard 1"
_FILE = re.compile(r"\.tfevents\.|^events\.out")
_MOMENT = re.compile(r"\d{9,}(\.\d+)?")
"""The name of a folder that PyTorch makes for each call of ``add_hparams``: it belongs to the run above it."""
_GRAPHS = {4: "graphs", 8: "profiles", 9: "graphs"}
"""Fields of an event that nothing here can show."""


def read_logs(root: Path, workspace: str, project: str | None = None) -> list[Draft]:
    """The runs of a folder, as TensorBoard would list them: each folder below it that has event files is one.

    Args:
        root: the folder, or a single event file.
        workspace, project: where the runs go; the project is named after the folder if it is not given.

    Raises:
        RundialError: there are no event files.
    """
    folders: dict[Path, list[Path]] = {}
    for path in _event_files(root):
        folder = path.parent
        while _MOMENT.fullmatch(folder.name) and folder != root:
            folder = folder.parent
        folders.setdefault(folder, []).append(path)
    if not folders:
        raise RundialError(f"there is no event file of TensorBoard in {root}.")
    base = (root.parent if root.is_file() else root).resolve()
    drafts = []
    for folder, paths in sorted(folders.items()):
        inner = folder.resolve().relative_to(base).as_posix()
        name = inner if inner != "." else base.name or "tensorboard"
        drafts.append(_draft(paths, name, workspace, project_name(project or base.name or "tensorboard")))
    return drafts


def _event_files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    found = [Path(where, name) for where, _, names in os.walk(root) for name in names if _FILE.search(name)]
    return sorted(path for path in found if path.is_file())


def _draft(paths: list[Path], name: str, workspace: str, project: str) -> Draft:
    digest = hashlib.sha256(VERSION.encode())
    begun = b""
    for path in paths:
        with path.open("rb") as file:
            begun = begun or file.read(4096)
            file.seek(0)
            while piece := file.read(1 << 20):
                digest.update(piece)
    times: list[int] = []
    for record in _records(paths, None):
        if moment := read_time_ms(record):
            times.append(moment)
    first, last = (min(times), max(times)) if times else (0, 0)
    # The same wherever the folder lies and however the files grow.
    run_id = "tb_" + hashlib.sha256(name.encode() + b"\0" + begun[:64]).hexdigest()[:24]
    start = RunStart(
        first * 1_000_000,
        run_id,
        workspace,
        project,
        name,
        client=CLIENT,
        system={"importedFrom": "TensorBoard"},
        heartbeat_seconds=HEARTBEAT_SECONDS,
    )
    draft = Draft(start, digest.hexdigest(), tuple, RunEnd(last * 1_000_000, "completed"), left_out={})
    draft.events = partial(_events, paths, draft)
    draft.uploads = partial(_uploads, paths)
    return draft


def read_time_ms(record: bytes) -> int:
    """When an event was written, Unix time in milliseconds; 0 when it does not say."""
    try:
        return int(files._double(files._fields(record), 1) * 1000)
    except ValueError:
        return 0


def _records(paths: list[Path], draft: Draft | None) -> Iterator[bytes]:
    for path in paths:
        try:
            yield from EventFile(path).records()
        except ValueError:
            if draft is not None:
                draft.leave_out(f"rest of a damaged file, {path.name}")


def _events(paths: list[Path], draft: Draft) -> Iterator[Event]:
    for record in _records(paths, draft):
        try:
            event = read_event(record)
            _count_what_is_left(record, set(event.values), draft)
        except ValueError:
            draft.leave_out("events that are none")
            continue
        for tag in event.strange:
            draft.leave_out(f"values of {tag!r:.60} that cannot be read")
        time_ns = event.time_ms * 1_000_000
        if event.hyper_parameters:
            yield RunUpdate(time_ns, config=redacted(plain(event.hyper_parameters)))
        yield from logged(time_ns, event.step, {tag: it for tag, it in event.values.items() if not _is_media(it)})


def _is_media(value: Any) -> bool:
    return isinstance(value, list) or is_media(value)


def _count_what_is_left(record: bytes, known: set[str], draft: Draft) -> None:
    fields = files._fields(record)
    for number, what in _GRAPHS.items():
        draft.leave_out(what, len(fields.get(number, ())))
    for summary in fields.get(5, ()):
        for value in files._fields(summary).get(1, ()):
            parts = files._fields(value)
            tag = files._text(parts, 1)
            plugin = files._text(files._fields(files._last(files._fields(files._last(parts, 9, b"")), 1, b"")), 1)
            if tag.removesuffix("/text_summary") not in known and plugin and plugin != "hparams":
                draft.leave_out(f"values of the plugin {plugin}")


def _uploads(paths: list[Path]) -> Iterator[Upload]:
    for record in _records(paths, None):
        try:
            event = read_event(record)
        except ValueError:
            continue  # counted with the events
        for tag, value in event.values.items():
            if _is_media(value):
                yield from media_uploads(tag, value, event.step, event.time_ms * 1_000_000)
