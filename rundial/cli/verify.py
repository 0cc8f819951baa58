"""``rundial verify``: compare what a run says it logged with what the server has of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec
import typer

from rundial import json_notes
from rundial.cli.context import options
from rundial.cli.output import answer, say, show_table
from rundial.cli.server import LOOPBACK
from rundial.cli.sync import found_in, plain_warnings
from rundial.config import Settings, key_for, local_server, resolve
from rundial.errors import ConfigError, RequestError, RundialError, UnreachableError
from rundial.events import clean_key
from rundial.protocols import WITHOUT_ROUTE, speaks_json_only
from rundial.survey import Waiting
from rundial.transport import request_error

if TYPE_CHECKING:
    import requests

OWN_RECORDS = 2
"""The ledger counts what came before it; the ledger itself and the end of the stream come on top."""
BOUNDS = frozenset({"spool_bytes", "spool_age", "rejected"})
"""Reasons for which a client drops records that have a place in the sequence, and counts them."""
IN_SEQUENCE = BOUNDS | {"spool_lost"}
"""All reasons of a ledger whose records have a place in the sequence; the others were refused before they got one."""

Run = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run, as in run_0198c2….")]


class Account(NamedTuple):
    """One stream of a run, seen from all sides. Counts are records."""

    stream: str
    where: str
    logged: int | None
    """What the client says it logged, in the end; None without its ledger."""
    received: int
    waiting: int
    dropped: Mapping[str, int]
    """By reason, in the client's account or as a gap in what the server has."""
    rejected: int
    missing: int
    verdict: str
    holds: bool
    """Whether it adds up."""


def verify(run: Run) -> None:
    """Compare the client's account of a run with what the server received.

    Exit code 0: it adds up; 1: records are missing, or nobody knows how many there were; 2: the key was refused.
    """
    url, key = _server(options.endpoint)
    with plain_warnings():
        here = {waiting.stream: waiting for waiting in found_in() if waiting.meta.get("run_id") == run}
        attempts = _attempts(url, key, run, bool(here))
        by_server = attempts is not None
        if attempts is None:
            attempts = _noted_here(url, run, bool(here))
    known = {str(attempt["stream"]): attempt for attempt in attempts}
    accounts = [account_of(stream, known.get(stream), here.get(stream)) for stream in {**known, **here}]
    missing = sum(account.missing for account in accounts)
    documents = [{**account._asdict(), "dropped": dict(account.dropped)} for account in accounts]
    document = {"runId": run, "missing": missing, "receivedBy": "server" if by_server else "client"}
    answer({**document, "attempts": documents}, lambda: _show(accounts, "received" if by_server else "acknowledged"))
    if not by_server:
        say(f"{url} is of an older kind, which keeps no account: compared is what it acknowledged, as noted here.")
    if missing:
        raise RundialError(f"{missing:,} records of {run} are missing.")
    if not all(account.holds for account in accounts):
        raise RundialError(f"it is not known whether {run} is whole; see above.")
    say(f"{run} adds up.")


def _server(endpoint: str | None) -> tuple[str, str | None]:
    settings = resolve({"endpoint": endpoint})
    if settings.endpoint is not None:
        return settings.endpoint, (None if endpoint else settings.api_key) or key_for(settings.endpoint)
    server = local_server()
    if server is None:
        raise ConfigError("no server to ask. `rundial ui` starts the local one, or name another with --endpoint.")
    return server.url, server.api_key


def _attempts(url: str, key: str | None, run: str, known_here: bool) -> list[dict[str, Any]] | None:
    """What the server knows of each stream of the run; nothing when it has not heard of one that waits here.

    None for a server of the older kind, which knows of no streams.
    """
    import requests

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if key:
            request.headers["authorization"] = f"Bearer {key}"
        return request

    address = f"{url}/api/v1/runs/{quote(run, safe='')}"
    try:
        with requests.Session() as session:
            session.trust_env = urlsplit(url).hostname not in LOOPBACK  # a proxy would be asked for its own 127.0.0.1
            answer = session.get(address, auth=sign, timeout=30, allow_redirects=False)
    except requests.RequestException as error:
        raise UnreachableError(f"{url} does not answer: {error}. Is the server running?") from error
    document = _document(answer)
    unknown = answer.status_code in (*WITHOUT_ROUTE, 200) and "attempts" not in document
    if unknown and speaks_json_only(url, key, Settings(endpoint=url)):
        return None
    if answer.status_code == 404 and known_here:
        return []
    if answer.status_code == 404:
        raise RequestError(f"{url} knows no run {run}, and nothing of it waits here. Check the id.", 404)
    if answer.status_code != 200:
        raise request_error(url, answer.status_code, answer.content)
    if not isinstance(document.get("attempts"), list):
        raise RequestError(f"{url} answers with something that is no run. Is it a Rundial server?")
    return list(document["attempts"])


