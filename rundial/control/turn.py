"""A command that has arrived: whose it is, until when it counts, and what is answered to it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rundial.control.offer import MAX_MESSAGE, shown
from rundial.events import Ack

OWNER = "owner"
"""The role of those who may turn every dial."""


class Turn(NamedTuple):
    """A command that has arrived."""

    id: str
    place: int
    """Its number among the run's commands."""
    name: str
    value: Any
    author: str | None
    reason: str | None
    expires: float
    """By ``time.monotonic``."""
    before: tuple[str, ...] = ()
    """Other streams that it was handed to before this one."""
    role: str | None = OWNER
    """Of its author. Who writes in the queue directory, or in the script, could change the script as well."""

    def ack(self, status: str, error: str | None = None) -> Ack:
        """What became of it."""
        value = self.value if isinstance(self.value, (bool, int, float, str)) else None
        return Ack(
            time.time_ns(), self.id, self.name, status, shown(value), None, error, None, self.author, self.reason
        )


class Order(NamedTuple):
    """A command that is to be applied, with the value its dial made of what was asked."""

    turn: Turn
    value: Any


class Refused(Exception):
    """A command that is not applied."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status


def read_turn(command: Mapping[str, Any]) -> Turn:
    """A command out of the server's JSON. Raises LookupError, TypeError or ValueError."""
    place, left, before = int(command["place"]), float(command["leftMs"]), command.get("deliveredTo") or ()
    author, reason = command.get("author"), command.get("reason")
    return Turn(
        str(command["commandId"]),
        place,
        str(command["name"]),
        command.get("value"),
        None if author is None else str(author),
        None if reason is None else str(reason),
        time.monotonic() + left / 1000,
        tuple(map(str, before)),
        str(command.get("role")),
    )


def joined(outcomes: Sequence[Ack]) -> Ack:
    """One acknowledgement for all ranks: applied only when each of them has."""
    first = outcomes[0]
    first.ranks = {str(rank): one.status for rank, one in enumerate(outcomes)}
    failed = [(rank, one) for rank, one in enumerate(outcomes) if one.status != "applied"]
    if failed and first.status == "applied":
        first.status = "failed"
        first.error = "; ".join(f"rank {rank}: {one.error}" for rank, one in failed)[:MAX_MESSAGE]
    return first
