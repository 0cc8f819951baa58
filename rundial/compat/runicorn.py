"""Runicorn's names over Rundial: ``import rundial.compat.runicorn as rn``.

The interface is the one its page "Run Lifecycle" describes, version 0.7. ``Run.run`` is the :class:`rundial.Run`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

from rundial import runs
from rundial.compat._runicorn_files import export
from rundial.compat._runicorn_outputs import Outputs
from rundial.config import HOME_VARIABLE, resolve
from rundial.diagnostics import say, warn
from rundial.events import RunStatus
from rundial.names import run_path
from rundial.repository import find_root
from rundial.snapshot import listed
from rundial.switch import enabled, is_enabled, reset_enabled, set_enabled
from rundial.values import Invalid, step_number

__all__ = ["NoOpRun", "Run", "enabled", "export", "init", "is_enabled", "reset_enabled", "set_enabled"]

_STATUSES: dict[str, RunStatus] = {
    "finished": "completed",
    "completed": "completed",
    "success": "completed",
    "failed": "failed",
    "error": "failed",
    "crashed": "failed",
    "interrupted": "aborted",
    "killed": "aborted",
    "cancelled": "aborted",
    "aborted": "aborted",
}
_NAMES = {"completed": "finished", "failed": "failed", "crashed": "failed", "aborted": "interrupted"}


def init(
    path: str | None = None,
    storage: str | None = None,
    run_id: str | None = None,
    alias: str | None = None,
    capture_env: bool = False,
    snapshot_code: bool = False,
    workspace_root: str | None = None,
    snapshot_format: str = "zip",
    force_snapshot: bool = False,
    capture_console: bool = False,
    tqdm_mode: str = "smart",
) -> Run | NoOpRun:
    """Start a run. Everything may be given by position or by keyword.

    Args:
        path: the run's place in its project's tree; None means ``default``, ``/`` the root.
        storage: a folder for this run alone. Without a configured server the run is kept there, spool and local store,
            and ``RUNDIAL_HOME=<storage> rundial ui`` shows it; with one it is only the run's spool that lies there.
        run_id: the run's own id; one that exists is refused.
        alias: a short label.
        capture_env: keep packages, platform, GPUs and chosen variables with the run.
        snapshot_code: keep the workspace as an artifact.
        workspace_root: what the snapshot packs, and where output folders lie; None for the nearest folder above that
            holds ``.git``, else the working directory.
        snapshot_format: ``zip``, the only one there is.
        force_snapshot: pack the workspace however large it is.
        capture_console: keep what the process prints.
        tqdm_mode: progress bars in the captured console: ``smart``, ``all`` or ``none``.

    Raises:
        ValueError: a path with other characters than ASCII letters, digits, ``_``, ``-`` and ``/``, another snapshot
            format, a workspace beyond the bounds of a snapshot.
    """
    place = run_path("default" if path is None else path)
    if not is_enabled():
        return NoOpRun()
    if snapshot_code and snapshot_format == "zip" and not force_snapshot:
        listed(_root(workspace_root))
    with _stored_in(storage) as options:
        run = runs.init(
            path=place,
            run_id=run_id,
            alias=alias,
            capture_env=capture_env,
            snapshot_code=snapshot_code,
            workspace_root=workspace_root,
            snapshot_format=snapshot_format,
            force_snapshot=force_snapshot,
            capture_console=capture_console,
            tqdm_mode=tqdm_mode,
            **options,
        )
    return Run(run, storage if options.get("mode") == "offline" else None, _root(workspace_root))


def _root(workspace_root: str | None) -> Path:
    return (Path(workspace_root) if workspace_root else find_root(Path.cwd()) or Path.cwd()).resolve()


@contextmanager
def _stored_in(storage: str | None) -> Iterator[dict[str, Any]]:
    """The options that keep a run in ``storage``, and its home there while the run begins."""
    if storage is None:
        yield {}
        return
    folder = Path(storage).expanduser().absolute()
    options: dict[str, Any] = {"spool_directory": str(folder / "spool")}
    settings = resolve({})
    if settings.endpoint is not None or settings.mode == "disabled":
        yield options
        return
    before = os.environ.get(HOME_VARIABLE)
    os.environ[HOME_VARIABLE] = str(folder)  # a stream says at its beginning which local store it belongs to
    try:
        yield {**options, "mode": "offline", "quiet": True}  # the line at the end would name another home
    finally:
        if before is None:
            del os.environ[HOME_VARIABLE]
        else:
            os.environ[HOME_VARIABLE] = before


class Run:
    """A live run, made by :func:`init`. Only :meth:`finish` waits, and nothing raises for a value it is given."""

    def __init__(self, run: runs.Run, kept_in: str | None, root: Path) -> None:
        self.run = run
        self.id = self.run_id = run.id
        self.path = run.path or ""
        self.alias = run.alias
        self._kept_in = kept_in
        self._outputs = Outputs(run, root)
        self._steps = count(1)
        self._last_step = 0
        self._image_steps: dict[str, int] = {}

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``failed`` or ``interrupted``."""
        return status_name(self.run.status)

    def log(self, data: Mapping[str, Any] | None = None, *, step: Any = None, stage: Any = None, **kwargs: Any) -> None:
        """Log metrics, given as a mapping, as keywords, or both; on a clash the keyword wins.

        Args:
            data: names to values; ``stage`` in it is a stage, ``step`` and ``global_step`` in it are dropped.
            step: left out, one more than the last; the first is 1.
            stage: a coarse bucket such as ``epoch_1``.
        """
        try:
            values = dict(data or {})
        except (TypeError, ValueError):
            self.run.log(data)  # which says what is wrong with it
            values = {}
        values.update(kwargs)
        bucket = values.pop("stage", None)
        for name in ("step", "global_step"):
            values.pop(name, None)
        if values:
            self._last_step = self._take_step(step)
            self.run.log(values, step=self._last_step, stage=bucket if stage is None else stage)

    def _take_step(self, step: Any) -> int:
        if step is not None:
            try:
                number = step_number(step)
            except Exception as error:  # noqa: BLE001 - an object's own __int__ may raise anything
                why = str(error) if isinstance(error, Invalid) else f"step cannot be read ({type(error).__name__})"
                warn(f"{why}; the next automatic step was used instead")
            else:
                self._steps = count(number + 1)
                return number
        return next(self._steps)

    def set_primary_metric(self, metric_name: str, mode: str = "max") -> None:
        """Name the main metric. Its best value and step go into the summary; of equal ones the first counts.

        Raises:
            ValueError: a mode other than ``max`` and ``min``.
        """
        self.run.set_primary_metric(metric_name, mode)

    def log_text(self, text: str) -> None:
        """Write lines into the run's log, without printing them."""
        self.run.log_text(text)

    def log_image(
        self,
        key: str,
        image: Any,
        step: int | None = None,
        caption: str | None = None,
        format: str = "png",
        quality: int = 90,
    ) -> str:
        """Log an image: a path, bytes, an array or a PIL image. Without a step it stands at the step logged last, or
        behind the last image of its key if that is there already.

        Returns:
            The key, or an empty text when the run takes nothing more.
        """
        number = max(self._last_step, self._image_steps.get(key, -1) + 1) if step is None else step
        if isinstance(number, int):
            self._image_steps[key] = number
        taken = self.run.log_image(key, image, step=number, caption=caption, format=format, quality=quality)
        return key if taken else ""

    def log_config(
        self, args: Any = None, extra: Mapping[str, Any] | None = None, config_files: Sequence[Any] | None = None
    ) -> None:
        """Merge parsed arguments and further values into the configuration, and keep configuration files."""
        self.run.log_config(args, extra, config_files)

    def summary(self, update: Mapping[str, Any]) -> None:
        """Merge values into the summary."""
        self.run.summary(update)

    def scan_outputs_once(
        self, output_dirs: Sequence[str] = ("outputs",), patterns: Sequence[str] = ("*",)
    ) -> list[str]:
        """Keep what is new or changed in output folders, each file as an artifact of its own.

        Args:
            output_dirs: folders below the workspace root.
            patterns: names of files, such as ``*.ckpt``.

        Returns:
            The artifacts' names: paths below the root, with ``-`` for ``/``.
        """
        return self._outputs.scan(output_dirs, patterns)

    def watch_outputs(
        self,
        output_dirs: Sequence[str] = ("outputs",),
        patterns: Sequence[str] = ("*",),
        interval_sec: float = 10.0,
    ) -> None:
        """Call :meth:`scan_outputs_once` every ``interval_sec`` seconds in the background, until the run ends."""
        self._outputs.watch(output_dirs, patterns, interval_sec)

    def stop_outputs_watch(self) -> None:
        """Look a last time, and then no more."""
        self._outputs.stop()

    def finish(self, status: str = "finished") -> None:
        """End the run. A second call changes nothing; afterwards nothing more is taken.

        Args:
            status: ``finished``, ``failed`` or ``interrupted``, or another word for one of them; anything else counts
                as ``finished``.
        """
        if self.run.status != "running":
            return
        self._outputs.stop()
        self.run.finish(status=final_status(status))
        self._say_where()

    def _say_where(self) -> None:
        if self._kept_in is not None and not resolve({}).quiet:
            folder = Path(self._kept_in).expanduser().absolute()
            say(f"{self.run.name}: kept in {folder}; `{HOME_VARIABLE}={folder} rundial ui` shows it.")

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._outputs.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt):  # any exception is a failure here
            self.run.finish(status="failed", reason="KeyboardInterrupt")
        else:
            self.run.__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<Run {self.id} {self.status}>"


