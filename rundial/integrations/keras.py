"""Keras 3, on any backend: a callback for ``fit``, ``evaluate`` and ``predict``."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from glob import glob
from pathlib import Path
from typing import Any, TypeVar

import keras

from rundial.control import ranks
from rundial.control.training import Training, begin
from rundial.diagnostics import warn
from rundial.integrations._adapter import Checkpoints, LazyRun, LogModel, is_rank_zero, prefixed, take_older
from rundial.integrations._keras_dials import FitDials, offer_dials
from rundial.runs import Run

STATE_FILE = "rundial.json"
"""Where the folder of a BackupAndRestore keeps which run it belongs to."""
_PLACEHOLDER = re.compile(r"{[^{}]*}")
_Handler = TypeVar("_Handler", bound=Callable[..., Any])


def _guarded(handler: _Handler) -> _Handler:
    """The same, but an exception becomes one warning: Keras ends its training when a callback raises."""

    @wraps(handler)
    def guarded(self: RundialKerasCallback, *args: Any, **kwargs: Any) -> Any:
        try:
            if _logs():
                handler(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - as said
            if handler.__name__ not in self._warned:
                self._warned.add(handler.__name__)
                warn(f"{handler.__name__} was not logged: {type(error).__name__}: {error}")

    return guarded  # type: ignore[return-value]  # wraps keeps what it is


@dataclass
class _Position:
    """How far the fits into a run have come, whichever callbacks they had."""

    offset: int = 0
    """Epochs of earlier fits, where Keras counts from zero again."""
    done: int = 0
    """Epochs that have ended: the step of what is logged besides."""
    batches: int = 0
    """Batches of those epochs."""
    unfinished: bool = False
    """Whether a fit has begun and not ended: the next one repeats its last epoch."""


_positions: weakref.WeakKeyDictionary[Run, _Position] = weakref.WeakKeyDictionary()


class RundialKerasCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Logs what Keras computes to a run, one step an epoch. One callback is one run, however often it fits.

    The run is made when something begins, and ends with the process. Nothing raises into the training. A
    ``BackupAndRestore`` keeps the run's id in its folder, so that a later process goes on with the run.

    Args:
        run: your own run; it is logged to and never ended here. Without it and without settings the run that
            ``rundial.init`` made last is used, else one is made.
        log_batch_metrics: log batches as well: True for each, a number n for one in n.
        batch_metric_prefix: put before the names of those, with ``/``. Their steps count batches over all epochs.
        metric_prefix: put before every name, with ``/``.
        log_model: store the files of ModelCheckpoint callbacks as artifacts: ``"all"`` each, True the last of a fit.
        checkpoint_path: store files of this name, too, with ``{epoch}`` and the like in it, as for a ModelCheckpoint;
            or a function of epoch and values that gives the path, or None.
        checkpoint_name: the artifact's name; ``model-<run id>`` when left out.
        keep_last: how many of its versions the server keeps; None for all.
        dials: offer learning rate, stop and more to be turned while it fits; see ``docs/control.md``.
        settings: arguments of :func:`rundial.init`, such as ``project``, ``name``, ``tags`` and ``endpoint``.

    Raises:
        ConfigError: an unknown option, or both a run and settings.
    """

    async_safe = True
    """Keras may call for batches from other threads."""

    def __init__(
        self,
        run: Run | None = None,
        *,
        log_batch_metrics: bool | int = False,
        batch_metric_prefix: str = "batch",
        metric_prefix: str | None = None,
        log_model: LogModel = False,
        checkpoint_path: str | os.PathLike[str] | Callable[[int, Mapping[str, Any]], Any] | None = None,
        checkpoint_name: str | None = None,
        keep_last: int | None = None,
        dials: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__()
        older = take_older(settings)
        self._lazy = LazyRun(run, settings)
        self._every = int(log_batch_metrics)
        self._batch_prefix = batch_metric_prefix
        self._prefix = metric_prefix or ""
        self._log_model = log_model if older.log_checkpoints is None else older.log_checkpoints
        if checkpoint_path is not None and not self._log_model and older.log_checkpoints is None:
            self._log_model = "all"
        self._checkpoint_path = checkpoint_path
        self._checkpoint_name = checkpoint_name
        self._keep_last = keep_last if older.keep_last is None else older.keep_last
        self._checkpoints = Checkpoints()
        self._warned: set[str] = set()
        self._dials = dials
        self._training: Training | None = None
        self._trains_in = 0
        """The thread of the fit. With a backend that computes by itself, batches end in another."""
        self._neighbours: list[Any] = []
        self._fitting = False
        self._begun = False
        """Whether the first epoch of this fit has begun."""
        self._epoch = 0
        self._first_batch = 0
        self._in_epoch = 0
        self._logs: dict[str, Any] = {}
        self._files_since = 0.0

    @property
    def run(self) -> Run:
        """The run itself, which is made now if it has not been. It may have ended."""
        return self._lazy.run

    @property
    def _position(self) -> _Position:
        return _positions.setdefault(self._lazy.writable, _Position())

    @property
    def _done(self) -> int:
        return self._position.done

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values of a loop of your own: numbers or tensors of any backend.

        Args:
            step: left out, the one after the last.
        """
        if _logs():
            self._lazy.writable.log(prefixed(metrics, self._prefix, "/"), step=step)

    # -- what Keras calls ---------------------------------------------------------------------------------------------

    @_guarded
    def set_model(self, model: Any) -> None:
        """Meet the model, and the callbacks beside this one."""
        super().set_model(model)
        self._fitting = False  # a fit that failed has not said so
        # Keras tells a callback nothing of the others; the list that holds them is the caller.
        caller = sys._getframe(2).f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList):
            self._neighbours = list(caller.callbacks)

    @_guarded
    def on_train_begin(self, logs: Any = None) -> None:
        """Make the run, or go on with that of the backup Keras resumes from."""
        self._fitting, self._begun = True, False
        folders = [each.backup_dir for each in self._neighbours if isinstance(each, keras.callbacks.BackupAndRestore)]
        for folder in folders:
            self._lazy.restore(_read_state(Path(folder)))
        self._lazy.configure(_configuration(self.model, self.params))
        state = {**self._lazy.state(), "run_id": self._lazy.writable.id}
        for folder in folders:
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / STATE_FILE).write_text(json.dumps(state))
        self._files_since = _newest(self._paths())
        self._offer_dials()

    def _offer_dials(self) -> None:
        self._training = None
        self._trains_in = threading.get_ident()
        if not self._dials or getattr(self.model, "optimizer", None) is None or _processes() > 1:
            return
        self._training = begin(lambda: self._lazy.writable)
        if self._training is not None:
            fit = FitDials(self.model, self._folder, self._store_asked)
            offer_dials(self._training, fit, self.model, (lambda: self._every, self._log_every))

    def _log_every(self, batches: int) -> None:
        self._every = batches

    def _folder(self) -> Path:
        """Where a checkpoint that was asked for goes: to those of a ModelCheckpoint, else to a folder of the run."""
        saved = [Path(str(saver.filepath)).parent for saver in self._savers()]
        return saved[0] if saved else Path("checkpoints") / self._lazy.id

    def _store_asked(self, path: str) -> None:
        if self._log_model:
            name = self._checkpoint_name or f"model-{self._lazy.id}"
            self._checkpoints.store(self._lazy.writable, path, name=name, step=self._done, keep_last=self._keep_last)

    @_guarded
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Know which epoch it is, and store what was saved after the last one."""
        at = self._position
        if not self._begun:
            self._begun = True
            # After a fit that ended, numbers that begin anew mean further epochs; after one that failed, a repetition.
            if not at.unfinished:
                at.offset = max(0, at.done - epoch)
            at.unfinished = True
        elif self._log_model == "all":
            self._store()
        self._epoch, self._in_epoch = epoch + at.offset, 0
        # Nothing is known of batches only in a process that goes on with another's run.
        self._first_batch = at.batches or self._epoch * ((self.params or {}).get("steps") or 0)

    @_guarded
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Log one in so many batches, if asked for, and apply what was sent to the dials."""
        self._in_epoch = max(self._in_epoch, batch + 1)
        if self._every and logs:
            step = self._first_batch + batch
            if step % self._every == 0:
                self._lazy.writable.log(
                    prefixed(dict(logs), f"{self._prefix}/{self._batch_prefix}".strip("/"), "/"), step=step
                )
        if self._training is not None and threading.get_ident() == self._trains_in:
            self._training.poll(self._epoch + 1)

    @_guarded
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Log an epoch, validation included, with the learning rate it ended with."""
        self._position.done = self._epoch + 1
        self._position.batches = self._first_batch + self._in_epoch
        self._logs = dict(logs or {})
        values: dict[str, Any] = {**self._logs, "epoch": self._done}
        if "learning_rate" not in values:
            rate = _learning_rate(self.model)
            if rate is not None:
                values["learning_rate"] = rate
        self._lazy.writable.log(prefixed(values, self._prefix, "/"), step=self._done)
        if self._training is not None:
            self._training.poll(self._done + 1)

    @_guarded
    def on_train_end(self, logs: Any = None) -> None:
        """Mark the end of the fit, which is not the end of the run."""
        if self._training is not None:
            self._training.end()
            self._training = None
        self._fitting = self._position.unfinished = False
        if self._log_model:
            self._store()
        self._lazy.writable.event("fit ended", step=self._done, kind="phase")

    @_guarded
    def on_test_begin(self, logs: Any = None) -> None:
        """Make the run of an ``evaluate`` that comes first."""
        if not self._fitting:
            self._lazy.writable  # noqa: B018 - makes it

    @_guarded
    def on_test_end(self, logs: Any = None) -> None:
        """Log what ``evaluate`` found, as ``test_<name>``; what ``fit`` validates comes with its epoch."""
        if not self._fitting and logs:
            values = {f"test_{name}": value for name, value in logs.items()}
            self._lazy.writable.log(prefixed(values, self._prefix, "/"), step=self._done)

    @_guarded
    def on_predict_end(self, logs: Any = None) -> None:
        """Mark the end of a prediction."""
        self._lazy.writable.event("predict ended", step=self._done, kind="phase")

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def _savers(self) -> list[Any]:
        return [each for each in self._neighbours if isinstance(each, keras.callbacks.ModelCheckpoint)]

    def _paths(self) -> dict[str, Any]:
        """The files there are of each ModelCheckpoint, with it, and those of ``checkpoint_path``."""
        found: dict[str, Any] = {}
        for saver in self._savers():
            found |= dict.fromkeys(_files(str(saver.filepath)), saver)
        wanted = self._checkpoint_path
        if callable(wanted):
            wanted = wanted(self._done, self._logs)
        if wanted is not None:
            found |= dict.fromkeys(_files(os.fspath(wanted)))
        return found

    def _store(self) -> None:
        """Store what has been saved in this fit and not stored yet, the newest last."""
        paths = {path: saver for path, saver in self._paths().items() if self._checkpoints.is_new(path)}
        saved = sorted((Path(path).stat().st_mtime, path) for path in paths)
        saved = [(moment, path) for moment, path in saved if moment > self._files_since]
        for _, path in saved if self._log_model == "all" else saved[-1:]:
            saver = paths[path]
            best = getattr(saver, "save_best_only", False)
            monitor = getattr(saver, "monitor", None)
            about = {
                "epoch": self._done,
                "monitor": monitor,
                "score": saver.best if best else self._logs.get(str(monitor)),
            }
            self._checkpoints.store(
                self._lazy.writable,
                path,
                name=self._checkpoint_name or f"model-{self._lazy.id}",
                aliases=["latest", "best"] if best else ["latest"],
                step=self._done,
                metadata={name: value for name, value in about.items() if value is not None},
                keep_last=self._keep_last,
            )


def _logs() -> bool:
    """Whether this process logs: rank zero of the launcher, and the first process of JAX."""
    if keras.backend.backend() == "jax":
        import jax

        if jax.process_index() > 0:
            return False
    return is_rank_zero()


def _processes() -> int:
    """How many processes train together."""
    if keras.backend.backend() == "jax":
        import jax

        return int(jax.process_count())
    return ranks.world()


def _files(template: str) -> list[str]:
    parts = _PLACEHOLDER.split(template)
    return glob("*".join(re.sub(r"([*?[])", r"[\1]", part) for part in parts))  # noqa: PTH207 - a template, no path


def _newest(paths: Mapping[str, Any]) -> float:
    return max((Path(path).stat().st_mtime for path in paths), default=0.0)


def _read_state(folder: Path) -> Any:
    try:
        return json.loads((folder / STATE_FILE).read_text())
    except (OSError, ValueError):
        return None


def _learning_rate(model: Any) -> float | None:
    """The optimizer's rate now, out of a variable or a schedule."""
    rate = getattr(getattr(model, "optimizer", None), "learning_rate", None)
    return None if rate is None else float(keras.ops.convert_to_numpy(rate))


def _configuration(model: Any, params: Any) -> dict[str, Any]:
    """What is fitted how: Keras's own parameters, the optimizer's, the model's name and size."""
    found: dict[str, Any] = {"fit": {k: v for k, v in (params or {}).items() if k != "verbose"}}
    found["keras"] = {"version": keras.__version__, "backend": keras.backend.backend()}
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        found["optimizer"] = {"class": type(optimizer).__name__, **optimizer.get_config()}
        found["optimizer"]["learning_rate"] = _plain_rate(optimizer, found["optimizer"].get("learning_rate"))
    loss = getattr(model, "loss", None)
    if isinstance(loss, str) or callable(loss):
        found["loss"] = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "")
    found["model"] = {"name": model.name, "class": type(model).__name__}
    if model.built:
        found["model"]["parameters"] = model.count_params()
    return found


def _plain_rate(optimizer: Any, rate: Any) -> Any:
    """The parameters of a schedule, or the number."""
    if isinstance(rate, Mapping) and "config" in rate:
        return {"class": rate.get("class_name"), **rate["config"]}
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))
