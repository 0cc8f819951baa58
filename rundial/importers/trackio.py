"""Runs out of Trackio's folder: a SQLite database or Parquet files for each project. Needs none of Trackio."""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from rundial.errors import RundialError
from rundial.events import SYSTEM_PREFIX, Event, LogLine, Marker, RunEnd, RunStart
from rundial.http import Json
from rundial.importers.draft import CLIENT, HEARTBEAT_SECONDS, Draft, Upload
from rundial.importers.logged import logged, media_uploads, project_name
from rundial.values import redacted

VERSION = "trackio 1"
_MEDIA = {"trackio.image": "Image", "trackio.audio": "Audio", "trackio.video": "Video", "trackio.html": "Html"}
_MEDIA |= {"trackio.object3d": "Object3D"}
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_ABOUT = frozenset({"id", "run_id", "timestamp", "run_name", "step", "log_id", "space_id", "created_at"})
"""Columns of a Parquet file that are no metrics."""
_LEVELS = {"info": "info", "warn": "warn", "error": "error"}
_OTHER: tuple[str, ...] = ("_system", "_configs", "_traces", "_artifacts", "_artifact_versions", "_artifact_aliases")
_OTHER += ("_run_artifact_links",)


class Stored(msgspec.Struct):
    """A run as its project has it: rows of its tables, the oldest first."""

    run_id: str
    name: str
    config: Json = {}
    metrics: list[tuple[int, int, Json]] = []
    """Time in Unix milliseconds, step, values."""
    system: list[tuple[int, Json]] = []
    alerts: list[tuple[int, int | None, str, str, str]] = []
    """Time, step, title, text, level."""
    left_out: dict[str, int] = {}


def read_store(path: Path, workspace: str, project: str | None = None) -> list[Draft]:
    """The runs of all projects of a folder, or of one database or Parquet file.

    Args:
        path: Trackio's folder, ``~/.cache/huggingface/trackio`` unless it was set, or a file of it.
        workspace: where the runs go.
        project: one for all.

    Raises:
        RundialError: there is no such store. ConfigError: Parquet's library is not there.
    """
    files = [path] if path.is_file() else _projects(path)
    if not files:
        raise RundialError(f"there is no project of Trackio in {path}: no .db and no .parquet file.")
    drafts: list[Draft] = []
    for file in files:
        read = _database if file.suffix == ".db" else _parquet
        runs = read(file)
        for run in sorted(runs.values(), key=lambda run: (run.metrics[:1] and run.metrics[0][0], run.run_id)):
            drafts.append(_draft(run, file.parent / "media", workspace, project_name(project or file.stem)))
    return drafts


def _projects(folder: Path) -> list[Path]:
    """One file for each project: its database, or what was made of it."""
    if not folder.is_dir():
        return []
    databases = sorted(folder.glob("*.db"))
    known = {path.stem for path in databases}
    tables = [path for path in sorted(folder.glob("*.parquet")) if not path.stem.endswith(_OTHER)]
    return databases + [path for path in tables if path.stem not in known]


def _draft(run: Stored, media: Path, workspace: str, project: str) -> Draft:
    created = _moment_ms(run.config.get("_Created"))
    times: list[int] = [*(row[0] for row in run.metrics), *(row[0] for row in run.system)]
    times += [row[0] for row in run.alerts]
    # Older stores know a run by its name alone.
    made = hashlib.sha256(f"{project}\0{run.name}".encode()).hexdigest()[:24]
    run_id = f"trackio_{made}" if run.run_id == run.name else run.run_id
    begun = created or min(times, default=0)
    start = RunStart(
        begun * 1_000_000,
        run_id,
        workspace,
        project,
        run.name,
        group=run.config.get("_Group"),
        config=redacted({name: value for name, value in run.config.items() if not name.startswith("_")}),
        client=CLIENT,
        system={"importedFrom": "Trackio"} | ({"user": run.config["_Username"]} if run.config.get("_Username") else {}),
        heartbeat_seconds=HEARTBEAT_SECONDS,
    )
    digest = hashlib.sha256(VERSION.encode() + msgspec.json.encode(run, order="sorted")).hexdigest()
    end = RunEnd(max(times, default=begun) * 1_000_000, "completed")
    draft = Draft(start, digest, tuple, end, left_out=dict(run.left_out))
    draft.events = partial(_events, run, draft, media)
    draft.uploads = partial(_uploads, run, media)
    return draft