class NoOpRun:
    """What :func:`init` gives while logging is switched off: the same calls, and nothing comes of them."""

    id = run_id = "disabled"
    path = ""
    alias: str | None = None
    status = "disabled"

    def log(self, data: Mapping[str, Any] | None = None, *, step: Any = None, stage: Any = None, **kwargs: Any) -> None:
        """Nothing."""

    def set_primary_metric(self, metric_name: str, mode: str = "max") -> None:
        """Nothing."""

    def log_text(self, text: str) -> None:
        """Nothing."""

    def log_image(
        self,
        key: str,
        image: Any,
        step: int | None = None,
        caption: str | None = None,
        format: str = "png",
        quality: int = 90,
    ) -> str:
        """Nothing: an empty text."""
        return ""

    def log_config(
        self, args: Any = None, extra: Mapping[str, Any] | None = None, config_files: Sequence[Any] | None = None
    ) -> None:
        """Nothing."""

    def summary(self, update: Mapping[str, Any]) -> None:
        """Nothing."""

    def scan_outputs_once(
        self, output_dirs: Sequence[str] = ("outputs",), patterns: Sequence[str] = ("*",)
    ) -> list[str]:
        """Nothing: no names."""
        return []

    def watch_outputs(
        self,
        output_dirs: Sequence[str] = ("outputs",),
        patterns: Sequence[str] = ("*",),
        interval_sec: float = 10.0,
    ) -> None:
        """Nothing."""

    def stop_outputs_watch(self) -> None:
        """Nothing."""

    def finish(self, status: str = "finished") -> None:
        """Nothing."""

    def __enter__(self) -> NoOpRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing."""


def final_status(status: object) -> RunStatus:
    """Rundial's word for a final status in any of Runicorn's words; what is none of them counts as ``finished``."""
    return _STATUSES.get(str(status or "").strip().lower(), "completed")


def status_name(status: str) -> str:
    """Runicorn's word for a status of Rundial: a run whose process vanished, ``crashed``, is ``failed``."""
    return _NAMES.get(status, "running")
