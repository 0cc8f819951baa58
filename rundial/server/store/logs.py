"""Log lines: what runs wrote, by order of arrival, in blobs of a thousand lines.

Each line has a number in its run, from 1 on. A blob holds lines of one *block* (1 to 1,000, 1,001 to 2,000, ...), with
what is needed to pass it over beside it: its times and its levels. What arrives is appended as blobs as small as it
comes; the blobs of a block become one when the block is full, so that each line is written twice at the most.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from rundial.events import LEVELS, LogLine
from rundial.server.store.accounts import Principal, within_project
from rundial.server.store.admission import MAX_NAME, clean_text, find_project
from rundial.server.store.engine import Db, Engine
from rundial.server.store.refusal import invalid

BLOCK = 1_000
"""Lines in a full blob."""
MAX_MESSAGE_BYTES = 8192
SCAN_LINES = 300_000
"""Lines one request looks through at most before it answers with what it has and where to go on."""
MAX_BLOBS = SCAN_LINES // BLOCK + BLOCK
"""The same in blobs: the last block may lie in as many as it has lines."""
MAX_ANSWER_CHARACTERS = 8 * 1024 * 1024
_INT64 = 1 << 63
_ZLIB_LEVEL = 3
_NUMBERS = {level: number for number, level in enumerate(LEVELS)}
_UNSHOWN = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n\x1b"}
_SGR = re.compile("\x1b\\[[0-9;:]*m")

TABLES = """
CREATE TABLE log_blobs (
    run_id TEXT NOT NULL,
    place BIGINT NOT NULL,
    lines BIGINT NOT NULL,
    first_ms BIGINT NOT NULL,
    last_ms BIGINT NOT NULL,
    levels BIGINT NOT NULL,
    data {bytes} NOT NULL,
    PRIMARY KEY (run_id, place)
);
"""


class Lines(msgspec.Struct, array_like=True, gc=False):
    """Lines side by side: as many ``times`` (Unix ms), ``levels`` and ``origins`` as ``messages``.

    An origin is the index of the line's source in ``sources``; ``cut`` has the positions of truncated lines.
    """

    times: list[int]
    levels: bytes
    origins: list[int]
    messages: list[str]
    sources: list[str]
    cut: list[int] = []

    def part(self, start: int, end: int) -> Lines:
        """The lines from position ``start`` up to ``end``."""
        return Lines(
            self.times[start:end],
            self.levels[start:end],
            self.origins[start:end],
            self.messages[start:end],
            self.sources,
            [position - start for position in self.cut if start <= position < end],
        )


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Lines).decode


def append(db: Db, run_id: str, stream: str, events: list[tuple[int, LogLine]], now: int) -> None:
    """Take in the lines of one batch, with their sequence numbers, inside the writer's transaction.

    Raises ValueError before anything is written when one of them cannot be taken.
    """
    lines = _columns([event for _, event in events])
    row = db.execute(
        "SELECT place, lines FROM log_blobs WHERE run_id = ? ORDER BY place DESC LIMIT 1", (run_id,)
    ).fetchone()
    place = row[0] + row[1] if row else 1
    done = 0
    while done < len(lines.times):
        count = min(len(lines.times) - done, BLOCK - (place - 1) % BLOCK)
        _insert(db, run_id, place, lines.part(done, done + count))
        done += count
        place += count
        if (place - 1) % BLOCK == 0 and count < BLOCK:
            _join(db, run_id, place - BLOCK)


def _columns(events: Sequence[LogLine]) -> Lines:
    lines = Lines([], b"", [], [], [])
    levels = bytearray()
    known: dict[str, int] = {}
    for position, event in enumerate(events):
        level = _NUMBERS.get(event.level)
        if level is None:
            raise ValueError(f"{event.level[:40]!r} is no level; the levels are {', '.join(LEVELS)}")
        if not -_INT64 <= event.time_ns < _INT64:
            raise ValueError("time does not fit into 64 bits")
        message, cut = _shown(event.message)
        if cut or event.truncated:
            lines.cut.append(position)
        levels.append(level)
        lines.times.append(event.time_ns // 1_000_000)
        lines.origins.append(known.setdefault(event.source, len(known)))
        lines.messages.append(message)
    lines.levels = bytes(levels)
    lines.sources = [clean_text(source, MAX_NAME) for source in known]
    return lines


def _shown(message: str) -> tuple[str, bool]:
    """The message in at most 8 KiB, and whether it was longer. Escapes stay, for colours; other controls do not."""
    if not message.isprintable():
        message = message.translate(_UNSHOWN)
    if len(message) <= MAX_MESSAGE_BYTES // 4:
        return message, False
    data = message.encode()
    return data[:MAX_MESSAGE_BYTES].decode("utf-8", "ignore"), len(data) > MAX_MESSAGE_BYTES


def _insert(db: Db, run_id: str, place: int, lines: Lines) -> None:
    mask = sum(1 << level for level in set(lines.levels))
    db.execute(
        "INSERT INTO log_blobs (run_id, place, lines, first_ms, last_ms, levels, data) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            run_id,
            place,
            len(lines.times),
            min(lines.times),
            max(lines.times),
            mask,
            zlib.compress(_encode(lines), _ZLIB_LEVEL),
        ),
    )


def _join(db: Db, run_id: str, place: int) -> None:
    """Make one blob of those of the full block that begins at ``place``."""
    parts = [
        _unpack(data)
        for (data,) in db.execute(
            "SELECT data FROM log_blobs WHERE run_id = ? AND place >= ? AND place < ? ORDER BY place",
            (run_id, place, place + BLOCK),
        )
    ]
    whole = Lines([], b"", [], [], [])
    known: dict[str, int] = {}
    for part in parts:
        start = len(whole.times)
        origins = [known.setdefault(source, len(known)) for source in part.sources]
        whole.origins += [origins[origin] for origin in part.origins]
        whole.cut += [start + position for position in part.cut]
        whole.times += part.times
        whole.messages += part.messages
    whole.levels = b"".join(part.levels for part in parts)
    whole.sources = list(known)
    db.execute("DELETE FROM log_blobs WHERE run_id = ? AND place >= ? AND place < ?", (run_id, place, place + BLOCK))
    _insert(db, run_id, place, whole)


def _unpack(data: bytes) -> Lines:
    return _decode(zlib.decompress(data))


class Wanted(NamedTuple):
    """Which lines are asked for; None stands for any."""

    min_level: str = LEVELS[0]
    text: str | None = None
    """Part of the message, in whatever case and without its colours."""
    source: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    """Unix milliseconds, both included."""


class Page(NamedTuple):
    """Some lines, the number of the line to go on from (None: there is no more), and of the line that comes next."""

    rows: list[dict[str, Any]]
    cursor: int | None
    tail: int

    def document(self) -> dict[str, Any]:
        """As docs/http.md has it."""
        following = None if self.cursor is None else str(self.cursor)
        return {
            "rows": self.rows,
            "page": {"hasMore": self.cursor is not None, "nextCursor": following, "tailCursor": str(self.tail)},
        }


class Logs:
    """Reading log lines. Whether the caller may see the run is asked before, of :class:`Runs`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def belongs(self, principal: Principal, run_id: str, project: str) -> bool:
        """Whether the run is in the project, named by its id or slug."""
        with self._engine.read() as db:
            row = db.execute("SELECT project_id FROM runs WHERE run_id = ?", (run_id,)).fetchone()
            return row is not None and find_project(db, within_project(db, principal, row[0]), project) == row[0]

    def lines(self, run_id: str, wanted: Wanted, *, order: str, cursor: str | None, limit: int) -> Page:
        """At most ``limit`` lines by their number, fewer when many had to be looked at for them.

        Args:
            order: ``asc`` or ``desc``.
            cursor: the number of the line to begin with, as a page said; None for the first, or the last.

        Raises:
            Refusal: the cursor is no number.
        """
        start = _number(cursor)
        ascending = order == "asc"
        rows: list[dict[str, Any]] = []
        following: int | None = None
        with self._engine.read() as db:
            tail = _tail(db, run_id)
            scanned = size = 0
            for looked, (place, lines) in enumerate(_blobs(db, run_id, wanted, start, ascending), 1):
                found = [i for i in _matches(lines, wanted) if _is_from(place + i, start, ascending)]
                if not ascending:
                    found.reverse()
                room = limit - len(rows)
                rows += [_row(place, lines, i) for i in found[:room]]
                if len(found) > room:
                    following = place + found[room]
                    break
                scanned += len(lines.times)
                size += sum(len(lines.messages[i]) for i in found)
                if looked == MAX_BLOBS or scanned >= SCAN_LINES or size > MAX_ANSWER_CHARACTERS:
                    following = place + len(lines.times) if ascending else place - 1
                    break
        if following is not None and not 0 < following < tail:
            following = None
        return Page(rows, following, tail)


