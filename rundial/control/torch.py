"""Dials for a torch training, without a word about them: learning rate, weight decay, gradient clipping, stop.

controls = attach(run, optimizer, scheduler=scheduler)
for batch in loader:
    ...
    optimizer.step()        # polls
    if controls.stopped:
        break
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rundial.runs import Run

_GROUP_RATES = ("lr", "initial_lr", "max_lr", "min_lr")
"""What optimizers and schedulers keep of a learning rate in a parameter group."""
_SCHEDULER_RATES = ("base_lrs", "max_lrs")
MAX_MULTIPLIER = 1e6


class Controls:
    """What was attached. ``stopped`` says that somebody wants the training to end, and ``who`` asked for it."""

    def __init__(self, run: Run, optimizer: Any, scheduler: Any, ddp: bool) -> None:
        self.stopped = False
        self.multiplier = 1.0
        """By what all learning rates have been multiplied through the dials."""
        self.grad_clip = 0.0
        """The largest norm of all gradients together; 0 for no bound."""
        self._run = run
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._ddp = ddp
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]

    def detach(self) -> None:
        """Poll and clip no more. The dials stay where they are."""
        while self._hooks:
            self._hooks.pop().remove()

    @property
    def lr(self) -> float:
        """The learning rate of the first parameter group."""
        return float(self._optimizer.param_groups[0]["lr"])

    def set_lr(self, value: float) -> None:
        """Make the first group's rate ``value`` and change all others in proportion, also what a schedule goes back to.

        From a rate of 0 there is no proportion: then all groups get the value, and the schedule is as it was.
        """
        if self.lr > 0 and value > 0:
            self._scale(value / self.lr)
        else:
            for group in self._optimizer.param_groups:
                _put(group, "lr", value)

    def set_multiplier(self, value: float) -> None:
        """Multiply what the schedule says, now and from here on, by ``value`` in all."""
        self._scale(value / self.multiplier)

    def _scale(self, factor: float) -> None:
        for group in self._optimizer.param_groups:
            for name in _GROUP_RATES:
                if name in group:
                    _put(group, name, float(group[name]) * factor)
        for scheduler in _all_of(self._scheduler):
            for name in _SCHEDULER_RATES:
                if isinstance(getattr(scheduler, name, None), list):
                    setattr(scheduler, name, [float(rate) * factor for rate in getattr(scheduler, name)])
        self.multiplier *= factor

    def set_weight_decay(self, value: float) -> None:
        """Of the groups that decay at all; a bias or a norm that does not goes on without."""
        groups = self._optimizer.param_groups
        for group in [group for group in groups if group["weight_decay"]] or groups:
            group["weight_decay"] = value

    def _before_step(self, *args: Any) -> None:
        if self.grad_clip > 0:
            from torch.nn.utils import clip_grad_norm_

            clip_grad_norm_([p for group in self._optimizer.param_groups for p in group["params"]], self.grad_clip)

    def _after_step(self, *args: Any) -> None:
        self._run.poll(ddp=self._ddp)


def attach(
    run: Run,
    optimizer: Any,
    *,
    scheduler: Any = None,
    save: Callable[[], object] | None = None,
    evaluate: Callable[[], object] | None = None,
    ddp: bool = False,
) -> Controls:
    """Offer the dials of a torch training; each ``optimizer.step()`` polls.

    Args:
        optimizer: a ``torch.optim.Optimizer``.
        scheduler: the learning rate scheduler, so that it goes on from a changed rate.
        save, evaluate: called when somebody asks for a checkpoint or an evaluation, right after a step.
        ddp: turn the dials on all ranks; each of them attaches.

    Returns:
        The controls; end the training when ``stopped`` is true.
    """
    controls = Controls(run, optimizer, scheduler, ddp)
    run.dial("lr", lambda: controls.lr, controls.set_lr, kind="float", min=0.0, description="learning rate")
    run.dial(
        "lr_multiplier",
        lambda: controls.multiplier,
        controls.set_multiplier,
        min=1 / MAX_MULTIPLIER,
        max=MAX_MULTIPLIER,
        description="times what the schedule says",
    )
    if "weight_decay" in optimizer.param_groups[0]:
        decays = [float(group["weight_decay"]) for group in optimizer.param_groups]

        def decay() -> float:
            return max(float(group["weight_decay"]) for group in optimizer.param_groups)

        run.dial("weight_decay", decay, controls.set_weight_decay, kind="float", min=0.0, max=max(1.0, *decays, 0.0))

    def clip(value: float) -> None:
        controls.grad_clip = value

    run.dial("grad_clip", lambda: controls.grad_clip, clip, min=0.0, description="largest norm; 0 for no bound")

    def stop() -> None:
        controls.stopped = True

    run.dial("stop", set=stop, description="end the training after this step")
    if save is not None:
        run.dial("save_checkpoint", set=lambda: save())
    if evaluate is not None:
        run.dial("evaluate", set=lambda: evaluate())
    return controls


def _all_of(scheduler: Any) -> Iterator[Any]:
    """A scheduler and those that it is made of."""
    if scheduler is None:
        return
    yield scheduler
    for part in getattr(scheduler, "_schedulers", ()):
        yield from _all_of(part)


def _put(group: dict[str, Any], name: str, value: float) -> None:
    """Set a rate; one that is a tensor stays that tensor, for a compiled step has taken hold of it."""
    if hasattr(group[name], "fill_"):
        group[name].fill_(value)
    else:
        group[name] = value
