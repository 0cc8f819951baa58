"""Runs out of MLflow's stores on disk: the folder ``mlruns``, or a SQLite database. Needs none of MLflow."""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from rundial.errors import RundialError
from rundial.events import Event, Metrics, RunEnd, RunStart, RunStatus
from rundial.importers.draft import CLIENT, HEARTBEAT_SECONDS, Draft, Upload
from rundial.importers.logged import folder_uploads, logged, project_name, typed
from rundial.importers.yaml import read_flat
from rundial.values import redacted

VERSION = "mlflow 1"
_STATUSES: dict[str, RunStatus] = {"3": "completed", "4": "failed", "5": "aborted"}
_STATUSES |= {"FINISHED": "completed", "FAILED": "failed", "KILLED": "aborted"}
_OWN = "mlflow."
_NAME, _NOTE, _PARENT = "mlflow.runName", "mlflow.note.content", "mlflow.parentRunId"
_INFINITE = 1.7976931348623157e308
"""What a database has in the place of an infinite value."""


class Point(NamedTuple):
    """One value of a metric."""

    time_ms: int
    step: int
    key: str
    value: float


class Stored(msgspec.Struct):
    """A run as either store has it."""

    run_id: str
    experiment: str
    name: str
    status: str
    started_ms: int
    ended_ms: int | None
    artifacts: Path | None
    params: dict[str, str]
    tags: dict[str, str]
    points: list[Point]
    left_out: dict[str, int] = {}


def read_store(path: Path, workspace: str, project: str | None = None) -> list[Draft]:
    """The runs of a store that were not deleted, oldest first; each experiment is a project.

    Args:
        path: a folder ``mlruns`` or one that has it, or a SQLite database or a folder with ``mlflow.db``.
        workspace: where the runs go.
        project: one for all experiments.

    Raises:
        RundialError: there is no such store.
    """
    runs = list(_read(path))
    names = {run.run_id: run.name for run in runs}
    runs.sort(key=lambda run: (run.started_ms, run.run_id))
    return [_draft(run, names, workspace, project_name(project or run.experiment)) for run in runs]


def _read(path: Path) -> Iterator[Stored]:
    if path.is_file():
        return _database(path)
    for folder in (path, path / "mlruns"):
        if folder.is_dir() and any((it / "meta.yaml").is_file() for it in folder.iterdir()):
            return _folders(folder)
    if (path / "mlflow.db").is_file():
        return _database(path / "mlflow.db")
    raise RundialError(f"there is no store of MLflow in {path}: no experiment with a meta.yaml, and no database.")


def _draft(run: Stored, names: dict[str, str], workspace: str, project: str) -> Draft:
    own = {name: text for name, text in run.tags.items() if name.startswith(_OWN)}
    said = {name: text for name, text in run.tags.items() if not name.startswith(_OWN)}
    start = RunStart(
        run.started_ms * 1_000_000,
        run.run_id,
        workspace,
        project,
        run.name,
        group=names.get(own.get(_PARENT, "")),
        tags=[f"{name}={text}" if text else name for name, text in said.items()],
        config=redacted({name: typed(text) for name, text in run.params.items()}),
        client=CLIENT,
        system={"importedFrom": "MLflow"} | {name: text for name, text in own.items() if name not in (_NAME, _NOTE)},
        heartbeat_seconds=HEARTBEAT_SECONDS,
        notes=own.get(_NOTE),
    )
    last = max([run.started_ms, *(point.time_ms for point in run.points)])
    ended = (run.ended_ms if run.ended_ms is not None else last) * 1_000_000
    status = _STATUSES.get(run.status)
    end = RunEnd(ended, status) if status else RunEnd(ended, "crashed", "MLflow knows no end of it")
    place = run.artifacts
    run.artifacts = None
    digest = hashlib.sha256(VERSION.encode() + msgspec.json.encode(run, order="sorted")).hexdigest()
    draft = Draft(start, digest, partial(_events, run.points), end, left_out=dict(run.left_out))
    if place is None:
        draft.leave_out("folder of artifacts, which is not here")
    else:
        draft.uploads = partial(_uploads, place, ended)
    return draft


def _uploads(place: Path, time_ns: int) -> Iterator[Upload]:
    return folder_uploads(place, "mlflow", time_ns)


def _events(points: list[Point]) -> Iterator[Event]:
    """The points by time; those of one moment and step together."""
    waiting: Metrics | None = None
    for point in sorted(points, key=lambda point: point.time_ms):
        for event in logged(point.time_ms * 1_000_000, point.step, {point.key: point.value}):
            if not isinstance(event, Metrics):
                yield event
                continue
            together = waiting is not None and (waiting.time_ns, waiting.step) == (event.time_ns, event.step)
            if waiting is not None and together and not waiting.values.keys() & event.values.keys():
                waiting.values |= event.values
                continue
            if waiting is not None:
                yield waiting
            waiting = event
    if waiting is not None:
        yield waiting


# -- folders -----------------------------------------------------------------------------------------------------------


