"""Learning rates and weight decay of torch optimizers, changed while schedulers go on with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

_GROUP_RATES = ("lr", "initial_lr", "max_lr", "min_lr")
"""What optimizers and schedulers keep of a learning rate in a parameter group."""
_SCHEDULER_RATES = ("base_lrs", "max_lrs", "_last_lr")
MAX_MULTIPLIER = 1000.0


class Rates:
    """The rates of several optimizers as one.

    Args:
        optimizers, schedulers: give those in use now; each call may give others.
    """

    def __init__(self, optimizers: Callable[[], Iterable[Any]], schedulers: Callable[[], Iterable[Any]]) -> None:
        self._optimizers = optimizers
        self._schedulers = schedulers
        self.multiplier = 1.0
        """By what all learning rates have been multiplied through the dials."""

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all optimizers."""
        return [group for optimizer in self._optimizers() for group in optimizer.param_groups]

    @property
    def lr(self) -> float:
        """The learning rate of the first parameter group."""
        return float(self.groups[0]["lr"])

    def set_lr(self, value: float) -> None:
        """Make the first group's rate ``value`` and change all others in proportion, also what a schedule goes back to.

        From a rate of 0 there is no proportion: then all groups get the value, and the schedule is as it was.
        """
        if self.lr > 0 and value > 0:
            self._scale(value / self.lr)
        else:
            for group in self.groups:
                _put(group, "lr", value)

    def set_multiplier(self, value: float) -> None:
        """Multiply what the schedule says, now and from here on, by ``value`` in all."""
        self._scale(value / self.multiplier)

    def _scale(self, factor: float) -> None:
        for group in self.groups:
            for name in _GROUP_RATES:
                if name in group:
                    _put(group, name, float(group[name]) * factor)
        for scheduler in _parts(self._schedulers()):
            for name in _SCHEDULER_RATES:
                if isinstance(getattr(scheduler, name, None), list):
                    setattr(scheduler, name, [float(rate) * factor for rate in getattr(scheduler, name)])
        self.multiplier *= factor

    @property
    def weight_decay(self) -> float:
        """The largest of all groups."""
        return max(float(group["weight_decay"]) for group in self.groups)

    def set_weight_decay(self, value: float) -> None:
        """Of the groups that decay at all; a bias or a norm that does not goes on without."""
        for group in [group for group in self.groups if group["weight_decay"]] or self.groups:
            group["weight_decay"] = value


def offer_rates(offer: Callable[..., Any], rates: Rates) -> None:
    """Offer ``lr``, ``lr_multiplier`` and, where optimizers know it, ``weight_decay``; ``offer`` as ``run.dial``."""
    offer("lr", lambda: rates.lr, rates.set_lr, kind="float", min=0.0, description="learning rate")
    offer(
        "lr_multiplier",
        lambda: rates.multiplier,
        rates.set_multiplier,
        min=1 / MAX_MULTIPLIER,
        max=MAX_MULTIPLIER,
        description="times what the schedule says",
    )
    if all("weight_decay" in group for group in rates.groups):
        most = max(1.0, rates.weight_decay)
        offer("weight_decay", lambda: rates.weight_decay, rates.set_weight_decay, kind="float", min=0.0, max=most)


def _parts(schedulers: Iterable[Any]) -> Iterator[Any]:
    """Schedulers, those that they wrap and those that they are made of."""
    for scheduler in schedulers:
        if scheduler is None:
            continue
        yield scheduler
        wrapped = scheduler.__dict__.get("scheduler")  # Accelerate's, which has no rates of its own
        yield from _parts([wrapped] if wrapped is not None else [])
        yield from _parts(getattr(scheduler, "_schedulers", ()))


def _put(group: dict[str, Any], name: str, value: float) -> None:
    """Set a rate; one that is a tensor stays that tensor, for a compiled step has taken hold of it."""
    if hasattr(group[name], "fill_"):
        group[name].fill_(value)
    else:
        group[name] = value
