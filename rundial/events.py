"""The vocabulary: everything a run can say, one Struct for each kind of thing.

Events are encoded as MessagePack arrays, the tag first (``[2, time_ns, step, values, ...]``).
Fields are only ever appended, always with a default, so that an SDK and a server one version apart
understand each other; a tag is never reused.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from msgspec import Struct

PROTOCOL = 2
"""Version of the record wire. The JSON wire of the older client is version 1."""

RunKind = Literal["training", "agent", "eval"]
ResumeMode = Literal["never", "allow", "must", "continue"]
RunStatus = Literal["running", "completed", "failed", "aborted", "crashed"]


class RunStart(Struct, array_like=True, tag=1):
    """The first record of every stream: which run it belongs to, and who writes it.

    ``workspace`` and ``project`` are slugs as the user typed them; ``time_ns`` is Unix time in nanoseconds.
    """

    time_ns: int
    run_id: str
    workspace: str
    project: str
    name: str
    kind: RunKind = "training"
    resume: ResumeMode = "never"
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = []
    config: dict[str, Any] = {}
    host: str = ""
    pid: int = 0
    rank: int = 0
    client: str = ""
    """Name and version of the SDK, ``rundial-python/0.1.0``."""
    system: dict[str, Any] = {}
    """Python version, platform, command line: what identifies the attempt."""
    heartbeat_seconds: float = 15.0
    """How often the server hears of a living process that logs nothing."""
    part: bool = False
    """A further stream of a run that another stream leads (a rank above 0, a forked child): it attaches whatever
    ``resume`` says, creates the run if it comes first, and its end is not the end of the run."""
    path: str | None = None
    """Where the run stands in the project's tree, ``cv/resnet50/baseline``."""
    alias: str | None = None
    """A short label for people; may repeat."""
    notes: str | None = None


class Metrics(Struct, array_like=True, tag=2, gc=False):
    """One ``log()`` call: all its values at one step.

    A value is a number (one point of a series) or a str (a text series); ``step`` is any 64-bit integer.
    """

    time_ns: int
    step: int
    values: dict[str, float | int | bool | str]
    stage: str | None = None
    context: dict[str, str] | None = None


class RunUpdate(Struct, array_like=True, tag=3):
    """A change to what is known of the run. Mappings are merged key by key; None leaves a field as it is."""

    time_ns: int
    config: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None
    name: str | None = None
    tags: list[str] | None = None
    notes: str | None = None
    primary: dict[str, str] | None = None
    """``{"name": metric key, "mode": "max" | "min"}``: the best value is kept from here on."""
    path: str | None = None
    alias: str | None = None
    group: str | None = None
    job_type: str | None = None
    environment: dict[str, Any] | None = None
    """What :mod:`rundial.snapshot` found out about the machine, the packages and the repository."""
    sweep: dict[str, Any] | None = None
    """The sweep that the run belongs to, ``{"id", "name", "config"}``: it may have been made without a server."""


class RunEnd(Struct, array_like=True, tag=4):
    """The terminal status: the last record of a stream that ended on its own terms."""

    time_ns: int
    status: RunStatus
    reason: str | None = None
    traceback: str | None = None


class Marker(Struct, array_like=True, tag=5):
    """Something that happened at a moment, drawn on every chart.

    ``kind`` is what happened (``non_finite``, ``alert``, ``resume`` ...), ``name`` what it happened to.
    """

    time_ns: int
    kind: str
    name: str
    step: int | None = None
    attrs: dict[str, Any] = {}


class Gap(Struct, array_like=True, tag=6):
    """Stands in the place of records that a bound had to drop: sequences ``first`` to ``last``, both included."""

    first: int
    last: int
    reason: str


class Ledger(Struct, array_like=True, tag=7):
    """The client's own account of the stream, sent before its end: what it logged and what it had to drop.

    ``logged`` counts the records given to the queue, this one not included; ``dropped`` counts by reason.
    """

    time_ns: int
    logged: int
    dropped: dict[str, int] = {}
    non_finite: dict[str, int] = {}


class LogLine(Struct, array_like=True, tag=8, gc=False):
    """One line of text that the run wrote.

    ``level`` is one of :data:`LEVELS`, ``source`` is ``text`` (``log_text``), ``stdout``, ``stderr`` or the name of
    a logger. ``message`` is at most 8 KiB of UTF-8; ``truncated`` says that there was more.
    """

    time_ns: int
    level: str
    message: str
    source: str = "text"
    truncated: bool = False


class Span(Struct, array_like=True, tag=9):
    """One finished piece of work in a trace, with the fields of OpenTelemetry: ids are lower-case hex, 32 and 16 long.

    ``events`` are ``[name, time_ns, attrs]``. ``kind`` is one of :data:`SPAN_KINDS`, ``status`` ``unset``, ``ok`` or
    ``error``.
    """

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str = "unset"
    message: str | None = None
    """Why it failed."""
    attrs: dict[str, Any] = {}
    events: list[tuple[str, int, dict[str, Any]]] = []
    model: str | None = None
    system: str | None = None
    """Who serves the model."""
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None