def _folders(root: Path) -> Iterator[Stored]:
    for experiment in sorted(root.iterdir()):
        if experiment.name == ".trash" or not (experiment / "meta.yaml").is_file():
            continue
        about = read_flat(experiment / "meta.yaml")
        models = _models_of(experiment)
        for folder in sorted(experiment.iterdir()):
            if (folder / "meta.yaml").is_file():
                facts = read_flat(folder / "meta.yaml")
                if facts.get("lifecycle_stage") == "active" and ("run_id" in facts or "run_uuid" in facts):
                    yield _of_folder(folder, facts, about.get("name") or experiment.name, models)


def _of_folder(folder: Path, facts: dict[str, str], experiment: str, models: dict[str, int]) -> Stored:
    run_id = facts.get("run_id") or facts["run_uuid"]
    tags = dict(_texts(folder / "tags"))
    run = Stored(
        run_id,
        experiment,
        tags.get(_NAME) or facts.get("run_name") or run_id,
        facts.get("status", ""),
        int(facts.get("start_time") or 0),
        int(facts["end_time"]) if facts.get("end_time", "null") not in ("null", "") else None,
        folder / "artifacts"
        if (folder / "artifacts").is_dir()
        else _place_of(facts.get("artifact_uri", ""), run_id, folder),
        dict(_texts(folder / "params")),
        tags,
        [],
    )
    for path in _files(folder / "metrics"):
        key = path.relative_to(folder / "metrics").as_posix()
        for line in path.read_text(encoding="utf-8").splitlines():
            parts = line.split()
            try:
                run.points.append(Point(int(parts[0]), int(parts[2]) if len(parts) > 2 else 0, key, float(parts[1])))
            except (ValueError, IndexError):
                run.left_out["damaged lines of metrics"] = run.left_out.get("damaged lines of metrics", 0) + 1
    for what, number in (("datasets", len(list((folder / "inputs").glob("*")))), ("models", models.get(run_id, 0))):
        if number:
            run.left_out[f"{what} that MLflow keeps apart"] = number
    return run


def _models_of(experiment: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for path in (experiment / "models").glob("*/meta.yaml"):
        source = read_flat(path).get("source_run_id", "")
        found[source] = found.get(source, 0) + 1
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    for path in _files(folder):
        yield path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8", errors="replace")


def _place_of(uri: str, run_id: str, root: Path) -> Path | None:
    """The folder of a run's artifacts: where the store says, or where it lies now that the store was moved.

    None when it cannot be found here. Only a folder that names the run is taken for one.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file"):
        return None
    said = Path(unquote(parts.path) if parts.scheme else uri)
    if run_id not in said.parts:
        return None
    names = said.parts[said.is_absolute() :]
    moved = [root.joinpath(*names[first:]) for first in range(len(names) - 1)]
    places = [said, *moved] if said.is_absolute() else moved
    # A run without artifacts may have no folder, but the one around it is there.
    return next((it for it in places if it.is_dir()), None) or next(
        (it for it in places if it.parent.parent.is_dir() and it.parent.parent not in (root.parent, Path("/"))), None
    )


# -- a database --------------------------------------------------------------------------------------------------------


def _database(path: Path) -> Iterator[Stored]:
    try:
        # Only read; a store that a server has open is left in peace.
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            yield from _of_database(db, path.resolve().parent)
    except sqlite3.Error as error:
        raise RundialError(f"{path} is no database of MLflow: {error}.") from error


def _of_database(db: sqlite3.Connection, root: Path) -> Iterator[Stored]:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    rows = db.execute(
        "SELECT r.run_uuid, e.name, r.name, r.status, r.start_time, r.end_time, r.artifact_uri"
        " FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id WHERE r.lifecycle_stage = 'active'"
    ).fetchall()
    for run_id, experiment, name, status, started, ended, uri in rows:
        params = db.execute("SELECT key, value FROM params WHERE run_uuid = ? ORDER BY key", (run_id,))
        tags = dict(db.execute("SELECT key, value FROM tags WHERE run_uuid = ? ORDER BY key", (run_id,)).fetchall())
        points = db.execute(
            "SELECT timestamp, step, key, value, is_nan FROM metrics WHERE run_uuid = ?"
            " ORDER BY timestamp, key, step, value",
            (run_id,),
        )
        run = Stored(
            run_id,
            experiment,
            tags.get(_NAME) or name or run_id,
            status,
            started or 0,
            ended,
            _place_of(uri or "", run_id, root),
            dict(params.fetchall()),
            {key: value or "" for key, value in tags.items()},
            [Point(ms, step, key, _number(value, is_nan)) for ms, step, key, value, is_nan in points],
        )
        for what, table, column in (
            ("datasets", "inputs", "destination_id"),
            ("models", "logged_models", "source_run_id"),
        ):
            if table in tables:
                (number,) = db.execute(f"SELECT count(*) FROM {table} WHERE {column} = ?", (run_id,)).fetchone()
                if number:
                    run.left_out[f"{what} that MLflow keeps apart"] = number
        yield run


def _number(value: Any, is_nan: Any) -> float:
    if is_nan:
        return math.nan
    return math.copysign(math.inf, value) if abs(value) >= _INFINITE else float(value)
