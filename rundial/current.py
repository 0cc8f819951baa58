"""The current run, and the calls of the package that go to it: ``rundial.log`` and its like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rundial.errors import ConfigError
from rundial.events import RunStatus

if TYPE_CHECKING:
    from rundial.control import rules
    from rundial.control.dial import Dial
    from rundial.runs import Run

_current: Run | None = None


def current_run() -> Run | None:
    """The run that :func:`rundial.init` made last and that is not finished, or None."""
    return _current


def set_current_run(run: Run | None) -> None:
    """Make another run the current one, or none."""
    global _current
    _current = run


def log(metrics: Mapping[str, Any] | None = None, **kwargs: Any) -> bool:
    """Log to the current run; see :meth:`Run.log`. Without one: a ConfigError, for there is nothing to log to."""
    return _require().log(metrics, **kwargs)


def finish(timeout_seconds: float | None = None, *, status: RunStatus = "completed", reason: str | None = None) -> bool:
    """Finish the current run; see :meth:`Run.finish`. True when there is none."""
    return True if _current is None else _current.finish(timeout_seconds, status=status, reason=reason)


def alert(title: str, text: str = "", level: str = "info", *, step: int | None = None) -> bool:
    """Raise an alert in the current run; see :meth:`Run.alert`."""
    return _require().alert(title, text, level, step=step)


def rule(when: str, do: rules.Do, *, name: str | None = None) -> Dial:
    """Add a rule to the current run; see :meth:`Run.rule`."""
    return _require().rule(when, do, name=name)


def checkpoint(
    model_path: Any,
    *,
    step: int | None = None,
    name: str = "checkpoint",
    metadata: Mapping[str, Any] | None = None,
    keep_last: int | None = 5,
) -> bool:
    """Store a checkpoint of the current run; see :meth:`Run.checkpoint`."""
    return _require().checkpoint(model_path, step=step, name=name, metadata=metadata, keep_last=keep_last)


def _require() -> Run:
    if _current is None:
        raise ConfigError("there is no run to log to; call rundial.init() first.")
    return _current
