"""PyTorch: histograms of a model's gradients and parameters, sampled while it trains, and the table of its layers."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from rundial.diagnostics import warn
from rundial.errors import ConfigError
from rundial.integrations._adapter import last_step
from rundial.runs import Run

if TYPE_CHECKING:
    from rundial.media import Table

What = Literal["gradients", "parameters", "all"]

MAX_SAMPLE = 65_536
"""Elements of a tensor that go into its histogram; of a larger one every n-th does."""


class Watch:
    """Histograms of one model, until :meth:`remove`, the end of the run, or of a ``with`` block."""

    def __init__(
        self, get_run: Callable[[], Run], log: What, log_freq: int, get_step: Callable[[], int] | None
    ) -> None:
        self._get_run = get_run
        self._get_step = get_step
        self._gradients = log in ("gradients", "all")
        self._parameters = log in ("parameters", "all")
        self._every = log_freq
        self._seen: dict[str, int] = {}
        self._hooks: list[Any] = []

    def attach(self, model: nn.Module) -> None:
        """Hook on to the parameters that are trained."""
        parameters: Any = model.named_parameters()  # torch does not say what a hook is
        for name, parameter in parameters:
            if parameter.requires_grad:
                see: Any = partial(self._see, name, weakref.ref(parameter))
                see.__torch_unserializable__ = True  # what torch asks, so as not to warn when the model is pickled
                self._hooks.append(parameter.register_hook(see))

    def remove(self) -> None:
        """Take every hook off the model. May be called again."""
        while self._hooks:
            self._hooks.pop().remove()

    def _see(self, name: str, find: Callable[[], Tensor | None], gradient: Tensor) -> None:
        seen = self._seen.get(name, 0)
        self._seen[name] = seen + 1
        if seen % self._every:
            return
        try:
            self._log(name, find(), gradient)
        except Exception as error:  # noqa: BLE001 - in a hook it would end the backward pass, and the training with it
            self.remove()
            warn(f"watching stopped at {name}: {type(error).__name__}: {error}")

    def _log(self, name: str, parameter: Tensor | None, gradient: Tensor) -> None:
        from rundial.media import Histogram

        run = self._get_run()
        if run.status != "running":
            self.remove()
            return
        values: dict[str, Any] = {}
        if self._gradients:
            values[f"gradients/{name}"] = Histogram(_sample(gradient))
        if self._parameters and parameter is not None:
            values[f"parameters/{name}"] = Histogram(_sample(parameter))
        run.log(values, step=last_step(run) if self._get_step is None else self._get_step())

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


_watched: weakref.WeakKeyDictionary[nn.Module, list[Watch]] = weakref.WeakKeyDictionary()


def watch(
    run: Run | Callable[[], Run],
    model: nn.Module,
    log: What = "gradients",
    log_freq: int = 1000,
    *,
    step: Callable[[], int] | None = None,
) -> Watch:
    """Log histograms of a model's gradients or parameters while it trains, one in ``log_freq`` backward passes.

    The first backward pass is logged, too. Names are ``gradients/<parameter>`` and ``parameters/<parameter>``. No graph
    and no model is kept alive; of a tensor with more than 65,536 elements every n-th is looked at.

    Args:
        run: the run, or a function that gives it when there is something to log.
        model: parameters that are frozen now are left out.
        log: ``gradients``, as each backward pass makes them; ``parameters``, as they are then; or ``all``.
        log_freq: backward passes from one to the next.
        step: gives the step; left out, the highest one logged so far.

    Returns:
        What takes the hooks off again: ``remove()``. The end of the run does as well.

    Raises:
        ConfigError: another word for ``log``, or a ``log_freq`` below 1.
    """
    if log not in ("gradients", "parameters", "all"):
        raise ConfigError(f"log must be 'gradients', 'parameters' or 'all', not {log!r}.")
    if log_freq < 1:
        raise ConfigError(f"log_freq must be at least 1, not {log_freq}.")
    watching = Watch(run if callable(run) else lambda: run, log, int(log_freq), step)
    watching.attach(model)
    _watched.setdefault(model, []).append(watching)
    return watching


def unwatch(model: nn.Module) -> None:
    """Take the hooks of :func:`watch` off a model again."""
    for watching in _watched.pop(model, []):
        watching.remove()


def _sample(tensor: Tensor) -> Tensor:
    """At most :data:`MAX_SAMPLE` of a tensor's elements, evenly spread, out of the graph. Nothing is copied here."""
    flat = tensor.detach().reshape(-1)
    stride = -(-flat.numel() // MAX_SAMPLE)
    return flat[::stride] if stride > 1 else flat


def layers(model: nn.Module) -> Table:
    """A table of a model's modules: name, type, parameters in it, those of them that are trained."""
    from rundial.media import Table

    rows = []
    for name, module in model.named_modules():
        sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
        total, trained = sum(n for n, _ in sizes), sum(n for n, grad in sizes if grad)
        rows.append([name or "(model)", type(module).__name__, total, trained])
    return Table(columns=["module", "type", "parameters", "trained"], data=rows)
