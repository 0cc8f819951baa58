"""Lightning: a logger for ``lightning``, ``pytorch_lightning`` and Fabric."""

from __future__ import annotations

import os
import re
import sys
import weakref
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from rundial.control.training import Training, begin
from rundial.diagnostics import warn
from rundial.integrations._adapter import (
    Checkpoints,
    LazyRun,
    LogModel,
    number,
    prefixed,
    take_older,
)
from rundial.integrations._lightning_dials import offer_dials, restore
from rundial.integrations._model_checkpoint import checkpoint_files, score_of, terms_of
from rundial.integrations._register import when_imported
from rundial.integrations.summary_writer import SummaryMethods
from rundial.runs import Run

if TYPE_CHECKING:
    from rundial.artifacts import Artifact

DEFAULT_NAME = "lightning_logs"
STATE_KEY = "rundial"
"""Where a checkpoint keeps which run it belongs to."""
_ROOTS = ("lightning", "pytorch_lightning")


def _packages() -> list[str]:
    """The packages of Lightning in use; before any is, the first that is installed. The other costs seconds."""
    used = [root for root in _ROOTS if root in sys.modules]
    found = used or [root for root in _ROOTS if find_spec(root) is not None][:1]
    if not found:
        raise ImportError(
            "RundialLogger needs Lightning, which is not installed. Install it with: pip install 'rundial[lightning]'",
            name="lightning",
        )
    return ["lightning.pytorch" if root == "lightning" else root for root in found]


def _classes(module: str, name: str) -> tuple[Any, ...]:
    return tuple(getattr(import_module(f"{package}.{module}"), name) for package in _PACKAGES)


_PACKAGES = _packages()
_Silent: Any = type("_Silent", _classes("loggers.logger", "DummyExperiment"), {})
_LOGGERS = _classes("loggers.logger", "Logger")
_CALLBACKS = _classes("callbacks", "Callback")
_rank_zero_only: Any = _classes("utilities.rank_zero", "rank_zero_only")[0]


class Experiment(SummaryMethods):
    """What ``logger.experiment`` is: everything a :class:`rundial.Run` has, and the methods of a SummaryWriter.

    The run is made when something of it is asked for.
    """

    def __init__(self, lazy: LazyRun) -> None:
        self._lazy = lazy

    def _summary_run(self) -> Run:
        return self._lazy.writable

    def __getattr__(self, name: str) -> Any:
        if name == "_lazy" or (name.startswith("__") and name.endswith("__")):  # pickle asks before there is any
            raise AttributeError(name)
        return getattr(self._lazy.run, name)


