"""What a script says of a dial, understood: its kind, its bounds, how its functions are to be called."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rundial.errors import ConfigError
from rundial.events import DIAL_KINDS, DIAL_ROLES, Dial, clean_key
from rundial.values import scalar

MAX_MESSAGE = 2000
"""Characters of what an error says."""
Value = float | int | bool | str | None
_KINDS_OF_TYPES: dict[type, str] = {bool: "bool", int: "int", float: "float", str: "text"}


class Offer(NamedTuple):
    """A dial as a script offers it; :meth:`rundial.Run.dial` says what each of these is."""

    name: str
    get: Callable[[], Any] | None = None
    set: Callable[..., Any] | None = None
    value: Any = None
    kind: str | None = None
    min: float | None = None
    max: float | None = None
    step: float | None = None
    choices: Sequence[Any] | None = None
    unit: str | None = None
    description: str | None = None
    validate: Callable[[Any], Any] | None = None
    role: str | None = None

    def checked(self, read: Callable[[str, Callable[[], Any]], Value]) -> Dial:
        """What is told of the dial. Raises ConfigError for a mistake in the offer.

        Args:
            read: gives the value that ``get`` has now, called with the name and ``get``.
        """
        name = checked_name(self.name)
        for word, function in (("get", self.get), ("set", self.set), ("validate", self.validate)):
            _check_function(word, function)
        now = shown(self.value) if self.get is None else read(name, self.get)
        bounded = not (self.min is None and self.max is None and self.step is None)
        kind = _kind_of(self.kind, now, self.choices, bounded, self.set is not None)
        low, high, width = _checked_bounds(kind, self.min, self.max, self.step)
        return Dial(
            time.time_ns(),
            name,
            kind,
            low,
            high,
            width,
            _checked_choices(kind, self.choices),
            None if self.unit is None else str(self.unit)[:64],
            None if self.description is None else str(self.description)[:1000],
            None if kind == "action" else now,
            _checked_role(self.role),
        )


def _kind_of(kind: str | None, value: Value, choices: Sequence[Any] | None, bounded: bool, acts: bool) -> str:
    """The kind of a dial, found out where it is not said.

    Args:
        kind: what was said.
        value: what the dial says now, None when that is not known.
        bounded: there is a ``min``, ``max`` or ``step``.
        acts: there is something to call.

    Raises ConfigError for a kind that does not exist, and when nothing tells the kind.
    """
    if kind is not None:
        if kind not in DIAL_KINDS:
            raise ConfigError(f"kind must be one of {', '.join(DIAL_KINDS)}, not {kind!r}.")
        return kind
    if choices is not None:
        return "choice"
    if value is not None:
        return _KINDS_OF_TYPES[type(value)]
    if bounded:
        return "float"
    if acts:
        return "action"
    raise ConfigError("a dial needs get=, set= or value=, or else its kind=.")


def _checked_bounds(kind: str, low: Any, high: Any, step: Any) -> tuple[float | None, float | None, float | None]:
    """Bounds and step as floats. Raises ConfigError when they cannot be right."""
    found = [
        None if bound is None else _number(name, bound)
        for name, bound in zip(("min", "max", "step"), (low, high, step))
    ]
    low, high, step = found
    if kind not in ("float", "int") and found != [None, None, None]:
        raise ConfigError(f"a dial of kind {kind} has no min, max or step.")
    if low is not None and high is not None and low > high:
        raise ConfigError(f"min {low:g} is more than max {high:g}.")
    if step is not None and step <= 0:
        raise ConfigError(f"step must be more than 0, not {step:g}.")
    return low, high, step


def _number(name: str, bound: Any) -> float:
    try:
        number = float(bound)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{name} must be a number, not {bound!r:.80}.") from error
    if not math.isfinite(number):
        raise ConfigError(f"{name} must be finite; leave it out for no bound.")
    return number


def _checked_choices(kind: str, choices: Any) -> list[str | int | float] | None:
    """The choices as a list. Raises ConfigError when there are none for a choice, or some for another kind."""
    if kind != "choice":
        if choices is not None:
            raise ConfigError(f"a dial of kind {kind} has no choices.")
        return None
    known = [] if choices is None or isinstance(choices, str) else list(choices)
    if not known or not all(isinstance(one, (str, int, float)) for one in known):
        raise ConfigError("choices must be a list of texts or numbers that is not empty.")
    return known


def checked_name(name: Any) -> str:
    """The name of a dial. Raises ConfigError when it is no text, or empty."""
    if not isinstance(name, str) or not name.strip():
        raise ConfigError("the name of a dial must be a text that is not empty.")
    return clean_key(name.strip())


def _checked_role(role: Any) -> str | None:
    """Who may turn a dial. Raises ConfigError for what is no role."""
    if role not in (None, *DIAL_ROLES):
        raise ConfigError(f"role must be one of {', '.join(DIAL_ROLES)}, not {role!r:.80}.")
    return None if role is None else str(role)


def _check_function(name: str, function: Any) -> None:
    """Raises ConfigError for what is neither None nor callable."""
    if function is not None and not callable(function):
        raise ConfigError(f"{name} must be a function, not {type(function).__name__}.")


def takes_context(function: Callable[..., Any], values: int) -> bool:
    """Whether a function wants the context of the poll before its ``values`` values: it needs one argument more."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters) == values + 1


def shown(value: Any) -> Value:
    """A value as a dial can show it; never raises. What is neither number nor text becomes text."""
    if value is None:
        return None
    try:
        plain = scalar(value)
    except Exception:  # noqa: BLE001 - a stranger's object may raise anything while it becomes a number
        plain = _text(value) or f"({type(value).__name__})"
    return str(plain) if isinstance(plain, float) and not math.isfinite(plain) else plain


def _text(value: Any) -> str:
    try:
        return str(value)[:MAX_MESSAGE]
    except Exception:  # noqa: BLE001 - as above
        return ""


def message_of(error: BaseException) -> str:
    """What an error says, or what it is called; never raises."""
    return _text(error) or type(error).__name__
