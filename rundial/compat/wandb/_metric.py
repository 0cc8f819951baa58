"""``define_metric``: which value of a metric stands in the summary, and what it is drawn over."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from rundial.compat.wandb.errors import Error

_OPERATIONS = frozenset({"min", "max", "mean", "last", "first", "best", "copy", "none"})


class Metric(msgspec.Struct, kw_only=True):
    """What is defined for one metric, or for all whose names begin alike (``loss/*``)."""

    name: str
    step_metric: str | None = None
    step_sync: bool | None = None
    hidden: bool | None = None
    summary: tuple[str, ...] = ()
    goal: str | None = None


def metric(
    name: Any,
    step_metric: Any = None,
    step_sync: bool | None = None,
    hidden: bool | None = None,
    summary: Any = None,
    goal: str | None = None,
) -> Metric:
    """A checked definition. Raises :class:`Error` for a name, a step metric or an operation that is none."""
    if not name:
        raise Error("define_metric() requires non-empty name argument")
    if isinstance(step_metric, Metric):
        step_metric = step_metric.name
    for argument, value in (("name", name), ("step_metric", step_metric), ("summary", summary), ("goal", goal)):
        if value is not None and not isinstance(value, str):
            raise Error(f"Unhandled define_metric() arg: {argument} type: {type(value).__name__}")
    if "*" in name.removesuffix("*"):
        raise Error(f"Unhandled define_metric() arg: name (glob suffixes only): {name}")
    operations = tuple(word.strip().lower() for word in (summary or "").split(",") if word.strip())
    for operation in operations:
        if operation not in _OPERATIONS:
            raise Error(f"Unhandled define_metric() arg: summary op: {operation}")
    if goal is not None and not goal.lower().startswith(("min", "max")):
        raise Error(f"Unhandled define_metric() arg: goal: {goal}")
    if step_sync is None and step_metric is not None:
        step_sync = True
    return Metric(name=name, step_metric=step_metric, step_sync=step_sync, hidden=hidden, summary=operations, goal=goal)


class Definitions:
    """The definitions of one run."""

    def __init__(self) -> None:
        self._exact: dict[str, Metric] = {}
        self._globs: dict[str, Metric] = {}
        self._found: dict[str, Metric | None] = {}
        self._means: dict[str, tuple[float, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._exact or self._globs)

    def add(self, definition: Metric, overwrite: bool | None) -> None:
        """Add one; what an earlier one for the same name says stays, unless ``overwrite``."""
        place = self._globs if definition.name.endswith("*") else self._exact
        name = definition.name.removesuffix("*")
        earlier = place.get(name)
        if earlier is not None and not overwrite:
            said = {key: value for key, value in msgspec.structs.asdict(definition).items() if value not in (None, ())}
            definition = msgspec.structs.replace(earlier, **said)
        place[name] = definition
        self._found.clear()

    def of(self, key: str) -> Metric | None:
        """The definition for a key: its own, else the one with the longest common beginning."""
        try:
            return self._found[key]
        except KeyError:
            found = self._exact.get(key)
            if found is None:
                names = [name for name in self._globs if key.startswith(name)]
                found = self._globs[max(names, key=len)] if names else None
            self._found[key] = found
            return found

    def documents(self) -> list[dict[str, Any]]:
        """All of them as plain values."""
        all_of_them = [*self._exact.values(), *self._globs.values()]
        return [{k: v for k, v in msgspec.structs.asdict(m).items() if v not in (None, ())} for m in all_of_them]

    def summarise(self, definition: Metric, key: str, value: float, known: Any) -> Any:
        """The summary of a key after one more number.

        Args:
            definition: with at least one operation.
            key: the name the number was logged under.
            value: the number.
            known: the summary before.
        """
        result: dict[str, Any] = dict(known) if isinstance(known, dict) else {}
        for operation in definition.summary:
            if operation in ("min", "max"):
                result[operation] = _extreme(operation, result.get(operation), value)
            elif operation == "best":
                result["best"] = _extreme((definition.goal or "min")[:3].lower(), result.get("best"), value)
            elif operation == "mean":
                total, count = self._means.get(key, (0.0, 0))
                self._means[key] = (total + value, count + 1)
                result["mean"] = (total + value) / (count + 1)
            elif operation == "first":
                result.setdefault("first", value)
            else:
                result["last"] = value
        return result


def _extreme(operation: str, known: float | None, value: float) -> float:
    if known is None or math.isnan(known):
        return value
    return min(known, value) if operation == "min" else max(known, value)
