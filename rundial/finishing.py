"""The end of a run: its sources stop, the rest is delivered, and one line says what is left. At process end, too."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING

from rundial.current import current_run, set_current_run
from rundial.diagnostics import say
from rundial.events import RunEnd
from rundial.exits import Ending, watch

if TYPE_CHECKING:
    from rundial.pipeline import Pipeline
    from rundial.runs import Run

MAX_REASON = 512
_STATUSES = ("completed", "failed", "aborted", "crashed")

open_runs: list[Run] = []
"""The runs of this process, and of those it was forked from, that are not finished."""


def watch_over(run: Run) -> None:
    """Have a run end with its process, if nobody ends it before."""
    open_runs.append(run)
    watch_process()


def watch_process() -> None:
    """Be told before this process ends; also one that was forked off."""
    watch(_end_open_runs)


def _end_open_runs(ending: Ending) -> None:
    for run in list(open_runs):
        if run._pid == os.getpid():
            end(run, ending)
        elif run._opened is not None:  # a forked child's own stream ends with it, the run does not
            last = RunEnd(time.time_ns(), "completed")
            run._opened.close(last, run._settings.finish_timeout, partial(is_hopeless, run))


def end(run: Run, ending: Ending, patient: bool = False) -> bool:
    """End a run; a second call changes nothing. What it returns is what :meth:`rundial.Run.finish` does.

    ``patient`` also waits for a server that does not answer.
    """
    if run.status != "running":
        return run._delivered or run._opened is None
    if run._board is not None and run._board.rules is not None:
        run._board.rules.look()
    run.status = ending.status if ending.status in _STATUSES else "completed"
    if current_run() is run:
        set_current_run(None)
    if run in open_runs:
        open_runs.remove(run)
    pipeline = None if run._unopened else run._opened
    if pipeline is None:  # silent, or a handle that never logged: nothing to end
        return True
    limit = run._settings.finish_timeout if ending.seconds is None else max(0.0, ending.seconds)
    begun = time.monotonic()
    while run._sources:
        run._sources.pop()(limit)
    pipeline.resolve()
    run._offer = partial(refuse, run)
    why = run._why if ending.reason is None and run.status == "completed" else ending.reason
    reason = None if why is None else str(why)[:MAX_REASON]
    last = RunEnd(ending.time_ns or time.time_ns(), run.status, reason, ending.traceback)
    left = max(0.0, limit - (time.monotonic() - begun))
    run._delivered = pipeline.close(last, left, (lambda: False) if patient else partial(is_hopeless, run))
    if not run._delivered:
        _say_what_is_left(run, pipeline)
    return run._delivered


def refuse(run: Run, record: bytes = b"") -> bool:
    """Count what is logged to a run that is finished."""
    if run._opened is not None:
        run._opened.refuse("closed", f"{run.name} is finished; what is logged to it afterwards is dropped.")
    return False


def is_hopeless(run: Run) -> bool:
    """Whether the server does not answer, or has said no: waiting for it brings nothing."""
    worker = run._opened.worker if run._opened is not None else None
    return worker is not None and (worker.unreachable is not None or worker.verdict is not None)


def _say_what_is_left(run: Run, pipeline: Pipeline) -> None:
    if run._settings.quiet:
        return
    where = pipeline.spool.folder.parent
    how = "`rundial ui` shows it" if run._settings.endpoint is None else "`rundial sync` sends the rest"
    say(f"{run.name}: {pipeline.left()} saved in {where}; {how}.")
