"""Several ranks of ``torch.distributed`` that look for commands together, and apply them in the same order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")
MAX_SKIP = 1000
"""Calls of a rank between two looks that all take together, at most."""


class Ranks:
    """When all ranks look: at the same call, counted and not timed. Clocks differ, the number of calls does not."""

    def __init__(self) -> None:
        self._looked = float("-inf")
        self._skip = 0
        self._calls = 0
        self._group: Any = None

    def due(self) -> bool:
        """Whether this call is one at which all ranks look. To be asked once in each call, on each rank."""
        self._calls += 1
        if self._skip > 0:
            self._skip -= 1
            return False
        return True

    def share(self, orders: list[T] | None, every_s: float) -> list[T]:
        """Rank 0's orders, on every rank. ``every_s`` is how many seconds should pass until the next look."""
        import torch.distributed as dist

        work: list[Any] = [None] if orders is None else [(self._next_skip(every_s), orders)]
        # A group of its own on the CPU: commands wait for no device and meet no gradient.
        self._group = self._group or dist.new_group(backend="gloo")
        dist.broadcast_object_list(work, src=0, group=self._group)
        self._skip, shared = work[0]
        return list(shared)

    def gather(self, mine: Sequence[T]) -> list[tuple[T, ...]]:
        """What each rank has of each order: a tuple by rank for each."""
        import torch.distributed as dist

        everyone: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, list(mine), group=self._group)
        return list(zip(*everyone))

    def _next_skip(self, every_s: float) -> int:
        """Calls to let pass until ``every_s`` seconds are over, at the pace since the last look."""
        now = time.monotonic()
        passed, calls = now - self._looked, self._calls
        self._looked, self._calls = now, 0
        if every_s <= 0 or passed <= 0 or passed == float("inf"):
            return 0
        # At most twice as many as last time, so that one slow stretch does not make it deaf for long.
        return min(MAX_SKIP, 2 * calls, max(0, int(every_s * calls / passed) - 1))


def rank() -> int:
    """This process's rank, 0 without an initialised group."""
    dist = _distributed()
    return int(dist.get_rank()) if dist is not None else 0


def world() -> int:
    """How many ranks there are, 1 without an initialised group."""
    dist = _distributed()
    return int(dist.get_world_size()) if dist is not None else 1


def _distributed() -> Any:
    """``torch.distributed`` when it is loaded and initialised, else None."""
    import sys

    torch = sys.modules.get("torch")
    dist = getattr(torch, "distributed", None)
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None
