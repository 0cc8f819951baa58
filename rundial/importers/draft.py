"""A run that is brought in: what a source says of it, and how it goes to a server so that it counts once.

The records go as one stream whose id follows from the run and from what it was read from. A server takes a stream only
in sequence and skips what it has, so an import that broke off anywhere goes on from there, and one that is repeated
changes nothing. The end of the run is its last record, behind its media and artifacts.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from rundial.client import HttpClient
from rundial.config import Settings
from rundial.delivery import Refusal, StoreClient, deliver
from rundial.errors import AuthError, RequestError, RundialError, UnreachableError
from rundial.events import Event, RunEnd, RunStart
from rundial.http import Json
from rundial.staging import FILES, Job, settle
from rundial.transport import HttpTransport, delay
from rundial.version import __version__
from rundial.wire import CHUNK_BYTES, MAX_RECORD_BYTES, Chunk, IngestReply, encode, gap_chunk, pack_chunk

CLIENT = f"rundial-import/{__version__}"
HEARTBEAT_SECONDS = 3600.0
"""What uploads may take before the server takes a run that is being brought in for dead."""
BODY_BYTES = 2 * 1024 * 1024
BODY_RECORDS = 20_000
MAX_TRIES = 8


class Upload(NamedTuple):
    """Media or an artifact to store with a run."""

    key: str
    """Stable: the same content of the same run has the same key every time."""
    prepare: Callable[[Path], Job]
    """Stages its files in a job's folder and describes them."""


class Draft(msgspec.Struct):
    """A run as its source has it.

    Args:
        start: its first record; the id of the run must be the same every time.
        source: what it was read from and in which state, in few words. A run of this id that was made from something
            else is left alone.
        events: all its records but the first and the last, the same ones in the same order every time.
        end: its last record.
        uploads: its media and artifacts.
        parts: first and last records of further processes that wrote to the run.
        late: records that may only come when all other runs are there.
        left_out: what of the source could not be carried, by what it is.
    """

    start: RunStart
    source: str
    events: Callable[[], Iterable[Event]]
    end: RunEnd
    uploads: Callable[[], Iterable[Upload]] = tuple
    parts: list[tuple[RunStart, list[Event]]] = []
    late: Callable[[], Iterable[Event]] = tuple
    left_out: dict[str, int] = {}

    @property
    def stream(self) -> str:
        """The id of its stream."""
        return stream_id(self.start.run_id, self.source)

    def leave_out(self, what: str, number: int = 1) -> None:
        """Count something that cannot be carried."""
        if number:
            self.left_out[what] = self.left_out.get(what, 0) + number


class Target:
    """A server that takes runs in.

    Args:
        client: of the server, with an API key.

    Raises:
        AuthError: there is no key.
    """

    def __init__(self, client: HttpClient) -> None:
        if not client.api_key:
            raise AuthError(f"bringing runs in needs an API key of {client.endpoint}.", 401)
        self.client = client
        settings = Settings(request_timeout_seconds=60.0)
        self._transport = HttpTransport(client.endpoint, client.api_key, settings)
        self.store = StoreClient(client.endpoint, client.api_key, 30.0)

    def close(self) -> None:
        """Let go of connections."""
        self._transport.close()
        self.store.close()

    def find(self, draft: Draft) -> str:
        """What the server has of a run: ``new``, ``begun``, ``there`` (all of it), or ``other`` (another run)."""
        try:
            run = self.client.get_run(draft.start.run_id)
        except RequestError as error:
            if error.status_code != 404:
                raise
            return "new"
        ours = [it for it in run["attempts"] if it["stream"] == draft.stream]
        if not ours:
            parts = {stream_id(draft.stream, str(number)) for number in range(len(draft.parts))}
            return "begun" if any(it["stream"] in parts for it in run["attempts"]) else "other"
        return "there" if ours[0]["endedAtMs"] is not None else "begun"

    def send(self, stream: str, body: bytes) -> IngestReply:
        """Deliver packed chunks, with patience. Raises :class:`RundialError` when the server does not take them."""
        for attempt in range(1, MAX_TRIES + 1):
            outcome = self._transport.deliver(stream, body)
            if outcome.verdict in ("acknowledged", "behind") and outcome.reply is not None:
                return outcome.reply
            if outcome.verdict != "retry":
                break
            time.sleep(delay(outcome, attempt))
        raise outcome.error or UnreachableError(f"{self.client.endpoint} does not take the records.")

    def upload(self, run_id: str, upload: Upload) -> Json:
        """Store media or an artifact; what the server made of it. Raises :class:`RundialError` or :class:`OSError`."""
        folder = Path(tempfile.mkdtemp(prefix="rundial-import-"))
        try:
            (folder / FILES).mkdir()
            job = upload.prepare(folder)
            job.key = hashlib.sha256(f"{run_id}\0{upload.key}".encode()).hexdigest()[:32]
            job.meta = {"run_id": run_id}
            settle(folder, job)
            for attempt in range(1, MAX_TRIES + 1):
                try:
                    return deliver(folder, job, self.store)
                except Refusal as refusal:
                    if refusal.outcome.verdict != "retry" or attempt == MAX_TRIES:
                        raise refusal.error from None
                    time.sleep(delay(refusal.outcome, attempt))
            raise AssertionError("unreachable")
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class Sender:
    """The records of one stream on their way; those that the server has already are only counted."""

    def __init__(self, target: Target, stream: str, draft: Draft) -> None:
        self._target = target
        self._stream = stream
        self._draft = draft
        self._next = 0
        """Sequence of the record that comes next out of the source."""
        self._first = 0
        self._records: list[bytes] = []
        self._size = 0
        self._chunks: list[bytes] = []
        self._waiting = 0
        self._reached = 0
        """What the server expects next."""

    def open(self, start: RunStart) -> None:
        """Begin the stream, or find out how far it has come; once."""
        if not self._next:
            self.put(start)
            self.flush()

    def put(self, event: Event) -> None:
        """One more record."""
        seq = self._next
        self._next += 1
        if seq < self._reached:
            return
        record = encode(event)
        if len(record) > MAX_RECORD_BYTES:
            self._draft.leave_out(f"{type(event).__name__} of more than {MAX_RECORD_BYTES // 1024} KiB")
            self._cut()
            self._chunks.append(pack_chunk(gap_chunk(self._stream, seq, seq, "too_large")))
            return
        if not self._records:
            self._first = seq
        self._records.append(record)
        self._size += len(record)
        self._waiting += 1
        if self._size >= CHUNK_BYTES - 1024:
            self._cut()
            if sum(map(len, self._chunks)) >= BODY_BYTES or self._waiting >= BODY_RECORDS:
                self.flush()

    def flush(self) -> None:
        """Send what was put so far."""
        self._cut()
        if not self._chunks:
            return
        reply = self._target.send(self._stream, b"".join(self._chunks))
        self._chunks.clear()
        self._waiting = 0
        self._reached = max(self._reached, reply.next)
        if reply.next < self._next:
            raise RundialError(f"the server lost records of {self._draft.start.run_id}. Try again.")
        for bad in reply.rejected:
            self._draft.leave_out(f"refused by the server: {str(bad.get('reason'))[:80]}")

    def _cut(self) -> None:
        if self._records:
            chunk = Chunk(self._stream, self._first, len(self._records), b"".join(self._records))
            self._chunks.append(pack_chunk(chunk))
            self._records, self._size = [], 0