class EvalStart(Struct, array_like=True, tag=10):
    """This run is (also) a run of an evaluation suite, which comes into being with its first run.

    ``dataset`` has ``name``, ``version`` and ``artifactRef``; each of ``scorers`` has ``name``, ``kind``, ``config``.
    """

    time_ns: int
    eval_run_id: str
    suite: str
    dataset: dict[str, Any] = {}
    scorers: list[dict[str, Any]] = []
    config: dict[str, Any] = {}
    suite_id: str | None = None


class EvalResult(Struct, array_like=True, tag=11):
    """What one scorer said of one example. The last one for (eval run, example, scorer) counts."""

    time_ns: int
    eval_run_id: str
    example_id: str
    scorer: str
    score: float
    passed: bool | None = None
    trace_id: str | None = None
    evidence: dict[str, str] | None = None
    meta: dict[str, Any] = {}


class Dial(Struct, array_like=True, tag=12):
    """A control that this stream offers, with its value now. The last one of a name counts.

    ``kind`` is one of :data:`DIAL_KINDS`. ``min`` and ``max`` are both included; ``step`` is what a slider moves by.
    """

    time_ns: int
    name: str
    kind: str
    min: float | None = None
    max: float | None = None
    step: float | None = None
    choices: list[str | int | float] | None = None
    unit: str | None = None
    description: str | None = None
    value: float | int | bool | str | None = None
    role: str | None = None
    """Who may turn it: one of :data:`DIAL_ROLES`; None is the same as ``member``."""


class Ack(Struct, array_like=True, tag=13):
    """What became of a command: ``status`` is one of :data:`OUTCOMES`. ``ranks`` is the status on each rank."""

    time_ns: int
    command_id: str
    name: str
    status: str
    value: float | int | bool | str | None = None
    """What the dial says after it was applied; of a command that was not applied, what it asked for."""
    former: float | int | bool | str | None = None
    error: str | None = None
    ranks: dict[str, str] | None = None
    author: str | None = None
    reason: str | None = None


Event = (
    RunStart
    | Metrics
    | RunUpdate
    | RunEnd
    | Marker
    | Gap
    | Ledger
    | LogLine
    | Span
    | EvalStart
    | EvalResult
    | Dial
    | Ack
)

LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")
"""Levels of log lines, from the least to the most."""
SPAN_KINDS = ("internal", "server", "client", "producer", "consumer", "tool")
DIAL_KINDS = ("float", "int", "bool", "choice", "text", "action")
DIAL_ROLES = ("owner", "member")
"""Who may turn a dial: whoever has the scope ``admin``, or whoever has ``control:write``."""
OUTCOMES = ("applied", "rejected", "failed", "expired", "superseded")
MAX_DIAL_TEXT = 8192
"""Characters of a text that a dial takes."""
SYSTEM_PREFIX = "system/"
"""Metrics of the machine. Their steps are Unix seconds: they count neither for the last step nor for the summary."""

MAX_KEY_LENGTH = 250
"""Longest metric key in characters; a longer one is cut and keeps a short hash of the whole."""


def clean_key(key: object) -> str:
    """Any object as a metric key: a non-empty, printable string of at most 250 characters.

    Control characters and lone surrogates become U+FFFD, an empty key becomes ``(empty)``, a key that is no
    string is written with ``str()``. Both ends apply this rule, so a strange key renames itself and harms nothing.
    """
    try:
        text = key if type(key) is str else str(key)
    except Exception:  # noqa: BLE001 - a key whose __str__ raises is still worth its value
        text = f"({type(key).__name__})"
    if not text:
        return "(empty)"
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "\ufffd" for c in text)
    if len(text) > MAX_KEY_LENGTH:
        import zlib

        digest = f"{zlib.crc32(text.encode('utf-8', 'replace')):08x}"
        text = f"{text[: MAX_KEY_LENGTH - 9]}~{digest}"
    return text


def refusal(dial: Dial, value: Any) -> str | None:
    """Why a dial does not take a value, by its kind and bounds; None when it does. Both ends apply this rule."""
    if dial.kind == "action":
        return None if value is None else "an action takes no value"
    if dial.kind == "bool":
        return None if isinstance(value, bool) else f"{value!r:.80} is neither true nor false"
    if dial.kind == "text":
        if not isinstance(value, str):
            return f"{value!r:.80} is no text"
        return None if len(value) <= MAX_DIAL_TEXT else f"longer than {MAX_DIAL_TEXT} characters"
    if dial.kind == "choice":
        known = any(
            value == choice and isinstance(value, bool) is isinstance(choice, bool) for choice in dial.choices or ()
        )
        return None if known else f"{value!r:.80} is none of {', '.join(map(str, dial.choices or ()))}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"{value!r:.80} is no number"
    if not -math.inf < value < math.inf or abs(value) >= 2**63:
        return f"{value!r:.80} is not a finite number of 64 bits"
    if dial.kind == "int" and value != int(value):
        return f"{value!r:.80} is no whole number"
    if dial.min is not None and value < dial.min:
        return f"{value!r:.80} is less than {dial.min:g}"
    if dial.max is not None and value > dial.max:
        return f"{value!r:.80} is more than {dial.max:g}"
    return None
