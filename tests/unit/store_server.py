"""A small server of records and uploads in this process: what a client sent is there to be looked at.

It follows the upload routes of ``docs/http.md``, with parts of 64 KiB so that small files travel in many.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import msgspec

from rundial.testing import MemoryTransport

MULTIPART_FROM = 256 * 1024
PART = 64 * 1024


class StoreServer(ThreadingHTTPServer):
    """Takes records and uploads; a context manager that serves in a thread of its own.

    ``fault(method, path)`` may answer an HTTP status to give instead, or sleep.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.records = MemoryTransport()
        self.fault: Callable[[str, str], int | None] = lambda method, path: None
        self.knows_run = True
        self.calls: list[str] = []
        """Every request as ``METHOD /path``, those that a fault answered too."""
        self.puts: list[tuple[str, int]] = []
        """``(path, part number)`` of every body that was taken; 0 for a whole file."""
        self.uploads: dict[str, dict[str, Any]] = {}
        self.versions: list[dict[str, Any]] = []
        """What was finalized, in order: the initiation with ``content``, bytes by path."""
        self.served: dict[str, bytes] = {}
        """What a download gives instead of the stored bytes, by path."""
        self.document: dict[str, Any] | None = None
        """What ``artifacts/use`` answers; None for the last version of that name."""
        self.lock = Lock()

    def __enter__(self) -> StoreServer:
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client may die in the middle of a request: that is what these tests are about."""

    def contents(self, name: str) -> list[dict[str, bytes]]:
        """The files of each version of an artifact."""
        return [version["content"] for version in self.versions if version["name"] == name]

    def artifact(self, version: dict[str, Any]) -> dict[str, Any]:
        number = [other for other in self.versions if other["name"] == version["name"]].index(version) + 1
        return {
            "artifactId": version["artifactId"],
            "runId": version["runId"],
            "name": version["name"],
            "version": number,
            "aliases": version.get("aliases", []),
            "metadata": version.get("metadata", {}),
            "sizeBytes": sum(file["sizeBytes"] for file in version["files"]),
            "files": version["files"] + version.get("references", []),
        }


class _Handler(BaseHTTPRequestHandler):
    server: StoreServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self._is_faulty():
            return
        server, route = self.server, self.path.removeprefix("/api/v1/")
        if route == "ingest/records":
            with server.lock:
                reply = server.records.deliver(self.headers["x-rundial-stream"], body).reply
            assert reply is not None
            reply.run = {"url": f"{server.url}/#/runs/any"}
            self._answer(200, msgspec.json.encode(reply))
            return
        document = msgspec.json.decode(body)
        if not server.knows_run:
            self._error(404, "NOT_FOUND", "There is no such run.")
            return
        with server.lock:
            status, answer = getattr(self, "_" + route.removeprefix("artifacts/"))(document)
        self._answer(status, msgspec.json.encode(answer))

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if len(body) < int(self.headers["content-length"]):
            self.close_connection = True  # the client died
            return
        if self._is_faulty():
            return
        _, _, upload_id, number, part = self.path.split("/")
        with self.server.lock:
            upload = self.server.uploads[upload_id]
            file = upload["request"]["files"][int(number)]
            if int(part) == 0 and hashlib.sha256(body).hexdigest() != file["sha256"]:
                self._error(422, "HASH_MISMATCH", "That is not what was announced.")
                return
            upload["got"][int(number), int(part)] = body
            self.server.puts.append((file["path"], int(part)))
        self._answer(200, b"", etag=f'"{hashlib.md5(body).hexdigest()}"')

    def do_GET(self) -> None:
        if self._is_faulty():
            return
        _, _, artifact_id, path = self.path.split("/", 3)
        version = next(version for version in self.server.versions if version["artifactId"] == artifact_id)
        content = version["content"][bytes.fromhex(path).decode()]
        self._answer(200, self.server.served.get(bytes.fromhex(path).decode(), content))

    def _initiate(self, request: dict[str, Any]) -> tuple[int, Any]:
        uploads = self.server.uploads
        found = next(
            (key for key, upload in uploads.items() if upload["request"]["uploadKey"] == request["uploadKey"]), None
        )
        upload_id = found or secrets.token_hex(4)
        upload = uploads.setdefault(
            upload_id, {"request": request, "got": {}, "id": secrets.token_hex(4), "done": None}
        )
        files = []
        for number, file in enumerate(request["files"]):
            base = f"{self.server.url}/put/{upload_id}/{number}"
            parts = _parts(file["sizeBytes"])
            if parts is None and (number, 0) not in upload["got"]:
                files.append({"path": file["path"], "uploadStrategy": "single", "url": f"{base}/0"})
            missing = [part for part in parts or () if (number, part["partNumber"]) not in upload["got"]]
            for part in missing:
                part["url"] = f"{base}/{part['partNumber']}"
            if missing:
                files.append({"path": file["path"], "uploadStrategy": "multipart", "parts": missing})
        return 200, {"artifactId": upload["id"], "uploadId": upload_id, "files": [] if upload["done"] else files}

    def _finalize(self, request: dict[str, Any]) -> tuple[int, Any]:
        upload = self.server.uploads[request["uploadId"]]
        if upload["done"] is None:
            content = {}
            for number, file in enumerate(upload["request"]["files"]):
                numbers = [part["partNumber"] for part in _parts(file["sizeBytes"]) or [{"partNumber": 0}]]
                whole = b"".join(upload["got"].get((number, part), b"") for part in numbers)
                if hashlib.sha256(whole).hexdigest() != file["sha256"]:
                    for part in numbers:
                        upload["got"].pop((number, part), None)
                    return 409, {"error": {"code": "HASH_MISMATCH", "message": "A file is not what was announced."}}
                content[file["path"]] = whole
            upload["done"] = upload["request"] | {"artifactId": upload["id"], "content": content, "at": time.time()}
            self.server.versions.append(upload["done"])
        return 200, {"artifact": self.server.artifact(upload["done"]), "deduped": False}

    def _use(self, request: dict[str, Any]) -> tuple[int, Any]:
        name = request["artifactRef"].partition(":")[0]
        found = [version for version in self.server.versions if version["name"] == name]
        if self.server.document is None and not found:
            return 404, {"error": {"code": "NOT_FOUND", "message": f"There is no artifact {name}."}}
        return 200, {"artifact": self.server.document or self.server.artifact(found[-1])}

    def _download(self, request: dict[str, Any]) -> tuple[int, Any]:
        path = request["path"].encode().hex()
        return 200, {"url": f"{self.server.url}/get/{request['artifactId']}/{path}"}

    def _is_faulty(self) -> bool:
        self.server.calls.append(f"{self.command} {self.path}")
        status = self.server.fault(self.command, self.path)
        if status is not None:
            self._error(status, "FAULT", "This is a fault on request.")
        return status is not None

    def _error(self, status: int, code: str, message: str) -> None:
        self._answer(status, msgspec.json.encode({"error": {"code": code, "message": message}}))

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        try:
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the client has left

    def log_message(self, *args: object) -> None:
        """Tests have an output of their own."""


def _parts(size: int) -> list[dict[str, Any]] | None:
    if size <= MULTIPART_FROM:
        return None
    offsets = range(0, size, PART)
    return [
        {"partNumber": number, "offsetBytes": offset, "sizeBytes": min(PART, size - offset)}
        for number, offset in enumerate(offsets, 1)
    ]
