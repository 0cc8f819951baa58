"""Several ranks of ``torch.distributed`` that look for commands together, and apply them in the same order."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from rundial.diagnostics import warn

T = TypeVar("T")
PATIENCE_SECONDS = 10.0
MAX_SKIP = 1000
"""Calls of a rank between two looks that all take together, at most."""


class Ranks:
    """When all ranks look: at the same call, counted and not timed. Clocks differ, the number of calls does not."""

    def __init__(self) -> None:
        self._looked = float("-inf")
        self._skip = 0
        self._calls = 0

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
        dist.broadcast_object_list(work, src=0, group=_own_group())
        self._skip, shared = work[0]
        return list(shared)

    def gather(self, mine: Sequence[T]) -> list[tuple[T, ...]]:
        """What each rank has of each order: a tuple by rank for each."""
        import torch.distributed as dist

        everyone: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, list(mine), group=_own_group())
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


def _nothing() -> None:
    return None


_group: tuple[Callable[[], Any], Callable[[], Any]] = (_nothing, _nothing)
"""The job's group and our own beside it, held weakly: one that lived on until the interpreter ends would abort it."""


def _own_group() -> Any:
    """A group of all ranks on the CPU, made once: commands wait for no device and meet no gradient."""
    global _group
    import torch.distributed as dist

    world, own = (held() for held in _group)
    if own is None or world is not dist.group.WORLD:  # made anew after the job's own was
        own = dist.new_group(backend="gloo")
        _group = weakref.ref(dist.group.WORLD), weakref.ref(own)
    return own


def release() -> None:
    """Let go of that group, which must not outlive the job's own."""
    global _group
    world, own = (held() for held in _group)
    _group = (_nothing, _nothing)
    dist = _distributed()
    if own is not None and dist is not None and dist.group.WORLD is world:
        dist.destroy_process_group(own)


_agreements = 0


def agree(mine: bool, patience: float = PATIENCE_SECONDS) -> bool:
    """What rank 0 says, on every rank; False on all of them when not every rank asks.

    No collective call, in which one rank would wait for ever for another that never asks.

    Args:
        mine: what this rank says; only rank 0's counts.
        patience: seconds that rank 0 waits for the others; they wait for it six times as long.
    """
    global _agreements
    import torch.distributed as dist

    _agreements += 1
    store, name = dist.distributed_c10d._get_default_store(), f"rundial/{_agreements}"
    if dist.get_rank() > 0:
        store.set(f"{name}/{dist.get_rank()}", "here")
        try:
            store.wait([f"{name}/verdict"], timedelta(seconds=6 * patience))
        except RuntimeError:
            if store.add(f"{name}/decided", 1) == 1:
                return False  # and rank 0 will find that out
            store.wait([f"{name}/verdict"], timedelta(seconds=patience))
        return bool(store.get(f"{name}/verdict") == b"yes")
    if mine:
        try:
            others = [f"{name}/{number}" for number in range(1, dist.get_world_size())]
            store.wait(others, timedelta(seconds=patience))
        except RuntimeError:
            warn(
                "not every process of this training knows the dials, so that none can be turned. Give all of them the"
                " same logger or callback, or dials=False."
            )
            mine = False
    mine = store.add(f"{name}/decided", 1) == 1 and mine
    store.set(f"{name}/verdict", "yes" if mine else "no")
    return mine


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
