"""What every adapter shares: which run it logs to, when that is made, how it fails, how it is found again.

Nothing here raises for what a server, a disk or a value does. A mistake in the settings is a ConfigError, and it comes
when the adapter is made, not in the middle of a training.
"""

from __future__ import annotations

import atexit
import inspect
import os
import stat
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, NamedTuple, get_args

from rundial import runs
from rundial.config import OPTIONS, Settings, resolve
from rundial.current import current_run
from rundial.diagnostics import warn
from rundial.distributed import detect_rank
from rundial.errors import ConfigError, RequestError
from rundial.events import ResumeMode, RunKind
from rundial.names import new_run_id
from rundial.runs import Run

LogModel = bool | Literal["all"]
ErrorInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]

_INIT = frozenset(inspect.signature(runs.init).parameters) - {"options"}
_made: weakref.WeakValueDictionary[str, Run] = weakref.WeakValueDictionary()
"""Runs that adapters of this process made, by id: two copies of an adapter share one."""


_exiting = False
"""Whether the process ends: what has ended by then is not opened again."""


@atexit.register
def _exit() -> None:
    global _exiting
    _exiting = True


def is_rank_zero() -> bool:
    """Whether this process is the one of a distributed job that logs; asked again each time, as ranks come late."""
    return detect_rank() == 0


class LazyRun:
    """The run an adapter logs to: the one it was given, the user's current one, or one made when it is first needed.

    A run that was made here and ended by a failure, or by the user, is opened again by the next call.

    Args:
        run: the user's own run. It is logged to and never ended here.
        settings: arguments of :func:`rundial.init`, passed on as they are. Without ``run`` and settings the run that
            ``rundial.init`` made last is used, if it is still open.

    Raises:
        ConfigError: an unknown option, a wrong value, or both a run and settings.
    """

    def __init__(self, run: Run | None, settings: Mapping[str, Any]) -> None:
        if run is not None and settings:
            raise ConfigError(f"give run= or settings of a new run ({', '.join(sorted(settings))}), not both.")
        check_settings(settings)
        self.given = run if run is not None or settings else _users_current()
        self.settings = dict(settings)
        self._made = new_run_id()
        self._config: list[Any] = []
        self._resume: ResumeMode | None = None
        self._run = self.given
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process. One that is being spawned to train gets a handle of this process's run."""
        from multiprocessing.context import get_spawning_popen

        if get_spawning_popen() is not None and is_rank_zero():
            self.writable  # noqa: B018 - opened here, so that its end is this process's and not the child's
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    @property
    def id(self) -> str:
        """The run's id, known before the run is made."""
        if self._run is not None:
            return self._run.id
        wanted = self.settings.get("run_id")
        return self._made if wanted is None else str(wanted)

    @property
    def opened(self) -> bool:
        """Whether there is a run already."""
        return self._run is not None

    @property
    def run(self) -> Run:
        """The run, which is made now if it has not been. It may have ended."""
        return self.writable if self._run is None else self._run

    @property
    def writable(self) -> Run:
        """The run to log to: made now if it has not been, opened again if it has ended and is not the user's own."""
        run = self._run
        if run is not None and (run.status == "running" or run is self.given or _exiting):
            return run
        with self._lock:
            if self._run is run:  # no other thread was here
                if run is not None:
                    self._resume = "continue"
                self._run = self._open()
        return self.writable

    def _open(self) -> Run:
        shared = _made.get(self.id)
        if shared is not None and shared.status == "running":
            run = shared
        else:
            run = _init({**self.settings, "run_id": self.id, "resume": self._resume or self._wanted_resume})
            _made[run.id] = run
        for values in self._config:
            run.update_config(values)
        self._config.clear()
        return run

    @property
    def _wanted_resume(self) -> Any:
        return self.settings.get("resume") or "never"

    def configure(self, values: Any) -> None:
        """Merge a mapping, namespace or dataclass into the configuration. It makes no run, but waits for it."""
        if self._run is None or self._run.status != "running":
            self._config.append(values)
        else:
            self._run.update_config(values)

    def state(self) -> dict[str, str]:
        """What belongs into a checkpoint, so that a later process goes on with this run. Plain texts."""
        return {"run_id": self.id}

    def restore(self, state: Any) -> None:
        """Go on with the run that a checkpoint names, unless the user has chosen: ``run=``, another id, ``"never"``.

        Args:
            state: what :meth:`state` returned; anything else is taken as nothing.
        """
        run_id = state.get("run_id") if isinstance(state, Mapping) else None
        if not isinstance(run_id, str) or self.given is not None or self.settings.get("resume") is not None:
            return
        if self.settings.get("run_id", run_id) != run_id or (self.opened and self.id == run_id):
            return
        if self.opened:
            warn(
                f"the checkpoint belongs to run {run_id}, but {self.id} was logged to before it was loaded. "
                f"Pass run_id={run_id!r}, resume='must' to go on with the former."
            )
            return
        self._made = run_id
        self._resume = "continue"  # a server that does not know it, another one or an emptied one, makes it anew

    def fail(self, error: ErrorInfo | None = None) -> None:
        """Mark the run failed, or aborted by Ctrl-C; a run that was given is the user's to end and gets a marker.

        Args:
            error: as ``sys.exc_info()`` gives it, which is asked when it is left out.
        """
        run = self._run
        if run is None:
            return
        kind, value, trace = error or sys.exc_info()
        if run is self.given:
            run.event(f"{kind.__name__}: {value}" if kind else "failed", kind="failure")
        elif kind is None:
            run.fail()
        else:
            run.__exit__(kind, value, trace)


