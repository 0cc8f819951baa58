"""Ultralytics: callbacks for the training of a ``YOLO`` model and its like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rundial.integrations._adapter import Checkpoints, LazyRun, prefixed
from rundial.integrations._guarded import guarded
from rundial.runs import Run

STATE_FILE = "rundial.json"
"""Where the folder of a training keeps which run it belongs to."""


class RundialUltralyticsCallback:
    """Logs each epoch of ``model.train``, as in ``results.csv``: ``RundialUltralyticsCallback(...).attach(model)``.

    Losses, learning rates and metrics stand at the epoch's number, counted from 1. What the best weights reach in the
    end is in the summary, as ``best/<name>``. The run is made when training begins, and ends with the process. Nothing
    raises into the training. ``model.train(resume=True)`` goes on with the run, whose id is in the training's folder.

    Args:
        run: your own run; it is logged to and never ended here. Without it and without settings the run that
            ``rundial.init`` made last is used, else one is made.
        metric_prefix: put before every name, with ``/``.
        log_model: store the best weights as an artifact when training ends.
        log_plots: log the pictures that Ultralytics has drawn when training ends, as ``plots/<name>``.
        settings: arguments of :func:`rundial.init`, such as ``project``, ``name``, ``tags`` and ``endpoint``.

    Raises:
        ConfigError: an unknown option, or both a run and settings.
    """

    def __init__(
        self,
        run: Run | None = None,
        *,
        metric_prefix: str = "",
        log_model: bool = False,
        log_plots: bool = True,
        **settings: Any,
    ) -> None:
        self._lazy = LazyRun(run, settings)
        self._prefix = metric_prefix
        self._log_model = log_model
        self._log_plots = log_plots
        self._checkpoints = Checkpoints()
        self._in_epoch = False
        self._training = False

    @property
    def run(self) -> Run:
        """The run itself, which is made now if it has not been. It may have ended."""
        return self._lazy.run

    def attach(self, model: Any) -> RundialUltralyticsCallback:
        """Add the callbacks to a model, which has to be done before ``model.train``."""
        for event in ("on_train_start", "on_train_epoch_end", "on_fit_epoch_end", "on_train_end", "teardown"):
            model.add_callback(event, getattr(self, event))
        return self

    @guarded
    def on_train_start(self, trainer: Any) -> None:
        """Make the run, or go on with that of the training's folder; its arguments go under ``ultralytics``."""
        self._training = True
        path = Path(trainer.save_dir) / STATE_FILE
        if trainer.args.resume and path.is_file():
            self._lazy.restore(json.loads(path.read_text()))
        parameters = sum(int(parameter.numel()) for parameter in trainer.model.parameters())
        self._lazy.configure({"ultralytics": {**vars(trainer.args), "num_parameters": parameters}})
        self._lazy.writable  # noqa: B018 - makes it
        path.write_text(json.dumps(self._lazy.state()))

    @guarded
    def on_train_epoch_end(self, trainer: Any) -> None:
        """Log the losses of the training, and the learning rates."""
        self._in_epoch = True
        self._log({**trainer.label_loss_items(trainer.tloss, prefix="train"), **trainer.lr}, trainer.epoch + 1)

    @guarded
    def on_fit_epoch_end(self, trainer: Any) -> None:
        """Log the validation of an epoch; the one after the last epoch is of the best weights."""
        if self._in_epoch:
            self._in_epoch = False
            self._log(trainer.metrics, trainer.epoch + 1)
        else:
            values = prefixed(dict(trainer.metrics), "best", "/")
            self._lazy.writable.summary.update(prefixed(values, self._prefix, "/"))

    @guarded
    def on_train_end(self, trainer: Any) -> None:
        """Mark the end of the training, which is not the end of the run; store pictures and weights if asked for."""
        self._training = False
        run, step = self._lazy.writable, trainer.epoch + 1
        run.event("train ended", step=step, kind="phase")
        if self._log_plots:
            from rundial.media import Image

            drawn = [Path(path) for path in {**trainer.validator.plots, **trainer.plots}]
            self._log({f"plots/{path.stem}": Image(path) for path in drawn if path.is_file()}, step)
        best = Path(trainer.best)
        if self._log_model and best.is_file():
            aliases = ["latest", "best"]
            self._checkpoints.store(run, str(best), name=f"model-{run.id}", aliases=aliases, step=step)

    @guarded
    def teardown(self, trainer: Any) -> None:
        """Mark the run failed when training has raised."""
        if self._training:
            self._training = False
            self._lazy.fail()

    def _log(self, values: dict[str, Any], step: int) -> None:
        if values:
            self._lazy.writable.log(prefixed(values, self._prefix, "/"), step=step)
