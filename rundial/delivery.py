"""One upload on its way: the control calls, the signed PUTs, and what every answer means.

The server says what it still lacks, so that an upload which was interrupted anywhere goes on from there: the same
``uploadKey`` gets the same upload, without the parts that are already durable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from rundial.errors import RequestError
from rundial.staging import PIECE_BYTES, Changed, File, Job, check_unchanged, now_ms, open_staged
from rundial.transport import (
    CLIENT,
    MAX_REPLY_BYTES,
    Outcome,
    Verdict,
    _cause,
    _pool,
    _proxy,
    parse_retry_after,
    request_error,
)

SEND_BYTES = 256 * 1024
"""About this much goes to the socket at once, which takes it within ``SEND_SECONDS`` or fails."""
SEND_SECONDS = 30.0
READ_SECONDS = 60.0
"""How long a server may take to make a part durable."""
HASH_BYTES_PER_SECOND = 50_000_000
"""How fast, at the least, a server is taken to verify a large upload when it is finalized."""
MAX_MANIFEST_BYTES = 512 * 1024 * 1024
MAX_STARTS = 3
"""How often an upload is begun anew without any progress in between before it is given up."""


_S3_ERROR = re.compile(rb"<Error>.*?<Code>([A-Za-z]{1,60})</Code>", re.DOTALL)
_ERROR_BYTES = 4096


class Refusal(Exception):
    """A request that did not succeed. ``outcome`` says what kind of failure, as for records."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(str(outcome.error))
        self.outcome = outcome

    @property
    def error(self) -> RequestError:
        return self.outcome.error or RequestError("no answer")


class Stopped(Exception):
    """Somebody wants the sending to end; what is missing is sent another time."""


class StoreClient:
    """The artifact routes of a server, over kept-alive connections. Safe for several threads.

    Args:
        endpoint: base URL.
        api_key: sent to that server's API alone; signed URLs get none.
        timeout: seconds without an answer to a control call.
        connections: how many are kept.
    """

    def __init__(self, endpoint: str, api_key: str | None, timeout: float = 7.0, connections: int = 2) -> None:
        from urllib.parse import urlsplit

        import urllib3

        self.endpoint = endpoint
        self.api_key = api_key
        self.sent: Callable[[int], None] = lambda size: None
        """Told the bytes of each body that a signed URL has taken."""
        self.owner: dict[str, Any] = {}
        """What an older server wants to hear with each request, beside what it is about."""
        self._timeout = timeout
        self._errors = (urllib3.exceptions.HTTPError, OSError, ValueError)
        loopback = urlsplit(endpoint).hostname in ("127.0.0.1", "localhost", "::1")
        self._pool = _pool(None if loopback else _proxy(endpoint), retries=False, maxsize=connections)
        self._headers = {
            "content-type": "application/json",
            "user-agent": CLIENT,
            "x-rundial-client": CLIENT,
            "x-rundial-protocol": "1",
        }
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"

    def call(self, path: str, body: dict[str, Any], seconds: float = 0.0) -> dict[str, Any]:
        """POST JSON to a route and give the JSON object it answers. Raises :class:`Refusal`.

        ``seconds`` is how long the answer may take, if longer than usual.
        """
        url = f"{self.endpoint}/api/v1/{path}"
        wait = max(self._timeout, seconds)
        data = msgspec.json.encode({**self.owner, **body})
        status, headers, content = self._request("POST", url, self._headers, data, wait)
        if 200 <= status < 300:
            try:
                return msgspec.json.decode(content, type=dict[str, Any])
            except (msgspec.MsgspecError, UnicodeDecodeError):
                pass  # a proxy's or a login page: request_error says so
        raise self._refusal(status, headers, content)

    def put(self, url: str, headers: dict[str, str], pieces: Iterator[bytes], length: int) -> str | None:
        """PUT bytes to a signed URL; the ETag of the answer. Raises :class:`Refusal` or what ``pieces`` raises."""
        sent = {"content-type": "application/octet-stream", **headers, "content-length": str(length)}
        body: Any = pieces if length else b""
        status, answered, content = self._request("PUT", url, sent, body, READ_SECONDS, SEND_SECONDS)
        if not 200 <= status < 300:
            raise self._refusal_of_s3(url, status, content) or self._refusal(status, answered, content)
        self.sent(length)
        etag = answered.get("etag")
        return etag if isinstance(etag, str) else None

    @contextmanager
    def open(self, url: str) -> Iterator[Iterator[bytes]]:
        """The body of a signed URL in pieces. Raises :class:`Refusal`."""
        try:
            response = self._pool.request(
                "GET", url, headers={"user-agent": CLIENT, "accept-encoding": "identity"}, redirect=True,
                preload_content=False, timeout=self._waiting(READ_SECONDS),
            )  # fmt: skip
        except self._errors as error:
            raise self._unanswered(error) from error
        try:
            if response.status != 200:
                raise self._refusal(response.status, response.headers, response.read(MAX_REPLY_BYTES))
            yield self._pieces(response)
            response.drain_conn()
        finally:
            response.close()

    def _pieces(self, response: Any) -> Iterator[bytes]:
        try:
            while piece := response.read(PIECE_BYTES):
                yield piece
        except self._errors as error:
            raise self._unanswered(error) from error

    def close(self) -> None:
        """Let go of connections."""
        self._pool.clear()

    def _waiting(self, seconds: float, connect: float = 5.0) -> Any:
        import urllib3

        return urllib3.Timeout(connect=connect, read=seconds)

    def _request(
        self, method: str, url: str, headers: dict[str, str], body: Any, seconds: float, connect: float = 5.0
    ) -> tuple[int, Any, bytes]:
        try:
            response = self._pool.request(
                method, url, body=body, headers=headers, redirect=False, preload_content=False,
                timeout=self._waiting(seconds, connect),
            )  # fmt: skip
            content = response.read(MAX_MANIFEST_BYTES)
            response.drain_conn()
        except self._errors as error:
            raise self._unanswered(error) from error
        return response.status, response.headers, content

    def _unanswered(self, error: BaseException) -> Refusal:
        return Refusal(Outcome("retry", error=RequestError(f"no answer from {self.endpoint}: {_cause(error)}")))

    def _refusal(self, status: int, headers: Any, content: bytes) -> Refusal:
        error = request_error(self.endpoint, status, content)
        return Refusal(Outcome(_verdict(status, error), None, parse_retry_after(headers.get("retry-after")), error))

    def _refusal_of_s3(self, url: str, status: int, content: bytes) -> Refusal | None:
        """What an answer of S3 means; None when it is none, or when S3 only wants to be asked again.

        What S3 says of the file is final; whom it does not let in is a matter of the server, and may change.
        """
        found = _S3_ERROR.search(content[:_ERROR_BYTES])
        code = found[1].decode() if found else ""
        if not 400 <= status < 500 or status in (408, 429) or code in ("", "RequestTimeout", "RequestTimeTooSkewed"):
            return None
        message = f"{url.partition('?')[0]} does not take the file: {code} (HTTP {status})."
        return Refusal(Outcome("denied" if status in (403, 404) else "bad", error=RequestError(message, status, code)))


