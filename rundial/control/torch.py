"""Dials for a torch training, without a word about them: learning rate, weight decay, gradient clipping, stop.

controls = attach(run, optimizer, scheduler=scheduler)
for batch in loader:
    ...
    optimizer.step()        # polls
    if controls.stopped:
        break
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rundial.control.dials import STOP
from rundial.control.rates import Rates, offer_rates

if TYPE_CHECKING:
    from rundial.runs import Run


class Controls(Rates):
    """What was attached. ``stopped`` says that somebody wants the training to end, and ``who`` asked for it."""

    def __init__(self, run: Run, optimizer: Any, scheduler: Any, ddp: bool) -> None:
        super().__init__(lambda: [optimizer], lambda: [scheduler])
        self.stopped = False
        self.who: str | None = None
        self.grad_clip = 0.0
        """The largest norm of all gradients together; 0 for no bound."""
        self._run = run
        self._ddp = ddp
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]

    def detach(self) -> None:
        """Poll and clip no more. The dials stay where they are."""
        while self._hooks:
            self._hooks.pop().remove()

    def _before_step(self, *args: Any) -> None:
        if self.grad_clip > 0:
            from torch.nn.utils import clip_grad_norm_

            clip_grad_norm_([p for group in self.groups for p in group["params"]], self.grad_clip)

    def _after_step(self, *args: Any) -> None:
        for ack in self._run.poll(ddp=self._ddp):
            if ack.name == STOP and ack.status == "applied":
                self.who = ack.author


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
    offer_rates(run.dial, controls)

    def clip(value: float) -> None:
        controls.grad_clip = value

    run.dial("grad_clip", lambda: controls.grad_clip, clip, min=0.0, description="largest norm; 0 for no bound")

    def stop() -> None:
        controls.stopped = True

    run.dial(STOP, set=stop, description="end the training after this step")
    if save is not None:
        run.dial("save_checkpoint", set=lambda: save())
    if evaluate is not None:
        run.dial("evaluate", set=lambda: evaluate())
    return controls
