"""An outside client of the artifact routes: announces, puts what is missing, finalizes."""

from __future__ import annotations

import hashlib
from typing import Any

import requests


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def entry(path: str, content: bytes, **more: Any) -> dict[str, Any]:
    """A file as it is announced."""
    return {"path": path, "sizeBytes": len(content), "sha256": sha256(content)} | more


def initiate(server: Any, run_id: str, contents: dict[str, bytes], key: str | None = None, **more: Any) -> Any:
    """Announce files; the answer's JSON. ``more`` goes into the body."""
    body = {"runId": run_id, "name": "weights", "files": [entry(*file) for file in contents.items()]} | more
    answer = server.post("/api/v1/artifacts/initiate", key=key, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def put(url: str, content: bytes, **headers: str) -> requests.Response:
    return requests.put(url, data=content, headers=headers, timeout=60)


def put_missing(begun: dict[str, Any], files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Put every file and part that is missing; the parts as ``multipartParts`` of the finalization."""
    parts = []
    for file in begun["files"]:
        content = files[file["path"]]
        if file["uploadStrategy"] == "single":
            assert put(file["url"], content, **file["requiredHeaders"]).status_code == 200
            continue
        etags = []
        for part in file["parts"]:
            begin = part["offsetBytes"]
            answer = put(part["url"], content[begin : begin + part["sizeBytes"]], **part["requiredHeaders"])
            assert answer.status_code == 200, answer.text
            etags.append({"partNumber": part["partNumber"], "etag": answer.headers["ETag"]})
        parts.append({"path": file["path"], "parts": etags})
    return parts


def finalize(server: Any, run_id: str, begun: dict[str, Any], key: str | None = None, **more: Any) -> requests.Response:
    ids = {"runId": run_id, "artifactId": begun["artifactId"], "uploadId": begun["uploadId"]}
    return server.post("/api/v1/artifacts/finalize", key=key, json=ids | more)


def upload(server: Any, run_id: str, files: dict[str, bytes], key: str | None = None, **more: Any) -> dict[str, Any]:
    """A whole upload; the JSON of its finalization."""
    begun = initiate(server, run_id, files, key, **more)
    answer = finalize(server, run_id, begun, key, multipartParts=put_missing(begun, files))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def download(server: Any, artifact_id: str, path: str, **headers: str) -> requests.Response:
    """A file of an artifact through its signed address, without a key."""
    answer = server.post("/api/v1/artifacts/download", json={"artifactId": artifact_id, "path": path})
    assert answer.status_code == 200, answer.text
    return requests.get(answer.json()["url"], headers=headers, timeout=60)