def _verdict(status: int, error: RequestError) -> Verdict:
    if status in (401, 403):
        return "denied"
    if 400 <= status < 500 and status not in (408, 429) and (error.error_code or status == 413):
        return "refused" if status == 404 else "bad"
    return "retry"  # without an error of ours it is somebody in between who speaks


def deliver(
    folder: Path,
    job: Job,
    client: StoreClient,
    advance: Callable[[int], None] = lambda size: None,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Upload a settled job and give what the server made of it.

    Args:
        folder: the job's folder.
        job: the job, all of whose files are hashed.
        client: the server.
        advance: told the bytes of each file or part that is durable there, and of those that were already.
        stopping: asked between pieces.

    Raises:
        Refusal: with the verdict ``retry``, ``denied``, ``refused`` (the server does not know the run) or ``bad``.
        Changed: a file is not what it was when it was logged.
        Stopped: ``stopping`` said so.
        OSError: a staged file cannot be read.
    """
    upload = _Upload(folder, job, client, advance, stopping)
    starts = 0
    while True:
        before = upload.sent
        try:
            return upload.run()
        except _Again as again:
            # An address that has expired, a part that was lost, a file that came to harm: the server knows what lacks.
            starts = 1 if upload.sent > before else starts + 1
            if starts >= MAX_STARTS:
                for file in job.files:
                    os.close(open_staged(folder, file))  # a file that changed explains it
                raise again.refusal from None


class _Again(Exception):
    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


class _Upload:
    """What is known of one upload while it is under way."""

    def __init__(
        self,
        folder: Path,
        job: Job,
        client: StoreClient,
        advance: Callable[[int], None],
        stopping: Callable[[], bool],
    ) -> None:
        self.sent = 0
        """Files and parts put so far."""
        self._folder = folder
        self._job = job
        self._client = client
        self._advance = advance
        self._stopping = stopping
        self._told = 0
        self._owner: dict[str, Any] = {"runId": job.meta.get("run_id")}
        self._etags: dict[str, dict[int, str]] = {}

    def run(self) -> dict[str, Any]:
        """Initiate, put what lacks, finalize."""
        job = self._job
        begun = self._client.call("artifacts/initiate", _initiation(job), READ_SECONDS)
        files = {file.path: file for file in job.files}
        wanted = [(files.get(str(entry.get("path"))), entry) for entry in begun.get("files") or ()]
        missing = sum(_size_of(entry, file) for file, entry in wanted if file is not None)
        self._tell(job.size - missing)
        for file, entry in wanted:
            if file is None:
                raise self._nonsense(f"asks for {entry.get('path')!r}, which is no file of {job.name}")
            self._put_file(file, entry)
        return self._finalize(begun)

    def _put_file(self, file: File, entry: dict[str, Any]) -> None:
        fd = open_staged(self._folder, file)
        try:
            if entry.get("uploadStrategy") == "multipart":
                for part in entry.get("parts") or ():
                    offset, size = int(part["offsetBytes"]), int(part["sizeBytes"])
                    etag = self._put(fd, file, part, offset, size)
                    self._etags.setdefault(file.path, {})[int(part["partNumber"])] = etag or ""
            else:
                self._put(fd, file, entry, 0, file.size)
            check_unchanged(fd, file)
        except (KeyError, TypeError) as error:
            raise self._nonsense(f"describes the upload of {file.path!r} in a way this client does not know") from error
        finally:
            os.close(fd)

    def _put(self, fd: int, file: File, entry: dict[str, Any], offset: int, size: int) -> str | None:
        check_unchanged(fd, file)
        headers = {str(name): str(value) for name, value in (entry.get("requiredHeaders") or {}).items()}
        try:
            etag = self._client.put(str(entry["url"]), headers, self._pieces(fd, file, offset, size), size)
        except Refusal as refusal:
            if refusal.outcome.verdict == "retry":
                raise
            check_unchanged(fd, file)
            raise _Again(refusal) from refusal
        self.sent += 1
        self._tell(self._told + size)
        return etag

    def _pieces(self, fd: int, file: File, offset: int, size: int) -> Iterator[bytes]:
        end = offset + size
        while offset < end:
            if self._stopping():
                raise Stopped
            try:
                piece = os.pread(fd, min(SEND_BYTES, end - offset), offset)
            except OSError as error:
                raise Changed(f"{file.source or file.path} cannot be read: {error}") from error
            if not piece:
                raise Changed(f"{file.source or file.path} became shorter while it was sent")
            offset += len(piece)
            yield piece

    def _finalize(self, begun: dict[str, Any]) -> dict[str, Any]:
        job = self._job
        body: dict[str, Any] = {
            **self._owner,
            "artifactId": begun.get("artifactId"),
            "uploadId": begun.get("uploadId"),
        }
        parts = [
            {"path": path, "parts": [{"partNumber": number, "etag": etag} for number, etag in sorted(etags.items())]}
            for path, etags in self._etags.items()
        ]
        if parts:
            body["multipartParts"] = parts
        try:
            return self._client.call("artifacts/finalize", body, READ_SECONDS + job.size / HASH_BYTES_PER_SECOND)
        except Refusal as refusal:
            if refusal.outcome.verdict in ("retry", "denied"):
                raise
            raise _Again(refusal) from refusal

    def _tell(self, done: int) -> None:
        if done > self._told:
            self._advance(done - self._told)
            self._told = done

    def _nonsense(self, what: str) -> Refusal:
        return Refusal(Outcome("bad", error=RequestError(f"{self._client.endpoint} {what}.")))


def _size_of(entry: dict[str, Any], file: File) -> int:
    parts = entry.get("parts")
    return sum(int(part.get("sizeBytes", 0)) for part in parts) if parts else file.size


def _initiation(job: Job) -> dict[str, Any]:
    body: dict[str, Any] = {
        "runId": job.meta.get("run_id"),
        "uploadKey": job.key,
        "name": job.name,
        "timeMs": now_ms(job),
        "files": [
            {"path": file.path, "sizeBytes": file.size, "sha256": file.sha256}
            | ({"contentType": file.content_type} if file.content_type else {})
            | ({"partSha256": file.part_sha256} if file.part_sha256 else {})
            for file in job.files
        ],
    }
    optional = {
        "artifactType": job.type,
        "aliases": job.aliases,
        "metadata": job.metadata,
        "retentionPolicy": job.retention,
        "references": msgspec.to_builtins(job.references),
        "step": job.step,
        "media": job.media,
    }
    return body | {name: value for name, value in optional.items() if value is not None and value not in ([], {})}
