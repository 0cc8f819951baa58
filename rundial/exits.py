"""How a process or a block of code came to its end, and being told of it in time."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import NamedTuple

from rundial.events import RunStatus

MAX_TRACEBACK = 16_384
TERMINATE_SECONDS = 1.5
"""How long SIGTERM may be delayed; what is not delivered by then is on disk."""


class Ending(NamedTuple):
    """What an end means for a run."""

    status: RunStatus
    reason: str | None = None
    traceback: str | None = None
    seconds: float | None = None
    """How long delivery may take; None for as long as usual."""
    time_ns: int | None = None
    """When it was; None for now."""


def ending_of(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Ending:
    """What an exception that leaves a block, or none, says about the run: ``sys.exit(0)`` is a success."""
    if kind is None or (issubclass(kind, SystemExit) and getattr(error, "code", None) in (None, 0)):
        return Ending("completed")
    if issubclass(kind, KeyboardInterrupt):
        return Ending("aborted", "KeyboardInterrupt")
    import traceback  # costs milliseconds of import, and only those who fail need it

    text = "".join(traceback.format_exception(kind, error, trace))
    reason = f"{kind.__name__}: {error}" if str(error) else kind.__name__
    return Ending("failed", reason, text[-MAX_TRACEBACK:])


_failure: tuple[type[BaseException], BaseException, TracebackType | None] | None = None
_watching: int | None = None


def watch(end: Callable[[Ending], None]) -> None:
    """Have ``end`` called before this process ends, however it does short of being killed. May be called again.

    An earlier ``sys.excepthook`` is called after ours; a SIGTERM handler is only set where there is none.
    """
    global _watching

    def leave() -> None:
        kind, error, trace = _failure or sys.exc_info()
        end(ending_of(kind, error, trace))
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            _keep_interrupt_exit_code()

    if _watching is None:
        atexit.register(leave)
        _remember_exceptions()
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, lambda number, frame: _terminate(end, number, frame))
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _watching != os.getpid():
        # Its children leave by os._exit, past atexit, but run their own finalizers first.
        util.Finalize(None, leave, exitpriority=0)
    _watching = os.getpid()


def _remember_exceptions() -> None:
    previous = sys.excepthook

    def remember(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        global _failure
        _failure = (kind, error, trace)
        previous(kind, error, trace)

    sys.excepthook = remember


def _terminate(end: Callable[[Ending], None], number: int, frame: FrameType | None) -> None:
    """Tell, then die of the signal as the process would have without us."""
    end(Ending("aborted", "SIGTERM", None, TERMINATE_SECONDS))
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _keep_interrupt_exit_code() -> None:
    """Let the process die of SIGINT, as it would have without us.

    CPython notes an unhandled KeyboardInterrupt in a flag, and every later eval() or exec() of a string, such as those
    behind a namedtuple in a module imported at exit, clears it; then the exit code becomes 1.
    """
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        pass