def _document(answer: requests.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _noted_here(url: str, run: str, known_here: bool) -> list[dict[str, Any]]:
    """What a server of the older kind has acknowledged of each stream, in the form in which others tell it."""
    notes = json_notes.of_run(url, run)
    if not notes and not known_here:
        raise RundialError(
            f"{url} is of an older kind, which keeps no account, and nothing is noted here of {run}. "
            "Check the id, and verify the run on the machine that logged it."
        )
    return [
        {
            "stream": stream,
            "host": note.start.host,
            "pid": note.start.pid,
            "received": note.next - note.rejected - sum(note.gaps.values()),
            "rejected": {"rejected": note.rejected},
            "dropped": note.gaps,
            "ledger": None if note.ledger is None else msgspec.structs.asdict(note.ledger),
            "endedAtMs": note.ended_ns,
            "status": "running" if note.ended_ns is None else "ended",
        }
        for stream, note in notes.items()
    ]


# -- the account of one stream ------------------------------------------------------------------------------------


def account_of(stream: str, attempt: Mapping[str, Any] | None, here: Waiting | None) -> Account:
    """What became of the records of one stream.

    Args:
        stream: its id.
        attempt: what ``GET /api/v1/runs/{id}`` says of it, None when the server has not heard of it.
        here: what waits of it on this machine, None when nothing does.
    """
    at_server: Mapping[str, Any] = attempt or {"received": 0, "rejected": {}, "dropped": {}}
    gaps: dict[str, int] = dict(at_server["dropped"])
    rejected = sum(at_server["rejected"].values())
    # The server takes a stream only in sequence: all three together are the next number it expects.
    following = at_server["received"] + sum(gaps.values()) + rejected
    ledger = _ledger(at_server)
    counted: dict[str, int] = ledger["dropped"] if ledger else {}
    refused = sum(count for reason, count in counted.items() if reason not in IN_SEQUENCE)
    end = max(
        following,
        max((place.next for place in here.places), default=0) if here else 0,
        ledger["logged"] - refused + OWN_RECORDS if ledger else 0,
    )
    holes = end - following - _covered(here, following)
    # A gap that no bound of the client accounts for is a loss: damage on the disk, or a folder that was removed.
    unexplained = {reason: max(0, n - counted.get(reason, 0)) for reason, n in gaps.items() if reason not in BOUNDS}
    missing = holes + sum(unexplained.values())
    holds, verdict = _verdict(attempt, here, ledger is not None, following, holes, unexplained)
    return Account(
        stream=stream,
        where=_where(at_server, here),
        logged=ledger["logged"] if ledger else None,
        received=at_server["received"],
        waiting=here.records(following) if here else 0,
        dropped={reason: max(gaps.get(reason, 0), counted.get(reason, 0)) for reason in {**gaps, **counted}},
        rejected=rejected,
        missing=missing,
        verdict=verdict,
        holds=holds,
    )


def _ledger(attempt: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The client's own account, once the server has it. One that answers only ``logged`` keeps the drops to itself."""
    ledger: Mapping[str, Any] | None = attempt.get("ledger")
    if ledger is None and attempt.get("logged") is not None:
        return {"logged": attempt["logged"], "dropped": {}}
    return ledger


def _covered(here: Waiting | None, start: int) -> int:
    """Sequence numbers from ``start`` on of which something lies here, be it a gap that says why there is nothing."""
    covered = 0
    for place in here.places if here else ():
        covered += max(0, place.next - max(place.first, start))
        start = max(start, place.next)
    return covered


def _verdict(
    attempt: Mapping[str, Any] | None,
    here: Waiting | None,
    closed: bool,
    following: int,
    holes: int,
    unexplained: Mapping[str, int],
) -> tuple[bool, str]:
    lost = [f"{count:,} lost to {reason}" for reason, count in unexplained.items() if count]
    if holes:
        lost.append(f"{holes:,} after record {following:,} are neither there nor here")
    if lost:
        return False, f"missing: {', '.join(lost)}"
    waits = here is not None and here.records(following) > 0
    if here is not None and not (here.alive or here.sending) and (here.damaged or here.problem):
        return False, f"what waits here is damaged: {here.problem or f'{here.damaged} stretches of {here.directory}'}"
    if here is not None and here.alive:
        return True, "running here" + (", the rest is on its way" if waits else "")
    if here is not None and here.sending:
        return True, "another process has taken it over" + (" and sends the rest" if waits else "")
    if here is not None:
        return True, "the rest waits here: `rundial sync`"
    assert attempt is not None  # a stream is known there, or here, or both
    if closed:
        return True, "whole"
    if attempt["endedAtMs"] is not None:
        return True, "whole up to its end; it left no account of its own"
    # A living process always has a ring in shared memory.
    if attempt["status"] == "running" and attempt["host"] != os.uname().nodename:
        return True, "running; its account comes with its end"
    return False, f"fell silent after record {following:,}; nothing of it is here, and what came after is not known"


def _where(attempt: Mapping[str, Any], here: Waiting | None) -> str:
    host = attempt.get("host") or (here.meta.get("host") if here else None) or "?"
    return f"{clean_key(host)}:{attempt['pid']}" if attempt.get("pid") else clean_key(host)


def _show(accounts: list[Account], received: str) -> None:
    from rich.table import Table

    table = Table("attempt", "process", box=None, pad_edge=False)
    for heading in ("logged", received, "waiting here"):
        table.add_column(heading, justify="right")
    table.add_column("dropped")
    table.add_column("rejected", justify="right")
    table.add_column("verdict")
    for account in accounts:
        dropped = ", ".join(f"{count:,} {clean_key(reason)}" for reason, count in account.dropped.items() if count)
        table.add_row(
            account.stream[:8],
            account.where,
            "no account" if account.logged is None else f"{account.logged:,}",
            f"{account.received:,}",
            f"{account.waiting:,}",
            dropped or "0",
            f"{account.rejected:,}",
            account.verdict,
        )
    show_table(table)
