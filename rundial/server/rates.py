"""Rates: how many requests a key may send in a second (a token bucket for each). For the event loop alone."""

from __future__ import annotations

import time
from collections.abc import Callable

_REMEMBERED = 10_000


class Rates:
    """Buckets that fill with ``per_second`` tokens a second, up to twice as many; 0 grants everything."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str) -> float:
        """Take a token. 0 when there was one, else the seconds until there is one again."""
        if not self._per_second:
            return 0.0
        now = self._clock()
        most = 2.0 * self._per_second
        tokens, at = self._buckets.pop(name, (most, now))
        tokens = min(most, tokens + (now - at) * self._per_second)
        granted = tokens >= 1
        if len(self._buckets) >= _REMEMBERED:  # the one that was asked for least recently has filled up by now
            self._buckets.pop(next(iter(self._buckets)))
        self._buckets[name] = (tokens - 1 if granted else tokens, now)
        return 0.0 if granted else (1 - tokens) / self._per_second
