"""TensorBoard: a SummaryWriter that logs to a run, writers that go on writing and are heard, and folders of files."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from rundial.diagnostics import warn
from rundial.events import RunUpdate
from rundial.integrations import _register
from rundial.integrations._adapter import LazyRun
from rundial.integrations._event_files import Event, EventFile, read_event
from rundial.integrations.summary_writer import SummaryMethods
from rundial.runs import Run
from rundial.values import plain, redacted

MAX_WAITING = 10_000
"""Events that wait for the background; beyond it a writer's own thread reads its event."""
LOOK_SECONDS = 1.0
"""How often a folder is looked at."""
_WRITERS = ("tensorboard.summary.writer.event_file_writer", "tensorboardX.event_file_writer")
"""Where the class lies through which every event of a writer goes: PyTorch's and TensorBoard's own, tensorboardX's."""
_FILE = re.compile(r"\.tfevents\.|^events\.out")
_MOMENT = re.compile(r"\d{9,}(\.\d+)?")
"""The name of a folder that PyTorch makes for each call of ``add_hparams``."""


class SummaryWriter(SummaryMethods):
    """In the place of ``torch.utils.tensorboard.SummaryWriter``: what is added goes to a run, and no file is written.

    The run is made when something is added, and ends with the process. Nothing raises for a value.

    Args:
        log_dir: its last part is the run's name, if a run is made here and has no other.
        comment, purge_step, max_queue, flush_secs, filename_suffix: have no effect.
        run: your own run; it is logged to and never ended here. Without it and without settings the run that
            ``rundial.init`` made last is used, else one is made.
        settings: arguments of :func:`rundial.init`, such as ``project``, ``name`` and ``endpoint``.

    Raises:
        ConfigError: an unknown option, or both a run and settings.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
        *,
        run: Run | None = None,
        **settings: Any,
    ) -> None:
        self.log_dir = "" if log_dir is None else os.fspath(log_dir)
        self._lazy = LazyRun(run, settings)
        name = Path(self.log_dir).name
        if name and self._lazy.given is None:
            self._lazy.settings.setdefault("name", name)

    @property
    def run(self) -> Run:
        """The run itself, which is made now if it has not been. It may have ended."""
        return self._lazy.run

    def _summary_run(self) -> Run:
        return self._lazy.writable

    def get_logdir(self) -> str:
        """What was given as ``log_dir``."""
        return self.log_dir

    def close(self) -> None:
        """Nothing: the run ends with the process, and adding may go on."""

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._lazy.fail((kind, error, trace))


# -- what other writers write ------------------------------------------------------------------------------------------


class Listener:
    """Logs to a run what the SummaryWriters of this process write, which go on writing their files.

    A writer's thread only puts its event into a queue; it is read in the background, and to its end before the run
    ends.
    """

    def __init__(self, get_run: Callable[[], Run]) -> None:
        self._get_run = get_run
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._known: Run | None = None
        self._process = os.getpid()
        self._prefixes = _Prefixes()
        self._lock = threading.Lock()

    def hear(self, folder: str, event: Any) -> None:
        """Take an event of a writer to ``folder``. Never raises; what a forked child writes is left out."""
        if os.getpid() != self._process:
            return
        try:
            run = self._get_run()  # made here, if need be: signals can be watched from the main thread alone
            with self._lock:
                prefix = self._prefixes.of(folder)
                if run is not self._known:
                    self._known = run
                    run._sources.append(self._catch_up)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._listen, name="rundial-tensorboard", daemon=True)
                    self._thread.start()
            if self._queue.qsize() < MAX_WAITING:
                self._queue.put((run, prefix, event))
            else:
                _store(run, prefix, event.SerializeToString())
        except Exception as error:  # noqa: BLE001 - it would come out of the training's add_scalar()
            warn(f"an event of TensorBoard was not logged: {type(error).__name__}: {error}")

    def stop(self) -> None:
        """Listen no more. What was heard is still logged."""
        if self in _listeners:
            _listeners.remove(self)

    def _listen(self) -> None:
        while True:
            item = self._queue.get()
            if isinstance(item, threading.Event):
                item.set()
            else:
                run, prefix, event = item
                _store(run, prefix, event.SerializeToString())

    def _catch_up(self, seconds: float) -> None:
        """Wait until everything heard so far has been logged."""
        reached = threading.Event()
        self._queue.put(reached)
        reached.wait(seconds)

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


_listeners: list[Listener] = []


def patch(run: Run | None = None, **settings: Any) -> Listener:
    """Log to a run what every SummaryWriter of this process writes from here on, beside its files.

    Heard are those of ``torch.utils.tensorboard``, of TensorBoard itself and of ``tensorboardX``, also those that are
    there already, and libraries that use them. Values are those of the files: scalars have single precision.

    Args:
        run: your own run. Without it and without settings it is the one ``rundial.init`` made last, asked again when
            that has ended; else one is made with the first event.
        settings: arguments of :func:`rundial.init`.

    Returns:
        What ends it: ``stop()``; or use it as a context manager.

    Raises:
        ConfigError: an unknown option, or both a run and settings.
    """
    lazy = LazyRun(run, settings)

    def get_run() -> Run:
        nonlocal lazy
        if run is None and not settings and (not lazy.opened or lazy.run.status != "running"):
            since = LazyRun(None, {})  # the user may have begun a run since
            lazy = lazy if since.given is None else since
        return lazy.writable

    return _listen_for(get_run)


def sync_tensorboard(run: Run, source: bool | str | os.PathLike[str] = True) -> None:
    """What the option ``sync_tensorboard`` of :func:`rundial.init` does, until the run ends.

    Args:
        run: the run.
        source: True for the writers of this process, as :func:`patch`; a folder for the event files that are written
            in it from here on, by whichever process and library. False does nothing.
    """
    if run._opened is None:  # it logs nothing
        return
    if source is True:
        listener = _listen_for(lambda: run)
        run._sources.append(lambda seconds: listener.stop())
    elif source:
        run._sources.append(_Folder(run, Path(source)).stop)


def _listen_for(get_run: Callable[[], Run]) -> Listener:
    listener = Listener(get_run)
    _listeners.append(listener)
    for name in _WRITERS:
        if name not in _joined:
            _register._waiting.setdefault(name, _join)
    _register.register()
    return listener


_joined: set[str] = set()


def _join(module: Any) -> None:
    """Hear the events of a module's writers. Once there is nobody to hear them it costs a look at an empty list."""
    _joined.add(module.__name__)
    writer: Any = module.EventFileWriter
    write = writer.add_event

    @wraps(write)
    def add_event(self: Any, event: Any, *args: Any, **kwargs: Any) -> Any:
        result = write(self, event, *args, **kwargs)
        for listener in list(_listeners):
            listener.hear(str(self.get_logdir()), event)
        return result

    writer.add_event = add_event


