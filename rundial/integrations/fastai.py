"""fastai: a callback for a ``Learner``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastai.learner import Callback, Recorder

from rundial.integrations._adapter import LazyRun, is_rank_zero, prefixed
from rundial.integrations._guarded import guarded
from rundial.runs import Run


class RundialFastaiCallback(Callback):  # type: ignore[misc]  # fastai is not there when types are checked
    """Logs each training batch and what fastai's Recorder has of each epoch; steps count batches from 1.

    A batch has ``batch/train_loss``, which is smoothed, ``batch/raw_loss``, the optimizer's hyper-parameters of each
    group, such as ``opt/lr_0``, and ``epoch``. An epoch has the Recorder's columns: ``train_loss``, ``valid_loss`` and
    the metrics. ``Learner.validate`` is logged as ``validate/<name>``. The run is made when a fit begins, and ends with
    the process. Nothing raises into the training. A further fit, such as the second of ``fine_tune``, goes on with the
    curves.

    Args:
        run: your own run; it is logged to and never ended here. Without it and without settings the run that
            ``rundial.init`` made last is used, else one is made.
        metric_prefix: put before every name, with ``/``.
        log_model: store the model's weights as an artifact when a fit ends.
        settings: arguments of :func:`rundial.init`, such as ``project``, ``name``, ``tags`` and ``endpoint``.

    Raises:
        ConfigError: an unknown option, or both a run and settings.
    """

    order = Recorder.order + 1
    remove_on_fetch = True

    def __init__(
        self, run: Run | None = None, *, metric_prefix: str = "", log_model: bool = False, **settings: Any
    ) -> None:
        super().__init__()
        self._lazy = LazyRun(run, settings)
        self._prefix = metric_prefix
        self._log_model = log_model
        self._step = 0
        self._trained = False
        """Whether there was a training batch since ``before_fit``, which comes with ``Learner.validate``, too."""

    @property
    def rundial_run(self) -> Run:
        """The run itself, which is made now if it has not been. It may have ended. ``run`` is fastai's own switch."""
        return self._lazy.run

    def before_fit(self) -> None:
        """Make the run, with what is trained under ``fastai``; stay out of searches for a rate and predictions."""
        self.run = is_rank_zero() and not hasattr(self.learn, "lr_finder") and not hasattr(self, "gather_preds")
        if self.run:
            self._begin()

    @guarded
    def _begin(self) -> None:
        self._trained = False
        self._lazy.configure({"fastai": _configuration(self.learn)})
        self._lazy.writable  # noqa: B018 - makes it

    @guarded
    def after_batch(self) -> None:
        """Log a training batch."""
        if not self.training:
            return
        self._trained = True
        self._step += 1
        values = {
            "batch/train_loss": self.learn.smooth_loss,
            "batch/raw_loss": self.learn.loss,
            "epoch": self.learn.epoch + (self.learn.iter + 1) / self.learn.n_iter,
        }
        for index, group in enumerate(self.opt.hypers):
            values |= {f"opt/{name}_{index}": value for name, value in group.items()}
        self._log(values)

    @guarded
    def after_epoch(self) -> None:
        """Log the Recorder's row of an epoch; that of ``Learner.validate`` as ``validate/<name>``."""
        values = list(self.recorder.log)[1:]
        names = (
            list(self.recorder.metric_names)[-len(values) :] if values else []
        )  # validate() has no column of training
        row = {name: value for name, value in zip(names, values) if name != "time"}  # a text for people
        self._log(row if self._trained else prefixed(row, "validate", "/"))

    @guarded
    def after_fit(self) -> None:
        """Mark the end of the fit, which is not the end of the run; store the model if asked for."""
        if not self._trained:
            return
        run = self._lazy.writable
        run.event("fit ended", step=self._step, kind="phase")
        if self._log_model:
            from torch import save

            with tempfile.TemporaryDirectory(prefix="rundial-") as folder:
                path = Path(folder) / "model.pth"
                save(self.learn.model.state_dict(), path)
                run.log_artifact(path, f"model-{run.id}", "model", step=self._step)

    def _log(self, values: Mapping[str, Any]) -> None:
        self._lazy.writable.log(prefixed(values, self._prefix, "/"), step=self._step)


def _configuration(learner: Any) -> dict[str, Any]:
    """Epochs, batch size, names of the model, the loss and the optimizer, and the number of parameters."""
    loss, optimizer = learner.loss_func, learner.opt_func
    parameters = list(learner.model.parameters())
    return {
        "n_epoch": learner.n_epoch,
        "batch_size": getattr(learner.dls.train, "bs", None),
        "model": type(learner.model).__name__,
        "loss": getattr(loss, "__name__", type(loss).__name__),
        "optimizer": getattr(optimizer, "__name__", type(optimizer).__name__),
        "wd": learner.wd,
        "num_parameters": sum(int(parameter.numel()) for parameter in parameters),
        "num_trained_parameters": sum(int(each.numel()) for each in parameters if each.requires_grad),
    }
