"""Dials: typed controls of a run that are turned while it runs. ``run.dial`` offers one, ``run.poll`` obeys."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rundial import events
from rundial.control import ranks
from rundial.control.begun import Begun
from rundial.control.command_queue import Command
from rundial.control.dial import Dial
from rundial.control.directory import Directory
from rundial.control.listener import listen
from rundial.control.offer import Offer, Value, message_of, shown
from rundial.control.turn import OWNER, Order, Refused, Turn, joined, read_turn
from rundial.events import Ack, Marker
from rundial.pipeline import Pipeline

if TYPE_CHECKING:
    from rundial.control.rules import Rules

INTERRUPTED = "the process ended while this was being applied; it is not applied again"
UNKNOWN = "it was handed to a process that ended elsewhere without saying what became of it; it is not applied again"
ENDED = "the run ended before it was applied"
STOP = "stop"
"""The action that ends a training, by which the run knows who ended it."""
MAX_TURNS = 100
"""Commands that one poll obeys; a flood of them must not stop a training."""
REFRESH = None
"""Stands among the commands that wait: read the dials' values again."""


class Board:
    """The dials of one run, and the commands that wait for its next poll.

    Args:
        pipeline: where dials and acknowledgements are told; None: nobody is to hear of them, and nobody commands.
        arrived: what waits; the run polls only when there is something in it.
        step: the step that the next ``log()`` would take, where markers are drawn.
        stopped: called with who stopped the run and why, when that is what a command did.
    """

    def __init__(
        self,
        pipeline: Pipeline | None,
        arrived: deque[Turn | None],
        step: Callable[[], int] = int,
        stopped: Callable[[str], None] = lambda why: None,
    ) -> None:
        self.pipeline = pipeline
        self._arrived = arrived
        self._step = step
        self._stopped = stopped
        self._dials: dict[str, Dial] = {}
        self._places: dict[str, int] = {}
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self._polling = threading.Lock()
        self._stop = threading.Event()
        self._pid = os.getpid()
        self._begun: Begun | None = None
        self._ranks = ranks.Ranks()
        self._newest = -1
        """The highest place among the run's commands that was heard of."""
        self._directory: Directory | None = None
        self.rules: Rules | None = None
        if pipeline is not None:
            self._begin(pipeline)

    def _begin(self, pipeline: Pipeline) -> None:
        self._begun = Begun(pipeline.spool.folder.parent, pipeline.stream)
        try:
            self._begun.open()
        except OSError as error:
            pipeline.counters.warn_once("dials", f"commands cannot be noted on disk and will not be applied: {error}")
        pipeline.worker.on_commands = self.arrive
        if pipeline.settings.mode == "online":
            arguments = (pipeline, self.arrive, self._ask_for_news, self._stop)
            thread = threading.Thread(target=listen, args=arguments, name="rundial-commands", daemon=True)
            thread.start()
        directory = pipeline.settings.control_dir
        if directory is not None:
            self._directory = Directory(
                Path(directory), self._arrive_by_directory, lambda why: self._warn("queue", why)
            )

    def offer(self, offer: Offer) -> Dial:
        """Offer a dial; one that has the name already gives way. Raises ConfigError for a mistake in it."""
        event = offer.checked(self._first_value)
        dial = self._dials[event.name] = Dial(event, offer.get, offer.set, offer.validate)
        self._tell(event)
        return dial

    def _first_value(self, name: str, get: Callable[[], Any]) -> Value:
        try:
            return shown(get())
        except Exception as error:  # noqa: BLE001 - the script's own code may raise anything
            self._warn(f"get {name}", f"the dial {name!r} cannot be read: {message_of(error)}")
            return None

    # -- in background threads ------------------------------------------------------------------------------------

    def arrive(self, commands: Sequence[Mapping[str, Any]]) -> None:
        """Take in what a server sent; what came before is passed over. Never raises."""
        for command in commands:
            try:
                turn = read_turn(command)
            except (LookupError, TypeError, ValueError) as error:
                self._warn("command", f"the server sent a command that cannot be understood: {error!r}")
                continue
            with self._lock:
                if turn.id in self._seen:
                    continue
                self._seen.add(turn.id)
                self._newest = max(self._newest, turn.place)
            doubt = self._doubt(turn)
            if doubt is None:
                self._arrived.append(turn)
            else:
                self._tell(turn.ack("failed", doubt))

    def _arrive_by_directory(self, command: Command, command_id: str, problem: str | None) -> None:
        turn = self._local(command_id, command.path, command.args[0] if command.args else None, None, None)
        if problem is None:
            self._arrived.append(turn)
        else:
            self.note(turn.ack("rejected", problem))

    def order(self, command_id: str, name: str, value: Any, author: str, reason: str) -> None:
        """Have a dial set at the next poll, as if somebody had asked for it."""
        self._arrived.append(self._local(command_id, name, value, author, reason))

    def _local(self, command_id: str, name: str, value: Any, author: str | None, reason: str | None) -> Turn:
        # It is newer than all that was heard of, and older than what a server sends next.
        return Turn(command_id, self._newest, name, value, author, reason, math.inf)

    def _doubt(self, turn: Turn) -> str | None:
        """Why a command may have been applied already by a process that has ended since."""
        if self._begun is None:
            return None
        notes = [self._begun.of(stream) for stream in turn.before]
        if any(turn.id in begun for begun in notes if begun is not None):
            return INTERRUPTED
        return UNKNOWN if None in notes else None

    def _ask_for_news(self) -> None:
        if not self._arrived and any(dial._get is not None for dial in list(self._dials.values())):
            self._arrived.append(REFRESH)

    # -- in the training thread -----------------------------------------------------------------------------------

    def poll(self, context: Any = None, step: int | None = None) -> list[Ack]:
        """Apply what has arrived, at most one command of each dial. Nothing that arrives can raise out of it."""
        if os.getpid() != self._pid:
            self._arrived.clear()  # a forked child: its parent obeys
            return []
        if not self._polling.acquire(blocking=False):
            return []  # another thread is at it, or what a command calls polls by itself
        try:
            acks = [self._settle(self._obey(order, context), step) for order in self._decide(self._take())]
            self._tell_news()
            return acks
        finally:
            self._polling.release()

    def poll_together(self, context: Any, every_s: float, step: int | None = None) -> list[Ack]:
        """As :meth:`poll`, on every rank of an initialised ``torch.distributed``: what rank 0 has, all of them apply.

        An acknowledgement says what became of the command on each rank; it is applied only when it is on all of them.
        """
        if not self._ranks.due():
            return []
        orders: list[Ack | Order] | None = None
        if ranks.rank() == 0:
            orders = [self._begin_order(order) for order in self._decide(self._take())]
        orders = self._ranks.share(orders, every_s)
        mine = [order if isinstance(order, Ack) else self._apply(order, context) for order in orders]
        acks = [joined(outcomes) for outcomes in self._ranks.gather(mine)] if orders else []
        for ack in acks:
            self._settle(ack, step)
        self._tell_news()
        return acks

    def _take(self) -> list[Turn]:
        turns: list[Turn] = []
        while self._arrived and len(turns) < MAX_TURNS:
            turn = self._arrived.popleft()
            if turn is not None:
                turns.append(turn)
        return sorted(turns, key=lambda turn: turn.place)

    def _decide(self, turns: list[Turn]) -> list[Ack | Order]:
        """What is to be applied, and what is not and why: first what cannot be."""
        refused: list[Ack | Order] = []
        sound: list[Order] = []
        newest = dict(self._places)
        for turn in turns:
            try:
                sound.append(Order(turn, self._checked(turn)))
                newest[turn.name] = max(newest.get(turn.name, -1), turn.place)
            except Refused as why:
                refused.append(turn.ack(why.status, str(why)))
        self._places = newest
        current: list[Ack | Order] = []
        for order in sound:
            name, place = order.turn.name, order.turn.place
            if self._dials[name].kind != "action" and place < newest[name]:
                refused.append(order.turn.ack("superseded", "a newer command for the same dial came first"))
            else:
                current.append(order)
        return refused + current

    def _checked(self, turn: Turn) -> Any:
        if time.monotonic() > turn.expires:
            raise Refused("expired", "its deadline had passed")
        dial = self._dials.get(turn.name)
        if dial is None:
            raise Refused("rejected", f"no dial {turn.name!r}; there are: {', '.join(sorted(self._dials)) or 'none'}")
        if dial.retired:
            raise Refused("rejected", "the training that it belonged to has ended")
        if dial.role == OWNER and turn.role != OWNER:
            raise Refused("rejected", f"only an owner may turn {turn.name!r}")
        try:
            return dial.check(turn.value)
        except Exception as error:
            raise Refused("rejected", message_of(error)) from error

    def _obey(self, order: Ack | Order, context: Any) -> Ack:
        begun = self._begin_order(order)
        return begun if isinstance(begun, Ack) else self._apply(begun, context)

    def _begin_order(self, order: Ack | Order) -> Ack | Order:
        """Note that it is about to be applied; when that cannot be noted, it is not."""
        if isinstance(order, Ack) or self._begun is None:
            return order
        try:
            if self._directory is None or not self._directory.begin(order.turn.id):
                self._begun.note(order.turn.id, order.turn.name)
        except OSError as error:
            return order.turn.ack("failed", f"not applied, for it could not be noted on disk first: {error}")
        return order

    def _apply(self, order: Order, context: Any) -> Ack:
        turn, value = order
        dial = self._dials.get(turn.name)
        if dial is None:
            return turn.ack("rejected", f"no dial {turn.name!r} on this rank")
        former = dial.read()
        try:
            dial.apply(value, context)
        except Exception as error:  # noqa: BLE001 - the script's own code may raise anything, and training goes on
            return turn.ack("failed", message_of(error))
        ack = turn.ack("applied")
        ack.value, ack.former = dial.read(), former
        return ack

    def _settle(self, ack: Ack, step: int | None) -> Ack:
        """Tell what became of a command, and mark on the charts what it changed."""
        self.note(ack)
        if ack.status == "applied":
            attrs = {"from": ack.former, "to": ack.value, "by": ack.author, "reason": ack.reason}
            known = {key: value for key, value in attrs.items() if value is not None}
            at = self._step() if step is None else step
            self._tell(Marker(ack.time_ns, "control", ack.name, at, {**known, "command": ack.command_id}))
            if ack.name == STOP:
                who = f"stopped by {ack.author or 'somebody at the machine'}"
                self._stopped(f"{who}: {ack.reason}" if ack.reason else who)
        return ack

    def note(self, ack: Ack) -> None:
        """Tell what became of a command to those who may have sent it."""
        self._tell(ack)
        if self._directory is not None:
            self._directory.answer(ack)

    def _tell_news(self) -> None:
        for dial in list(self._dials.values()):
            news = dial.news()
            if news is not None:
                self._tell(news)

    def close(self) -> None:
        """The run ends: what was not applied by now never is."""
        self._stop.set()
        if os.getpid() != self._pid:
            return
        while self._arrived:
            for turn in self._take():
                self.note(turn.ack("expired", ENDED))
        if self._directory is not None:
            self._directory.close()
        if self._begun is not None:
            self._begun.close()

    def _tell(self, event: events.Event) -> None:
        if self.pipeline is None:
            return
        try:
            self.pipeline.emit(event)
        except (TypeError, ValueError, OverflowError) as error:
            self._warn("tell", f"something about a dial could not be logged: {error}")

    def _warn(self, kind: str, message: str) -> None:
        if self.pipeline is not None:
            self.pipeline.counters.warn_once(f"dials {kind}", message)
