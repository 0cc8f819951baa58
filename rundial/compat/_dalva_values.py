"""Which values Dalva takes: one for each metric and step, of one kind, and no lists."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any

from rundial.diagnostics import warn

MAX_ERRORS = 1000
_INT64 = 1 << 63


class Ledger:
    """What a run has logged, as far as it must be known to refuse what does not go with it."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        """What was refused and why, oldest first; at most 1,000."""
        self._steps: dict[str, array[int]] = {}
        self._kinds: dict[str, str] = {}
        self._warned: set[str] = set()

    def admit(self, metrics: Mapping[Any, Any], step: Any) -> dict[str, Any]:
        """The values that may be stored, nested ones under names joined by ``/``. The others are noted, one by one."""
        kept: dict[str, Any] = {}
        for key, value in _flat(metrics, ""):
            if value is None or isinstance(value, (list, tuple, set)):
                self._refuse("value", key, f"{type(value).__name__} is no value; log bool, int, float or str")
            elif self._fits(key, value, step):
                kept[key] = value
        return kept

    def _fits(self, key: str, value: Any, step: Any) -> bool:
        kind = _kind(value)
        known = self._kinds.get(key, kind)
        if kind != known:
            self._refuse("kind", key, f"it is a {known} metric, and this is {kind}")
            return False
        if type(step) is int and -_INT64 <= step < _INT64 and not self._take(key, step):
            self._refuse("step", key, f"step {step} has a value already, which stays")
            return False
        self._kinds[key] = kind
        return True

    def _take(self, key: str, step: int) -> bool:
        """Whether the step is new; steps are kept in order, eight bytes each."""
        steps = self._steps.setdefault(key, array("q"))
        if not steps or step > steps[-1]:
            steps.append(step)
            return True
        place = bisect_left(steps, step)
        if steps[place] == step:
            return False
        steps.insert(place, step)
        return True

    def is_series(self, key: str) -> bool:
        """Whether the metric has points, rather than a single value."""
        return key in self._steps

    def forget(self, key: str) -> None:
        """From here on the metric may be of any kind."""
        self._kinds.pop(key, None)

    def _refuse(self, why: str, key: str, reason: str) -> None:
        message = f"value of {key!r} was not stored: {reason}"
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(message)
        if why not in self._warned:
            self._warned.add(why)
            warn(message)


def _flat(values: Mapping[Any, Any], above: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}/")
        else:
            yield f"{above}{key}", value


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "text" if isinstance(value, str) else "number" if hasattr(value, "__float__") else "media"
