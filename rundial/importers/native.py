"""Runs that :mod:`rundial.exports.project` wrote, into a server again."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from rundial.errors import RundialError
from rundial.exports.project import RUN, folder_of, read_manifest
from rundial.http import Json
from rundial.importers.draft import Draft, Target, Upload
from rundial.importers.exported_run import MILLISECOND, ExportedRun, draft_of, inside
from rundial.staging import Job, Reference, stage_file

_KEEP_ALL = {"strategy": "keep_all"}


def read_export(folder: Path, workspace: str, project: str | None = None) -> Export:
    """What a folder holds.

    Args:
        folder: that :func:`rundial.exports.project.export_runs` wrote.
        workspace: where the runs go.
        project: another project than they were in.

    Raises:
        RundialError: it is no such folder, or not whole.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise RundialError(f"{folder} is no export of Rundial: it has no export.json.")
    if not manifest["complete"]:
        raise RundialError(f"the export in {folder} broke off. Run the same `rundial export` again to complete it.")
    documents = {name: _document(folder, name) for name in manifest["runs"]}
    strangers: dict[str, list[Json]] = {}
    runs: list[ExportedRun] = []
    for name, document in documents.items():
        run = ExportedRun(folder / "runs" / folder_of(name), manifest["format"], document)
        runs.append(run)
        for row in run.rows("results"):
            if row["runId"] != name:
                strangers.setdefault(row["runId"] if row["runId"] in documents else name, []).append(row)
    drafts = [draft_of(run, workspace, project, strangers.get(run.id, [])) for run in runs]
    return Export(folder, drafts, {run.id: run.document["artifacts"] for run in runs}, documents)


class Export(NamedTuple):
    """An exported folder."""

    folder: Path
    drafts: list[Draft]
    roles: dict[str, list[Json]]
    """Which artifacts each run made and used."""
    documents: dict[str, Json]

    def finish(self, target: Target, fresh: list[Draft], present: set[str]) -> None:
        """What concerns several runs: artifacts in the order of their versions, and who uses them; the archive."""
        new = {draft.start.run_id: draft for draft in fresh}
        wanted = {it["artifactId"] for name in new for it in self.roles[name]}
        users: dict[str, list[str]] = {}
        for name in new:
            for it in self.roles[name]:
                if it["role"] == "used":
                    users.setdefault(it["artifactId"], []).append(name)
        for artifact in _artifacts(self.folder):
            if artifact["artifactId"] not in wanted:
                continue
            others = [run["runId"] for run in artifact.get("madeBy") or () if run["runId"] != artifact["runId"]]
            makers = [name for name in (artifact["runId"], *others) if name in present]
            known: Json | None = None
            for maker in makers:
                key = f"artifact {artifact['artifactId']}"
                answer = target.upload(maker, Upload(key, partial(_artifact_job, self.folder, artifact)))
                known = answer["artifact"]
            for name in users.get(artifact["artifactId"], ()):
                if known is None:
                    new[name].leave_out("artifacts that it used, made by a run that is not among these")
                else:
                    body = {"runId": name, "artifactRef": known["artifactId"]}
                    target.client.call("artifact use", "POST", "/artifacts/use", body)
            if known is not None and known.get("version") != artifact["version"] and makers[0] in new:
                new[makers[0]].leave_out("version numbers of artifacts, which count anew here")
        archived = [name for name in new if self.documents[name]["run"].get("archivedAtMs")]
        for first in range(0, len(archived), 1000):
            target.client.edit_runs(archived[first : first + 1000], archived=True)


def _document(folder: Path, name: str) -> Json:
    path = folder / "runs" / folder_of(name) / RUN
    try:
        return msgspec.json.decode(path.read_bytes(), type=Json)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RundialError(f"{path} cannot be read: {error}.") from error


def _artifacts(folder: Path) -> list[Json]:
    """The artifacts, the versions of a name one after the other."""
    found: list[Json] = []
    for path in (folder / "artifacts").glob("*.json"):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Json))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RundialError(f"{path} cannot be read: {error}.") from error
    return sorted(found, key=lambda it: (it["name"], it["version"]))


def _artifact_job(folder: Path, artifact: Json, place: Path) -> Job:
    job = Job(
        artifact["name"],
        type=artifact["type"],
        aliases=[alias for alias in artifact["aliases"] if alias != "latest"],
        metadata=artifact["metadata"],
        retention=_KEEP_ALL,
        step=artifact["step"],
        time_ns=artifact["createdAtMs"] * MILLISECOND,
    )
    root = inside(folder / "artifacts", artifact["folder"])
    for number, file in enumerate(artifact["files"]):
        if file.get("uri"):
            reference = Reference(file["path"], file["uri"], file["sizeBytes"], file["sha256"], file.get("etag"))
            job.references.append(reference)
        else:
            staged = stage_file(inside(root, file["path"]), place, str(number), file["path"])
            staged.content_type = file.get("contentType")
            job.files.append(staged)
    return job
