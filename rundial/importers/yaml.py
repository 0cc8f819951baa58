"""Flat files of YAML, as programs write them: one text for each name. Not a parser of the language."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

_ENTRY = re.compile(r"([A-Za-z_][\w.-]*):(?: (.*))?")


def read_flat(path: Path) -> dict[str, str]:
    """The entries of the first level as texts, lists and mappings below left out. Raises :class:`OSError`."""
    found: dict[str, list[str]] = {}
    name: str | None = None
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        entry = _ENTRY.fullmatch(line)
        if entry is not None:
            name = entry[1]
            found[name] = [(entry[2] or "").strip()]
        elif name is not None and line.startswith(" "):
            found[name].append(line.strip())  # a long text goes on in the next line
    return {name: _text(" ".join(parts)) for name, parts in found.items()}


def _text(written: str) -> str:
    if len(written) >= 2 and written[0] == written[-1] == "'":
        return written[1:-1].replace("''", "'")
    if len(written) >= 2 and written[0] == written[-1] == '"':
        try:
            return msgspec.json.decode(written.replace("\\ ", " "), type=str)
        except msgspec.MsgspecError:
            return written[1:-1]
    return written
