"""Runs of W&B from their folders on disk into Rundial."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from rundial import runs
from rundial.compat.wandb._datastore import Damaged, Message, inner, integer, message, records, text, texts
from rundial.diagnostics import warn
from rundial.errors import RundialError
from rundial.events import SYSTEM_PREFIX, RunStatus

_HISTORY, _SUMMARY, _OUTPUT, _CONFIG, _FILES, _STATS, _ARTIFACT, _ALERT, _OUTPUT_RAW = 2, 3, 4, 5, 6, 7, 8, 10, 13
_RUN, _EXIT = 17, 18
_MEDIA = {"image-file": "Image", "audio-file": "Audio", "video-file": "Video", "html-file": "Html",
          "object3D-file": "Object3D", "table-file": "Table", "histogram": "Histogram"}  # fmt: skip


class Imported(msgspec.Struct):
    """What came of one folder."""

    folder: Path
    run_id: str
    name: str
    project: str
    rows: int = 0
    media: int = 0
    artifacts: int = 0
    lines: int = 0
    left_out: int = 0
    """Media and files of artifacts that are no longer there."""
    damaged: str | None = None
    ended_ms: int = 0
    """The latest moment that the folder knows of."""


def run_folders(root: Path) -> list[Path]:
    """The folders of runs in ``wandb``, in a folder that has it, or the folder of one run itself, oldest first.

    Raises:
        RundialError: there are none.
    """
    found: list[Path] = []
    for place in (root, root / "wandb"):
        for pattern in ("*.wandb", "run-*/*.wandb", "offline-run-*/*.wandb"):
            found += [path.parent for path in place.glob(pattern) if path.stat().st_size]
    if not found:
        raise RundialError(f"there is no run of W&B in {root}: no folder run-* or offline-run-* with a .wandb file.")
    return sorted({path.resolve() for path in found}, key=lambda path: path.name.removeprefix("offline-"))


def import_run(folder: Path, project: str | None = None, **options: Any) -> Imported:
    """Log all that one folder holds as a run with the same id, at the times at which it was logged.

    Args:
        folder: of the run.
        project: another one than it was in.
        options: as in :func:`rundial.init`.

    Raises:
        RundialError: it holds no run; the server has a run of this id, or refuses it.
    """
    path = max(folder.glob("*.wandb"), key=lambda path: path.stat().st_size)
    source = _whole_records(path)
    begun = next((inner(record, _RUN)[0] for record, _ in source if _RUN in record), None)
    if begun is None:
        raise RundialError(f"{path} does not say which run it is of.")
    start = _start(begun)
    found = Imported(folder, start["run_id"], start["name"] or start["run_id"], project or start["project"])
    found.ended_ms = begun_ms = _moment_ms(begun, 17)
    config = _items(begun, 4)
    config.pop("_wandb", None)
    run = runs.init(
        **{**start, "project": found.project, "config": config},
        time_ms=begun_ms or None,
        system_metrics=False,
        capture_console=False,
        snapshot_code=False,
        capture_env=False,
        **options,
    )
    try:
        found.name = run.name
        status = _replay(run, path, folder, found, begun_ms)
    except BaseException:
        run.finish(status="failed", reason="the import broke off")
        raise
    run.finish(600.0, status=status, time_ms=found.ended_ms if begun_ms else None)
    return found


def _whole_records(path: Path) -> Iterator[tuple[Message, str | None]]:
    """Records up to the first damage, whose description comes last with an empty record."""
    try:
        for record in records(path):
            yield message(record), None
    except Damaged as error:
        yield {}, str(error)


def _start(begun: Message) -> dict[str, Any]:
    return {
        "run_id": text(begun, 1),
        "project": text(begun, 3) or "uncategorized",
        "name": text(begun, 8) or None,
        "group": text(begun, 6) or None,
        "job_type": text(begun, 7) or None,
        "notes": text(begun, 9) or None,
        "tags": texts(begun, 10),
    }


def _replay(run: runs.Run, path: Path, folder: Path, found: Imported, begun_ms: int) -> RunStatus:
    status: RunStatus = "crashed"
    summary: dict[str, Any] = {}
    for record, damage in _whole_records(path):
        if damage is not None:
            found.damaged = damage
        elif _HISTORY in record:
            _log_row(run, inner(record, _HISTORY)[0], folder, found)
        elif _SUMMARY in record:
            summary.update(_items(inner(record, _SUMMARY)[0], 1))
        elif _CONFIG in record:
            values = _items(inner(record, _CONFIG)[0], 1)
            values.pop("_wandb", None)
            run.update_config(values)
        elif _OUTPUT in record or _OUTPUT_RAW in record:
            _log_line(run, inner(record, _OUTPUT if _OUTPUT in record else _OUTPUT_RAW)[0], found)
        elif _STATS in record:
            _log_stats(run, inner(record, _STATS)[0], found)
        elif _ARTIFACT in record:
            _log_artifact(run, inner(record, _ARTIFACT)[0], found)
        elif _ALERT in record:
            alert = inner(record, _ALERT)[0]
            run.alert(text(alert, 1), text(alert, 2), text(alert, 3).lower() or "info")
        elif _EXIT in record:
            exit_ = inner(record, _EXIT)[0]
            status = "failed" if integer(exit_, 1) else "completed"
            found.ended_ms = max(found.ended_ms, begun_ms + 1000 * integer(exit_, 2))
    run.summary.update({key: value for key, value in summary.items() if not key.startswith("_") and _is_plain(value)})
    _log_files(run, folder, found)
    return status


def _items(fields: Message, number: int) -> dict[str, Any]:
    """The ``update`` items of a configuration, a summary or a row: names to values.

    Args:
        fields: the message; for the configuration in a run's record the number is that of the configuration.
    """
    messages = (
        [item for part in inner(fields, number) for item in inner(part, 1)] if number == 4 else inner(fields, number)
    )
    values: dict[str, Any] = {}
    for item in messages:
        keys = texts(item, 2) or [text(item, 1)]
        place = values
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = json.loads(text(item, 16) or "null")
    return values


def _log_row(run: runs.Run, row: Message, folder: Path, found: Imported) -> None:
    values = _items(row, 1)
    step = values.pop("_step", None)
    if step is None and 2 in row:
        step = integer(inner(row, 2)[0], 1)
    moment = values.pop("_timestamp", None)
    values.pop("_runtime", None)
    kept: dict[str, Any] = {}
    for key, value in _flat(values):
        media = _media(value, folder) if isinstance(value, dict) else [value] if not isinstance(value, list) else None
        if isinstance(value, dict):
            found.media += len(media or ())
            found.left_out += not media
        if media:
            kept[key] = media if len(media) > 1 else media[0]
        elif isinstance(value, list):
            kept[key] = json.dumps(value)
    kept = {key: value for key, value in kept.items() if value is not None}
    if kept:
        time_ms = None if moment is None else int(float(moment) * 1000)
        run.log(kept, step=step, time_ms=time_ms)
        found.ended_ms = max(found.ended_ms, time_ms or 0)
        found.rows += 1


def _flat(values: dict[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and "_type" not in value:
            yield from _flat(value, f"{start}{key}.")
        else:
            yield f"{start}{key}", _number(value)


def _number(value: Any) -> Any:
    """W&B writes what is not finite as text."""
    return (
        {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(value, value)
        if isinstance(value, str)
        else value
    )


def _media(value: dict[str, Any], folder: Path) -> list[Any]:
    """The items of media that a cell of the history refers to; none when their files are gone."""
    from rundial import media

    kind = str(value.get("_type"))
    if kind == "images/separated":
        paths = value.get("filenames") or [
            f"media/images/{value.get('filename', '')}_{number}.{value.get('format', 'png')}"
            for number in range(int(value.get("count", 0)))
        ]
        captions = value.get("captions") or [None] * len(paths)
        places = [_inside(folder, str(path)) for path in paths]
        return [media.Image(place, caption=caption) for place, caption in zip(places, captions) if place is not None]
    if kind == "histogram" and "values" in value:
        return [media.Histogram(np_histogram=(value["values"], value["bins"]))]
    place = _inside(folder, str(value.get("path", "")))
    if kind not in _MEDIA or place is None:
        return []
    if kind == "table-file":
        document = json.loads(place.read_bytes())
        return [media.Table(columns=document.get("columns", []), data=document.get("data", []))]
    item = media.Html(place.read_text()) if kind == "html-file" else getattr(media, _MEDIA[kind])(str(place))
    item.caption = value.get("caption")
    return [item]


def _inside(folder: Path, path: str) -> Path | None:
    """A file of the run; None when it is not there, or would lie elsewhere."""
    root = (folder / "files").resolve()
    place = (root / path).resolve()
    return place if path and place.is_relative_to(root) and place.is_file() else None


def _log_line(run: runs.Run, output: Message, found: Imported) -> None:
    from rundial.logs import log_text

    time_ms = _moment_ms(output, 2)
    line = text(output, 3).rstrip("\n")
    if line and run._opened is not None:
        log_text(run._opened, line, "info" if integer(output, 1) else "warn", time_ms * 1_000_000 or runs._now())
        found.ended_ms = max(found.ended_ms, time_ms)
        found.lines += 1


def _moment_ms(fields: Message, number: int) -> int:
    """A time stamp of a message as Unix time in milliseconds, 0 when there is none."""
    moment = inner(fields, number)
    return integer(moment[0], 1) * 1000 + integer(moment[0], 2) // 1_000_000 if moment else 0


def _log_stats(run: runs.Run, stats: Message, found: Imported) -> None:
    seconds = _moment_ms(stats, 2) // 1000
    values = {
        SYSTEM_PREFIX + text(item, 1): json.loads(text(item, 16) or text(item, 2) or "null") for item in inner(stats, 3)
    }
    numbers = {key: value for key, value in values.items() if isinstance(value, (int, float))}
    if numbers and seconds:
        run.log(numbers, step=seconds, time_ms=seconds * 1000)
        found.ended_ms = max(found.ended_ms, seconds * 1000)


def _log_artifact(run: runs.Run, artifact: Message, found: Imported) -> None:
    """Store an artifact from the copies that W&B has made of its files."""
    from rundial.artifact_paths import clean_name
    from rundial.staging import Job, Reference, remove_job, stage_file

    pipeline = run._opened
    name = text(artifact, 5)
    if pipeline is None or text(artifact, 4) == "run_table" or text(artifact, 4).startswith("wandb-"):
        return  # tables that were logged, which are media here, and W&B's own
    job = Job(
        clean_name(name),
        type=text(artifact, 4) or None,
        aliases=[alias for alias in texts(artifact, 11) if alias != "latest"],
        metadata=json.loads(text(artifact, 8) or "null") or {},
        time_ns=runs._now(),
    )
    place = pipeline.uploads.new_folder()
    for number, entry in enumerate(item for manifest in inner(artifact, 12) for item in inner(manifest, 4)):
        path, ref, local = text(entry, 1), text(entry, 3), text(entry, 6)
        if ref:
            job.references.append(Reference(path, ref))
        elif local and Path(local).is_file():
            job.files.append(stage_file(Path(local), place, str(number), path, small=True))
        else:
            found.left_out += 1
    if job.files or job.references:
        pipeline.uploads.submit_staged(place, job)
        found.artifacts += 1
    else:
        remove_job(place)
        warn(f"artifact {name!r} was left out: none of its files is here any more.")


def _log_files(run: runs.Run, folder: Path, found: Imported) -> None:
    """Store what the script put into the run's folder, without what W&B and media put there."""
    from rundial.compat.wandb._files import FILE_TYPE, artifact_name
    from rundial.compat.wandb._folder import unsaved

    files = folder / "files"
    if not files.is_dir():
        return
    for inside, place in unsaved(files, [], {}):
        run.log_artifact(place, artifact_name(run.id, inside), FILE_TYPE, metadata={"path": inside})
        found.artifacts += 1


def _is_plain(value: Any) -> bool:
    return not (isinstance(value, dict) and "_type" in value)
