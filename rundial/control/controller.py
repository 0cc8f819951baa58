"""``RuntimeController``: the controls of one training loop, turned through a queue directory."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from rundial.control import ranks
from rundial.control.command_queue import Command, CommandQueue
from rundial.diagnostics import warn

Apply = Callable[..., Any]
Validate = Callable[..., Any]
Ack = dict[str, Any]
MAX_ERROR = 2000


class Control(NamedTuple):
    """What a path does, and how its values are checked."""

    apply: Apply
    validate: Validate | None
    takes_all: bool
    """The validator takes ``(args, kwargs)`` and gives both back, rather than one value."""


class RuntimeController:
    """Controls that commands from outside may turn while the loop runs. There is no global one: make it, and poll it.

    Args:
        queue_dir: where commands arrive; may come later, by :meth:`configure`.
        ddp: with an initialised ``torch.distributed``, rank 0 reads the commands and all ranks apply them in the same
            order; every rank must poll equally often. Without one, the process is alone.
    """

    def __init__(self, queue_dir: str | PathLike[str] | None = None, *, ddp: bool = False) -> None:
        self._ddp = ddp
        self._controls: dict[str, Control] = {}
        self._directory: Path | None = None
        self._queue: CommandQueue | None = None
        self._looked = float("-inf")
        self._ranks = ranks.Ranks()
        self._warned: set[str] = set()
        if queue_dir is not None:
            self.configure(queue_dir)

    def configure(self, queue_dir: str | PathLike[str]) -> None:
        """Say where commands arrive; the directory and its files are created. The same again changes nothing.

        Raises ValueError for another directory than before, OSError when it cannot be created.
        """
        directory = Path(queue_dir).expanduser().absolute()
        if self._directory is not None and self._directory != directory:
            raise ValueError(
                f"already configured with {self._directory}; make another RuntimeController for {directory}."
            )
        if self._directory is None:
            if self._rank() == 0:
                self._queue = CommandQueue(directory)
            self._directory = directory

    def register(
        self, path: str, apply_fn: Apply, validate_fn: Validate | None = None, *, overwrite: bool = False
    ) -> None:
        """Offer a control. The first of a path stays unless ``overwrite`` is set.

        Args:
            path: its name, such as ``optimizer.lr.multiplier``.
            apply_fn: called as ``apply_fn(ctx, *args, **kwargs)``.
            validate_fn: takes the value and gives the value to apply, or raises; one with two required parameters
                takes ``(args, kwargs)`` and gives both.

        Raises ValueError for a path that is no text, TypeError for functions that are none.
        """
        if not isinstance(path, str) or not path.strip():
            raise ValueError("the path of a control must be a text that is not empty.")
        for function in (apply_fn, validate_fn):
            if function is not None and not callable(function):
                raise TypeError(f"a control needs functions, not {type(function).__name__}.")
        if overwrite or path not in self._controls:
            self._controls[path] = Control(apply_fn, validate_fn, validate_fn is not None and _takes_all(validate_fn))

    @property
    def paths(self) -> list[str]:
        """The registered controls."""
        return list(self._controls)

    def poll_and_apply(self, ctx: Any = None, every_s: float = 2.0) -> list[Ack]:
        """Apply what has arrived. Nothing that arrives can raise out of it.

        Args:
            ctx: handed to every control as its first argument.
            every_s: seconds between two looks; a call in between returns at once. 0 looks each time.

        Returns:
            The acknowledgements of this look: ``id``, ``path``, ``op``, ``status`` and, of an applied command, ``args``
            and ``kwargs``, else ``error``.

        Raises:
            RuntimeError: :meth:`configure` was never called.
        """
        if self._directory is None:
            raise RuntimeError("there is no queue directory yet; call configure(directory) before the first poll.")
        if self._ddp and ranks.world() > 1:
            return self._poll_together(ctx, every_s)
        now = time.monotonic()
        if every_s > 0 and now - self._looked < every_s:
            return []
        self._looked = now
        return self._acknowledge([self._apply_begun(command, ctx) for command in self._take()])

    # -- one process --------------------------------------------------------------------------------------------------

    def _take(self) -> list[Command]:
        if self._queue is None and self._directory is not None:
            try:
                self._queue = CommandQueue(self._directory)
            except OSError as error:
                self._warn("queue", f"cannot use {self._directory}: {error}; commands are not read.")
                return []
        assert self._queue is not None
        try:
            return self._queue.take()
        except OSError as error:
            self._warn("read", f"cannot read commands in {self._directory}: {error}; the next look tries again.")
            return []

    def _apply_begun(self, command: Command, ctx: Any) -> Ack:
        refusal = self._begin(command)
        return refusal or self._apply(command, ctx)

    def _begin(self, command: Command) -> Ack | None:
        """Note that the command is to be applied; why it is not, when it cannot be."""
        if command.problem is not None:
            return _ack(command, "rejected", command.problem)
        if command.path not in self._controls:
            known = ", ".join(sorted(self._controls)) or "none"
            return _ack(command, "rejected", f"no control {command.path!r}; registered are: {known}")
        assert self._queue is not None
        try:
            self._queue.begin(command)
        except OSError as error:
            return _ack(command, "failed", f"not applied, for it could not be noted on disk first: {error}")
        return None

    def _apply(self, command: Command, ctx: Any) -> Ack:
        control = self._controls.get(command.path)
        if control is None:
            return _ack(command, "rejected", f"no control {command.path!r} on this rank")
        try:
            args, kwargs = _validated(control, command)
            control.apply(ctx, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a control's own code may raise anything, and training goes on
            return _ack(command, "failed", _message(error))
        return {**_ack(command, "applied"), "args": args, "kwargs": kwargs}

    def _acknowledge(self, acks: list[Ack]) -> list[Ack]:
        if self._queue is not None:
            for ack in acks:
                self._queue.acknowledge(ack)
        return acks

    # -- several ranks ------------------------------------------------------------------------------------------------

    def _poll_together(self, ctx: Any, every_s: float) -> list[Ack]:
        if not self._ranks.due():
            return []
        orders: list[tuple[Command, Ack | None]] | None = None
        if ranks.rank() == 0:
            orders = [(command, self._begin(command)) for command in self._take()]
        orders = self._ranks.share(orders, every_s)
        mine = [refusal or self._apply(command, ctx) for command, refusal in orders]
        return self._acknowledge([_joined(outcomes) for outcomes in self._ranks.gather(mine)]) if orders else []

    def _rank(self) -> int:
        return ranks.rank() if self._ddp else 0

    def _warn(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            warn(message)


def _takes_all(validate: Validate) -> bool:
    """Whether a validator needs two positional arguments, ``(args, kwargs)``; of C code that says nothing it is one."""
    try:
        parameters = inspect.signature(validate).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters) == 2


def _validated(control: Control, command: Command) -> tuple[list[Any], dict[str, Any]]:
    if control.validate is None:
        return command.args, command.kwargs
    if control.takes_all:
        args, kwargs = control.validate(command.args, command.kwargs)
        return list(args), dict(kwargs)
    if len(command.args) != 1:
        raise ValueError(f"takes one value, not {len(command.args)}")
    return [control.validate(command.args[0])], command.kwargs


def _ack(command: Command, status: str, error: str | None = None) -> Ack:
    ack: Ack = {"id": command.id, "ts": time.time(), "path": command.path, "op": command.op, "status": status}
    return ack if error is None else {**ack, "error": error[:MAX_ERROR]}


def _joined(outcomes: tuple[Mapping[str, Any], ...]) -> Ack:
    """One acknowledgement for all ranks: applied only when each of them has."""
    joined = dict(outcomes[0])
    joined["ranks"] = {str(rank): outcome["status"] for rank, outcome in enumerate(outcomes)}
    failed = [(rank, outcome) for rank, outcome in enumerate(outcomes) if outcome["status"] != "applied"]
    if failed and joined["status"] == "applied":
        joined = {key: value for key, value in joined.items() if key not in ("args", "kwargs")}
        joined["status"] = "failed"
        joined["error"] = "; ".join(f"rank {rank}: {outcome.get('error', '')}" for rank, outcome in failed)[:MAX_ERROR]
    return joined


def _message(error: BaseException) -> str:
    return str(error) or type(error).__name__
