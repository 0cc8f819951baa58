"""``wandb.watch`` over :mod:`rundial.integrations.pytorch`."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from rundial import runs

if TYPE_CHECKING:
    from rundial.compat.wandb._run import Run

_watched: weakref.WeakSet[Any] = weakref.WeakSet()


class _Prefixed:
    """A run that puts a word before each name: what tells several models apart."""

    def __init__(self, run: Run, prefix: str) -> None:
        self._run = run
        self._prefix = prefix

    @property
    def status(self) -> str:
        """How the run stands."""
        return self._run.sink.status

    def log(self, values: Mapping[str, Any], step: int) -> bool:
        """Log under the longer names."""
        return self._run.sink.log({f"{self._prefix}{key}": value for key, value in values.items()}, step=step)


def watch(run: Run, models: Any, log: str | None, log_freq: int, idx: int | None, log_graph: bool) -> None:
    """Log histograms of the models' gradients or parameters, each in the row of the step it belongs to.

    Args:
        run: where they go.
        models: one model of PyTorch, or several.
        log: ``gradients``, ``parameters``, ``all``, or None for neither.
        log_freq: backward passes from one to the next.
        idx: the number of the first model, when each is watched by a call of its own.
        log_graph: whether a table of the layers is logged as ``graph_<number>``.

    Raises:
        ValueError: no model, another word for ``log``, or a model that is watched already.
    """
    from torch import nn

    from rundial.integrations import pytorch

    if log not in ("gradients", "parameters", "all", None):
        raise ValueError("log must be one of 'gradients', 'parameters', 'all', or None")
    several = list(models) if isinstance(models, (list, tuple)) else [models]
    for number, model in enumerate(several, idx or 0):
        if not isinstance(model, nn.Module):
            raise ValueError(f"Expected a pytorch model (torch.nn.Module). Received {type(model)}")
        if model in _watched:
            raise ValueError(
                "You can only call `wandb.watch` once per model.  Pass a new instance of the model if you need to "
                "call wandb.watch again in your code."
            )
        _watched.add(model)
        target = cast(runs.Run, _Prefixed(run, f"graph_{number}" if number else ""))
        if log is not None:
            pytorch.watch(lambda target=target: target, model, log, log_freq, step=lambda: run.step)  # type: ignore[misc, arg-type]
        if log_graph:
            run.sink.log({f"graph_{number}": pytorch.layers(model)}, step=run.step)


def unwatch(models: Any) -> None:
    """Take the hooks off these models, or off all that are watched."""
    from rundial.integrations import pytorch

    several = list(_watched) if models is None else list(models) if isinstance(models, (list, tuple)) else [models]
    for model in several:
        pytorch.unwatch(model)
        _watched.discard(model)
