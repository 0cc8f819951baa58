"""Every SQL statement of the store, as it stands in the source."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from rundial.server import store

FOLDER = Path(store.__file__).parent
_VERB = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")
_TABLE = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+([a-z_]+)\b")


class Statement(NamedTuple):
    """A statement, with what surrounds it when a part of it is made as the program runs."""

    place: str
    text: str
    context: str
    is_constant: bool
    """Whether it stands outside of every function, to be used in several."""

    @property
    def tables(self) -> set[str]:
        return set(_TABLE.findall(self.text))


def statements() -> Iterator[Statement]:
    """All of them. Constants that are spliced into a text stand in it, everything else as ``{}``."""
    for path in sorted(FOLDER.glob("*.py")):
        if path.name == "__init__.py":
            continue
        module = importlib.import_module(f"{store.__name__}.{path.stem}")
        source = path.read_text()
        yield from _of(module, path.name, source)


def _of(module: ModuleType, name: str, source: str) -> Iterator[Statement]:
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
        id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
    }
    for node in ast.walk(tree):
        if id(node) in inner or not isinstance(node, (ast.Constant, ast.JoinedStr)):
            continue
        text = _text(module, node)
        if not _VERB.match(text):
            continue
        around = [f for f in functions if f.lineno <= node.lineno <= (f.end_lineno or f.lineno)]
        context = ast.get_source_segment(source, min(around, key=lambda f: -f.lineno)) if around else text
        yield Statement(f"{name}:{node.lineno}", " ".join(text.split()), context or "", not around)


def _text(module: ModuleType, node: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    parts = []
    for part in node.values:
        if isinstance(part, ast.Constant):
            parts.append(str(part.value))
            continue
        assert isinstance(part, ast.FormattedValue)
        try:
            value = eval(compile(ast.Expression(part.value), "<sql>", "eval"), vars(module).copy())
        except Exception:  # noqa: BLE001 - it is made of what is known only as the program runs
            value = "{}"
        parts.append(value if isinstance(value, str) else "{}")
    return "".join(parts)
