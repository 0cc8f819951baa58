"""What every framework's dials share: who hears of them, on which ranks they are turned, and who stopped it all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rundial.control import ranks
from rundial.control.dial import Dial
from rundial.control.dials import Board
from rundial.control.offer import Offer
from rundial.diagnostics import warn

if TYPE_CHECKING:
    from rundial.runs import Run


EVERY_SECONDS = 2.0
"""About how often all ranks of a distributed training look for commands."""


class Training:
    """The dials of one training. Make it on every rank at the same point; :func:`begin` does.

    Args:
        run: the run of the rank that logs; None on all others.
        together: all ranks turn the dials.
    """

    def __init__(self, run: Run | None, together: bool) -> None:
        self._run = run
        self._together = together
        # There from the first poll on, on every rank: one that does not look would leave the others waiting for it.
        self._board = Board(None, deque()) if run is None else run._dials()
        self._broken = False
        self._offered: list[Dial] = []

    def offer(self, *call: Any, **more: Any) -> None:
        """Offer a dial, as :meth:`rundial.Run.dial` does."""
        self._offered.append(self._board.offer(Offer(*call, **more)))

    def end(self) -> None:
        """The training has ended: its dials keep their values and let go of model and optimizer."""
        for dial in self._offered:
            dial.retire()
        self._offered.clear()
        if self._together:
            self._broken = True
            ranks.release()

    def poll(self, step: int | None = None) -> None:
        """Apply what has arrived. To be called equally often on all ranks. Never raises.

        Args:
            step: where the training is, and so where a change is marked on the charts.
        """
        if not self._together:
            if self._run is not None:
                self._run.poll(step=step)
        elif not self._broken:
            try:
                self._board.poll_together(None, EVERY_SECONDS, step)
            except Exception as error:  # noqa: BLE001 - the ranks have lost each other, which is the training's matter
                self._broken = True
                warn(f"dials cannot be turned any more: {type(error).__name__}: {error}")


def begin(run: Callable[[], Run] | None) -> Training | None:
    """The dials of a training that begins; None when nobody can hear of them.

    Args:
        run: gives the run, on the rank that logs; None on all others.
    """
    made: Run | None = None
    try:
        made = None if run is None else run()
        live = made is not None and hears(made)
    except Exception as error:  # noqa: BLE001 - the other ranks wait for an answer
        warn(f"no dials: {type(error).__name__}: {error}")
        live = False
    together = ranks.world() > 1
    if together:
        live = ranks.agree(live)
    return Training(made, together) if live else None


def hears(run: Run) -> bool:
    """Whether commands can reach a run: it logs by itself, and is online or has a queue directory."""
    if run.status != "running" or run._begin.part or run._pipeline is None:
        return False
    return run._settings.mode == "online" or run._settings.control_dir is not None