def check_settings(settings: Mapping[str, Any]) -> Settings:
    """What ``rundial.init`` would resolve these arguments to. Raises :class:`ConfigError` as it would."""
    for name, allowed in (("kind", get_args(RunKind)), ("resume", get_args(ResumeMode))):
        if settings.get(name, allowed[0]) not in (*allowed, None):
            raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {settings[name]!r}.")
    return resolve({name: value for name, value in settings.items() if name in OPTIONS or name not in _INIT})


def _users_current() -> Run | None:
    run = current_run()
    return None if run is None or _made.get(run.id) is run else run


def _init(arguments: dict[str, Any]) -> Run:
    """A run, whatever the server says of it; what it refuses waits on the disk."""
    try:
        return runs.init(**arguments)
    except RequestError as error:
        warn(f"{error} Training goes on; what is logged is kept on disk, and `rundial sync` sends it.")
        return runs.init(**{**arguments, "mode": "offline"})
    except Exception as error:  # noqa: BLE001 - a full disk or a broken home must not end a training
        warn(f"no run could be made ({type(error).__name__}: {error}). Training goes on without being logged.")
        return runs.init(mode="disabled")


def last_step(run: Run) -> int:
    """The highest step logged so far, 0 before the first: where media without a step of their own belong."""
    return max(run._highest, 0)


class _Version(NamedTuple):
    """What tells whether a file or folder has been written again under its name."""

    modified_ns: int
    size: int
    inode: int


class Checkpoints:
    """The checkpoints an adapter has stored, so that each version of a file goes out once and no more."""

    def __init__(self) -> None:
        self._stored: dict[str, _Version] = {}

    def is_new(self, path: str) -> bool:
        """Whether there is a file or folder at ``path`` that has not been stored as it is now."""
        found = _version(path)
        return found is not None and self._stored.get(path) != found

    def store(
        self,
        run: Run,
        path: str,
        *,
        name: str,
        aliases: Sequence[str] = ("latest",),
        step: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        keep_last: int | None = None,
    ) -> bool:
        """Store a checkpoint as an artifact of type ``model``, unless this version of it has been.

        Args:
            path: a file or a folder; the same one counts anew when it has been written again.
            name: of the artifact; all checkpoints of a run share one.
            aliases: such as ``latest`` and ``best``.
            step: the step it was saved at.
            metadata: what to know about it; tensors become numbers.
            keep_last: how many versions the server keeps, None for all.

        Returns:
            Whether it is on its way now.
        """
        found = _version(path)
        if found is None or self._stored.get(path) == found:
            return False
        values = {key: number(value) for key, value in (metadata or {}).items()}
        if step is not None:
            values["step"] = step
        values["original_filename"] = os.path.basename(path)  # noqa: PTH119 - a name, no path
        stored = run.log_artifact(path, name, "model", list(aliases), values, keep_last=keep_last, step=step)
        if stored:
            self._stored[path] = found
            run.event(name, step=step, kind="checkpoint", path=path, aliases=list(aliases))
        return stored


def _version(path: str) -> _Version | None:
    try:
        about = os.stat(path)  # noqa: PTH116 - follows a last.ckpt that is a link
    except (OSError, ValueError):
        return None
    if not path or not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):
        return None
    return _Version(about.st_mtime_ns, about.st_size, about.st_ino)


def number(value: Any) -> Any:
    """The number in a tensor or array of one element, such as a best score; anything else as it is."""
    try:
        return value.item() if hasattr(value, "item") else value
    except Exception:  # noqa: BLE001 - of more than one element, or on a device that is gone
        return str(value)


def prefixed(metrics: Mapping[str, Any], prefix: str, separator: str) -> Mapping[str, Any]:
    """The same values under names that begin with ``prefix``; without one the mapping itself."""
    return {f"{prefix}{separator}{name}": value for name, value in metrics.items()} if prefix else metrics


class Older(NamedTuple):
    """What the older client's adapters took, in the words of these."""

    metric_prefix: str = ""
    log_checkpoints: LogModel | None = None
    keep_last: int | None = None


def take_older(settings: dict[str, Any]) -> Older:
    """Take the older client's arguments out of ``settings``. ``finish_on_end`` has no effect: a run ends at exit."""
    settings.pop("finish_on_end", None)
    checkpoints = settings.pop("log_checkpoints", None)
    return Older(
        settings.pop("metric_prefix", None) or "",
        None if checkpoints is None else ("all" if checkpoints else False),
        settings.pop("keep_last_checkpoints", None),
    )
