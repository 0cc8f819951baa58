"""``runtimectl``: write a command into a queue directory, or see what became of the last ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rundial.control.command_queue import enqueue, status

USAGE = """usage: runtimectl -q DIR PATH [ARG ...] [--kwargs JSON]
       runtimectl -q DIR status [--last N]

Writes a command for the training that polls DIR. An ARG is read as JSON where it is JSON (0.5, true, [1, 2]), else as
text. `status` shows how many commands and acknowledgements there are, and the last N (10) of these.
"""
_FLAGS = {"-q": "queue", "--queue-dir": "queue", "--kwargs": "kwargs", "--last": "last"}


class UsageError(ValueError):
    """The command line cannot be understood; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code: 0, 1 when the directory cannot be written, 2 for a mistake in the call."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "-h" in words or "--help" in words:
        sys.stdout.write(USAGE)
        return 0
    try:
        return _run(words)
    except UsageError as error:
        sys.stderr.write(f"{USAGE}\nrundial: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"rundial: {error}\n")
        return 1


def _run(words: list[str]) -> int:
    flags, rest = _split(words)
    if "queue" not in flags:
        raise UsageError("-q DIR is missing: the directory that the training polls.")
    if not rest:
        raise UsageError("PATH is missing: the control to turn, or `status`.")
    directory = Path(flags["queue"]).expanduser()
    if rest == ["status"]:
        _print(status(directory, _whole(flags.get("last", "10"))), indent=2)
    else:
        _print(enqueue(directory, rest[0], [value_of(word) for word in rest[1:]], _kwargs(flags.get("kwargs"))))
    return 0


def _split(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Flags wherever they stand; whatever is none is a value, ``-0.5`` too."""
    flags: dict[str, str] = {}
    rest: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word == "--":
            return flags, [*rest, *remaining]
        name, equals, value = word.partition("=")
        if name not in _FLAGS:
            rest.append(word)
            continue
        if not equals:
            value = next(remaining, "")
            if not value:
                raise UsageError(f"{name} needs a value.")
        flags[_FLAGS[name]] = value
    return flags, rest


def value_of(word: str) -> Any:
    """A word of the command line: JSON where it is JSON, else the text itself."""
    try:
        return json.loads(word)
    except ValueError:
        return word


def _kwargs(text: str | None) -> dict[str, Any]:
    try:
        found = {} if text is None else json.loads(text)
    except ValueError as error:
        raise UsageError(f"--kwargs is no JSON: {error}") from error
    if found is not None and not isinstance(found, dict):
        raise UsageError("--kwargs must be a JSON object.")
    return found or {}


def _whole(text: str) -> int:
    if not text.isdigit():
        raise UsageError("--last must be a whole number.")
    return int(text)


def _print(value: Any, indent: int | None = None) -> None:
    sys.stdout.write(json.dumps(value, indent=indent) + "\n")