class _Prefixes:
    """What to put before the tags of a folder: nothing for the first one, its own name for others."""

    def __init__(self, root: Path | None = None) -> None:
        self._root = root
        self._known: dict[str, str] = {}

    def of(self, folder: str) -> str:
        if folder not in self._known:
            path = Path(folder).absolute()
            self._root = self._root or path
            beneath = path.is_relative_to(self._root)
            parts = path.relative_to(self._root).parts if beneath else (path.name,)
            self._known[folder] = "".join(f"{part}/" for part in parts if not _MOMENT.fullmatch(part))
        return self._known[folder]


class _Folder:
    """Logs to a run what is appended to the event files of a folder, its own folders and new files included."""

    def __init__(self, run: Run, folder: Path) -> None:
        self._run = run
        self._folder = folder.absolute()
        self._prefixes = _Prefixes(self._folder)
        self._files = {path: EventFile(path, path.stat().st_size) for path in _event_files(self._folder)}
        self._damaged: set[Path] = set()
        self._ending = threading.Event()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._follow, name="rundial-event-files", daemon=True)
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Look a last time, and no more."""
        self._ending.set()
        if os.getpid() == self._process:
            self._thread.join(seconds)

    def _follow(self) -> None:
        while not self._ending.wait(LOOK_SECONDS):
            self._look()
        self._look()

    def _look(self) -> None:
        for path in _event_files(self._folder):
            file = self._files.setdefault(path, EventFile(path))
            if path in self._damaged:
                continue
            try:
                for record in file.records():
                    _store(self._run, self._prefixes.of(str(path.parent)), record)
            except (OSError, ValueError) as error:
                self._damaged.add(path)
                warn(f"{path} is read no further: {error}")


def _event_files(folder: Path) -> list[Path]:
    found = [Path(where, name) for where, _, names in os.walk(folder) for name in names if _FILE.search(name)]
    return [path for path in sorted(found) if path.is_file()]


def _store(run: Run, prefix: str, record: bytes) -> None:
    """Log a record's values; never raises."""
    try:
        event = read_event(record)
    except Exception as error:  # noqa: BLE001 - a strange record must not end the thread
        event = Event(0, 0, {}, {}, {"event": f"{type(error).__name__}: {error}"})
    for tag, reason in event.strange.items():
        run._counters.invalid_values += 1
        run._counters.warn_once(f"value {tag}", f"{tag!r} of TensorBoard was not stored: {reason}.")
    pipeline = run._opened
    if event.hyper_parameters and pipeline is not None:
        # Not update_config: this may be the rest that is read while the run ends.
        values = redacted(plain(event.hyper_parameters))
        run.config.update(values)
        pipeline.emit(RunUpdate(time.time_ns(), config=values))
    if event.values:
        run.log({prefix + tag: value for tag, value in event.values.items()}, step=event.step, time_ms=event.time_ms)
