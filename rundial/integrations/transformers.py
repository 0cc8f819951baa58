"""Hugging Face Transformers: a callback for ``Trainer`` and all that are made from it, such as TRL's."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeVar

from rundial.config import truth
from rundial.control.training import Training, begin
from rundial.diagnostics import warn
from rundial.errors import ConfigError
from rundial.integrations._adapter import Checkpoints, LazyRun, LogModel, prefixed, take_older
from rundial.integrations._transformers_dials import offer_dials
from rundial.integrations._trl import completions
from rundial.runs import Run

LOG_MODEL_VARIABLE = "RUNDIAL_LOG_MODEL"
WATCH_VARIABLE = "RUNDIAL_WATCH"

Watched = Literal["gradients", "parameters", "all"]
Handler = TypeVar("Handler", bound=Callable[..., Any])

_WATCHED = ("gradients", "parameters", "all")
_MOST_WATCHED = 100
"""Optimizer steps from one histogram to the next are at least this many, whatever ``logging_steps`` says."""
_SEARCH_SETTINGS = ("workspace", "project", "endpoint", "api_key", "mode", "quiet")
_TRAINER_PROJECT = "huggingface"
"""What ``TrainingArguments.project`` says when nobody has set it."""

_module: Any = import_module("transformers.trainer_callback")
_Callback: Any = _module.TrainerCallback
_Exportable: Any = _module.ExportableState


def _guarded(handler: Handler) -> Handler:
    """The same, but an exception becomes one warning: a Trainer ends its training when a callback raises."""

    @wraps(handler)
    def guarded(self: RundialCallback, *args: Any, **kwargs: Any) -> Any:
        try:
            return handler(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - as said
            if handler.__name__ not in self._warned:
                self._warned.add(handler.__name__)
                warn(f"{handler.__name__} was not logged: {type(error).__name__}: {error}")
            return None

    return guarded  # type: ignore[return-value]  # wraps keeps what it is


class RundialCallback(_Callback, _Exportable):  # type: ignore[misc]  # the frameworks need not be there to check types
    """Logs what a Trainer logs to a run, with its names and steps. One callback is one run, however often it trains,
    evaluates and predicts; only each trial of a hyper-parameter search has its own.

    The run is made on the first process when training begins, and ends with the process, or as failed with a training
    that fails. Nothing raises into the training. A checkpoint names its run: ``resume_from_checkpoint`` in a later
    process goes on with it.

    Args:
        run: your own run; it is logged to and never ended here. Without it and without settings the run that
            ``rundial.init`` made last is used, else one is made.
        log_model: store checkpoints as artifacts: ``"all"`` each as it is saved, True the last and the best when
            training has ended. Left out, the variable ``RUNDIAL_LOG_MODEL`` says: ``checkpoint``, ``end`` or ``false``.
        checkpoint_name: the artifact's name; ``model-<run id>`` when left out.
        keep_last: how many of its versions the server keeps; None for all.
        watch: log histograms of ``gradients``, ``parameters`` or ``all``; left out, ``RUNDIAL_WATCH`` says.
        dials: offer learning rate, stop and more to be turned while it trains; see ``docs/control.md``.
        settings: arguments of :func:`rundial.init`, such as ``project``, ``name``, ``tags`` and ``endpoint``.

    Raises:
        ConfigError: an unknown option, a wrong word for ``log_model`` or ``watch``, or both a run and settings.
    """

    def __init__(
        self,
        *,
        run: Run | None = None,
        log_model: LogModel | None = None,
        checkpoint_name: str | None = None,
        keep_last: int | None = None,
        watch: Watched | Literal[False] | None = None,
        dials: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__()
        older = take_older(settings)
        self._lazy = LazyRun(run, settings)
        self._settings = dict(settings)
        self._wanted_run = run
        self._prefix = older.metric_prefix
        chosen = log_model if older.log_checkpoints is None else older.log_checkpoints
        self._log_model = _log_model(os.environ.get(LOG_MODEL_VARIABLE, "") if chosen is None else chosen)
        self._checkpoint_name = checkpoint_name
        self._keep_last = keep_last if older.keep_last is None else older.keep_last
        self._watch = _watched(os.environ.get(WATCH_VARIABLE, "") if watch is None else watch)
        self._dials = dials
        self._forget()
        self._checkpoints = Checkpoints()
        self._trials = 0
        self._searching = False
        self._besides = self._lazy
        self._warned: set[str] = set()
        _notice_failures()

    def _forget(self) -> None:
        """What belongs to one training, or to this process."""
        self._trainer: Callable[[], Any] = _no_trainer
        self._state: Any = None
        self._watching: Any = None
        self._training: Training | None = None
        self._set_up: str | None = None
        """The run that knows the configuration."""
        self._logged: tuple[int, set[str]] = (-1, set())
        """The step that was logged last, and the names there."""
        self._saved: dict[str, tuple[int, dict[str, Any]]] = {}
        """Checkpoints of this training by path: step and what to know about each."""
        self._table: Any = None

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        for name in ("_trainer", "_state", "_watching", "_training"):  # references and hooks stay with this process
            state.pop(name)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._forget()
        self.__dict__.update(state)

    @property
    def run(self) -> Run:
        """The run itself, which is made now if it has not been. It may have ended."""
        return self._lazy.run

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values of your own at the Trainer's current step, on the process that logs.

        Args:
            step: another one.
        """
        if self._state is None or self._state.is_world_process_zero:
            now = 0 if self._state is None else int(self._state.global_step)
            self._lazy.writable.log(prefixed(metrics, self._prefix, "/"), step=now if step is None else step)

    # -- which run, and that it is found again ------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps in its ``trainer_state.json``: which run it belongs to."""
        return {"args": {}, "attributes": {"checkpointed_run": self._lazy.state()}}

    @property
    def checkpointed_run(self) -> dict[str, str]:
        """Which run this is, in a checkpoint's words."""
        return self._lazy.state()

    @checkpointed_run.setter
    def checkpointed_run(self, state: Any) -> None:
        # With restore_callback_states_from_checkpoint a Trainer replaces its callbacks by new ones without arguments.
        former = _training()
        if former is not None and former is not self and type(former) is type(self):
            self.__dict__ = former.__dict__

    def _resume(self, state: Any) -> None:
        """Go on with the run of the checkpoint that a training resumes from."""
        name = type(self).__name__
        kept = state.stateful_callbacks
        own = kept.get(name)
        own = own[-1] if isinstance(own, list) and own else own
        if isinstance(own, Mapping):
            self._lazy.restore(own.get("attributes", {}).get("checkpointed_run"))
        # Without it the Trainer fails with a KeyError when it saves, if the checkpoint was made without this callback.
        kept.setdefault(name, self.state())

    def _choose_run(self, args: Any, state: Any) -> None:
        if self._searching and self._lazy.opened:
            self._lazy.run.finish()
        if state.is_hyper_param_search:
            if not self._searching:
                self._searching, self._besides = True, self._current()
            self._lazy = self._trial(args, state)
        elif self._searching:
            self._searching, self._lazy = False, self._besides
        else:
            self._lazy = self._current()

    def _current(self) -> LazyRun:
        """What all but the trials of a search log to; the user may have begun a run since this callback was made."""
        if self._lazy.opened or self._settings:
            return self._lazy
        since = LazyRun(None, {})
        return self._lazy if since.given is None else since

    def _trial(self, args: Any, state: Any) -> LazyRun:
        """A run of its own, beside the user's or in its place, for the next trial."""
        self._trials += 1
        given = self._besides.given
        if given is None:
            settings = {name: value for name, value in self._settings.items() if name not in ("run_id", "resume")}
            base = settings.get("name") or (args.run_name if args.run_name != args.output_dir else None)
        else:
            settings = {name: getattr(given._settings, name) for name in _SEARCH_SETTINGS}
            base = given.name
        settings.setdefault("group", base or Path(args.output_dir).name)
        name = getattr(state, "trial_name", None) or (f"{base}-{self._trials}" if base else None)
        return LazyRun(None, settings | ({"name": name} if name else {}))

    def _begin(self, args: Any, state: Any, model: Any) -> Run:
        """The run to log to, which knows the configuration."""
        self._state = state
        if self._set_up != self._lazy.id:
            self._set_up = self._lazy.id
            if not self._lazy.opened:
                self._take_names(args)
            self._lazy.configure(_configuration(args, state, model))
        return self._lazy.writable

    def _take_names(self, args: Any) -> None:
        """Take name and project from the training's arguments, where nobody has said otherwise."""
        settings = self._lazy.settings
        if args.run_name and args.run_name != args.output_dir:
            settings.setdefault("name", args.run_name)
        project = getattr(args, "project", None)
        if project not in (None, _TRAINER_PROJECT) and "RUNDIAL_PROJECT" not in os.environ:
            settings.setdefault("project", project)

    # -- what the Trainer calls ---------------------------------------------------------------------------------------

    @_guarded
    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Make the run, or go on with the checkpoint's, and offer the dials."""
        self._state, self._set_up, self._saved = state, None, {}
        try:
            if state.is_world_process_zero:
                self._begin_training(args, state, model)
            else:
                state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        finally:  # the ranks meet there
            self._offer_dials(args, state, control, kwargs)

    def _offer_dials(self, args: Any, state: Any, control: Any, others: Mapping[str, Any]) -> None:
        self._training = None
        if not self._dials:
            return
        self._training = begin((lambda: self._lazy.writable) if state.is_world_process_zero else None)
        if self._training is not None:
            evaluates = getattr(self._trainer(), "eval_dataset", None) is not None
            offer_dials(
                self._training, args, state, control, others.get("optimizer"), others.get("lr_scheduler"), evaluates
            )

    @_guarded
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Apply what was sent to the dials; the next step is the first with it."""
        if self._training is not None:
            self._training.poll(state.global_step + 1)

    def _begin_training(self, args: Any, state: Any, model: Any) -> None:
        self._choose_run(args, state)
        if state.global_step > 0:
            self._resume(state)
        self._begin(args, state, model)
        self._unwatch()
        if self._watch and model is not None:
            from rundial.integrations.pytorch import watch

            every = max(_MOST_WATCHED, int(state.logging_steps)) * int(args.gradient_accumulation_steps)
            self._watching = watch(lambda: self._lazy.writable, model, self._watch, every, step=self._next_step)

    @_guarded
    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, model: Any = None, **kwargs: Any) -> None:
        """Log what the Trainer logs: of training, evaluation, and its end."""
        if not state.is_world_process_zero or not logs:
            return
        self._log(self._begin(args, state, model), state.global_step, logs)
        table = completions(self._trainer())
        if table is not None and table != self._table:
            self._table = table
            from rundial.media import Table

            columns, rows = table
            self._lazy.writable.log({"completions": Table(columns=columns, data=rows)}, step=state.global_step)

    @_guarded
    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, model: Any = None, **kwargs: Any
    ) -> None:
        """Log what of an evaluation has not been logged already."""
        if state.is_world_process_zero and metrics:
            step, names = self._logged
            rest = {name: value for name, value in metrics.items() if step != state.global_step or name not in names}
            self._log(self._begin(args, state, model), state.global_step, rest)

    @_guarded
    def on_predict(
        self, args: Any, state: Any, control: Any, metrics: Any = None, model: Any = None, **kwargs: Any
    ) -> None:
        """Log the metrics of a prediction, which come by no other way."""
        if state.is_world_process_zero and metrics:
            self._log(self._begin(args, state, model), state.global_step, metrics)

    @_guarded
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Store the checkpoint that has just been saved, now or when training has ended, as ``log_model`` says."""
        if not self._log_model or not state.is_world_process_zero:
            return
        path = os.path.join(self._folder(args), f"checkpoint-{state.global_step}")  # noqa: PTH118 - as the Trainer does
        self._saved[path] = state.global_step, _about(args, state)
        if self._log_model == "all":
            self._store(path, _is_best(state, path))

    @_guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the end of the training, which is not the end of the run."""
        self._unwatch()
        if self._training is not None:
            self._training.end()
            self._training = None
        if not state.is_world_process_zero or not self._lazy.opened:
            return
        if self._log_model is True and self._saved:
            for path in list(self._saved):
                if _is_best(state, path) or path == list(self._saved)[-1]:
                    self._store(path, _is_best(state, path))
        run = self._lazy.writable
        if state.best_metric is not None:
            run.summary.update(
                {"best_metric": state.best_metric, "best_step": getattr(state, "best_global_step", None)}
            )
        run.event("train ended", step=state.global_step, kind="phase")

    def _failed(self, error: BaseException) -> None:
        """Mark the run failed, aborted by Ctrl-C, or aborted because a search has pruned the trial."""
        self._unwatch()
        if type(error).__name__ == "TrialPruned" and self._lazy.opened and self._lazy.given is None:
            self._lazy.run.abort("pruned")
        else:
            self._lazy.fail((type(error), error, error.__traceback__))

    # -- the parts of it ----------------------------------------------------------------------------------------------

    def _log(self, run: Run, step: int, values: Mapping[str, Any]) -> None:
        # TRL logs None for what it has no value of.
        found = {name: value for name, value in values.items() if value is not None}
        if found:
            before = self._logged[1] if self._logged[0] == step else set()
            self._logged = step, before | set(found)
            run.log(prefixed(found, self._prefix, "/"), step=step)

    def _folder(self, args: Any) -> str:
        """Where the Trainer saves; a trial of a search has a folder of its own."""
        trainer = self._trainer()
        trial = getattr(trainer, "_trial", None)
        return str(args.output_dir if trial is None else trainer._get_output_dir(trial))

    def _store(self, path: str, best: bool) -> None:
        step, about = self._saved[path]
        self._checkpoints.store(
            self._lazy.writable,
            path,
            name=self._checkpoint_name or f"model-{self._lazy.id}",
            aliases=["latest", "best"] if best else ["latest"],
            step=step,
            metadata=about,
            keep_last=self._keep_last,
        )

    def _next_step(self) -> int:
        """The step that a backward pass belongs to: its loss is logged when the optimizer has counted it."""
        return 0 if self._state is None else int(self._state.global_step) + 1

    def _unwatch(self) -> None:
        if self._watching is not None:
            self._watching.remove()
            self._watching = None


# -- what a Trainer does not tell its callbacks ------------------------------------------------------------------------


def _no_trainer() -> Any:
    return None


_training: Callable[[], Any] = _no_trainer
"""The callback of the Trainer that is beginning to train."""


def _notice_failures() -> None:
    """Have callbacks told which Trainer trains them, and when ``Trainer.train`` raises: there is no event for it."""
    trainer_class: Any = import_module("transformers.trainer").Trainer
    original = trainer_class.train
    if getattr(original, "tells_rundial", False):
        return

    @wraps(original)
    def train(self: Any, *args: Any, **kwargs: Any) -> Any:
        _meet(self)
        try:
            return original(self, *args, **kwargs)
        except BaseException as error:
            for callback in _callbacks(self):
                callback._failed(error)
            raise

    train.tells_rundial = True  # type: ignore[attr-defined]
    trainer_class.train = train


def _callbacks(trainer: Any) -> list[RundialCallback]:
    return [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, RundialCallback)]


def _meet(trainer: Any) -> None:
    """Know the Trainer; of ``report_to="rundial"`` and a callback of the user's own, keep the user's."""
    global _training
    found = _callbacks(trainer)
    plain = [callback for callback in found if callback._wanted_run is None and not callback._settings]
    for callback in plain if len(plain) < len(found) else plain[1:]:
        trainer.callback_handler.callbacks.remove(callback)
        found.remove(callback)
    for callback in found:
        callback._trainer = weakref.ref(trainer)
        _training = weakref.ref(callback)


# -- what they say -----------------------------------------------------------------------------------------------------


def _log_model(chosen: Any) -> LogModel:
    word = str(chosen).strip().lower()
    if word in ("all", "checkpoint"):
        return "all"
    if word in ("", "end"):
        return bool(word)
    try:
        return truth("log_model", word)
    except ConfigError as error:
        raise ConfigError(f"log_model must be True, False, 'all', 'checkpoint' or 'end', not {chosen!r}.") from error


def _watched(chosen: Any) -> Any:
    word = str(chosen).strip().lower()
    if word in _WATCHED:
        return word
    if word in ("", "false", "0", "no", "off", "none"):
        return None
    raise ConfigError(f"watch must be {', '.join(_WATCHED)} or false, not {chosen!r}.")


def _configuration(args: Any, state: Any, model: Any) -> dict[str, Any]:
    """The arguments of the training, and of the model under ``model``; secrets go where the run takes them in."""
    found: dict[str, Any] = dict(args.to_dict())
    if getattr(state, "trial_params", None):
        found["trial"] = dict(state.trial_params)
    config = getattr(model, "config", None)
    if config is not None:
        found["model"] = dict(config) if isinstance(config, Mapping) else config.to_dict()
    adapters = getattr(model, "peft_config", None)
    if isinstance(adapters, Mapping):
        found["peft"] = {name: adapter.to_dict() for name, adapter in adapters.items()}
    if hasattr(model, "parameters"):
        # DeepSpeed keeps only a part of a parameter on each process.
        sizes = [(int(getattr(p, "ds_numel", None) or p.numel()), p.requires_grad) for p in model.parameters()]
        found["num_parameters"] = sum(size for size, _ in sizes)
        found["num_trained_parameters"] = sum(size for size, trained in sizes if trained)
    return found


def _is_best(state: Any, path: str) -> bool:
    best = getattr(state, "best_global_step", None)
    if best:
        return path.endswith(f"-{best}")
    return bool(state.best_model_checkpoint) and Path(state.best_model_checkpoint).name == Path(path).name


def _about(args: Any, state: Any) -> dict[str, Any]:
    """The epoch of a checkpoint, and its score by the metric for the best model."""
    about: dict[str, Any] = {"epoch": state.epoch}
    metric = args.metric_for_best_model
    if metric:
        name = metric if metric.startswith("eval_") else f"eval_{metric}"
        scores = [
            entry[name] for entry in state.log_history if entry.get("step") == state.global_step and name in entry
        ]
        about |= {"metric": name, "score": scores[-1] if scores else None}
    return about
