"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rundial.cli.context import options
from rundial.errors import AuthError

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def answer(document: dict[str, Any], human: Callable[[], None]) -> None:
    """The result of a command: the document as one line of JSON, or what ``human`` prints."""
    if options.json:
        print_json({"ok": True, **document})
    elif not options.quiet:
        human()


def print_json(document: Any) -> None:
    """One line, its keys in order."""
    print(json.dumps(document, sort_keys=True, separators=(",", ":")), flush=True)


def say(text: str) -> None:
    """A sentence for people."""
    if not (options.json or options.quiet):
        print(text, flush=True)


def note(text: str) -> None:
    """A sentence beside the result."""
    if not (options.json or options.quiet):
        print(text, file=sys.stderr, flush=True)


def fail(message: str, code: int, asked_json: bool) -> None:
    """An error, on the error stream."""
    if asked_json:
        print(json.dumps({"ok": False, "error": {"message": message, "exitCode": code}}), file=sys.stderr)
    else:
        print(f"error: {message}", file=sys.stderr)


def advice(error: AuthError) -> str:
    """The message of a refusal, with what to do about it."""
    if error.status_code != 401 and error.error_hint:
        return str(error)
    said = error.error_message or str(error)  # the hint of the answer is for those who speak HTTP
    return f"{said.rstrip('.')}. Sign in with `rundial auth login`, or set RUNDIAL_API_KEY."


def show_table(table: object) -> None:
    """Print a rich table, no cell of which is taken for markup; where no terminal says how wide it is, unbroken."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 1_000
    Console(markup=False, highlight=False, emoji=False, width=width).print(table)


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]], empty: str = "Nothing there.") -> None:
    """Rows under headings; ``empty`` when there are none. Columns of numbers are flush right."""
    if not rows:
        print(empty)
        return
    from rich.cells import cell_len
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    # What stands first is copied into the next command: it is not broken where there is room for the rest.
    whole = 2 * max(cell_len(cell(row[0])) for row in rows) <= shutil.get_terminal_size().columns
    for number, heading in enumerate(headings):
        numeric = all(isinstance(row[number], int | float) for row in rows)
        fixed = whole and number == 0
        shown.add_column(heading, justify="right" if numeric else "left", overflow="fold", no_wrap=fixed)
    for row in rows:
        shown.add_row(*(cell(value) for value in row))
    show_table(shown)


def fields(document: dict[str, Any]) -> None:
    """One thing, a field a line."""
    table(("field", "value"), list(document.items()))


def cell(value: Any) -> str:
    """A value as the text of a cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(part) for part in value)
    if isinstance(value, dict):
        return plain(json.dumps(value, ensure_ascii=False))
    return plain(str(value))


def plain(text: str) -> str:
    """A stranger's text without anything that a terminal would obey; its line breaks are kept."""
    text = _ESCAPE.sub("", text).replace("\r\n", "\n").replace("\t", "    ")
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def moment(milliseconds: Any) -> str | None:
    """Unix milliseconds as local time."""
    if not isinstance(milliseconds, int | float):
        return None
    return f"{datetime.fromtimestamp(milliseconds / 1000):%Y-%m-%d %H:%M:%S}"


@contextmanager
def progress(title: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    """What to call with each number of units done: a bar on a terminal, nothing elsewhere."""
    if options.json or options.quiet or not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} " + unit))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=total)
        yield lambda count: bars.update(task, advance=count)