def _events(run: Stored, draft: Draft, media: Path) -> Iterator[Event]:
    for time_ms, step, values in run.metrics:
        kept: Json = {}
        for key, value in _flat(values):
            if not isinstance(value, dict):
                kept[key] = msgspec.json.encode(value).decode() if isinstance(value, list) else value
            elif _item(value, media) is None:
                draft.leave_out(f"values of type {value['_type']!s:.40}, or whose files are gone")
        yield from logged(time_ms * 1_000_000, step, kept, draft.leave_out)
    for time_ms, values in run.system:
        numbers = {SYSTEM_PREFIX + key: value for key, value in _flat(values) if isinstance(value, (int, float))}
        yield from logged(time_ms * 1_000_000, time_ms // 1000, numbers, draft.leave_out)
    for time_ms, at, title, text, level in run.alerts:
        level = _LEVELS.get(level, "warn")
        yield LogLine(time_ms * 1_000_000, level, f"{title}: {text}" if text else title)
        yield Marker(time_ms * 1_000_000, "alert", title, at, {"text": text, "level": level})


def _uploads(run: Stored, media: Path) -> Iterator[Upload]:
    for time_ms, step, values in run.metrics:
        for key, value in _flat(values):
            item = _item(value, media) if isinstance(value, dict) else None
            if item is not None:
                yield from media_uploads(key, item, step, time_ms * 1_000_000)


def _flat(values: Json, start: str = "") -> Iterator[tuple[str, Any]]:
    """Values by name; mappings that are no media are taken apart, and words for numbers become them."""
    for key, value in values.items():
        if isinstance(value, dict) and "_type" not in value:
            yield from _flat(value, f"{start}{key}/")
        elif value is not None:
            yield f"{start}{key}", _WORDS.get(value, value) if isinstance(value, str) else value


def _item(value: Json, folder: Path) -> Any:
    """The media that a mapping describes; None when there is nothing for it here, or its file is gone."""
    from rundial import media

    kind = value["_type"]
    if kind == "trackio.histogram" and len(value.get("bins") or ()) > 1:
        return media.Histogram(np_histogram=(value["values"], value["bins"]))
    if kind == "trackio.table":
        return media.Table(data=value.get("_value") or [])
    if kind == "trackio.markdown":
        return media.Text(str(value.get("_value", "")), markdown=True)
    if kind not in _MEDIA:
        return None
    place = (folder / str(value.get("file_path", ""))).resolve()
    if not place.is_file() or not place.is_relative_to(folder.resolve()):
        return None
    item = getattr(media, _MEDIA[kind])(place)
    item.caption = value.get("caption")
    return item


def _moment_ms(text: Any) -> int:
    """A time as it is written, ISO 8601 and in UTC unless it says otherwise; 0 for anything else."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return 0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


# -- where it lies -----------------------------------------------------------------------------------------------------


def _database(path: Path) -> dict[str, Stored]:
    try:
        # Only read; a dashboard or a training that has it open is left in peace.
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            return _of_database(db)
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        raise RundialError(f"{path} is no database of Trackio: {error}.") from error


def _of_database(db: sqlite3.Connection) -> dict[str, Stored]:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    columns = {row[1] for row in db.execute("PRAGMA table_info(metrics)")}
    ident = "run_id" if "run_id" in columns else "run_name"  # older stores know their runs by name
    runs: dict[str, Stored] = {}
    for run_id, name, moment, step, values in db.execute(
        f"SELECT {ident}, run_name, timestamp, step, metrics FROM metrics ORDER BY id"
    ):
        _of(runs, run_id, name).metrics.append((_moment_ms(moment), int(step), msgspec.json.decode(values, type=Json)))
    if "configs" in tables:
        for run_id, name, config in db.execute(f"SELECT {ident}, run_name, config FROM configs ORDER BY id"):
            _of(runs, run_id, name).config = msgspec.json.decode(config, type=Json)
    if "system_metrics" in tables:
        for run_id, name, moment, values in db.execute(
            f"SELECT {ident}, run_name, timestamp, metrics FROM system_metrics ORDER BY id"
        ):
            _of(runs, run_id, name).system.append((_moment_ms(moment), msgspec.json.decode(values, type=Json)))
    if "alerts" in tables:
        for run_id, name, moment, step, title, text, level in db.execute(
            f"SELECT {ident}, run_name, timestamp, step, title, text, level FROM alerts ORDER BY id"
        ):
            _of(runs, run_id, name).alerts.append((_moment_ms(moment), step, title, text or "", level))
    apart = (("traces", "traces", ident), ("artifact_versions", "versions of artifacts", "producer_run_id"))
    for table, what, column in apart:
        if table in tables:
            for run_id, number in db.execute(f"SELECT {column}, count(*) FROM {table} GROUP BY {column}"):
                if run_id in runs:
                    runs[run_id].left_out[what] = number
    return runs


def _of(runs: dict[str, Stored], run_id: str, name: str) -> Stored:
    return runs.setdefault(run_id, Stored(run_id, name))


def _parquet(path: Path) -> dict[str, Stored]:
    from rundial.exports.tables import pyarrow

    arrow, parquet = pyarrow()
    runs: dict[str, Stored] = {}

    def rows(suffix: str) -> list[Json]:
        file = path.with_name(f"{path.stem}{suffix}.parquet")
        return list(parquet.read_table(file).to_pylist()) if file.is_file() else []

    try:
        for row in sorted(rows(""), key=_order):
            run = _of(runs, row.get("run_id") or row["run_name"], row["run_name"])
            run.metrics.append((_moment_ms(row["timestamp"]), int(row["step"]), _values(row)))
        for row in sorted(rows("_configs"), key=_order):
            _of(runs, row.get("run_id") or row["run_name"], row["run_name"]).config = _values(row)
        for row in sorted(rows("_system"), key=_order):
            run = _of(runs, row.get("run_id") or row["run_name"], row["run_name"])
            run.system.append((_moment_ms(row["timestamp"]), _values(row)))
    except (arrow.ArrowException, KeyError) as error:
        raise RundialError(f"{path} is no table of Trackio: {type(error).__name__}: {error}.") from error
    return runs


def _order(row: Json) -> int:
    return int(row.get("id") or 0)


def _values(row: Json) -> Json:
    """The metrics or settings of a row; all rows have the columns of all, so None says that there is none."""
    return {name: _whole(value) for name, value in row.items() if name not in _ABOUT and value is not None}


def _whole(value: Any) -> Any:
    """A mapping without the fields that only its neighbours have."""
    if isinstance(value, dict):
        return {name: _whole(inner) for name, inner in value.items() if inner is not None}
    return value
