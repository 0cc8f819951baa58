"""The small language of rules: ``loss is nan or val/loss > 10 for 3 steps``, read by hand and never evaluated as code.

    condition := all ("or" all)*
    all       := held ("and" held)*
    held      := one ("for" NUMBER ("step" | "steps"))?
    one       := "not" one | "(" condition ")" | METRIC ("<" | "<=" | ">" | ">=" | "==" | "!=") (NUMBER | METRIC)
               | METRIC "is" "not"? ("nan" | "inf" | "finite")

A metric with spaces, or one that is called like a word of this language, stands in quotes.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rundial.errors import ConfigError

MAX_LENGTH, MAX_DEPTH, MAX_STEPS = 2000, 50, 1_000_000
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_STATES: dict[str, Callable[[float], bool]] = {"nan": math.isnan, "inf": math.isinf, "finite": math.isfinite}
_WORDS = frozenset({"and", "or", "not", "is", "for", "step", "steps", *_STATES})
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<mark><=|>=|==|!=|<|>|\(|\))
    |(?P<word>[^\W\d]\w*(?:[./:-]\w+)*)|(?P<quote>"[^"]+"|'[^']+'|`[^`]+`))""",
    re.VERBOSE,
)

Truth = bool | None
"""None: not known, as nothing was logged of it yet."""


class Logged(NamedTuple):
    """What is known when a call of ``log()`` has come: the last value of each metric, and which came now."""

    values: Mapping[str, float]
    fresh: frozenset[str]
    step: int


class Condition:
    """A part of a condition, asked once for each call of ``log()``."""

    def __init__(self, names: frozenset[str], ask: Callable[[Logged], Truth]) -> None:
        self.names = names
        """The metrics it is about."""
        self.ask = ask


def parse(text: Any) -> Condition:
    """A condition out of its text. Raises :class:`ConfigError` that says where it cannot be understood."""
    if not isinstance(text, str) or not text.strip():
        raise ConfigError("when must be a text such as 'loss is nan or loss > 10 for 3 steps'.")
    if len(text) > MAX_LENGTH:
        raise ConfigError(f"a rule has at most {MAX_LENGTH:,} characters.")
    reader = _Reader(text)
    found = reader.either(0)
    if reader.kind != "end":
        raise reader.mistake("'and', 'or', 'for' or the end")
    return found


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text.rstrip()
        self._next = 0
        self.advance()

    def advance(self) -> None:
        self._at = self._next
        if self._at >= len(self._text):
            self.kind, self.word = "end", ""
            return
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise self.mistake("a metric, a number or a comparison")
        self._next = found.end()
        self.kind = str(found.lastgroup)
        self.word = found.group(self.kind)
        if self.kind == "word" and self.word in _WORDS:
            self.kind = "keyword"

    def mistake(self, wanted: str) -> ConfigError:
        rest = self._text[self._at :].strip()
        where = f"at {rest[:40]!r}" if rest else "at its end"
        return ConfigError(f"the rule {self._text[:200]!r} cannot be understood {where}: {wanted} was expected.")

    def takes(self, *words: str) -> str | None:
        """The next word when it is one of these, which is then behind us."""
        if self.kind not in ("keyword", "mark") or self.word not in words:
            return None
        word = self.word
        self.advance()
        return word

    def either(self, depth: int) -> Condition:
        parts = [self.all(depth)]
        while self.takes("or"):
            parts.append(self.all(depth))
        return _joined(parts, any_of) if len(parts) > 1 else parts[0]

    def all(self, depth: int) -> Condition:
        parts = [self.held(depth)]
        while self.takes("and"):
            parts.append(self.held(depth))
        return _joined(parts, all_of) if len(parts) > 1 else parts[0]

    def held(self, depth: int) -> Condition:
        inner = self.one(depth)
        if not self.takes("for"):
            return inner
        word = self.word
        if self.kind != "number" or not word.isdigit() or not 1 <= int(word) <= MAX_STEPS:
            raise self.mistake(f"a whole number from 1 to {MAX_STEPS:,}")
        self.advance()
        if not self.takes("steps", "step"):
            raise self.mistake("'steps'")
        return _held(inner, int(word))

    def one(self, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            raise self.mistake("less nesting")
        if self.takes("not"):
            return _negated(self.one(depth + 1))
        if self.takes("("):
            inner = self.either(depth + 1)
            if not self.takes(")"):
                raise self.mistake("')'")
            return inner
        metric = self.metric("a metric")
        if self.takes("is"):
            negated = self.takes("not") is not None
            state = self.takes(*_STATES)
            if state is None:
                raise self.mistake("'nan', 'inf' or 'finite'")
            found = _state(metric, _STATES[state])
            return _negated(found) if negated else found
        sign = self.takes(*_COMPARISONS)
        if sign is None:
            raise self.mistake("a comparison such as '>', or 'is'")
        if self.kind == "number":
            limit = float(self.word)
            self.advance()
            return _compared(metric, _COMPARISONS[sign], limit)
        return _compared(metric, _COMPARISONS[sign], self.metric("a number or a metric"))

    def metric(self, wanted: str) -> str:
        if self.kind not in ("word", "quote"):
            raise self.mistake(wanted)
        name = self.word[1:-1] if self.kind == "quote" else self.word
        self.advance()
        return name


def any_of(truths: list[Truth]) -> Truth:
    """True when one is, else None when one is not known."""
    return True if True in truths else None if None in truths else False


def all_of(truths: list[Truth]) -> Truth:
    """False when one is, else None when one is not known."""
    return False if False in truths else None if None in truths else True


def _joined(parts: list[Condition], join: Callable[[list[Truth]], Truth]) -> Condition:
    # Each part is asked each time, for those with "for ... steps" count.
    return Condition(
        frozenset().union(*(part.names for part in parts)), lambda logged: join([part.ask(logged) for part in parts])
    )


def _negated(inner: Condition) -> Condition:
    def ask(logged: Logged) -> Truth:
        truth = inner.ask(logged)
        return None if truth is None else not truth

    return Condition(inner.names, ask)


def _state(metric: str, holds: Callable[[float], bool]) -> Condition:
    def ask(logged: Logged) -> Truth:
        value = logged.values.get(metric)
        return None if value is None else holds(value)

    return Condition(frozenset({metric}), ask)


def _compared(metric: str, compare: Callable[[float, float], bool], limit: float | str) -> Condition:
    def ask(logged: Logged) -> Truth:
        left = logged.values.get(metric)
        right = logged.values.get(limit) if isinstance(limit, str) else limit
        return None if left is None or right is None else compare(left, right)

    return Condition(frozenset({metric, limit} if isinstance(limit, str) else {metric}), ask)


def _held(inner: Condition, steps: int) -> Condition:
    """Whether it has held at so many steps on end: those at which one of its metrics was logged."""
    count = 0
    last: int | None = None

    def ask(logged: Logged) -> Truth:
        nonlocal count, last
        if logged.fresh & inner.names:
            if inner.ask(logged) is not True:
                count = 0
            elif logged.step != last or count == 0:
                count += 1
            last = logged.step
        return count >= steps

    return Condition(inner.names, ask)
