"""Lines of text into the run's log: ``run.log_text``, and a handler for :mod:`logging`."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from rundial.current import current_run
from rundial.events import LEVELS, LogLine
from rundial.pipeline import Pipeline
from rundial.wire import encode

if TYPE_CHECKING:
    from rundial.runs import Run

MAX_LINE_BYTES = 8192
MAX_SOURCE = 200
_SHORT = MAX_LINE_BYTES // 4
"""So many characters fit however they are written in UTF-8."""
_LEVELS = {**{name: name for name in LEVELS}, "warning": "warn", "critical": "fatal"}
_NAMES = ((10, "trace"), (20, "debug"), (30, "info"), (40, "warn"), (50, "error"))
"""Below each of these numbers of :mod:`logging` a record has this level."""


def log_text(pipeline: Pipeline, message: Any, level: str, time_ns: int, source: str = "text") -> bool:
    """Queue a text as log lines, one for each line of it. Never raises.

    Args:
        message: any object; its ``str()`` is logged, at most 8 KiB of UTF-8 a line.
        level: one of :data:`rundial.events.LEVELS` in any case; ``warning`` and ``critical`` mean warn and fatal.
        time_ns: Unix time in nanoseconds, the same for all its lines.
        source: who wrote it.

    Returns:
        False when a line had no room or the level is unknown; both are counted.
    """
    try:
        name = _LEVELS.get(level) or _LEVELS.get(str(level).strip().lower())
        text = message if isinstance(message, str) else str(message)
    except Exception as error:  # noqa: BLE001 - a stranger's __str__ may raise anything
        return _refuse(pipeline, f"a log line could not be written: {type(error).__name__}: {error}")
    if name is None:
        return _refuse(pipeline, f"log level {level!r:.40} is none of {', '.join(LEVELS)}; the line was not logged.")
    if "\n" not in text:
        return put_line(pipeline, text, name, time_ns, source)
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()  # the text ended its last line
    done = [put_line(pipeline, line.removesuffix("\r"), name, time_ns, source) for line in lines]
    return all(done)


def put_line(pipeline: Pipeline, line: str, level: str, time_ns: int, source: str) -> bool:
    """Queue one line at a known level; cut and flagged beyond 8 KiB. False, and counted, when there is no room."""
    counters = pipeline.counters
    truncated = False
    if len(line) > _SHORT:
        line, truncated = _fitted(line)
        counters.log_lines_truncated += truncated
    try:
        record = encode(LogLine(time_ns, level, line, source, truncated))
    except UnicodeEncodeError:  # lone surrogates, as os.fsdecode() makes them of bytes that are no UTF-8
        line, source = _encodable(line), _encodable(source)
        record = encode(LogLine(time_ns, level, line, source, truncated))
    if pipeline.offer(record):
        return True
    counters.dropped_log_lines_queue_full += 1
    return False


def _fitted(line: str) -> tuple[str, bool]:
    """The line in at most 8 KiB of UTF-8, and whether something had to go."""
    data = line[: MAX_LINE_BYTES + 1].encode("utf-8", "replace")
    if len(data) <= MAX_LINE_BYTES:
        return data.decode(), False
    return data[:MAX_LINE_BYTES].decode("utf-8", "ignore"), True


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _refuse(pipeline: Pipeline, message: str) -> bool:
    pipeline.counters.dropped_log_lines_invalid += 1
    pipeline.counters.warn_once("log_text", message)
    return False


class LogHandler(logging.Handler):
    """Sends the records of :mod:`logging` into a run's log, with the logger's name as the source.

    A record is written as the handler's formatter says, without one as its message, exceptions included. Records that
    delivery itself causes are left out: those of Rundial's own loggers and threads. Without a run, or when it has
    ended, records are let go.

    Args:
        run: whose log; None for the run that is current when a record comes.
        level: the least level to take, as :mod:`logging` numbers or names them.
    """

    def __init__(self, run: Run | None = None, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self._run = run
        self._inside = False

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record. Never raises."""
        if self._inside or _is_own(record):  # what is logged while a record is formatted would come here again
            return
        run = current_run() if self._run is None else self._run
        if run is None or run.status != "running":
            return
        pipeline = run._pipeline
        if pipeline is None:
            return
        self._inside = True
        try:
            text = self.format(record)
            log_text(pipeline, text, _level_name(record.levelno), int(record.created * 1e9), record.name[:MAX_SOURCE])
        except Exception as error:  # noqa: BLE001 - arguments that do not fit their message raise here
            _refuse(pipeline, f"a record of logger {record.name!r} could not be formatted: {error}")
        finally:
            self._inside = False


def _is_own(record: logging.LogRecord) -> bool:
    """Whether delivering log lines is what it tells of: at level debug, each request would log the next."""
    if record.name == "rundial" or record.name.startswith("rundial."):
        return True
    thread = record.threadName or threading.current_thread().name
    return thread.startswith("rundial-")


def _level_name(number: int) -> str:
    return next((name for above, name in _NAMES if number < above), "fatal")
