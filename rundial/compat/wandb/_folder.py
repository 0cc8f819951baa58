"""The folder of a run on disk: ``wandb/run-<date>-<id>/files``, as scripts and libraries look for it."""

from __future__ import annotations

import fnmatch
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

SUMMARY_FILE = "wandb-summary.json"
CONFIG_FILE = "config.yaml"
RESUME_FILE = "wandb-resume.json"
_OURS = frozenset({SUMMARY_FILE, CONFIG_FILE, "wandb-metadata.json", "requirements.txt", "output.log"})


def root_of(folder: str | os.PathLike[str] | None) -> Path:
    """The folder ``wandb`` in the given or the working directory; in a temporary one where that cannot be written."""
    base = Path(folder or ".").expanduser()
    try:
        base.mkdir(parents=True, exist_ok=True)
        root = base.absolute() / "wandb"
        root.mkdir(exist_ok=True)
        if os.access(root, os.W_OK):
            return root
    except OSError:
        pass  # a read-only directory is no reason not to train
    import tempfile

    root = Path(tempfile.gettempdir()) / f"wandb-{os.getuid()}" / "wandb"
    root.mkdir(parents=True, exist_ok=True)
    return root


def make(root: Path, run_id: str, offline: bool) -> Path:
    """Make the folder of one run, point ``latest-run`` to it, and give its ``files``."""
    name = f"{'offline-run' if offline else 'run'}-{time.strftime('%Y%m%d_%H%M%S')}-{run_id}"
    folder = root / name
    (folder / "files").mkdir(parents=True, exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    (folder / f"run-{run_id}.wandb").touch()  # empty: its name is what libraries read the id from
    link = root / "latest-run"
    try:
        temporary = root / f".latest-{os.getpid()}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(name)
        temporary.replace(link)
    except OSError:
        pass  # a file system without links
    return folder / "files"


def note_state(files: Path, step: int, summary: dict[str, Any], config: dict[str, Any]) -> None:
    """Write what a later process needs to go on with the run when no server is there to ask."""
    try:
        document = {**{key: value for key, value in summary.items() if not key.startswith("_")}, "_step": step}
        (files / SUMMARY_FILE).write_bytes(msgspec.json.encode(document, enc_hook=str))
        text = msgspec.json.format(
            msgspec.json.encode({"wandb_version": 1, **{k: {"value": v} for k, v in config.items()}}, enc_hook=str)
        )
        (files / CONFIG_FILE).write_bytes(text)  # JSON is YAML, too
    except (OSError, msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        pass  # it is a convenience: the run itself is on its way or in the spool


def read_state(root: Path, run_id: str) -> tuple[int | None, dict[str, Any], dict[str, Any]]:
    """The last step, the summary and the configuration that an earlier process of the run left here."""
    found = sorted(root.glob(f"*run-*-{run_id}/files/{SUMMARY_FILE}"), key=lambda path: path.parent.parent.name[-24:])
    for path in reversed(found):
        try:
            summary = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
            config = msgspec.json.decode((path.parent / CONFIG_FILE).read_bytes(), type=dict[str, Any])
        except (OSError, msgspec.MsgspecError):
            continue  # half written by a process that was killed; an earlier one will do
        step = summary.pop("_step", None)
        values = {key: value["value"] for key, value in config.items() if isinstance(value, dict) and "value" in value}
        return step if isinstance(step, int) else None, summary, values
    return None, {}, {}


def unsaved(files: Path, ignore: list[str], known: dict[str, tuple[float, int]]) -> Iterator[tuple[str, Path]]:
    """The files that lie there and have not been stored as they are now, by their paths inside."""
    for path in sorted(files.rglob("*")):
        inner = path.relative_to(files).as_posix()
        if inner.startswith(("media/", "artifact/")) or inner in _OURS or not path.is_file():
            continue
        if any(fnmatch.fnmatch(inner, pattern) for pattern in ignore) or known.get(inner) == stamp(path):
            continue
        yield inner, path


def stamp(path: Path) -> tuple[float, int]:
    """What changes when a file does."""
    facts = path.stat()
    return facts.st_mtime, facts.st_size


def bring(source: Path, target: Path) -> None:
    """Make a file appear at another place: as a link, else as a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.exists():
        if target.resolve() == source.resolve():
            return
        target.unlink()
    try:
        target.symlink_to(source.resolve())
    except OSError:
        import shutil

        shutil.copy2(source, target)
