"""The dials that a fit of Lightning gets for free."""

from __future__ import annotations

import os
from typing import Any

from rundial.control.dials import STOP
from rundial.control.rates import Rates, offer_rates
from rundial.control.training import Training


def offer_dials(training: Training, trainer: Any, module: Any) -> None:
    """Offer what this Trainer lets be turned while it fits ``module``; the same on every rank."""
    offer = training.offer
    optimizers = [optimizer for optimizer in trainer.optimizers if getattr(optimizer, "param_groups", None)]
    if optimizers:
        offer_rates(
            offer, Rates(lambda: trainer.optimizers, lambda: [each.scheduler for each in trainer.lr_scheduler_configs])
        )
    if module.automatic_optimization:

        def clip(value: float) -> None:
            trainer.gradient_clip_val = value or None

        def clipped() -> float:
            return float(trainer.gradient_clip_val or 0.0)

        how = str(getattr(trainer.gradient_clip_algorithm, "value", None) or "norm")
        offer("grad_clip", clipped, clip, min=0.0, description=f"largest {how}; 0 for no bound")

    def stop() -> None:
        trainer.should_stop = True

    offer(STOP, set=stop, description="end the fit after this step")
    offer("save_checkpoint", set=lambda: trainer.save_checkpoint(_path(trainer)), description="now, beside the others")
    if trainer.enable_validation:
        offer("evaluate", set=lambda: _validate_after_this_batch(trainer), description="validate after this step")

    def log_every(value: int) -> None:
        trainer.log_every_n_steps = value

    offer("log_every", lambda: int(trainer.log_every_n_steps), log_every, min=1, max=100_000, unit="steps")


def _path(trainer: Any) -> str:
    """Where a checkpoint that was asked for goes: to those that the Trainer keeps by itself."""
    saver = trainer.checkpoint_callback
    folder = getattr(saver, "dirpath", None) or trainer.log_dir or trainer.default_root_dir
    return os.path.join(folder, f"dial-step={trainer.global_step}.ckpt")  # noqa: PTH118 - may be a URL


def _validate_after_this_batch(trainer: Any) -> None:
    """Make this batch one after which the Trainer validates; :func:`restore` takes it back."""
    if trainer not in _intervals:
        _intervals[trainer] = {name: getattr(trainer, name) for name in _NAMES if hasattr(trainer, name)}
    trainer.val_check_batch = 1
    trainer._val_check_time_interval = None
    if trainer.check_val_every_n_epoch is not None:
        trainer.check_val_every_n_epoch = 1


def restore(trainer: Any) -> None:
    """Let the Trainer validate when it would have, after a validation that was asked for."""
    for name, value in _intervals.pop(trainer, {}).items():
        setattr(trainer, name, value)


_NAMES = ("val_check_batch", "check_val_every_n_epoch", "_val_check_time_interval")
_intervals: dict[Any, dict[str, Any]] = {}
