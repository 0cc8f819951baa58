"""A run as ``wandb.Api`` gives it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rundial.compat.wandb import _server
from rundial.compat.wandb._api_file import File, media_path
from rundial.compat.wandb._api_filters import iso, state_of
from rundial.compat.wandb.errors import CommError, UnsupportedSymbol
from rundial.http import Json, route
from rundial.values import plain

if TYPE_CHECKING:
    from rundial.compat.wandb._api import Api
    from rundial.compat.wandb._artifact_class import Artifact

SYSTEM = "system/"
FILE_TYPE = "file"
_MEDIA_TYPES = {"image": "image-file", "table": "table-file", "audio": "audio-file", "video": "video-file",
                "html": "html-file", "object3d": "object3D-file", "plotly": "plotly-file"}  # fmt: skip


class SummaryDict(dict[str, Any]):
    """A summary: a mapping, whose values are attributes too; :meth:`update` writes it to the server."""

    def __init__(self, run: ApiRun, values: Json) -> None:
        super().__init__(values)
        self._run = run

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def update(self, *values: Any, **more: Any) -> None:
        """Change values, and write all to the server."""
        super().update(*values, **more)
        self._run.update()

    @property
    def _json_dict(self) -> Json:
        return dict(self)


class ApiRun:
    """One run. What is assigned to ``config``, ``summary``, ``tags``, ``name``, ``notes`` is written by :meth:`update`.

    Args:
        api: who asked.
        document: the server's description.
    """

    def __init__(self, api: Api, document: Json) -> None:
        self._api = api
        self._take(document)

    def _take(self, document: Json) -> None:
        self._document = document
        self.id = str(document["runId"])
        self.name = self.display_name = document["runName"]
        self.project = document["projectSlug"]
        self.entity = self._api.default_entity
        self.state = state_of(document)
        self.tags = list(document.get("tags") or ())
        self.notes = document.get("notes")
        self.group = document.get("group")
        self.job_type = document.get("jobType")
        self.config = {key: value for key, value in document["config"].items() if key != "_wandb"}
        facts = {"_step": document.get("lastStep"), "_runtime": self._seconds(), "_timestamp": self._end() / 1000}
        metrics = {key: value for key, value in document["summary"].items() if not key.startswith(SYSTEM)}
        known = {**{key: value for key, value in facts.items() if value is not None}, **metrics}
        self.summary = SummaryDict(self, known)
        self.summary_metrics = self.summary
        self._before = self._state()

    def _end(self) -> int:
        return int(self._document.get("finishedAtMs") or self._document["updatedAtMs"])

    def _seconds(self) -> float:
        return (self._end() - int(self._document["startedAtMs"])) / 1000

    def _state(self) -> Json:
        config, summary = dict(plain(self.config)), dict(plain(dict(self.summary)))
        facts = {"name": self.name, "tags": list(self.tags), "notes": self.notes, "group": self.group}
        return {**facts, "config": json.loads(json.dumps(config)), "summary": json.loads(json.dumps(summary))}

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def path(self) -> list[str]:
        """Entity, project, id."""
        return [self.entity, self.project, self.id]

    @property
    def url(self) -> str:
        """Where the page shows it."""
        return f"{self._api.client.endpoint}/#/runs/{self.id}"

    @property
    def created_at(self) -> str:
        """When it began, as ISO 8601."""
        return iso(self._document["startedAtMs"])

    @property
    def heartbeat_at(self) -> str:
        """When the server last heard of it."""
        return iso(self._document["updatedAtMs"])

    heartbeatAt = heartbeat_at

    @property
    def lastHistoryStep(self) -> int:
        """The last step; -1 when there is none."""
        last = self._document.get("lastStep")
        return -1 if last is None else int(last)

    @property
    def metadata(self) -> Json:
        """Host, Python, command line of the process that made it."""
        attempts = self._attempts()
        first = attempts[0] if attempts else {}
        return {"host": first.get("host"), **dict(first.get("system") or {})}

    def _attempts(self) -> list[Json]:
        if "attempts" not in self._document:
            self._document |= _server.ask(self._api.client, "run", "GET", route("runs", self.id))
        return list(self._document["attempts"])

    @property
    def user(self) -> Any:
        """Whose it is."""
        return self._api.viewer

    @property
    def sweep_name(self) -> str | None:
        """The id of its sweep."""
        sweep = self._document["config"].get("_wandb", {}).get("sweep")
        return None if sweep is None else str(sweep)

    @property
    def sweep(self) -> Any:
        """Its sweep; None when it has none."""
        return self._api.sweep(self.sweep_name) if self.sweep_name else None

    def load(self, force: bool = False) -> ApiRun:
        """Ask the server again."""
        self._take(_server.ask(self._api.client, "run", "GET", route("runs", self.id)))
        return self

    def wait_until_finished(self, seconds: float = 3600.0) -> None:
        """Wait until the run has ended, at most ``seconds``."""
        import time

        deadline = time.monotonic() + seconds
        while self.load().state == "running" and time.monotonic() < deadline:
            time.sleep(0.5)

    # -- history --------------------------------------------------------------------------------------------------

    def _rows(self, keys: Sequence[str] | None, system: bool = False) -> list[Json]:
        """A row for each step, with the latest value of each key and of the time."""
        client = self._api.client
        query = {"runId": self.id, "limit": 100_000}
        known = [
            row["metricKey"]
            for row in _server.ask(client, "metric keys", "GET", "/metrics/keys", **query)["keys"]
            if row["metricKey"].startswith(SYSTEM) == system
        ]
        wanted = known if keys is None else [key for key in known if key in keys]
        rows: dict[int, Json] = {}
        begun = int(self._document["startedAtMs"])
        for start in range(0, len(wanted), 100):
            body = {"runId": self.id, "metricKeys": wanted[start : start + 100], "order": "asc"}
            for series in _server.ask(client, "series", "POST", "/query/series", body)["series"]:
                for point in series["points"]:
                    row = rows.setdefault(point["step"], {"_step": point["step"], "_timestamp": 0.0})
                    row[series["metricKey"]] = point["value"]
                    row["_timestamp"] = max(row["_timestamp"], point["timestampMs"] / 1000)
        if not system:
            self._add_media(rows, keys)
        for row in rows.values():
            row["_runtime"] = row["_timestamp"] - begun / 1000
        return [rows[step] for step in sorted(rows)]

    def _add_media(self, rows: dict[int, Json], keys: Sequence[str] | None) -> None:
        for item in self._media():
            if keys is not None and item["key"] not in keys:
                continue
            moment = item["timeMs"] / 1000
            row = rows.setdefault(item["step"], {"_step": item["step"], "_timestamp": moment})
            row[item["key"]] = {
                "_type": _MEDIA_TYPES.get(item["mediaType"], item["mediaType"]),
                "path": media_path(item),
                "sha256": item["sha256"],
                "size": item["sizeBytes"],
                **{name: item[name] for name in ("caption", "width", "height") if item.get(name) is not None},
            }

    def _media(self) -> Iterator[Json]:
        return _server.rows(self._api.client, "media", route("runs", self.id, "media"), "items")

    def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | str | None = None,
        x_axis: str = "_step",
        pandas: bool = True,
        stream: str = "default",
    ) -> Any:
        """A row for each step, at most ``samples`` of them.

        Args:
            samples: rows are left out evenly to come down to it.
            keys: only rows that have all of these.
            x_axis: the key by which rows are ordered.
            pandas: a data frame when pandas is there, else a list.
            stream: ``system`` for the metrics of the machine.

        Raises:
            CommError: the server does not answer.
        """
        rows = self._chosen([keys] if isinstance(keys, str) else keys, x_axis, stream == "system")
        if len(rows) > samples > 0:
            last = len(rows) - 1
            places = dict.fromkeys(round(number * last / max(samples - 1, 1)) for number in range(samples))
            rows = [rows[place] for place in places]
        if not pandas:
            return rows
        try:
            import pandas as pd
        except ImportError:
            return rows
        return pd.DataFrame.from_records(rows)

    def _chosen(self, keys: Sequence[str] | None, x_axis: str, system: bool = False) -> list[Json]:
        named = None if keys is None else [*dict.fromkeys([*keys, x_axis])]
        rows = self._rows(named, system)
        if named is not None:
            kept = {*named, "_step"}
            rows = [
                {key: value for key, value in row.items() if key in kept}
                for row in rows
                if all(key in row for key in named)
            ]
        if x_axis != "_step":
            rows = sorted((row for row in rows if x_axis in row), key=lambda row: row[x_axis])
        return rows

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        use_cache: bool = True,
    ) -> Iterator[Json]:
        """All rows, or those that have all of ``keys``, from ``min_step`` up to but without ``max_step``."""
        named = None if keys is None else list(keys)
        for row in self._rows(named):
            if (min_step is not None and row["_step"] < min_step) or (
                max_step is not None and row["_step"] >= max_step
            ):
                continue
            if named is None:
                yield row
            elif all(key in row for key in named):
                yield {key: row[key] for key in named}

    # -- files and artifacts --------------------------------------------------------------------------------------

    def files(self, names: Sequence[str] | None = None, per_page: int = 50, pattern: str | None = None) -> list[File]:
        """What ``run.save`` and media have stored, by path.

        Args:
            names: only these.
            pattern: only those whose path fits; ``%`` stands for anything.
        """
        import fnmatch

        glob = None if pattern is None else pattern.replace("%", "*")
        found: dict[str, File] = {}
        for artifact in self._artifacts("made"):
            if artifact.get("type") == FILE_TYPE:
                whole = self._api._artifact_by_id(artifact["artifactId"])
                path = str(whole.metadata.get("path") or next(iter(whole.manifest.entries)))
                found.setdefault(path, File(self, path, whole.size, artifact=whole))
        for item in self._media():
            path = media_path(item)
            found[path] = File(self, path, item["sizeBytes"], media_id=item["mediaId"])
        return [
            file
            for path, file in sorted(found.items())
            if (names is None or path in names) and (glob is None or fnmatch.fnmatch(path, glob))
        ]

    def file(self, name: str) -> File:
        """One file by its path. Raises :class:`CommError` when there is none."""
        for file in self.files([name]):
            return file
        raise CommError(f"{self!r} has no file {name!r}.")

    def _artifacts(self, role: str) -> Iterator[Json]:
        rows = _server.rows(self._api.client, "artifacts", route("runs", self.id, "artifacts"), "artifacts")
        return (row for row in rows if row["role"] == role)

    def logged_artifacts(self, per_page: int = 100) -> list[Artifact]:
        """The artifacts that it made, without the single files of ``run.save``."""
        rows = [row for row in self._artifacts("made") if row.get("type") != FILE_TYPE]
        return [self._api._artifact_by_id(row["artifactId"]) for row in rows]

    def used_artifacts(self, per_page: int = 100) -> list[Artifact]:
        """The artifacts that it used."""
        return [self._api._artifact_by_id(row["artifactId"]) for row in self._artifacts("used")]

    def use_artifact(self, artifact: Artifact, use_as: str | None = None) -> Artifact:
        """Note that this run used an artifact."""
        body = {"runId": self.id, "artifactRef": artifact.id}
        _server.ask(self._api.client, "artifact use", "POST", "/artifacts/use", body)
        return artifact

    # -- changing it ----------------------------------------------------------------------------------------------

    def update(self) -> None:
        """Write what was changed here to the server, and wait for it.

        Raises:
            CommError: the server does not answer.
        """
        now, before = self._state(), self._before
        changed = {name: now[name] for name in now if now[name] != before[name]}
        if not changed:
            return
        from rundial.lowlevel import Client

        client = self._api.client
        with Client(client.endpoint, api_key=client.api_key, quiet=True) as writer:
            run = writer.run(self._document["projectId"], self.id)
            for name in ("config", "summary"):
                if name in changed:
                    old = before[name]
                    values = {k: v for k, v in now[name].items() if k not in old or old[k] != v}
                    if name == "config":
                        run.update_config(values)
                    else:
                        run.summary.update(values)
            if "name" in changed:
                run.rename(self.name)
            if "tags" in changed:
                run.set_tags(self.tags)
            if "notes" in changed:
                run.set_notes(self.notes or "")
            if "group" in changed:
                run._update(group=self.group)
            if not run.flush(30):
                raise CommError(f"{client.endpoint} has not taken the changes to {self!r} in time.")
        self._before = now

    save = update

    def delete(self, delete_artifacts: bool = False) -> None:
        """Not supported: the server removes no runs."""
        raise UnsupportedSymbol("wandb.Api().run().delete()")

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """A frame with its page, for a notebook."""
        return f'<iframe src="{self.url}" style="border:none;width:100%;height:{height}px"></iframe>'

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Say where it can be seen."""
        from rundial.compat.wandb.errors.term import termlog

        termlog(f"View run {self.name} at {self.url}")
        return True

    def __repr__(self) -> str:
        return f"<Run {'/'.join(part for part in self.path if part)} ({self.state})>"
