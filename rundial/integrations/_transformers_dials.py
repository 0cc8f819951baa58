"""The dials that a training of Transformers gets for free."""

from __future__ import annotations

from typing import Any

from rundial.control.dials import STOP
from rundial.control.rates import Rates, offer_rates
from rundial.control.training import Training


def offer_dials(
    training: Training, args: Any, state: Any, control: Any, optimizer: Any, scheduler: Any, evaluates: bool
) -> None:
    """Offer what a Trainer lets be turned while it trains; the same on every rank.

    Args:
        args, state, control: the Trainer's own.
        optimizer, scheduler: as it hands them to callbacks.
        evaluates: whether it has something to evaluate.
    """
    offer = training.offer
    if getattr(optimizer, "param_groups", None):
        offer_rates(offer, Rates(lambda: [optimizer], lambda: [scheduler]))

    def clip(value: float) -> None:
        args.max_grad_norm = value

    offer("grad_clip", lambda: float(args.max_grad_norm or 0.0), clip, min=0.0, description="largest norm; 0: no bound")

    def ask(what: str) -> None:
        setattr(control, what, True)

    offer(STOP, set=lambda: ask("should_training_stop"), description="end the training after this step")
    offer("save_checkpoint", set=lambda: ask("should_save"), description="after this step")
    if evaluates:
        offer("evaluate", set=lambda: ask("should_evaluate"), description="after this step")

    def log_every(value: int) -> None:
        state.logging_steps = value

    if str(getattr(args.logging_strategy, "value", args.logging_strategy)) == "steps":
        offer("log_every", lambda: int(state.logging_steps), log_every, min=1, max=100_000, unit="steps")
