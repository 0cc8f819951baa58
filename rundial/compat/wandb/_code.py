"""The code of a run: the script alone, or a folder as an artifact."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rundial.compat.wandb._run import Run

_SKIPPED = frozenset({".git", ".venv", "venv", "wandb", "__pycache__", "node_modules", ".rundial_spool"})


def script_path() -> Path | None:
    """The script that runs; None in a notebook or an interactive session."""
    name = getattr(sys.modules.get("__main__"), "__file__", None)
    path = Path(name).absolute() if name else None
    return path if path is not None and path.is_file() else None


def code_artifact(run: Run, root: Path, name: str | None, include_fn: Any, exclude_fn: Any) -> Any:
    """An artifact of type ``code`` with the files below a folder; None when no file is let through.

    Args:
        run: names the artifact when ``name`` does not.
        root: the folder.
        name: of the artifact.
        include_fn: takes a path, and the root when it takes two arguments; left out, files that end in ``.py``.
        exclude_fn: of the same form; left out, none.
    """
    from rundial.compat.wandb._artifact import Artifact

    include, exclude = _judge(include_fn, root), _judge(exclude_fn, root)
    found = [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and not _SKIPPED.intersection(path.relative_to(root).parts)
        and (path.suffix == ".py" if include is None else include(path))
        and not (exclude is not None and exclude(path))
    ]
    if not found:
        return None
    script = script_path()
    default = f"source-{run.project}-{script.name if script is not None else root.resolve().name}"
    artifact = Artifact(re.sub(r"[^A-Za-z0-9_.-]", "_", name or default), "code")
    for path in found:
        artifact.add_file(str(path), name=path.relative_to(root).as_posix())
    return artifact


def _judge(function: Any, root: Path) -> Callable[[Path], bool] | None:
    if function is None:
        return None
    takes_root = len(inspect.signature(function).parameters) > 1
    return lambda path: bool(function(str(path), str(root)) if takes_root else function(str(path)))
