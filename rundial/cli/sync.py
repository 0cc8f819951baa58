"""``rundial sync``: send what waits on this machine's disks."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from rundial.cli.context import options
from rundial.cli.output import answer, say, show_table
from rundial.config import Settings, checked_endpoint, home, key_for, local_server
from rundial.delivery import StoreClient
from rundial.diagnostics import amount
from rundial.errors import AuthError, RequestError, RundialError
from rundial.events import clean_key
from rundial.http import Json
from rundial.protocols import AnyTransport
from rundial.recovery import Sent
from rundial.recovery import sync as deliver
from rundial.spool_directories import register
from rundial.streams import Meta, is_local
from rundial.survey import Waiting, survey
from rundial.transport import Outcome, Transport

OTHERS_SECONDS = 0.5
NO_SERVER = "no local server is running; `rundial ui` starts one"

Directories = Annotated[
    list[Path] | None, typer.Argument(help="Spool directories. Default: every one this user ever logged from.")
]
Status = Annotated[bool, typer.Option("--status", help="Only show what waits, and where it belongs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent, and where to.")]


def sync(directories: Directories = None, status: Status = False, dry_run: DryRun = False) -> None:
    """Send everything that processes which are gone have left in their spools.

    With --endpoint everything goes there, and not to the server it was logged for. Exit code 0: nothing is left;
    1: something still waits; 2: a server refused the key.
    """
    places = [_checked(directory) for directory in directories or ()]
    endpoint = options.endpoint
    with plain_warnings(), closing(Routes(checked_endpoint(endpoint) if endpoint else None)) as routes:
        found = found_in(places)
        documents = [_waiting_document(waiting) for waiting in found]
        if status:
            answer({"waiting": documents}, lambda: _show(found))
        elif dry_run:
            answer({"waiting": documents}, lambda: _rehearse(found, routes))
        else:
            for directory in places:
                register(directory)
            documents, errors = _send(found, routes)
            if _others_have_sent(places) and (left := [it for it in found_in(places) if not it.alive]):
                more, errors = _send(left, routes)  # what they took over and could not send
                documents += more
            answer({"sent": documents}, lambda: None)
            _conclude([waiting for waiting in found_in(places) if not waiting.alive], errors)


def _others_have_sent(places: list[Path]) -> bool:
    """Wait for other processes that are sending something of it, such as a local server; whether there were any."""
    waited = False
    while others := [waiting for waiting in found_in(places) if waiting.sending]:
        if not waited:
            say(f"{_what_waits(others)} are being sent by another process; waiting for it.")
        waited = True
        time.sleep(OTHERS_SECONDS)
    return waited


def _checked(directory: Path) -> Path:
    if not directory.is_dir():
        raise RundialError(f"{directory} is no directory. Name a spool directory, usually .rundial_spool.")
    return directory.resolve()


def found_in(places: Sequence[Path] = ()) -> list[Waiting]:
    """What waits in some directories, or all that this user logged under this home."""
    return [waiting for waiting in survey(list(places) or None) if _is_meant(waiting, places)]


def _is_meant(waiting: Waiting, places: Sequence[Path]) -> bool:
    """Whether a stream lies in one of the directories; without any, whether it was logged under this home."""
    if places:
        return waiting.directory.resolve() in places
    return waiting.meta.get("home") == str(home()) or (not waiting.meta and waiting.directory != Path())


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings as lines for people, without the place in the code that they come from."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: print(message, file=sys.stderr)
        yield


class Routes:
    """One transport for each server that has something to come, each with the key that belongs to it.

    Args:
        override: send everything there.
    """

    def __init__(self, override: str | None) -> None:
        self._override = override
        self._open: dict[str, Transport] = {}
        self._stores: dict[str, StoreClient] = {}
        self.advance: Callable[[int], None] = lambda records: None
        """Told how many records a server has just confirmed."""
        self.sent: Callable[[int], None] = lambda size: None
        """Told how many bytes of an upload a server has just taken."""

    def endpoint(self, meta: Meta) -> str | None:
        """The server a stream goes to; None when that is the local one and none is running."""
        chosen = self._override or meta.get("endpoint")
        if chosen is None:
            server = local_server()
            return None if server is None else server.url
        return str(chosen)

    def to(self, meta: Meta) -> Transport | None:
        """The transport to :meth:`endpoint`."""
        endpoint = self.endpoint(meta)
        if endpoint is None:
            return None
        if endpoint not in self._open:
            transport = AnyTransport(endpoint, key_for(endpoint), Settings(endpoint=endpoint))
            self._open[endpoint] = _Told(transport, lambda records: self.advance(records))
        return self._open[endpoint]

    def store(self, meta: Meta) -> StoreClient | None:
        """Where uploads go."""
        endpoint = self.endpoint(meta)
        if endpoint is None:
            return None
        if endpoint not in self._stores:
            self._stores[endpoint] = StoreClient(endpoint, key_for(endpoint))
            self._stores[endpoint].sent = lambda size: self.sent(size)
        return self._stores[endpoint]

    def close(self) -> None:
        for transport in self._open.values():
            transport.close()
        for store in self._stores.values():
            store.close()


class _Told:
    """A transport that tells how far it is."""

    def __init__(self, transport: Transport, advance: Callable[[int], None]) -> None:
        self._transport = transport
        self._advance = advance

    def deliver(self, stream: str, body: bytes) -> Outcome:
        outcome = self._transport.deliver(stream, body)
        if outcome.reply is not None:
            self._advance(outcome.reply.accepted + outcome.reply.duplicate + len(outcome.reply.rejected))
        return outcome

    def close(self) -> None:
        self._transport.close()


# -- sending ----------------------------------------------------------------------------------------------------------


def _send(found: list[Waiting], routes: Routes) -> tuple[list[Json], list[RequestError]]:
    """Send what is found and say what became of it: one document a stream, and the errors that were met."""
    gone = {waiting.stream: waiting for waiting in found if not (waiting.alive or waiting.sending)}
    # The spool of the home is always looked at, and nothing may be looked at twice.
    directories = list(dict.fromkeys(waiting.directory for waiting in found if waiting.directory != home() / "spool"))
    documents, errors = [], []
    records, size = (sum(of(waiting) for waiting in gone.values()) for of in (Waiting.records, _upload_bytes))
    with _progress(records, size) as (routes.advance, routes.sent):
        for sent in deliver(directories, routes.to, lambda meta: meta["stream"] in gone, frozenset(), routes.store):
            say(_line(sent))
            for problem in sent.problems:
                say(f"{_name(sent.meta)}: {problem}")
            errors += [sent.error] if sent.error else []
            documents.append(_sent_document(sent))
    for waiting in gone.values():
        if waiting.problem:
            say(f"{_name(waiting.meta)}: {waiting.problem}")
    busy = [waiting for waiting in found if waiting.alive and (waiting.records() or waiting.uploads)]
    if busy:
        say(f"{_what_waits(busy)} are in the hands of running processes, which send them.")
    elif not any(waiting.sending or not waiting.alive for waiting in found):
        say("Nothing is waiting to be sent.")
    return documents, errors


def _sent_document(sent: Sent) -> Json:
    return {
        "runId": sent.meta.get("run_id"),
        "stream": sent.meta.get("stream"),
        "records": sent.records,
        "uploads": sent.uploads,
        "pendingRecords": sent.pending,
        "pendingUploads": sent.uploads_pending,
        "damaged": sent.damaged,
        "problems": [*sent.problems, *([str(sent.error)] if sent.error else [])],
    }


def _waiting_document(waiting: Waiting) -> Json:
    meta = waiting.meta
    return {
        "runId": meta.get("run_id"),
        "stream": waiting.stream,
        "project": meta.get("project"),
        "endpoint": meta.get("endpoint"),
        "records": waiting.records(),
        "bytes": waiting.size,
        "uploads": waiting.uploads,
        "uploadBytes": waiting.upload_bytes,
        "alive": waiting.alive,
        "sending": waiting.sending,
        "problem": waiting.problem,
        "directory": str(waiting.directory),
    }


def _conclude(left: list[Waiting], errors: list[RequestError]) -> None:
    """Raises :class:`RundialError` when something still waits, :class:`AuthError` when for want of a good key."""
    what = _what_waits(left)
    refused = next((error for error in errors if isinstance(error, AuthError)), None)
    if refused is not None:
        raise AuthError(f"{what} are still waiting, for a server refused the key: {refused}")
    if any(waiting.records() or waiting.uploads for waiting in left):
        raise RundialError(f"{what} are still waiting; nothing was lost.")
    if left:
        raise RundialError(f"{len(left)} spool folders cannot be sent; they are kept as they are.")


def _what_waits(found: list[Waiting]) -> str:
    return _what(sum(waiting.records() for waiting in found), sum(waiting.uploads for waiting in found))


def _what(records: int, uploads: int) -> str:
    """Records and uploads in words; no upload is worth no word."""
    return f"{records:,} records" + (f" and {uploads:,} uploads" if uploads else "")


def _line(sent: Sent) -> str:
    line = f"{_name(sent.meta)}: {_what(sent.records, sent.uploads)} sent"
    if sent.pending or (sent.uploads_pending and not sent.problems):
        pending = _what(sent.pending, sent.uploads_pending) if sent.uploads_pending else f"{sent.pending:,}"
        line += f", {pending} waiting: {sent.error or NO_SERVER}"
    if sent.damaged:
        line += f", {sent.damaged} damaged stretches passed over"
    return line


def _name(meta: Meta) -> str:
    run, project = meta.get("name") or meta.get("run_id") or "unknown run", meta.get("project") or "unknown project"
    return f"{clean_key(run)} ({clean_key(project)})"


def _upload_bytes(waiting: Waiting) -> int:
    return waiting.upload_bytes


@contextmanager
def _progress(records: int, size: int) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """What to call with each number of records and of bytes sent: bars on a terminal, and nothing elsewhere."""
    if options.json or options.quiet or not (sys.stdout.isatty() and (records or size)):
        yield lambda records: None, lambda size: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[shown]}"),
                  TimeRemainingColumn()) as progress:  # fmt: skip

        def bar(title: str, total: int, words: Callable[[int], str]) -> Callable[[int], None]:
            task = progress.add_task(title, total=total, shown=words(0), visible=total > 0)

            def advance(count: int) -> None:
                # The end of a crashed process, written while it was taken over, is one more than was counted.
                done = min(int(progress.tasks[task].completed) + count, total)
                progress.update(task, completed=done, shown=words(done))

            return advance

        yield (
            bar("Sending", records, lambda done: f"{done}/{records} records"),
            bar("Uploading", size, lambda done: f"{amount(done)} of {amount(size)}"),
        )


# -- only looking -----------------------------------------------------------------------------------------------------


def _show(found: list[Waiting]) -> None:
    from rich.table import Table

    shown = [waiting for waiting in found if waiting.records() or waiting.uploads or not waiting.alive]
    if not shown:
        print("Nothing is waiting to be sent.")
        return
    table = Table("run", "project", "server", box=None, pad_edge=False)
    for heading in ("records", "bytes", "uploads", "upload bytes"):
        table.add_column(heading, justify="right")
    for heading in ("since", "process", "directory"):
        table.add_column(heading)
    for waiting in sorted(shown, key=lambda waiting: waiting.since or 0):
        meta = waiting.meta
        table.add_row(
            clean_key(meta.get("name") or meta.get("run_id") or "?"),
            clean_key(meta.get("project") or "?"),
            clean_key(meta.get("endpoint") or ("local" if is_local(meta) else f"local, of {meta.get('host', '?')}")),
            f"{waiting.records():,}",
            f"{waiting.size:,}",
            f"{waiting.uploads:,}",
            f"{waiting.upload_bytes:,}",
            "" if waiting.since is None else f"{datetime.fromtimestamp(waiting.since):%Y-%m-%d %H:%M}",
            waiting.problem or ("alive" if waiting.alive else "sending" if waiting.sending else "gone"),
            str(waiting.directory),
        )
    show_table(table)
    total = _what(sum(waiting.records() for waiting in shown), sum(waiting.uploads for waiting in shown))
    print(f"{total} wait; `rundial sync` sends those of processes that are gone.")


def _rehearse(found: list[Waiting], routes: Routes) -> None:
    for waiting in found:
        records = f"{waiting.records():,} records, {waiting.size:,} bytes"
        if waiting.uploads:
            records += f", {waiting.uploads:,} uploads, {amount(waiting.upload_bytes)}"
        if waiting.alive:
            fate = "stay with the running process that sends them"
        elif waiting.sending:
            fate = "are being sent by another process"
        elif waiting.problem:
            fate = f"cannot be read whole: {waiting.problem}"
        else:
            endpoint = routes.endpoint(waiting.meta)
            fate = f"would wait: {NO_SERVER}" if endpoint is None else f"would go to {endpoint}"
        print(f"{_name(waiting.meta)}: {records}: {fate}")
    if not found:
        print("Nothing is waiting to be sent.")
