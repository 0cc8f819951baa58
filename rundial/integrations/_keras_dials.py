"""The dials that a fit of Keras gets for free, on any backend."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from rundial.control.dials import STOP
from rundial.control.rates import MAX_MULTIPLIER
from rundial.control.training import Training

_SCHEDULE_RATES = ("initial_learning_rate", "end_learning_rate", "warmup_target", "values")
"""What Keras's schedules keep of a learning rate."""


class FitDials:
    """Reads and turns what a model is fitted with.

    Args:
        model: the one in a fit.
        folder: where checkpoints that are asked for go.
    """

    def __init__(self, model: Any, folder: Callable[[], Path], saved: Callable[[str], object]) -> None:
        self._model = model
        self._folder = folder
        self._saved = saved
        self.multiplier = 1.0

    @property
    def _optimizer(self) -> Any:
        """The optimizer, with the values that a backend has kept elsewhere since the last step."""
        sync = getattr(self._model, "jax_state_sync", None)
        if sync is not None:
            sync()
        return getattr(self._model.optimizer, "inner_optimizer", self._model.optimizer)

    def _compile_anew(self) -> None:
        """A backend that compiles its step has taken plain attributes for constants."""
        if keras.backend.backend() != "torch" or self._model.jit_compile:
            self._model.make_train_function(force=True)

    @property
    def lr(self) -> float:
        """The learning rate now, out of a variable or a schedule."""
        return float(keras.ops.convert_to_numpy(self._optimizer.learning_rate))

    def set_lr(self, value: float) -> None:
        """Make it ``value``; a schedule is scaled so that it is that now, and goes on in proportion."""
        now = self.lr
        if now > 0 and value > 0:
            self._scale(value / now)
        elif self._schedule is None:
            self._optimizer.learning_rate = value
        else:
            raise ValueError("a schedule can be scaled, but not from or to a rate of 0")

    def set_multiplier(self, value: float) -> None:
        """Multiply the rate, or all of its schedule, by ``value`` in all."""
        self._scale(value / self.multiplier)

    @property
    def _schedule(self) -> Any:
        rate = self._model.optimizer._learning_rate
        return rate if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else None

    def _scale(self, factor: float) -> None:
        schedule = self._schedule
        if schedule is None:
            self._optimizer.learning_rate = self.lr * factor
        else:
            for name in _SCHEDULE_RATES:
                value = getattr(schedule, name, None)
                if value is not None:
                    setattr(schedule, name, [v * factor for v in value] if name == "values" else value * factor)
            self._compile_anew()
        self.multiplier *= factor

    def set_attribute(self, name: str, value: float | None) -> None:
        """Set what the optimizer keeps as a plain number."""
        setattr(self._optimizer, name, value)
        self._compile_anew()

    def save(self) -> None:
        """Save the model now."""
        self._optimizer  # noqa: B018 - brings the model's values together
        folder = self._folder()
        folder.mkdir(parents=True, exist_ok=True)
        path = os.fspath(folder / f"dial-{int(self._model.optimizer.iterations)}.keras")
        self._model.save(path)
        self._saved(path)


def offer_dials(training: Training, fit: FitDials, model: Any, cadence: tuple[Callable[[], int], Any]) -> None:
    """Offer what a fit lets be turned.

    Args:
        cadence: get and set one in how many batches is logged; 0 for none.
    """
    offer = training.offer
    optimizer = model.optimizer
    schedule = fit._schedule
    known = schedule is None or any(hasattr(schedule, name) for name in _SCHEDULE_RATES)
    if known and hasattr(optimizer, "_learning_rate") and not _is_function(optimizer):
        offer("lr", lambda: fit.lr, fit.set_lr, kind="float", min=0.0, description="learning rate")
        offer(
            "lr_multiplier",
            lambda: fit.multiplier,
            fit.set_multiplier,
            min=1 / MAX_MULTIPLIER,
            max=MAX_MULTIPLIER,
            description="times the rate, or what the schedule says",
        )
    if getattr(optimizer, "weight_decay", None) is not None:
        decay = float(optimizer.weight_decay)
        offer(
            "weight_decay",
            lambda: float(optimizer.weight_decay),
            lambda value: fit.set_attribute("weight_decay", value),
            min=0.0,
            max=max(1.0, decay),
        )
    name = next((n for n in ("clipnorm", "clipvalue") if getattr(optimizer, n, None)), "global_clipnorm")
    if hasattr(optimizer, name):
        offer(
            "grad_clip",
            lambda: float(getattr(optimizer, name) or 0.0),
            lambda value: fit.set_attribute(name, value or None),
            min=0.0,
            description=f"{name}; 0 for no bound",
        )

    def stop() -> None:
        model.stop_training = True

    offer(STOP, set=stop, description="end the fit after this batch")
    offer("save_checkpoint", set=fit.save, description="the model as it is now")
    offer("log_every", *cadence, min=0, max=100_000, unit="batches", description="0 logs epochs alone")


def _is_function(optimizer: Any) -> bool:
    """Whether the rate is a function of the script's own, which nobody else can turn."""
    rate = optimizer._learning_rate
    return callable(rate) and not isinstance(rate, (keras.optimizers.schedules.LearningRateSchedule, keras.Variable))
