"""Delivery of records to a server that has no route for them: each chunk becomes requests of the JSON wire.

Chunks stay the unit of acknowledgement. A chunk is acknowledged once every request that came of it was; what failed in
between is sent again from where it stopped, and after a crash from the beginning of the chunk. The server knows metrics
again by run, key and step, lines by their number, spans by their ids and results by example and scorer, so that what
comes twice counts once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from rundial import json_items
from rundial.config import Settings
from rundial.delivery import Refusal
from rundial.diagnostics import Counters
from rundial.errors import RequestError, WireError
from rundial.events import (
    EvalResult,
    EvalStart,
    Event,
    Gap,
    Ledger,
    LogLine,
    Marker,
    Metrics,
    RunEnd,
    RunStart,
    RunUpdate,
    Span,
)
from rundial.json_api import Answer, Json, JsonApi
from rundial.json_runs import StreamState, configure, end_run, open_run, start_eval
from rundial.transport import Outcome
from rundial.wire import Chunk, IngestReply, decode_chunk, unpack_chunks

TAKE_SECONDS = 1.0
"""After this long what is done is acknowledged, and the rest of the batch comes again."""
UNSUPPORTED = "UNSUPPORTED"
"""Code of a record that this wire has no place for."""
_Numbered = tuple[int, Json]


class Route(NamedTuple):
    """A route that takes many items at once."""

    path: str
    field: str
    most: int
    """Items in one request."""


METRICS = Route("ingest/metrics", "points", 1000)
LOGS = Route("ingest/logs", "lines", 200)
TRACES = Route("ingest/traces", "spans", 100)
RESULTS = Route("evals/results", "rows", 200)


class JsonTransport:
    """Delivery over the JSON wire.

    Args:
        endpoint: base URL of the server.
        api_key: sent to that server alone.
        settings: timeouts and compression.
        live: the streams are this process's own, and not left by one that is gone.
    """

    def __init__(self, endpoint: str, api_key: str | None, settings: Settings, live: bool) -> None:
        self.endpoint = endpoint
        self._api = JsonApi(endpoint, api_key, settings)
        self._live = live
        self._streams: dict[str, StreamState] = {}
        self._most = {route.path: route.most for route in (METRICS, LOGS, TRACES, RESULTS)}
        self._took_metrics = False
        self._said = Counters()

    def deliver(self, stream: str, body: bytes) -> Outcome:
        if stream not in self._streams:
            self._streams[stream] = StreamState(self.endpoint, stream)
        state = self._streams[stream]
        if state.held is not None:
            held, state.held = state.held, None
            return held
        before = state.next
        until = time.monotonic() + TAKE_SECONDS
        try:
            for chunk in unpack_chunks(body):
                if chunk.next <= state.next:
                    continue
                if chunk.first > state.next and state.next > before:
                    break
                if chunk.first > state.next:
                    return self._reply("behind", stream, state, before)
                self._take(stream, state, chunk)
                state.next = chunk.next
                if "end" in state.done:
                    state.end()
                else:
                    state.note()
                if time.monotonic() > until:
                    break
        except WireError as error:
            return Outcome("bad", error=RequestError(str(error)))
        except Refusal as refusal:
            if refusal.error.status_code == 404:
                state.target = None
            outcome = refusal.outcome
            if outcome.verdict == "bad":  # what concerns single records was dealt with: this is about all of them
                outcome = outcome._replace(verdict="refused")
            if state.next == before:
                return outcome
            state.held = outcome
        return self._reply("acknowledged", stream, state, before)

    def knows(self, stream: str) -> bool:
        """Whether a stream has been sent this way before."""
        return stream in self._streams

    def close(self) -> None:
        self._api.close()

    def _reply(self, verdict: Any, stream: str, state: StreamState, before: int) -> Outcome:
        rejected = [state.rejected.pop(seq) for seq in sorted(state.rejected) if seq < state.next]
        left_out: Counter[str] = Counter()
        for seq in [seq for seq in state.left_out if seq < state.next]:
            left_out += state.left_out.pop(seq)
        news, state.news = state.news, None
        if not self._live:
            self._tell(rejected, left_out)
        reply = IngestReply(stream, state.next, state.next - before - len(rejected), rejected=rejected, run=news)
        return Outcome(verdict, reply, left_out=dict(left_out))

    def _tell(self, rejected: list[Json], left_out: Counter[str]) -> None:
        """Say of a dead process's data what a living one would find in its diagnostics."""
        for what in [*(entry["reason"] for entry in rejected), *left_out]:
            self._said.warn_once(what, f"{self.endpoint} does not take everything that was logged: {what}")

    # -- chunks to requests -------------------------------------------------------------------------------------------

    def _take(self, stream: str, state: StreamState, chunk: Chunk) -> None:
        """Send what a chunk holds. Raises :class:`Refusal` when not all of it is at the server."""
        if chunk.is_gap:
            return state.pass_over(chunk)
        found, bad = decode_chunk(chunk)
        missing = {record.seq: record.reason for record in bad}
        sequence = (seq for seq in range(chunk.first, chunk.next) if seq not in missing)
        events = [(seq, event) for seq, event in zip(sequence, found) if seq >= state.next]
        for seq, reason in missing.items():
            if seq >= state.next:
                state.reject(seq, "INVALID", reason)
        for seq, event in events:
            if isinstance(event, RunStart) and state.target is None:
                open_run(self._api, self._live, stream, state, seq, event)
        if state.target is None and state.start is not None:
            # The server had the run and has it no more: it begins again with what is left to send.
            again = msgspec.structs.replace(state.start, resume="allow", system={})
            open_run(self._api, self._live, stream, state, chunk.first, again)
        if state.target is None:
            raise _refused("the record that says which run this is for is missing.")
        item = state.item
        self._send_metrics(state, events)
        self._send_items(state, LOGS, _lines(state, events))
        self._send_items(state, TRACES, [(q, json_items.span(e, item)) for q, e in events if type(e) is Span])
        self._send_evals(state, events)
        self._send_updates(state, events)
        for seq, event in events:
            if isinstance(event, RunEnd) and self._is_new(state, "end", seq):
                end_run(self._api, state, seq, event)
                state.done["end"] = seq + 1
            elif isinstance(event, Ledger):
                state.ledger = event
            elif not isinstance(event, _CARRIED):
                state.reject(seq, UNSUPPORTED, f"the server has no place for {type(event).__name__}")

    def _is_new(self, state: StreamState, kind: str, seq: int) -> bool:
        return seq >= state.done.get(kind, 0)

    def _send_metrics(self, state: StreamState, events: list[tuple[int, Event]]) -> None:
        items: list[_Numbered] = []
        item = state.item
        for seq, event in events:
            if isinstance(event, Metrics) and self._is_new(state, METRICS.path, seq):
                found, lacking = json_items.points(event, item)
                items += [(seq, point) for point in found]
                if found:
                    state.leave_out(seq, lacking)
                elif lacking:
                    state.reject(seq, UNSUPPORTED, f"the server has no place for {lacking[0]}")
        self._send_items(state, METRICS, items)

    def _send_evals(self, state: StreamState, events: list[tuple[int, Event]]) -> None:
        rows: list[_Numbered] = []
        for seq, event in events:
            if isinstance(event, EvalStart) and self._is_new(state, "evals", seq):
                start_eval(self._api, state, seq, event)
                state.done["evals"] = seq + 1
            elif isinstance(event, EvalResult):
                rows.append((seq, {"projectId": state.item["projectId"], **json_items.result(event)}))
        self._send_items(state, RESULTS, rows)

    def _send_updates(self, state: StreamState, events: list[tuple[int, Event]]) -> None:
        entries: Json = {}
        last = 0
        for seq, event in events:
            if isinstance(event, RunUpdate) and self._is_new(state, "updates", seq):
                found, lacking = json_items.update_config(event)
                entries |= found
                last = seq
                if lacking and not found:
                    state.reject(seq, UNSUPPORTED, f"the server has no place for {lacking[0]}")
                else:
                    state.leave_out(seq, lacking)
        if entries:
            configure(self._api, state, state.item["runId"], last, entries)
            state.done["updates"] = last + 1

    # -- many items in one request ------------------------------------------------------------------------------------

    def _send_items(self, state: StreamState, route: Route, items: list[_Numbered]) -> None:
        items = [item for item in items if self._is_new(state, route.path, item[0])]
        of_record = Counter(seq for seq, _ in items)
        refused: Counter[int] = Counter()
        place = 0
        while place < len(items):
            part = items[place : place + self._most[route.path]]
            for index, reason in self._post(route, part).items():
                seq = part[index][0]
                refused[seq] += 1
                if refused[seq] == of_record[seq]:
                    state.left_out.pop(seq, None)
                    state.reject(seq, "REJECTED", reason)
                else:
                    state.left_out[seq] = state.left_out.get(seq, Counter()) + Counter([reason])
            place += len(part)
            whole = place == len(items) or items[place][0] != part[-1][0]
            state.done[route.path] = part[-1][0] + whole
            state.note()

    def _post(self, route: Route, part: list[_Numbered]) -> dict[int, str]:
        """Send items; why some were refused, by their place. Raises :class:`Refusal` when nothing is known."""
        body: Json = {route.field: [item for _, item in part]}
        if route is RESULTS:
            return self._post_results(part)
        return self._judge(route, part, self._api.ask("POST", route.path, body, packed=True), self._post)

    def _post_results(self, part: list[_Numbered]) -> dict[int, str]:
        """Results of one eval run each in a request of their own."""
        refused: dict[int, str] = {}
        first = 0
        while first < len(part):
            name = part[first][1]["evalRunId"]
            last = next((n for n in range(first, len(part)) if part[n][1]["evalRunId"] != name), len(part))
            rows = [{key: value for key, value in row.items() if key != "projectId"} for _, row in part[first:last]]
            body = {"projectId": part[first][1]["projectId"], "evalRunId": name, "rows": rows}
            answer = self._api.ask("POST", RESULTS.path, body, packed=True)
            found = self._judge(RESULTS, part[first:last], answer, lambda _route, some: self._post_results(some))
            refused |= {first + index: reason for index, reason in found.items()}
            first = last
        return refused

    def _judge(
        self,
        route: Route,
        part: list[_Numbered],
        answer: Answer,
        again: Callable[[Route, list[_Numbered]], dict[int, str]],
    ) -> dict[int, str]:
        """What an answer says of each item: ``again`` sends parts of a request that was refused as a whole."""
        outcome = answer.outcome
        accepted = answer.said.get("accepted")
        if answer.document is not None or (outcome.verdict == "bad" and isinstance(accepted, int) and accepted > 0):
            refused = _refused_items(answer.said, len(part))
            self._took_metrics |= route is METRICS and len(refused) < len(part)
            return refused
        if outcome.verdict != "bad":
            raise Refusal(outcome)
        if answer.status == 413:
            self._most[route.path] = max(1, len(part) // 2)
        if len(part) > 1:
            half = len(part) // 2
            refused = again(route, part[:half])
            return refused | {half + index: reason for index, reason in again(route, part[half:]).items()}
        if route is METRICS and not self._took_metrics:
            # A server that has taken no point at all may refuse us altogether; then everything is held.
            raise Refusal(outcome._replace(verdict="refused"))
        return {0: str(outcome.error)}


_CARRIED = (RunStart, RunEnd, RunUpdate, Metrics, LogLine, Marker, Span, EvalStart, EvalResult, Gap)


def _lines(state: StreamState, events: list[tuple[int, Event]]) -> list[_Numbered]:
    rank = state.start.rank if state.start is not None else 0
    made: list[_Numbered] = []
    item = state.item
    for seq, event in events:
        if isinstance(event, LogLine):
            made.append((seq, json_items.line(event, item, seq, rank)))
        elif isinstance(event, Marker):
            made.append((seq, json_items.marker_line(event, item, seq, rank)))
    return made


def _refused_items(said: Json, count: int) -> dict[int, str]:
    """Why items were refused, by place. A server that only says how many it took is taken to mean the first ones."""
    named = said.get("rejected")
    if isinstance(named, list):
        entries = [entry for entry in named if isinstance(entry, dict) and isinstance(entry.get("index"), int)]
        found = {entry["index"]: str(entry.get("reason")) for entry in entries if 0 <= entry["index"] < count}
        if len(found) == len(named):
            return found
    accepted = said.get("accepted")
    if not isinstance(accepted, int) or isinstance(accepted, bool) or not 0 <= accepted < count:
        return {}
    return dict.fromkeys(range(accepted, count), "the server did not say why")


def _refused(message: str) -> Refusal:
    return Refusal(Outcome("refused", error=RequestError(message)))
