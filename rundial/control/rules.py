"""Rules that act by themselves: a condition on what is logged, and what is done when it comes true.

The training thread only leaves the records it has encoded; the worker decodes them and asks the conditions.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from rundial.control.condition import Condition, Logged, parse
from rundial.control.dial import Dial
from rundial.control.offer import Offer, checked_name
from rundial.errors import ConfigError
from rundial.events import Ack, Marker, Metrics
from rundial.pipeline import Pipeline

if TYPE_CHECKING:
    from rundial.control.dials import Board
    from rundial.runs import Run

ALERT = "alert"
UNNAMED = "rule: "
MAX_KEPT = 50_000
"""Records that may wait for the worker's next look; of more, the oldest are not looked at."""
_TAGS = frozenset({2, 5})
"""Of :class:`Metrics` and :class:`Marker`, the second byte of their records."""

Do = str | Mapping[str, float | int | bool | str]


class Rule(NamedTuple):
    """One rule. Its switch is a dial, so that people see it and may turn it off."""

    when: str
    do: dict[str, Any]
    """Dials and what they are set to; of an action None. None at all: an alert alone."""
    condition: Condition
    switch: Dial
    holds: list[bool]
    """Whether it held when it was asked last: it acts once, until it has ceased to hold."""


class Rules:
    """The rules of one run.

    Args:
        pipeline: what is logged passes through it.
        board: the dials that they set.
        alert: tells people: a title, a text, a level and the step.
    """

    def __init__(self, pipeline: Pipeline, board: Board, alert: Callable[[str, str, str, int], object]) -> None:
        self._board = board
        self._alert = alert
        self._counters = pipeline.counters
        self._rules: list[Rule] = []
        self._records: deque[bytes] = deque(maxlen=MAX_KEPT)
        self._values: dict[str, float] = {}
        self._looking = threading.Lock()
        self._decode = msgspec.msgpack.Decoder(Metrics | Marker).decode
        self._pid = os.getpid()
        offer, keep, before = pipeline.offer, self._records.append, pipeline.worker.before_move

        def tapped(record: bytes) -> bool:
            taken = offer(record)
            if taken and record[1] in _TAGS:
                keep(record)
            return taken

        def look_too() -> None:
            before()
            self.look()

        pipeline.offer = tapped
        pipeline.worker.before_move = look_too

    def add(self, when: str, do: dict[str, Any], condition: Condition, switch: Dial) -> None:
        """Begin to ask a rule."""
        self._rules.append(Rule(when, do, condition, switch, [False]))

    def look(self) -> None:
        """Ask the rules about what was logged since the last look. In the worker; never raises."""
        if os.getpid() != self._pid:
            self._records.clear()
            return
        with self._looking:
            while self._records:
                try:
                    logged = self._logged(self._decode(self._records.popleft()))
                    for rule in self._rules:
                        if logged.fresh & rule.condition.names:
                            self._ask(rule, logged)
                except Exception as error:  # noqa: BLE001 - the worker must live on, whatever a rule meets
                    self._counters.warn_once("rules", f"a rule could not be asked: {type(error).__name__}: {error}")

    def _logged(self, event: Metrics | Marker) -> Logged:
        if isinstance(event, Metrics):
            fresh = {name: float(value) for name, value in event.values.items() if not isinstance(value, str)}
        elif event.kind == "non_finite":
            fresh = {event.name: float(event.attrs.get("value", math.nan))}
        else:
            fresh = {}
        self._values |= fresh
        return Logged(self._values, frozenset(fresh), event.step or 0)

    def _ask(self, rule: Rule, logged: Logged) -> None:
        held, rule.holds[0] = rule.holds[0], rule.condition.ask(logged) is True
        if held or not rule.holds[0] or rule.switch.value is not True:
            return
        known = ((name, self._values.get(name)) for name in sorted(rule.condition.names))
        reason = ", ".join(f"{n} = {v:g}" for n, v in known if v is not None) + f" at step {logged.step}"
        if not rule.switch.name.startswith(UNNAMED):
            reason = f"{rule.when}: {reason}"
        if not rule.do:
            self._alert(rule.switch.name, reason, "warn", logged.step)
            self._board.note(Ack(time.time_ns(), self._id(), ALERT, "applied", author=rule.switch.name, reason=reason))
        for name, value in rule.do.items():
            self._board.order(self._id(), name, value, rule.switch.name, reason)

    @staticmethod
    def _id() -> str:
        return f"rule_{os.urandom(8).hex()}"


def add(run: Run, when: str, do: Do, name: str | None) -> Dial:
    """Add a rule to a run; see :meth:`rundial.Run.rule`."""
    condition, acts, title, words = read(when, do, name)
    board = run._dials()
    switch = board.offer(Offer(title, value=True, description=words))
    if board.pipeline is not None and run.status == "running":
        if board.rules is None:
            board.rules = Rules(board.pipeline, board, lambda *what: run.alert(*what[:3], step=what[3]))
            run._offer = board.pipeline.offer
        board.rules.add(when, acts, condition, switch)
    return switch


def read(when: Any, do: Any, name: str | None) -> tuple[Condition, dict[str, Any], str, str]:
    """A rule's parts: its condition, the dials it sets, its name and what it does in words.

    Raises :class:`ConfigError` for what cannot be understood.
    """
    condition = parse(when)
    if isinstance(do, str) and do.strip():
        acts: dict[str, Any] = {} if do.strip() == ALERT else {checked_name(do): None}
        words = do.strip()
    elif isinstance(do, Mapping) and do:
        acts = {checked_name(dial): value for dial, value in do.items()}
        words = ", ".join(f"{dial} = {value}" for dial, value in acts.items())
        for dial, value in acts.items():
            if not isinstance(value, (bool, int, float, str)):
                raise ConfigError(f"a rule cannot set {dial!r} to a {type(value).__name__}.")
    else:
        raise ConfigError("do must be 'alert', 'stop', the name of an action, or dials and values such as {'lr': 0.1}.")
    title = checked_name(name) if name is not None else f"{UNNAMED}{when.strip()}"[:200]
    return condition, acts, title, f"{when.strip()}: {words}"[:1000]
