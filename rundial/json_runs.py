"""What a run says of itself, over the JSON wire: its start, its config, its evaluations, its end."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from rundial import json_items, json_notes
from rundial.delivery import Refusal
from rundial.events import SYSTEM_PREFIX, EvalStart, Gap, Ledger, RunEnd, RunStart
from rundial.json_api import Json, JsonApi, Target, segments
from rundial.transport import CLIENT, Outcome
from rundial.wire import Chunk, decode_chunk

MAX_KEYS = 100
KEYS_AT_ONCE = 8
MAX_REASON = 512
_MADE_HERE = re.compile("run_[0-9a-f]{23}")
"""What :func:`rundial.names.new_run_id` makes: nobody else has such an id."""

live_runs: set[tuple[str, str]] = set()
"""Endpoint and id of the runs that this process itself logs to."""


class StreamState:
    """What is known of one stream.

    Args:
        endpoint: the server it goes to.
        stream: its id.
    """

    def __init__(self, endpoint: str, stream: str) -> None:
        self.next = 0
        """All records below this one are at the server."""
        self.done: dict[str, int] = {}
        """The same for each kind of request: within a chunk they are not sent in sequence."""
        self.start: RunStart | None = None
        self.target: Target | None = None
        self.news: Json | None = None
        """What the next reply says about the run."""
        self.held: Outcome | None = None
        """Why the last delivery stopped half way, until that was said."""
        self.rejected: dict[int, Json] = {}
        self.left_out: dict[int, Counter[str]] = {}
        self.rejections = 0
        """All records that no request carries, those included that were told of."""
        self.gaps: Counter[str] = Counter()
        self.ledger: Ledger | None = None
        self._place = (endpoint, stream)
        note = json_notes.read(endpoint, stream)
        if note is not None:
            self.next, self.done, self.start, self.target = note.next, note.done, note.start, note.target
            self.rejections, self.gaps, self.ledger = note.rejected, Counter(note.gaps), note.ledger

    @property
    def item(self) -> Json:
        """What every item carries: project and run."""
        assert self.start is not None and self.target is not None
        return {"projectId": self.target.project_id, "runId": self.start.run_id}

    def note(self, ended_ns: int | None = None) -> None:
        """Write down how far it is."""
        if self.start is not None and self.target is not None:
            start = msgspec.structs.replace(self.start, config={}, tags=[])
            account = self.rejections, dict(self.gaps), self.ledger, ended_ns
            json_notes.write(*self._place, json_notes.Note(self.next, self.done, start, self.target, *account))

    def end(self) -> None:
        """The stream is whole at the server: nobody will go on with it, but somebody may ask."""
        self.note(time.time_ns())
        json_notes.end(*self._place)

    def pass_over(self, chunk: Chunk) -> None:
        """Count what a gap stands for."""
        for gap in decode_chunk(chunk)[0]:
            if isinstance(gap, Gap):
                self.gaps[gap.reason] += chunk.count

    def reject(self, seq: int, code: str, reason: str) -> None:
        """Count a record that no request carries."""
        self.rejections += seq not in self.rejected
        self.rejected[seq] = {"seq": seq, "code": code, "reason": reason}

    def leave_out(self, seq: int, what: Sequence[str]) -> None:
        """Count parts of a record that no request carries."""
        if what:
            self.left_out[seq] = Counter(what)


def open_run(api: JsonApi, live: bool, stream: str, state: StreamState, seq: int, start: RunStart) -> None:
    """Start the run, or attach to it."""
    target = api.target(start.workspace, start.project)
    config, cut = json_items.start_config(start)
    marked = start.resume == "never" and not start.part and not _MADE_HERE.fullmatch(start.run_id)
    if marked:
        config[json_items.STREAM_KEY] = stream
    patches = list(json_items.config_patches(config))
    first = patches.pop(0) if patches else {}
    answer, carried = _start(api, live, stream, start, target, first)
    project_id = str(answer.get("projectId") or target.project_id)
    state.leave_out(seq, cut)
    for entries in patches if carried else [first, *patches]:
        configure(api, state, start.run_id, seq, entries)
    state.start, state.target = start, target._replace(project_id=project_id)
    state.note()
    if live:
        live_runs.add((api.endpoint, start.run_id))
    last_step = answer.get("lastStep")
    if last_step is None and start.resume != "never" and live and not start.part:
        last_step = _last_step(api, state)
    state.news = {
        "runId": start.run_id,
        "name": answer.get("runName") or start.name,
        "projectId": project_id,
        "workspace": target.workspace,
        "project": target.project,
        "lastStep": last_step,
        "config": answer.get("config") if isinstance(answer.get("config"), dict) else {},
        "created": start.resume == "never",
        "url": answer.get("url"),
    }


def _start(api: JsonApi, live: bool, stream: str, start: RunStart, target: Target, config: Json) -> tuple[Json, bool]:
    """What the server says of the run, and whether it was told of the config. Raises :class:`Refusal`."""
    name, _, version = CLIENT.partition("/")
    body: Json = {
        "projectId": target.project_id,
        "runId": start.run_id,
        "kind": start.kind,
        "resume": "allow" if start.part or start.resume == "continue" else start.resume,
        "client": {"name": name, "version": version},
        "runName": start.name,
    }
    more = {"group": start.group, "jobType": start.job_type, "tags": start.tags, "config": config}
    answer = api.ask("POST", "runs/start", body | {field: value for field, value in more.items() if value})
    if answer.document is not None:
        return answer.document, True
    outcome = answer.outcome
    if outcome.verdict == "bad":  # a strange tag is no reason to have no run
        bare = api.ask("POST", "runs/start", body)
        if bare.document is not None:
            return bare.document, False
        outcome = outcome._replace(verdict="refused")
    if answer.status != 409 or outcome.verdict != "refused":
        raise Refusal(outcome)
    if body["resume"] == "never" and not _is_ours(api, stream, start, target):
        raise Refusal(outcome)
    stands_in = not start.system  # for a first record that is lost: whatever it wanted was settled long ago
    if body["resume"] == "allow" and live and not start.part and not stands_in:
        return api.must("POST", "runs/start", body | {"resume": "must"}), False
    return {}, body["resume"] == "never" or stands_in


def _is_ours(api: JsonApi, stream: str, start: RunStart, target: Target) -> bool:
    """Whether the run that exists already was made by this stream, at a try whose answer never came."""
    if _MADE_HERE.fullmatch(start.run_id):
        return True
    path = segments("workspaces", target.workspace, "projects", target.project, "runs", start.run_id)
    about = api.ask("GET", path).document or {}
    if not isinstance(about.get("config"), dict):  # an empty change answers with all of it
        about = api.ask("POST", segments("runs", start.run_id, "config"), {"config": {}}).document or {}
    config = about.get("config")
    return isinstance(config, dict) and config.get(json_items.STREAM_KEY) == stream


def _last_step(api: JsonApi, state: StreamState) -> int | None:
    """The last step that the server has of the run; None when it does not say."""
    project_id, run_id = state.item["projectId"], state.item["runId"]
    path = f"metrics/keys?projectId={segments(project_id)}&runId={segments(run_id)}&limit={MAX_KEYS}"
    rows = (api.ask("GET", path).document or {}).get("keys")
    names = [row.get("metricKey") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    keys = [name for name in names if isinstance(name, str) and not name.startswith(SYSTEM_PREFIX)]
    steps: list[int] = []
    for first in range(0, len(keys), KEYS_AT_ONCE):
        asked = {"metricKeys": keys[first : first + KEYS_AT_ONCE], "maxPointsPerSeries": 25}
        body = {**state.item, **asked, "range": "full_run", "order": "asc"}
        for series in (api.ask("POST", "query/series", body).document or {}).get("series") or ():
            steps += [point["step"] for point in series["points"] if isinstance(point.get("step"), int)]
    return max(steps, default=None)


def configure(api: JsonApi, state: StreamState, run_id: str, seq: int, entries: Json) -> None:
    """Merge entries into the run's config; those that the server does not take are counted."""
    for patch in json_items.config_patches(entries):
        answer = api.ask("POST", segments("runs", run_id, "config"), {"config": patch})
        if answer.document is not None:
            continue
        if answer.status == 409 and answer.outcome.verdict == "refused":
            state.left_out[seq] = Counter({"config of a run that has ended": len(patch)})
        elif answer.outcome.verdict != "bad":
            raise Refusal(answer.outcome)
        elif len(patch) == 1:
            state.left_out[seq] = state.left_out.get(seq, Counter()) + Counter([str(answer.outcome.error)])
        else:
            names = list(patch)
            for some in (names[: len(names) // 2], names[len(names) // 2 :]):
                configure(api, state, run_id, seq, {name: patch[name] for name in some})


def start_eval(api: JsonApi, state: StreamState, seq: int, event: EvalStart) -> None:
    assert state.target is not None
    owner = {"orgId": state.target.org_id, "projectId": state.target.project_id}
    suite = json_items.suite(event.suite, event.dataset, event.scorers, event.suite_id)
    made = api.ask("POST", "evals/suites", owner | suite)
    if made.outcome.verdict not in ("acknowledged", "bad") and made.status != 409:
        raise Refusal(made.outcome)
    known = (made.document or {}).get("suite")
    suite_id = known.get("suiteId") if isinstance(known, dict) else event.suite_id
    config, cut = json_items.flat_config(event.config)
    begun = {"suiteId": suite_id, "config": config, "runId": state.item["runId"], "evalRunId": event.eval_run_id}
    answer = api.ask("POST", "evals/runs", owner | begun) if suite_id else made
    if answer.outcome.verdict == "bad" or not suite_id:
        state.reject(seq, "REJECTED", str(answer.outcome.error))
    elif answer.document is None and answer.status != 409:  # that one is there already
        raise Refusal(answer.outcome)
    state.leave_out(seq, cut)


def end_run(api: JsonApi, state: StreamState, seq: int, event: RunEnd) -> None:
    """Say that the run has ended. A further stream of a run says nothing: its end is not the run's."""
    assert state.start is not None
    run_id = state.item["runId"]
    crashed = event.status == "crashed"
    if state.start.part or (crashed and (api.endpoint, run_id) in live_runs):
        return
    reason = (event.reason or "")[:MAX_REASON]
    body: Json = {"status": "failed" if crashed else event.status, "finishedAtMs": event.time_ns // 1_000_000}
    path = segments("runs", run_id, "status")
    body |= {"reason": reason} if reason else {}
    answer = api.ask("POST", path, body)
    if answer.status == 409 and not crashed:
        # It had ended before, and was gone on with since: the newest end is the one that counts.
        start = {"projectId": state.item["projectId"], "runId": run_id, "kind": state.start.kind, "resume": "must"}
        if api.ask("POST", "runs/start", start).document is not None:
            answer = api.ask("POST", path, body)
    if answer.outcome.verdict == "bad":
        state.reject(seq, "REJECTED", str(answer.outcome.error))
    elif answer.document is None and answer.status != 409:
        raise Refusal(answer.outcome)
    live_runs.discard((api.endpoint, run_id))