def _number(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if cursor.isascii() and cursor.isdigit() and len(cursor) < 16:
        return int(cursor)
    raise invalid("The cursor is not one of this server.", "Begin again without a cursor.")


def _tail(db: Db, run_id: str) -> int:
    """The number that the next line will have."""
    row = db.execute(
        "SELECT place + lines FROM log_blobs WHERE run_id = ? ORDER BY place DESC LIMIT 1", (run_id,)
    ).fetchone()
    return row[0] if row else 1


def _blobs(db: Db, run_id: str, wanted: Wanted, start: int | None, ascending: bool) -> Iterator[tuple[int, Lines]]:
    """The blobs that may hold wanted lines, in order, from the one with line ``start`` on."""
    where: list[str] = ["run_id = ?", "levels >= ?"]
    values: list[str | int] = [run_id, 1 << _NUMBERS[wanted.min_level]]
    if start is not None:
        # No blob leaves its block, so the one with the line does not begin before the block.
        block = start - (start - 1) % BLOCK if start > 0 else 0
        where.append("place >= ?" if ascending else "place <= ?")
        values.append(block if ascending else start)
    if wanted.start_ms is not None:
        where.append("last_ms >= ?")
        values.append(wanted.start_ms)
    if wanted.end_ms is not None:
        where.append("first_ms <= ?")
        values.append(wanted.end_ms)
    rows = db.execute(
        f"SELECT place, data FROM log_blobs WHERE {' AND '.join(where)}"
        f" ORDER BY place {'ASC' if ascending else 'DESC'} LIMIT {MAX_BLOBS}",
        values,
    )
    for place, data in rows:
        yield place, _unpack(data)


def _is_from(number: int, start: int | None, ascending: bool) -> bool:
    return start is None or (number >= start if ascending else number <= start)


def _matches(lines: Lines, wanted: Wanted) -> list[int]:
    """The positions of the lines that are asked for."""
    found = list(range(len(lines.times)))
    least = _NUMBERS[wanted.min_level]
    if least:
        found = [i for i in found if lines.levels[i] >= least]
    if wanted.start_ms is not None:
        found = [i for i in found if lines.times[i] >= wanted.start_ms]
    if wanted.end_ms is not None:
        found = [i for i in found if lines.times[i] <= wanted.end_ms]
    if wanted.source is not None:
        found = [i for i in found if lines.sources[lines.origins[i]] == wanted.source]
    if wanted.text:
        needle = wanted.text.lower()
        found = [i for i in found if needle in _plain(lines.messages[i]).lower()]
    return found


def _plain(message: str) -> str:
    return _SGR.sub("", message) if "\x1b" in message else message


def _row(place: int, lines: Lines, position: int) -> dict[str, Any]:
    return {
        "timestampMs": lines.times[position],
        "sequence": place + position,
        "level": LEVELS[lines.levels[position]],
        "message": lines.messages[position],
        "source": lines.sources[lines.origins[position]],
        "truncated": position in lines.cut,
    }
