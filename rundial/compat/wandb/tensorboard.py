"""``sync_tensorboard=True``: what TensorBoard's writers write is logged, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

from rundial import runs
from rundial.compat.wandb import _init
from rundial.compat.wandb._values import row_of

if TYPE_CHECKING:
    from rundial.compat.wandb._run import Run


class _Followed:
    """The run as :mod:`rundial.integrations.tensorboard` needs it, with an eye on what goes into the summary."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run.sink, name)

    def log(self, values: Mapping[str, Any], step: int, time_ms: int | None = None) -> bool:
        """Log what an event holds."""
        self._run.note_event(row_of(values), step)
        return self._run.sink.log(values, step=step, time_ms=time_ms)


def follow(run: Run) -> None:
    """Log what the SummaryWriters of this process write, until the run ends."""
    from rundial.integrations.tensorboard import sync_tensorboard

    sync_tensorboard(cast(runs.Run, _Followed(run)))


def patch(save: bool = True, tensorboard_x: Any = None, pytorch: Any = None, root_logdir: str = "") -> None:
    """Log what SummaryWriters write to the active run; before ``init``, to the runs that are begun afterwards."""
    from rundial.compat import wandb

    if wandb.run is None:
        _init.global_settings.update({"sync_tensorboard": True})
    else:
        follow(wandb.run)


def unpatch() -> None:
    """Runs begun from here on follow no writers, unless they are told to."""
    _init.global_settings.update({"sync_tensorboard": False})


def log(*args: Any, **kwargs: Any) -> NoReturn:
    """Summaries of TensorFlow 1 are not understood; ``sync_tensorboard=True`` follows the writers instead.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("wandb.tensorboard.log is not supported; see docs/wandb-compat.md.")
