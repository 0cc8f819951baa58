"""Everything of runs into a folder, from which :mod:`rundial.importers.native` takes it in again::

    export.json                       what is in it
    runs/<run>/run.json               the run, its eval runs and which artifacts it made and used; comes last
    runs/<run>/metrics.parquet        logs, spans, results, markers and media likewise
    runs/<run>/media/<sha256>.png     what the items of media show
    artifacts/<name>-v<version>/…     the files of an artifact
    artifacts/<name>-v<version>.json  what else is known of it

Every file appears whole or not at all. What came of a table before an interruption stays in ``.<table>.part``.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from rundial.artifacts import Artifact
from rundial.client import HttpClient
from rundial.delivery import StoreClient
from rundial.errors import ConfigError, RequestError, RundialError
from rundial.exports.tables import (
    FORMATS,
    LOGS,
    MARKERS,
    MEDIA,
    METRICS,
    RESULTS,
    SPANS,
    Columns,
    Format,
    pyarrow,
    write_table,
)
from rundial.http import Json, next_cursor, route

TYPE = "rundial-export"
VERSION = 1
MANIFEST = "export.json"
RUN = "run.json"
PAGE_ROWS = 10_000
MAX_MARKERS = 10_000
"""Markers that a server gives out of a run."""
TABLES: dict[str, Columns] = {
    "metrics": METRICS,
    "logs": LOGS,
    "spans": SPANS,
    "results": RESULTS,
    "markers": MARKERS,
    "media": MEDIA,
}
_END_OF_TIME_MS = 2**63 - 1
Page = tuple[list[Json], str | None]


class Report(NamedTuple):
    """What an export wrote."""

    rows: dict[str, int]
    """By table."""
    artifacts: int
    left_out: dict[str, int]
    """What could not be carried, by what it is."""


def runs_of(client: HttpClient, workspace: str, targets: Sequence[str]) -> list[Json]:
    """The ids of the runs that are named, or of all runs of the projects that are; each once, oldest first.

    Raises :class:`RundialError`: there is neither a run nor a project of that name.
    """
    found: dict[str, Json] = {}
    for target in targets:
        try:
            run = client.get_run(target)
            found[run["runId"]] = run
            continue
        except RequestError as error:
            if error.status_code != 404:
                raise
        try:
            client.resolve_project_id(workspace, target)
        except RequestError as error:
            if error.status_code != 404:
                raise
            raise RundialError(f"there is neither a run nor a project {target!r} in {workspace}.") from error
        path = route("workspaces", workspace, "projects", target, "runs", "query")
        for row in client.pages("run list", path, "runs", 1000, 1_000_000, order="asc", archived="any"):
            found.setdefault(row["runId"], row)
    return list(found.values())


def export_runs(
    client: HttpClient,
    runs: Sequence[Json],
    out: Path,
    form: Format,
    advance: Callable[[str], None] = lambda what: None,
) -> Report:
    """Write runs into a folder; one that was interrupted goes on where it was.

    Args:
        client: of the server that has them.
        runs: as lists have them; their ids count.
        out: the folder, which is made. What another export has put there is brought up to date.
        advance: called with ``"run"`` for each run that is done, and with a table's name for each of its rows' pages.

    Raises:
        ConfigError: the folder cannot be written or holds something else, or Parquet's library is not there.
        RundialError: what the server raises; what has come by then is kept for the next attempt.
    """
    if form == "parquet":
        pyarrow()
    try:
        return _export(client, runs, out, form, advance)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename or out}: {error.strerror or error}.") from error


def _export(
    client: HttpClient, runs: Sequence[Json], out: Path, form: Format, advance: Callable[[str], None]
) -> Report:
    out.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(out)
    if manifest is None and any(out.iterdir()):
        raise ConfigError(f"{out} holds something that is no export of Rundial. Choose another folder.")
    names = [run["runId"] for run in runs]
    about = {"type": TYPE, "version": VERSION, "format": form, "endpoint": client.endpoint}
    known = [] if manifest is None else [name for name in manifest["runs"] if name not in names]
    if manifest is not None and manifest["format"] != form and known:
        raise ConfigError(f"{out} has other runs as {manifest['format']}. Choose the same format or another folder.")
    write_json(out / MANIFEST, {**about, "complete": False, "runs": known + names})
    store = StoreClient(client.endpoint, client.api_key, connections=4)
    export = _Export(client, store, out, form, advance)
    try:
        for name in names:
            export.run(name)
            advance("run")
        export.store_artifacts()
    finally:
        store.close()
    write_json(out / MANIFEST, {**about, "complete": True, "runs": known + names, "leftOut": export.left_out})
    return Report(export.rows, len(export.artifacts), export.left_out)


def read_manifest(folder: Path) -> Json | None:
    """What an export says of itself; None when there is none. Raises :class:`RundialError` when it is of later make."""
    try:
        found = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Json)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if found.get("type") != TYPE:
        return None
    if found.get("version") != VERSION or found.get("format") not in FORMATS:
        raise RundialError(f"{folder} was exported by a newer Rundial. Update this one.")
    return found


def folder_of(run_id: str) -> str:
    """The name of a run's folder, whatever its id has in it."""
    return file_name(run_id)


