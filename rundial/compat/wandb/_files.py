"""``run.save`` and ``run.restore``: single files of a run, kept as artifacts of type ``file``."""

from __future__ import annotations

import os
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rundial.compat.wandb import _folder
from rundial.compat.wandb.errors import CommError
from rundial.compat.wandb.errors.term import termwarn
from rundial.errors import RundialError

if TYPE_CHECKING:
    from rundial.compat.wandb._run import Run

FILE_TYPE = "file"
_POLICIES = ("live", "now", "end")


def artifact_name(run_id: str, path: str) -> str:
    """The artifact under which one file of a run is kept."""
    return f"run-{run_id}-{path.replace('/', '-')}"


def save(run: Run, pattern: Any, base_path: Any = None, policy: str = "live", glob: bool = True) -> list[str]:
    """Make files part of the run: they appear in ``run.dir``, and are stored now, and again at the end if they changed.

    Args:
        run: whose files they become.
        pattern: a path, in which ``*`` may stand.
        base_path: what their paths in the run are relative to; left out, their own folder.
        policy: ``live`` and ``now`` store at once, ``end`` at the end of the run.
        glob: whether ``*`` and ``?`` mean other names.

    Returns:
        Their places in ``run.dir``.

    Raises:
        ValueError: another policy, or a path outside ``base_path``.
    """
    if policy not in _POLICIES:
        raise ValueError(f"Only {', '.join(_POLICIES)} policies are supported, not {policy!r}.")
    text = os.fsdecode(pattern)
    if text.startswith(("gs://", "s3://")):
        termwarn(f"{text} is a cloud storage url; it was not saved.")
        return []
    places: list[str] = []
    found = _matches(text) if glob else [text] if Path(text).exists() else []
    for name in found:
        path = Path(name).absolute()
        base = Path(os.fsdecode(base_path)).absolute() if base_path is not None else _base(path, Path(run.dir))
        if not path.is_relative_to(base):
            raise ValueError(f"{path} is not inside base_path {base}.")
        members = [path] if path.is_file() else [member for member in path.rglob("*") if member.is_file()]
        for member in members:
            inner = member.relative_to(base).as_posix()
            place = Path(run.dir) / inner
            if place != member:
                _folder.bring(member, place)
            places.append(str(place))
            if policy != "end":
                store(run, inner, place)
    return places


def _matches(pattern: str) -> list[str]:
    import glob

    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern


def _base(path: Path, folder: Path) -> Path:
    return folder if path.is_relative_to(folder) else path.parent


def store(run: Run, inner: str, place: Path) -> None:
    """Keep one file of the run as it is now."""
    source = place.resolve()
    run.saved[inner] = _folder.stamp(source)
    run.sink.log_artifact(source, artifact_name(run.id, inner), FILE_TYPE, metadata={"path": inner})


def store_rest(run: Run) -> None:
    """Keep what lies in ``run.dir`` and has not been stored, or has changed since."""
    folder = Path(run.dir)
    if not folder.is_dir():
        return
    for inner, place in _folder.unsaved(folder, list(run.settings.ignore_globs or ()), run.saved):
        try:
            store(run, inner, place)
        except OSError as error:
            termwarn(f"{place} was not saved: {error}")


def restore(
    run: Run | None, name: str, run_path: str | None = None, replace: bool = False, root: Any = None
) -> TextIO | None:
    """A file that a run saved, brought here and opened; None when there is no such file.

    Args:
        run: the run that asks.
        name: its path in the run.
        run_path: ``entity/project/run_id`` of another run; left out, this one's own file.
        replace: whether a file that lies here already is replaced.
        root: where it is put; left out, ``run.dir``.

    Raises:
        CommError: no server is there to ask.
    """
    if run is None:
        raise CommError("wandb.restore() needs a run; call wandb.init() first.")
    place = Path(root if root is not None else run.dir) / name
    if not place.exists() or replace:
        run_id = run_path.rstrip("/").rpartition("/")[2] if run_path else run.id
        try:
            found = run.sink.use_artifact(f"{artifact_name(run_id, name)}:latest")
            inside = str(found.files[0]["path"])
            place.parent.mkdir(parents=True, exist_ok=True)
            fetched = found.get_path(inside, place.parent)
        except RundialError as error:
            if getattr(error, "status_code", None) == 404:
                return None
            raise CommError(str(error), error) from error
        if fetched != place:
            fetched.replace(place)
    stream = place.open()
    assert isinstance(stream, TextIOWrapper)
    return stream
