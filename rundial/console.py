"""The captured console: what Python code writes to ``sys.stdout`` and ``sys.stderr`` becomes log lines.

The writer is never made to wait: there is no lock, because each thread has its own unfinished line, and a signal
handler that prints while its thread is inside finds the thread marked and writes whole lines past it.
"""

from __future__ import annotations

import os
import sys
import time
import weakref
from threading import get_ident
from typing import Any, TextIO, cast

from rundial.config import TqdmMode
from rundial.logs import MAX_LINE_BYTES, put_line
from rundial.pipeline import Pipeline

STREAMS = (("stdout", "info"), ("stderr", "error"))
_HELD = MAX_LINE_BYTES + 1
"""Characters kept of a line without an end: one more than fits, so that it shows as cut."""
_UP = "\x1b[A"
"""Ends what a progress bar draws below another one."""


class Console:
    """Both streams of this process, copied into a run's log until :meth:`stop`.

    Args:
        pipeline: where the lines go.
        tqdm_mode: ``smart``, ``all`` or ``none``: what is kept of lines that are written over, see ``docs/logs.md``.
    """

    def __init__(self, pipeline: Pipeline, tqdm_mode: TqdmMode) -> None:
        self._feeds = [Feed(pipeline, level, name, tqdm_mode) for name, level in STREAMS]
        self._tees: list[tuple[str, Tee]] = []
        _consoles.add(self)

    def start(self) -> None:
        """Put a :class:`Tee` in the place of each stream there is."""
        for (name, _), feed in zip(STREAMS, self._feeds):
            original = getattr(sys, name)
            if original is not None:  # as under pythonw
                tee = Tee(original, feed)
                setattr(sys, name, cast(TextIO, tee))
                self._tees.append((name, tee))

    def stop(self) -> None:
        """Put the streams back, unless somebody else has replaced them since, and write the unfinished lines."""
        tees, self._tees = self._tees, []
        for name, tee in tees:
            tee.let_go()
            if getattr(sys, name) is tee:
                setattr(sys, name, tee.beneath())
        for feed in self._feeds:
            feed.finish()

    def forget(self) -> None:
        """In a forked child: unfinished lines are the parent's."""
        for feed in self._feeds:
            feed.forget()


_consoles: weakref.WeakSet[Console] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for console in list(_consoles):
        console.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Tee:
    """A text stream that is also listened to; whatever is not writing goes to the original."""

    def __init__(self, original: Any, feed: Feed) -> None:
        self._original = original
        self._feed: Feed | None = feed

    def write(self, text: str) -> Any:
        """Write to the original, then to the log. Raises what the original raises."""
        written = self._original.write(text)
        feed = self._feed
        if feed is not None:
            feed.take(text)
        return written

    def writelines(self, lines: Any) -> None:
        """Write each of the texts."""
        for line in lines:
            self.write(line)

    def let_go(self) -> None:
        """Only pass through from here on."""
        self._feed = None

    def beneath(self) -> Any:
        """The original, below tees that only pass through."""
        original = self._original
        while isinstance(original, Tee) and original._feed is None:
            original = original._original
        return original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class Feed:
    """One stream's text, put together to lines however it was cut into writes. Nothing here raises."""

    def __init__(self, pipeline: Pipeline, level: str, source: str, tqdm_mode: TqdmMode) -> None:
        self._pipeline = pipeline
        self._level = level
        self._source = source
        self._mode = tqdm_mode
        self._pending: dict[int, str] = {}
        """The unfinished line of each thread that has one."""
        self._busy: set[int] = set()

    def take(self, text: str) -> None:
        """Take in what one thread wrote."""
        thread = get_ident()
        if thread in self._busy:  # a signal handler, or a warning of our own: let the line that is being made alone
            self._take_aside(text)
            return
        try:
            self._busy.add(thread)
            held = self._pending.pop(thread, "")
            if "\r" in text or "\r" in held:
                held = self._take_returns(held, text)
            elif "\n" in text:
                *lines, held = (held + text).split("\n") if held else text.split("\n")
                for line in lines:
                    self._put(line)
            else:
                held += text
            if held:
                self._pending[thread] = held if len(held) <= _HELD else held[:_HELD]
        except Exception as error:  # noqa: BLE001 - print() must never fail because of us
            self._count(error)
        finally:
            self._busy.discard(thread)

    def finish(self) -> None:
        """Write what has not come to the end of its line: with progress bars, where they stand."""
        for thread in list(self._pending):
            line = self._pending.pop(thread, "").replace(_UP, "")
            try:
                if not ("\r" in line and self._mode == "none"):
                    self._put(line.rstrip("\r").rpartition("\r")[2])
            except Exception as error:  # noqa: BLE001 - the run must end whatever becomes of its last line
                self._count(error)

    def forget(self) -> None:
        """Drop unfinished lines."""
        self._pending.clear()
        self._busy.clear()

    def _take_aside(self, text: str) -> None:
        try:
            for line in text.split("\n"):
                self._put(line.rpartition("\r")[2])
        except Exception as error:  # noqa: BLE001 - as in take()
            self._count(error)

    def _take_returns(self, held: str, text: str) -> str:
        """Text with carriage returns; what of it has not come to the end of its line."""
        if held.endswith("\r") and not text.startswith("\n"):  # the line is written over
            if self._mode == "all":
                self._put(held.rstrip("\r"))
            held = ""
        *lines, rest = (held + text).split("\n")
        for line in lines:
            self._put_row(line.rstrip("\r"))
        row = rest.rstrip("\r")
        if "\r" in row:
            if self._mode == "none":
                return ""
            *frames, row = row.split("\r")
            if self._mode == "all":
                for frame in frames:
                    self._put(frame)
            else:
                row = "\r" + row  # the sign that this line was written over
        # Whether a last return ends a line, as in CRLF, or begins the next frame, the next write will show.
        return row + "\r" if rest.endswith("\r") else row

    def _put_row(self, row: str) -> None:
        """A finished line that may have been written over."""
        if "\r" not in row:
            self._put(row)
        elif self._mode == "all":
            for frame in row.split("\r"):
                self._put(frame)
        elif self._mode == "smart":
            last = row[row.rfind("\r") + 1 :]
            if not last.endswith(_UP):  # else the bar is still there and is drawn again
                self._put(last)

    def _put(self, line: str) -> None:
        if line and not line.isspace():
            put_line(self._pipeline, line, self._level, time.time_ns(), self._source)

    def _count(self, error: Exception) -> None:
        counters = self._pipeline.counters
        counters.dropped_log_lines_invalid += 1
        counters.last_error = f"console: {type(error).__name__}: {error}"
