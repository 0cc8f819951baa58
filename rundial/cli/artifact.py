"""``rundial artifact``: files that runs made and used."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from rundial.cli.context import Project, Workspace, command, connect, find_run, group, target
from rundial.cli.output import answer, fields, moment, progress, say, table
from rundial.client import HttpClient
from rundial.diagnostics import amount
from rundial.errors import ConfigError, RequestError, RundialError
from rundial.http import Json

app = group("Artifacts.")

Reference = Annotated[
    str, typer.Argument(metavar="ARTIFACT", help="NAME (the latest), NAME:ALIAS, NAME:v3, or an artifact's id.")
]
_UPLOAD_SECONDS = 30.0


@command(app, "ls")
def ls(
    workspace: Workspace = None,
    project: Project = None,
    run: Annotated[str | None, typer.Option(help="Only what this run made and used: its id.")] = None,
    name: Annotated[str | None, typer.Option(help="Only versions of this artifact.")] = None,
    type: Annotated[str | None, typer.Option(help="Only artifacts of this type.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
) -> None:
    """List versions of artifacts, newest first."""
    page = min(limit, 1000)
    with connect() as client:
        chosen = target(workspace, project)
        place: Json = {"run_id": run}
        if run is None:
            place = {"project_id": client.resolve_project_id(*chosen)}  # resolving a target would make it
        found = client.list_artifacts(**place, name=name, artifact_type=type, limit=page, max_pages=-(-limit // page))[
            :limit
        ]
    rows = [
        (f"{it['name']}:v{it['version']}", it.get("type"), it.get("aliases"), it.get("fileCount"),
         amount(it["sizeBytes"]), it.get("role") or it.get("runId"), moment(it.get("createdAtMs")))
        for it in found
    ]  # fmt: skip
    headings = ("artifact", "type", "aliases", "files", "size", "run" if run is None else "role", "made")
    answer({"artifacts": found}, lambda: table(headings, rows, "No artifacts."))


@command(app, "get")
def get(
    artifact: Reference,
    out: Annotated[Path | None, typer.Option(help="Folder to put it in. Default: artifacts/NAME-vN.")] = None,
    path: Annotated[str | None, typer.Option(help="Only this file of it.")] = None,
    workspace: Workspace = None,
    project: Project = None,
    run: Annotated[str | None, typer.Option(help="Note that this run uses it: its id.")] = None,
) -> None:
    """Download an artifact, each file verified; what is there already and is right is left alone."""
    from rundial.artifacts import Artifact
    from rundial.delivery import StoreClient

    with connect() as client:
        document = _find(client, artifact, workspace, project)
        if run is not None:
            body = {"runId": run, "artifactRef": document["artifactId"]}
            client.call("artifact use", "POST", "/artifacts/use", body)
        store = StoreClient(client.endpoint, client.api_key, connections=4)
        try:
            found = Artifact(document, store, run)
            with progress("Downloading", None, "files"):
                place = found.get_path(path, out) if path is not None else found.download(out)
        except OSError as error:
            raise ConfigError(f"cannot write {error.filename or out}: {error.strerror}.") from error
        finally:
            store.close()
    answer({"out": str(place), "artifact": document}, lambda: say(f"{found.name}:v{found.version} is in {place}."))


def _find(client: HttpClient, reference: str, workspace: str | None, project: str | None) -> Json:
    """The version that a reference names, with its files. Raises :class:`RequestError` 404."""
    if reference.startswith("art_"):
        return client.get_artifact(reference)
    name, _, wanted = reference.partition(":")
    wanted = wanted or "latest"
    chosen = target(workspace, project)
    project_id = client.resolve_project_id(*chosen)
    for it in client.list_artifacts(project_id=project_id, name=name, limit=1000, max_pages=1000):
        if it["name"] == name and (wanted in (it.get("aliases") or ()) or wanted == f"v{it['version']}"):
            return client.get_artifact(it["artifactId"])
    hint = "`rundial artifact ls` lists what there is."
    raise RequestError(f"there is no artifact {reference} in {chosen.project}. {hint}", 404, "NOT_FOUND")


@command(app, "put")
def put(
    path: Annotated[Path, typer.Argument(exists=True, metavar="PATH", help="File or folder.")],
    run: Annotated[str | None, typer.Option(help="Run that made it: its id. Default: a run of its own.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the artifact. Default: the file's own.")] = None,
    type: Annotated[str | None, typer.Option(help="Any word, such as model or dataset.")] = None,
    alias: Annotated[list[str] | None, typer.Option(help="A name for this version. Repeatable.")] = None,
    workspace: Workspace = None,
    project: Project = None,
) -> None:
    """Upload a file or folder as a new version of an artifact. Interrupted, the same command goes on where it was."""
    with connect() as client, _staged(path, name) as (folder, job):
        job.type, job.aliases = type, list(alias or ())
        own = run is None
        if run is None:
            place = client.resolve_run_target(*target(workspace, project))
            run = client.create_run(place["projectId"], run_name=f"put {job.name}", job_type="upload")["runId"]
        try:
            document = _upload(client, folder, job, run)
        except BaseException:
            if own:
                client.update_run_status(run, "failed")
            raise
        if own:
            client.update_run_status(run, "completed")
    made = document["artifact"]
    message = f"{made.get('name', job.name)}:v{made['version']}, {amount(job.size)}, made by {run}."
    answer({"artifact": made, "deduped": bool(document.get("deduped")), "runId": run}, lambda: say(message))


@contextmanager
def _staged(path: Path, name: str | None) -> Iterator[tuple[Path, Any]]:
    """The files as a job, in a folder beside them where links cost nothing. Raises :class:`ConfigError`."""
    from rundial.artifact_paths import clean_name, members
    from rundial.staging import FILES, Job, settle, stage_file

    path = path.expanduser().absolute()
    try:
        found = members(path)[0] if path.is_dir() else [(path.name, path)]
        with tempfile.TemporaryDirectory(prefix=".rundial-put-", dir=_beside(path)) as text:
            folder = Path(text)
            (folder / FILES).mkdir()
            job = Job(clean_name(name or path.name), time_ns=time.time_ns())
            job.files = [stage_file(file, folder, str(number), inner) for number, (inner, file) in enumerate(found)]
            with progress("Reading", None, "MiB") as advance:
                settle(folder, job, lambda: advance(1))
            yield folder, job
    except ValueError as error:
        raise ConfigError(f"{error}.") from error
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename or path}: {error.strerror or error}.") from error


def _beside(path: Path) -> Path | None:
    import os

    return path.parent if os.access(path.parent, os.W_OK) else None


def _upload(client: HttpClient, folder: Path, job: Any, run: str) -> Json:
    from rundial.delivery import Refusal, StoreClient, deliver
    from rundial.staging import Changed

    # The same files for the same run are the same upload, which goes on where it was interrupted.
    content = repr((run, job.name, sorted((file.path, file.sha256) for file in job.files)))
    job.key = hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:32]
    job.meta = {"run_id": run}
    store = StoreClient(client.endpoint, client.api_key, _UPLOAD_SECONDS)
    try:
        with progress("Uploading", job.size, "bytes") as advance:
            return deliver(folder, job, store, advance)
    except Refusal as refusal:
        raise refusal.error from None
    except Changed as error:
        raise RundialError(f"a file changed while it was read: {error}. Try again.") from error
    finally:
        store.close()


@command(app, "lineage")
def lineage(artifact: Reference, workspace: Workspace = None, project: Project = None) -> None:
    """Show which run made an artifact, out of what, and which runs use it."""
    with connect() as client:
        found = _find(client, artifact, workspace, project)
        makers = found.get("madeBy") or [find_run(client, found["runId"])]
        inputs = [it for run in makers for it in client.list_artifacts(run_id=run["runId"], limit=1000)]
    made_from = list({it["artifactId"]: it for it in inputs if it.get("role") == "used"}.values())
    users = found.get("usedBy") or []
    document = {"artifact": {name: found[name] for name in found if name != "files"}, "madeBy": makers,
                "madeFrom": made_from, "usedBy": users}  # fmt: skip

    def show() -> None:
        fields({"artifact": f"{found['name']}:v{found['version']}", "made by": [_run(it) for it in makers],
                "made from": [f"{it['name']}:v{it['version']}" for it in made_from]})  # fmt: skip
        table(("used by", "name", "status"), [(it["runId"], it.get("runName"), it.get("status")) for it in users],
              "No run uses it.")  # fmt: skip

    answer(document, show)


def _run(run: Json) -> str:
    return f"{run['runId']} ({run['runName']})" if run.get("runName") else str(run["runId"])