def stream_id(*parts: str) -> str:
    """The id of a stream that follows from what it is of."""
    return hashlib.sha256("\0".join(("rundial import", *parts)).encode("utf-8", "replace")).hexdigest()[:32]


def bring_in(
    target: Target,
    drafts: Iterable[Draft],
    advance: Callable[[int], None] = lambda runs: None,
    between: Callable[[Target, list[Draft], set[str]], None] = lambda target, fresh, present: None,
) -> Iterator[Json]:
    """Bring runs in, and say of each what became of it.

    Args:
        target: the server.
        drafts: the runs.
        advance: called with 1 for each that is done.
        between: called when the records of all runs that were not there are sent, before any of them ends: with
            these runs, and the ids of them and of those that an earlier import has brought in.

    Yields:
        ``runId``, ``project``, ``status`` (``imported``, ``there`` or ``exists``), ``leftOut`` and, for those that
        failed, ``error``.
    """
    results: list[tuple[Draft, Json, Sender | None]] = []
    for draft in drafts:
        results.append(_begin(target, draft))
        if results[-1][2] is None:
            advance(1)
    fresh = [draft for draft, _, sender in results if sender is not None]
    failure: RundialError | None = None
    present = {draft.start.run_id for draft, result, _ in results if result["status"] in ("imported", "there")}
    try:
        between(target, fresh, present)
    except RundialError as error:
        failure = error
    for draft, result, sender in results:
        if sender is not None:
            try:
                if failure is not None:
                    raise failure
                for event in draft.late():
                    sender.put(event)
                sender.put(draft.end)
                sender.flush()
            except (RundialError, OSError) as error:
                result |= {"status": "failed", "error": str(error)}
            result["leftOut"] = draft.left_out
            advance(1)
        yield result


def _begin(target: Target, draft: Draft) -> tuple[Draft, Json, Sender | None]:
    start = draft.start
    result: Json = {"runId": start.run_id, "runName": start.name, "project": start.project, "status": "imported"}
    try:
        found = target.find(draft)
        if found in ("there", "other"):
            result["status"] = "there" if found == "there" else "exists"
            return draft, result, None
        sender = Sender(target, draft.stream, draft)
        for number, (first, rest) in enumerate(draft.parts):
            if first.time_ns >= start.time_ns:
                sender.open(start)  # who comes first makes the run, at his time
            part = Sender(target, stream_id(draft.stream, str(number)), draft)
            part.open(first)
            for event in rest:
                part.put(event)
            part.flush()
        sender.open(start)
        for event in draft.events():
            sender.put(event)
        sender.flush()
        for upload in draft.uploads():
            try:
                target.upload(start.run_id, upload)
            except (OSError, RequestError, ValueError) as error:
                if isinstance(error, (AuthError, UnreachableError)):
                    raise
                draft.leave_out(f"media or files: {str(error)[:120]}")
        return draft, result, sender
    except (AuthError, UnreachableError):
        raise  # the next run would fare no better
    except (RundialError, OSError) as error:
        return draft, {**result, "status": "failed", "error": str(error), "leftOut": draft.left_out}, None
