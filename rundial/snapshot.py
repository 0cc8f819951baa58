"""Snapshots of a run's code, repository and environment, taken once in a short-lived thread of their own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from rundial.config import DEFAULT_PROJECT, Settings
from rundial.events import RunUpdate
from rundial.ignore import CodeFile, code_files
from rundial.pipeline import Pipeline
from rundial.repository import find_root
from rundial.spool_directories import prepare_directory
from rundial.wire import encode

MAX_FILES = 200_000
MAX_BYTES = 500 * 1024 * 1024
"""Bounds of a code snapshot, before it is packed. ``force_snapshot`` lifts both."""
MAX_ENVIRONMENT = 200 * 1024
"""Bytes of the environment as a record."""
STOP_SECONDS = 10.0
"""The longest the end of a run waits for its snapshot."""
_BEGINNING = (1980, 1, 1, 0, 0, 0)
"""The time every file in the archive has, so that the same code is the same archive. A zip knows none before."""
_PIECE = 256 * 1024


class TooLarge(ValueError):
    """The workspace is beyond the bounds of a snapshot. The message says by what, and what to do."""


class Packed(NamedTuple):
    """What went into an archive."""

    files: int
    size: int
    """Bytes before packing."""
    missing: int
    """Files that were there when they were listed and could not be read when it was their turn."""


class Snapshot:
    """What ``snapshot_code`` and ``capture_env`` ask for, of one run; with ``capture_git`` also what git says.

    Args:
        pipeline: of the run.
        settings: which parts are wanted, and of which folder.
    """

    def __init__(self, pipeline: Pipeline, settings: Settings) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._given_up = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread. The working directory that counts is that of this moment."""
        settings = self._settings
        try:
            root = Path(settings.workspace_root).resolve() if settings.workspace_root else Path.cwd()
        except OSError:
            return  # the working directory is gone: there is no code to keep
        repository = find_root(root)
        if settings.workspace_root is None and repository is not None:
            root = repository
        has_repository = settings.capture_git and repository is not None
        self._thread = threading.Thread(
            target=self._take, args=(root, has_repository), name="rundial-snapshot", daemon=True
        )
        self._thread.start()

    def stop(self, seconds: float | None = None) -> None:
        """Wait until all of it is logged, at most the option ``finish_timeout`` and ten seconds.

        Args:
            seconds: wait no longer than this, either.
        """
        thread, self._thread = self._thread, None
        if thread is None or thread is threading.current_thread():
            return
        limits = [STOP_SECONDS, self._settings.finish_timeout, *(() if seconds is None else (seconds,))]
        thread.join(max(0.0, min(limits)))
        if thread.is_alive():
            self._given_up = True
            self._pipeline.counters.warn_once(
                "snapshot", "the run ended before its snapshot was taken; what was missing of it is not kept."
            )

    def _take(self, root: Path, has_repository: bool) -> None:
        from rundial import environment, worktree  # here, because most of what they need init() does not

        try:
            found: dict[str, Any] = {}
            if has_repository:
                found["git"] = worktree.describe(root)
            if self._settings.capture_env:
                found |= environment.describe()
            self._log_environment({key: value for key, value in found.items() if value})
            if has_repository:
                self._log_patch(root)
            if self._settings.snapshot_code:
                self._log_code(root, found.get("git", {}))
        except Exception as error:  # noqa: BLE001 - a strange disk or repository is no reason to lose the thread's word
            self._pipeline.counters.warn_once("snapshot", f"the snapshot failed: {type(error).__name__}: {error}")

    def _log_environment(self, found: dict[str, Any]) -> None:
        while len(encode(found)) > MAX_ENVIRONMENT and found.get("packages"):
            names = list(found["packages"])
            found["packages"] = {name: found["packages"][name] for name in names[: len(names) // 2]}
        if found and not self._given_up:
            self._pipeline.emit(RunUpdate(time.time_ns(), environment=found))

    def _log_patch(self, root: Path) -> None:
        from rundial import worktree

        text = worktree.patch(root)
        if text is None:
            return

        def write(path: Path) -> dict[str, Any]:
            path.write_text(text, encoding="utf-8", errors="replace", newline="")
            return {}

        self._log_file("git.patch", f"patch-{self._label()}", write)

    def _log_code(self, root: Path, git: dict[str, Any]) -> None:
        settings = self._settings
        skip = frozenset({Path(settings.spool_directory).resolve()})

        def write(path: Path) -> dict[str, Any]:
            packed = pack(listed(root, skip, settings.force_snapshot), root, path, lambda: self._given_up)
            facts = {"root": str(root), "files": packed.files, "bytes": packed.size, "git": git}
            return facts | ({"missing": packed.missing} if packed.missing else {})

        self._log_file("code.zip", f"code-{self._label()}", write)

    def _log_file(self, filename: str, name: str, write: Callable[[Path], dict[str, Any]]) -> None:
        """Have a file written in the spool, and hand it over as an artifact, which links it away from there."""
        import shutil
        import tempfile

        from rundial import artifacts

        spool = Path(self._settings.spool_directory)
        prepare_directory(spool)
        folder = Path(tempfile.mkdtemp(prefix="snapshot-", dir=spool))
        try:
            metadata = write(folder / filename)
            if not self._given_up:
                artifacts.log_artifact(self._pipeline, folder / filename, name=name, type="code", metadata=metadata)
        except TooLarge as error:
            self._pipeline.counters.warn_once("snapshot", str(error))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _label(self) -> str:
        from rundial import environment

        project = self._settings.project
        return environment.script() if project == DEFAULT_PROJECT else project


def code_snapshot(pipeline: Pipeline, settings: Settings, root: str | os.PathLike[str] | None) -> Snapshot:
    """A snapshot of the code alone, not started yet, whatever the settings ask for.

    Args:
        root: the folder to pack; None for the option ``workspace_root``.
    """
    folder = settings.workspace_root if root is None else str(Path(root).expanduser().absolute())
    wanted = {"snapshot_code": True, "capture_env": False, "capture_git": False, "workspace_root": folder}
    return Snapshot(pipeline, msgspec.structs.replace(settings, **wanted))


def listed(root: Path, skip: frozenset[Path] = frozenset(), force: bool = False) -> list[CodeFile]:
    """The code below ``root`` in the order in which it is packed. Raises :class:`TooLarge` unless ``force``."""
    found: list[CodeFile] = []
    size = 0
    for file in code_files(root, skip):
        found.append(file)
        size += file.size
        if not force and len(found) > MAX_FILES:
            raise TooLarge(f"too many files for a code snapshot: {root} holds more than {MAX_FILES:,}. {_ADVICE}")
        if not force and size > MAX_BYTES:
            raise TooLarge(f"total bytes exceeded for a code snapshot: {root} has more than {MAX_BYTES:,}. {_ADVICE}")
    return sorted(found)


_ADVICE = "Name what is no code in .rundialignore, set workspace_root, or lift the bound with force_snapshot=True."


def pack(files: Iterable[CodeFile], root: Path, archive: Path, given_up: Callable[[], bool] = lambda: False) -> Packed:
    """Write files into a zip: the same content gives the same bytes, whenever and wherever it is packed.

    Args:
        files: what to pack, in this order.
        root: the folder their paths are below.
        archive: the zip to write.
        given_up: asked before each file; ends the archive early.
    """
    import zipfile

    count = size = missing = 0
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for file in files:
            if given_up():
                break
            try:
                source = os.open(root / file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                missing += 1
                continue
            with open(source, "rb", buffering=0) as data:
                executable = os.fstat(source).st_mode & 0o100
                info = zipfile.ZipInfo(os.fsencode(file.path).decode("utf-8", "replace"), _BEGINNING)
                info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, 3
                info.external_attr = (0o100755 if executable else 0o100644) << 16
                with target.open(info, "w", force_zip64=file.size >= 1 << 31) as entry:
                    size += _copy(data, entry)
            count += 1
    return Packed(count, size, missing)


def _copy(source: Any, target: Any) -> int:
    copied = 0
    while piece := source.read(_PIECE):
        target.write(piece)
        copied += len(piece)
    return copied
