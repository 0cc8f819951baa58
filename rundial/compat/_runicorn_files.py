"""A run as the files that Runicorn keeps of one, for programs that read those."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rundial.compat.server import ask
from rundial.config import key_for, local_server, resolve
from rundial.errors import ConfigError

PAGE = 10_000
Json = dict[str, Any]
_NAMES = {"running": "running", "completed": "finished", "failed": "failed", "crashed": "failed"}


def export(run_id: str, folder: str | Path) -> Path:
    """Write a run as ``<folder>/runs/<path>/<run_id>/``: ``meta.json``, ``status.json``, ``summary.json``,
    ``events.jsonl``, ``logs.txt``, ``assets.json`` and, if it was captured, ``environment.json``.

    Returns:
        The run's folder. Files that are there already are written anew.

    Raises:
        ConfigError: no server is configured, and none runs on this machine.
        RequestError: the server does not answer, or does not know the run.
        OSError: the folder cannot be written.
    """
    server = _server()
    run = ask(*server, "GET", f"/api/v1/runs/{quote(run_id, safe='')}")
    target = Path(folder, "runs", run["path"] or "", run["runId"])
    target.mkdir(parents=True, exist_ok=True)
    started, ended = run["startedAtMs"] / 1000, run["finishedAtMs"]
    status = _NAMES.get(run["status"], "interrupted")
    meta = {"id": run["runId"], "path": run["path"], "alias": run["alias"], "created_at": started}
    _write(target / "meta.json", {**meta, "project": run["projectSlug"], "name": run["runName"]})
    _write(target / "status.json", {"status": status, "started_at": started, "ended_at": ended and ended / 1000})
    _write(target / "summary.json", run["summary"])
    _write(target / "assets.json", {"config": run["config"], **_artifacts(server, run_id)})
    if run["environment"]:
        _write(target / "environment.json", run["environment"])
    with (target / "events.jsonl").open("w", encoding="utf-8") as events:
        for record in _records(server, run_id):
            events.write(json.dumps(record) + "\n")
    with (target / "logs.txt").open("w", encoding="utf-8") as lines:
        for row in _rows(server, "logs", run_id):
            moment = datetime.fromtimestamp(row["timestampMs"] / 1000).astimezone()
            lines.write(f"[{moment:%H:%M:%S}] {row['message']}\n")
    return target


def _server() -> tuple[str, str | None]:
    endpoint = resolve({}).endpoint
    if endpoint is not None:
        return endpoint, key_for(endpoint)
    found = local_server()
    if found is None:
        raise ConfigError("no server is configured and none runs here. Start one: `rundial ui`.")
    return found.url, found.api_key


def _records(server: tuple[str, str | None], run_id: str) -> Iterator[Json]:
    """Values of one step and moment as one record, the way they were logged."""
    data: Json = {}
    at: tuple[int, int] | None = None
    for row in _rows(server, "metrics", run_id):
        here = (row["timestampMs"], row["step"])
        if here != at:
            if at is not None:
                yield _record(at, data)
            at, data = here, {}
        data[row["metricKey"]] = row["value"]
    if at is not None:
        yield _record(at, data)


def _record(at: tuple[int, int], data: Json) -> Json:
    return {"ts": at[0] / 1000, "type": "metrics", "data": {"global_step": at[1], "time": at[0] / 1000, **data}}


def _rows(server: tuple[str, str | None], what: str, run_id: str) -> Iterator[Json]:
    cursor = None
    while True:
        body = {"runId": run_id, "limit": PAGE, "format": "json", "cursor": cursor}
        page = ask(*server, "POST", f"/api/v1/export/{what}", body)
        yield from page["rows"]
        cursor = page["page"]["nextCursor"]
        if cursor is None:
            return


def _artifacts(server: tuple[str, str | None], run_id: str) -> Json:
    found: dict[str, list[Json]] = {"code": [], "outputs": []}
    cursor = None
    while True:
        page = ask(*server, "GET", f"/api/v1/runs/{quote(run_id, safe='')}/artifacts", limit=1000, cursor=cursor)
        for row in page["artifacts"]:
            kept = {"name": row["name"], "version": row["version"], "metadata": row["metadata"]}
            found["code" if row["type"] == "code" else "outputs"].append(kept)
        cursor = page["page"]["nextCursor"]
        if cursor is None:
            return found


def _write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False), encoding="utf-8")