class RundialLogger(*_LOGGERS, *_CALLBACKS):  # type: ignore[misc]  # which of the packages is known at run time
    """Logs what a Trainer or Fabric logs to a run. One logger is one run, whatever is fitted, validated and tested.

    The run is made on rank zero when training begins, and ends with the process. Nothing raises into the training.
    A checkpoint names its run: ``trainer.fit(ckpt_path=...)`` in a later process goes on with it. For this the logger
    adds itself to the Trainer's callbacks.

    Args:
        save_dir: where the Trainer keeps its checkpoints, in ``save_dir/name/version/checkpoints``; None for the
            Trainer's ``default_root_dir``.
        run: your own run; it is logged to and never ended here. Without it and without settings the run that
            ``rundial.init`` made last is used, else one is made.
        version: the folder of this run; the run's id when left out.
        prefix: put before every metric's name, with ``-``.
        log_model: store checkpoints as artifacts: True when a fit has ended well, ``"all"`` each as it is saved.
        checkpoint_name: the artifact's name; ``model-<run id>`` when left out.
        keep_last: how many of its versions the server keeps; None for all.
        log_graph: log a table of the model's layers once.
        dials: offer learning rate, stop and more to be turned while it fits; see ``docs/control.md``.
        settings: arguments of :func:`rundial.init`, such as ``project``, ``name``, ``tags`` and ``endpoint``.

    Raises:
        ConfigError: an unknown option, or both a run and settings.
    """

    def __init__(
        self,
        save_dir: str | os.PathLike[str] | None = None,
        *,
        run: Run | None = None,
        version: int | str | None = None,
        prefix: str = "",
        log_model: LogModel = False,
        checkpoint_name: str | None = None,
        keep_last: int | None = None,
        log_graph: bool = False,
        dials: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__()
        older = take_older(settings)
        self._lazy = LazyRun(run, settings)
        self._save_dir = None if save_dir is None else os.fspath(save_dir)
        self._version = version
        self._prefix, self._separator = (prefix, "-") if prefix else (older.metric_prefix, "/")
        self._log_model = log_model if older.log_checkpoints is None else older.log_checkpoints
        self._checkpoint_name = checkpoint_name
        self._keep_last = keep_last if older.keep_last is None else older.keep_last
        self._log_graph = log_graph
        self._experiment: Experiment | None = None
        self._checkpoints = Checkpoints()
        self._savers: dict[int, Any] = {}
        """Checkpoint callbacks whose files go out when the fit has ended well."""
        self._saved_at: dict[str, tuple[int, int]] = {}
        """Where each checkpoint stands on the charts, and its global_step (which counts each optimizer), by path."""
        self._watched: list[tuple[Any, Any, int]] = []
        self._watches: list[Any] = []
        self._trainer: Any = lambda: None
        self._dials = dials
        self._training: Training | None = None

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        # Hooks and weak references stay behind; the process that goes on training finds its own.
        return state | {"_trainer": None, "_watches": [], "_savers": {}, "_training": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._trainer = lambda: None

    # -- where and what -----------------------------------------------------------------------------------------------

    @property
    def run(self) -> Run:
        """The run itself, which is made now if it has not been. It may have ended."""
        return self._lazy.run

    @property
    def experiment(self) -> Any:
        """The run with the methods of a SummaryWriter besides; on other ranks than zero something that does nothing."""
        if not _logs():
            return _Silent()
        if self._experiment is None:
            self._experiment = Experiment(self._lazy)
        return self._experiment

    @property
    def name(self) -> str:
        """The folder of all runs of this name: the setting ``name``, or ``lightning_logs``."""
        wanted = self._lazy.given.name if self._lazy.given is not None else self._lazy.settings.get("name")
        return _folder(wanted) or DEFAULT_NAME

    @property
    def version(self) -> int | str:
        """The folder of this run in that of its name."""
        return self._lazy.id if self._version is None else _folder(self._version)

    @property
    def save_dir(self) -> str | None:
        """Where the folders are; None leaves it to the Trainer."""
        return self._save_dir

    @property
    def root_dir(self) -> str | None:
        """``save_dir/name``."""
        return None if self._save_dir is None else os.path.join(self._save_dir, self.name)  # noqa: PTH118 - may be a URL

    @property
    def log_dir(self) -> str | None:
        """``save_dir/name/version``."""
        if self.root_dir is None:
            return None
        version = self.version if isinstance(self.version, str) else f"version_{self.version}"
        return os.path.join(self.root_dir, version)  # noqa: PTH118 - may be a URL

    @property
    def group_separator(self) -> str:
        """What stands between a name and its group."""
        return "/"

    # -- what the Trainer calls ---------------------------------------------------------------------------------------

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values at the Trainer's step. Several calls at one step make one row."""
        if _logs():
            self._lazy.writable.log(prefixed(metrics, self._prefix, self._separator), step=step)

    def log_hyperparams(self, params: Any, metrics: Mapping[str, Any] | None = None, *args: Any, **kwargs: Any) -> None:
        """Merge a mapping or namespace into the run's configuration, without texts under names such as ``hub_token``.

        ``metrics`` go into the run's summary.
        """
        if not _logs():
            return
        if params is not None:
            self._lazy.configure(params)
        if metrics:
            self._lazy.writable.summary.update(dict(metrics))

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Meet the model before it trains; with ``log_graph=True`` log the table of its layers, once."""
        self._meet(getattr(model, "_trainer", None))
        if self._log_graph and _logs():
            self._log_graph = False
            from rundial.integrations.pytorch import layers

            self._lazy.writable.log({"model/layers": layers(model)}, step=0)

    def save(self) -> None:
        """Nothing: what was logged is safe already. The Trainer calls this after every log."""

    def finalize(self, status: str) -> None:
        """Note how a fit or test ended; the run goes on until the process ends, unless it failed.

        Args:
            status: ``success``, ``finished``, or anything else for a failure.
        """
        if not _logs() or not self._lazy.opened:
            return
        if status not in ("success", "finished"):
            self._lazy.fail()
            return
        for saver in self._savers.values():
            self._store(saver)
        self._savers.clear()
        trainer = self._trainer()
        if trainer is not None:
            self._lazy.writable.event(f"{trainer.state.fn.value} ended", step=_step(trainer), kind="phase")

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Store what a ModelCheckpoint has saved, now or when the fit has ended, as ``log_model`` says."""
        if not self._log_model or not _logs():
            return
        trainer = self._trainer()
        if trainer is not None:
            for path in checkpoint_files(checkpoint_callback):
                if self._checkpoints.is_new(path):
                    self._saved_at[path] = _step(trainer), int(trainer.global_step)
        if self._log_model == "all" or getattr(checkpoint_callback, "save_top_k", None) == -1:
            self._store(checkpoint_callback)
        else:
            self._savers[id(checkpoint_callback)] = checkpoint_callback

    # -- the callback that keeps the run in the checkpoint ------------------------------------------------------------

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Meet the Trainer, when it was given this logger as a callback, too."""
        self._meet(trainer)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Write down which run the checkpoint belongs to; of several loggers the first does."""
        if self is _first_of(trainer):
            checkpoint[STATE_KEY] = self._lazy.state()

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Go on with the run of the checkpoint that a fit resumes from."""
        if str(getattr(trainer.state.fn, "value", "")) == "fit" and self is _first_of(trainer):
            self._lazy.restore(checkpoint.get(STATE_KEY))

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """Make the run: what it goes on with is known now."""
        self._begin(trainer)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The same without a sanity check, and offer the dials."""
        self._begin(trainer)
        self._training = None
        if self._dials and self is _first_of(trainer):
            try:
                self._training = begin((lambda: self._lazy.writable) if _logs() else None)
                if self._training is not None:
                    offer_dials(self._training, trainer, pl_module)
            except Exception as error:  # noqa: BLE001 - a strategy's own optimizers may be like no others
                warn(f"not all dials are there: {type(error).__name__}: {error}")

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Apply what was sent to the dials, so that this batch is the first with it."""
        if self._training is not None:
            restore(trainer)
            self._training.poll(_step(trainer))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Let the Trainer validate when it would have, after a validation that was asked for."""
        restore(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Poll no more."""
        restore(trainer)
        if self._training is not None:
            self._training.end()
            self._training = None

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """The same for ``trainer.validate``."""
        self._begin(trainer)

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """The same for ``trainer.test``."""
        self._begin(trainer)

    def _meet(self, trainer: Any) -> None:
        if trainer is None or self not in trainer.loggers:
            return
        self._trainer = weakref.ref(trainer)
        if self not in trainer.callbacks:
            trainer.callbacks.insert(0, self)
            # The checkpoint has been loaded already; callbacks that came earlier have seen it.
            loaded = getattr(trainer._checkpoint_connector, "_loaded_checkpoint", None)
            if loaded:
                self.on_load_checkpoint(trainer, None, loaded)

    def _begin(self, trainer: Any) -> None:
        if not _logs():
            return
        self._lazy.writable  # noqa: B018 - makes it
        if self._watched and not self._watches:  # they were set on in another process
            for model, log, log_freq in self._watched:
                self._watch(model, log, log_freq)

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def _store(self, saver: Any) -> None:
        """Store the files of a checkpoint callback that are new, oldest first, so that the newest is the latest."""
        try:
            files = [path for path in checkpoint_files(saver) if self._checkpoints.is_new(path)]
            best = str(getattr(saver, "best_model_path", "") or "")
            score = number(getattr(saver, "best_model_score", None))
            for path in sorted(files, key=os.path.getmtime):
                step, global_step = self._saved_at.get(path, (None, None))
                self._checkpoints.store(
                    self._lazy.writable,
                    path,
                    name=self._checkpoint_name or f"model-{self._lazy.id}",
                    aliases=["latest", "best"] if path == best else ["latest"],
                    step=step,
                    metadata={"global_step": global_step, "score": score_of(saver, path)} | terms_of(saver),
                    keep_last=self._keep_last,
                )
            if score is not None:
                self._lazy.writable.summary["best_model_score"] = score
        except Exception as error:  # noqa: BLE001 - a file that vanished, another kind of checkpoint callback
            warn(f"checkpoints could not be stored: {type(error).__name__}: {error}")

    # -- media, models, artifacts -------------------------------------------------------------------------------------

    def log_image(self, key: str, images: Sequence[Any], step: int | None = None, **kwargs: Sequence[Any]) -> None:
        """Log images: arrays, tensors, PIL images or paths. ``kwargs`` are lists for each, such as ``caption``."""
        self._log_media("Image", key, images, step, kwargs)

    def log_audio(self, key: str, audios: Sequence[Any], step: int | None = None, **kwargs: Sequence[Any]) -> None:
        """Log sounds: arrays or paths. ``kwargs`` are lists for each, such as ``sample_rate`` and ``caption``."""
        self._log_media("Audio", key, audios, step, kwargs)

    def log_video(self, key: str, videos: Sequence[Any], step: int | None = None, **kwargs: Sequence[Any]) -> None:
        """Log videos: arrays or paths. ``kwargs`` are lists for each, such as ``fps`` and ``caption``."""
        self._log_media("Video", key, videos, step, kwargs)

    def log_table(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[Any]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Log a table of ``columns`` and rows, or of a data frame."""
        if not _logs():
            return
        from rundial.media import Table

        try:
            table = Table(columns=columns, data=data) if dataframe is None else Table(dataframe=dataframe)
        except (TypeError, ValueError) as error:
            warn(f"table {key!r} was not logged: {error}")
            return
        self._lazy.writable.log({key: table}, step=step)

    def log_text(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[str]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Log texts as a table."""
        self.log_table(key, columns, data, dataframe, step)

    def watch(
        self,
        model: Any,
        log: Literal["gradients", "parameters", "all"] | None = "gradients",
        log_freq: int = 1000,
        log_graph: bool = True,
    ) -> None:
        """Log histograms of gradients or parameters, one in ``log_freq`` backward passes, and the model's layers once.

        Args:
            log: ``gradients``, ``parameters``, ``all``, or None for the layers alone.
        """
        self._log_graph |= log_graph
        if log is not None:
            self._watched.append((model, log, log_freq))
            if _logs():
                self._watch(model, log, log_freq)

    def unwatch(self, model: Any = None) -> None:
        """Stop what :meth:`watch` began."""
        self._watched.clear()
        while self._watches:
            self._watches.pop().remove()

    def use_artifact(self, artifact: str) -> Artifact:
        """Look up an artifact and note that this run uses it; see :meth:`rundial.Run.use_artifact`."""
        return self._lazy.run.use_artifact(artifact)

    def _watch(self, model: Any, log: Any, log_freq: int) -> None:
        from rundial.integrations.pytorch import watch

        self._watches.append(watch(lambda: self._lazy.writable, model, log, log_freq, step=self._step_now))

    def _step_now(self) -> int:
        trainer = self._trainer()
        return 0 if trainer is None else _step(trainer)

    def _log_media(self, kind: str, key: str, items: Any, step: int | None, kwargs: Mapping[str, Any]) -> None:
        if not _logs():
            return
        make = getattr(import_module("rundial.media"), kind)
        several = list(items) if isinstance(items, (list, tuple)) else [items]
        try:
            media = [make(item, **{k: values[i] for k, values in kwargs.items()}) for i, item in enumerate(several)]
        except (TypeError, ValueError, LookupError) as error:
            warn(f"{kind.lower()}s of {key!r} were not logged: {error}")
            return
        self._lazy.writable.log({key: media}, step=step)


def _logs() -> bool:
    """Whether this is rank zero; Lightning sets the rank when it launches its processes, so it is asked each time."""
    return not getattr(_rank_zero_only, "rank", 0)


def _folder(name: Any) -> Any:
    """A name that is safe as one folder of a path; an int stays one."""
    if isinstance(name, int):
        return name
    return re.sub(r"[\\/:*?\"<>|\x00-\x1f]+", "-", str(name or "")).strip(". ")


def _first_of(trainer: Any) -> Any:
    return next((logger for logger in trainer.loggers if isinstance(logger, RundialLogger)), None)


def _step(trainer: Any) -> int:
    """The step Lightning logs at: batches after which an optimizer was called."""
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


for _root in _ROOTS:
    # A package that is imported later than this module takes the logger for one of its own, too.
    _package = "lightning.pytorch" if _root == "lightning" else _root
    if _package not in _PACKAGES:
        when_imported(f"{_package}.loggers.logger", lambda module: module.Logger.register(RundialLogger))