def file_name(text: str) -> str:
    """Any text as the name of a file; different texts have different names."""
    name = quote(text, safe=" ()+,=@[]{}~!#$&'")
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > 180 or name != name.rstrip(". "):
        name = name[:120].rstrip(". %") + "~" + hashlib.sha256(text.encode()).hexdigest()[:16]
    return name


def write_json(path: Path, document: Any) -> None:
    """Write a document so that a reader sees the old one or the new one, whole. Raises :class:`OSError`."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)


class _Export:
    def __init__(
        self, client: HttpClient, store: StoreClient, out: Path, form: Format, advance: Callable[[str], None]
    ) -> None:
        self.rows = dict.fromkeys(TABLES, 0)
        self.artifacts: dict[str, None] = {}
        self.left_out: dict[str, int] = {}
        self._client = client
        self._store = store
        self._out = out
        self._form: Format = form
        self._advance = advance
        self._details = True
        """Whether the server tells all it has of a point."""

    def run(self, run_id: str) -> None:
        """One run into its folder."""
        client = self._client
        folder = self._out / "runs" / folder_of(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        run = client.get_run(run_id)
        state = hashlib.sha256(msgspec.json.encode(run)).hexdigest()
        same = _read_state(folder / RUN, state)
        if not same:
            (folder / RUN).unlink(missing_ok=True)
            for form in FORMATS:
                if form != self._form:
                    for table in TABLES:
                        (folder / f"{table}.{form}").unlink(missing_ok=True)
        for table, page in (("metrics", self._metrics), ("logs", self._logs), ("spans", self._spans)):
            self._table(folder, table, run_id, state, same, page)
        eval_runs = client.call("eval run list", "GET", route("runs", run_id, "evals"))["evalRuns"]
        self._put(folder, "results", self._results(eval_runs))
        self._put(folder, "markers", self._markers(run_id))
        self._put(folder, "media", self._media(run_id, folder))
        made = client.list_artifacts(run_id=run_id, limit=1000, max_pages=1_000_000)
        self.artifacts |= dict.fromkeys(it["artifactId"] for it in made)
        roles = [{"artifactId": it["artifactId"], "role": it["role"]} for it in made]
        write_json(folder / RUN, {"run": run, "state": state, "evalRuns": eval_runs, "artifacts": roles})

    def _note(self, what: str, number: int = 1) -> None:
        if number:
            self.left_out[what] = self.left_out.get(what, 0) + number

    def _put(self, folder: Path, table: str, rows: Iterable[Json]) -> None:
        self.rows[table] += write_table(rows, folder / f"{table}.{self._form}", TABLES[table], self._form)

    def _table(
        self,
        folder: Path,
        table: str,
        run_id: str,
        state: str,
        same: bool,
        page: Callable[[str, str | None], Page],
    ) -> None:
        """One table by pages, from where an earlier attempt left it."""
        out = folder / f"{table}.{self._form}"
        part, journal = folder / f".{table}.part", folder / f".{table}.part.json"
        if same and out.is_file():
            return
        cursor, good, whole = _read_journal(part, journal, state)
        with part.open("r+b" if good else "wb") as file:
            file.seek(good)
            file.truncate()
            while not whole:
                rows, following = page(run_id, cursor)
                if following is not None and following == cursor:
                    raise RundialError("the server answers the same page again and again.")
                for row in rows:
                    file.write(msgspec.json.encode(row) + b"\n")
                file.flush()
                cursor, whole = following, following is None
                write_json(journal, {"state": state, "cursor": cursor, "bytes": file.tell(), "whole": whole})
                self._advance(table)
        self._put(folder, table, _lines(part))
        part.unlink()
        journal.unlink(missing_ok=True)

    def _metrics(self, run_id: str, cursor: str | None) -> Page:
        body: Json = {"runId": run_id, "limit": PAGE_ROWS, "endMs": _END_OF_TIME_MS} | _given(cursor)
        if self._details:
            try:
                page = self._client.call("metrics export", "POST", "/export/metrics", body | {"details": True})
            except RequestError as error:
                if error.status_code != 400:
                    raise
                self._details = False
                self._note("that the server is an older one: order of arrival, stages and contexts of points")
        if not self._details:
            page = self._client.call("metrics export", "POST", "/export/metrics", body)
        for row in page["rows"]:
            row.setdefault("order", 0)
            if isinstance(row["value"], str):
                row["text"], row["value"] = row["value"], None
        return page["rows"], next_cursor(page)

    def _logs(self, run_id: str, cursor: str | None) -> Page:
        body: Json = {"runId": run_id, "limit": PAGE_ROWS}
        page = self._client.call("logs export", "POST", "/export/logs", body | _given(cursor))
        return page["rows"], next_cursor(page)

    def _spans(self, run_id: str, cursor: str | None) -> Page:
        body: Json = {"runId": run_id, "limit": 100}
        page = self._client.call("trace list", "POST", "/query/traces", body | _given(cursor))
        rows: list[Json] = []
        for trace in page["traces"]:
            found = self._client.call("trace", "GET", route("runs", run_id, "traces", trace["traceId"]))
            for span in found["spans"]:
                rows.append({**span, "startNs": int(span["startNs"]), "endNs": int(span["endNs"])})
            self._note("spans of traces with more than 10,000", found["spanCount"] - len(found["spans"]))
        return rows, next_cursor(page)

    def _results(self, eval_runs: Sequence[Json]) -> Iterator[Json]:
        for one in eval_runs:
            body: Json = {"evalRunId": one["evalRunId"], "projectId": one["projectId"], "limit": 1000}
            cursor: str | None = None
            for attempt in count():
                if attempt and cursor is None:
                    break
                page = self._client.call("eval results", "POST", "/query/evals/results", body | _given(cursor))
                for row in page["rows"]:
                    yield {"evalRunId": one["evalRunId"], **row}
                cursor = next_cursor(page)

    def _markers(self, run_id: str) -> list[Json]:
        found: list[Json] = self._client.call("marker list", "GET", route("runs", run_id, "markers"))["markers"]
        if len(found) >= MAX_MARKERS:
            self._note(f"markers before the newest {MAX_MARKERS:,}, if there are any")
        return found

    def _media(self, run_id: str, folder: Path) -> Iterator[Json]:
        items = self._client.pages("media list", route("runs", run_id, "media"), "items", 1000, 1_000_000)
        if items:
            (folder / "media").mkdir(exist_ok=True)
        for item in items:
            ending = mimetypes.guess_extension((item.get("contentType") or "").partition(";")[0]) or ""
            place = folder / "media" / f"{item['sha256']}{ending}"
            if not place.is_file():
                self._download(route("runs", run_id, "media", item["mediaId"]), place, item["sha256"])
                self._advance("media")
            yield {**item, "file": f"media/{place.name}"}

    def _download(self, path: str, place: Path, sha256: str) -> None:
        draft = place.with_name(f".{place.name}.draft")
        digest = hashlib.sha256()
        try:
            with draft.open("wb") as file:

                def keep(piece: bytes) -> None:
                    digest.update(piece)
                    file.write(piece)

                self._client.download("media download", path, keep)
            if digest.hexdigest() != sha256:
                raise RundialError(f"what came for {place.name} is not what was stored. Try again.")
            draft.replace(place)
        finally:
            draft.unlink(missing_ok=True)

    def store_artifacts(self) -> None:
        """The artifacts that the runs made and used."""
        folder = self._out / "artifacts"
        for artifact_id in self.artifacts:
            document = self._client.get_artifact(artifact_id)
            folder.mkdir(exist_ok=True)
            name = file_name(f"{document['name']}-v{document['version']}")
            if any(not file.get("uri") for file in document["files"]):
                Artifact(document, self._store, None).download(folder / name)
            self._note("files that artifacts only refer to", sum(bool(file.get("uri")) for file in document["files"]))
            write_json(folder / f"{name}.json", {**document, "folder": name})
            self._advance("artifact")


def _given(cursor: str | None) -> Json:
    return {"cursor": cursor} if cursor else {}


def _read_state(path: Path, state: str) -> bool:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Json).get("state") == state
    except (OSError, msgspec.MsgspecError):
        return False


def _read_journal(part: Path, journal: Path, state: str) -> tuple[str | None, int, bool]:
    """Where to go on: the cursor, the bytes that are good, and whether nothing is missing."""
    try:
        found = msgspec.json.decode(journal.read_bytes(), type=Json)
        if found["state"] == state and part.stat().st_size >= found["bytes"]:
            return found["cursor"], found["bytes"], found["whole"]
    except (OSError, msgspec.MsgspecError, KeyError):
        pass  # there is none, or none that is whole: from the beginning
    return None, 0, False


def _lines(part: Path) -> Iterator[Json]:
    decode = msgspec.json.Decoder(Json).decode
    with part.open("rb") as file:
        for line in file:
            yield decode(line)
