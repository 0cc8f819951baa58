"""A callback for fastai."""

from __future__ import annotations

from typing import Any

from fastai.callback.core import Callback
from fastai.learner import Recorder

from rundial.compat import wandb


class WandbCallback(Callback):  # type: ignore[misc]
    """Logs each batch's loss and learning rates, and each epoch's metrics.

    Args:
        log: ``gradients``, ``parameters``, ``all`` or None, as ``wandb.watch`` has it.
        log_model: keep the model as an artifact at the end.
        others: of W&B's callback; predictions and data sets are not logged.

    Raises:
        Error: there is no run.
    """

    remove_on_fetch = True
    order = Recorder.order + 1
    """After the Recorder, whose values these are."""

    def __init__(self, log: str | None = None, log_model: bool = False, **others: Any) -> None:
        super().__init__()
        if wandb.run is None:
            raise wandb.Error("You must call wandb.init() before WandbCallback()")
        self._watched = log
        self._log_model = log_model

    def before_fit(self) -> None:
        """Watch the model, if it is wanted; a search for a learning rate is not logged."""
        self.run = not hasattr(self.learn, "lr_finder") and not hasattr(self, "gather_preds")
        if self.run and self._watched:
            wandb.watch(self.learn.model, log=self._watched)

    def after_batch(self) -> None:
        """Log a training step."""
        if self.training:
            values = {
                "train_loss": self.smooth_loss,
                "raw_loss": self.loss,
                "epoch": self.epoch + self.iter / self.n_iter,
            }
            hypers = {
                f"{k}_{i}": v for i, group in enumerate(self.opt.hypers) for k, v in group.items() if k != "sqr_mom"
            }
            wandb.log({**values, **hypers})

    def after_epoch(self) -> None:
        """Log the metrics of an epoch in the row of its last batch."""
        recorder = self.learn.recorder
        known = dict(zip(recorder.metric_names, recorder.log))
        wandb.log({k: v for k, v in known.items() if k not in ("epoch", "time", "train_loss")}, commit=False)

    def after_fit(self) -> None:
        """Keep the model, end the last row."""
        self.run = True
        if self._log_model:
            path = self.learn.save("model")
            wandb.log_artifact(str(path), name=f"run-{wandb.run.id}-model" if wandb.run else "model", type="model")
        wandb.log({})
