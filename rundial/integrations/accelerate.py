"""Hugging Face Accelerate: a tracker for ``Accelerator(log_with="rundial")``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeVar

from rundial.diagnostics import warn
from rundial.integrations._adapter import LazyRun
from rundial.runs import Run

Method = TypeVar("Method", bound=Callable[..., Any])

_tracking: Any = import_module("accelerate.tracking")
_Tracker: Any = _tracking.GeneralTracker
_on_main_process: Callable[[Method], Method] = _tracking.on_main_process


class RundialTracker(_Tracker):  # type: ignore[misc]  # the frameworks need not be there to check types
    """Logs what an Accelerator logs to a run, from its main process. ``end_training`` ends the run.

    The run is made by the first thing that is logged. ``accelerator.register_for_checkpointing(tracker)`` keeps in each
    saved state which run it belongs to; ``load_state`` before the first log goes on with it.

    Args:
        project_name: the run's project; ``init_trackers`` passes it on.
        run: your own run; it is logged to and never ended here. Without it and without settings the run that
            ``rundial.init`` made last is used, else one is made.
        settings: arguments of :func:`rundial.init`; ``init_trackers(..., init_kwargs={"rundial": {...}})``.

    Raises:
        ConfigError: an unknown option, or both a run and settings.
    """

    name = "rundial"
    requires_logging_directory = False

    def __init__(self, project_name: str | None = None, *, run: Run | None = None, **settings: Any) -> None:
        super().__init__()
        self._lazy = LazyRun(run, settings)
        if self._lazy.given is None and project_name:
            self._lazy.settings.setdefault("project", project_name)

    @property
    def tracker(self) -> Run:
        """The run itself, which is made now if it has not been."""
        return self._lazy.run

    @property
    def run(self) -> Run:
        """The same as :attr:`tracker`."""
        return self._lazy.run

    def start(self) -> None:
        """Nothing: a state that is loaded before the first log may say which run to go on with."""

    @_on_main_process
    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Merge a mapping into the run's configuration, without texts under names such as ``hub_token``."""
        self._lazy.configure(values)

    @_on_main_process
    def log(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Log values at a step; as :meth:`rundial.Run.log`, whose further arguments are taken as well."""
        self._lazy.writable.log(values, step=step, **kwargs)

    @_on_main_process
    def log_images(self, values: Mapping[str, Sequence[Any]], step: int | None = None, **kwargs: Any) -> None:
        """Log lists of images by name: arrays, tensors, PIL images or paths. ``kwargs`` are those of an Image."""
        from rundial.media import Image

        try:
            media = {
                name: [Image(image, **kwargs) for image in (images if isinstance(images, (list, tuple)) else [images])]
                for name, images in values.items()
            }
        except (TypeError, ValueError) as error:
            warn(f"images of {', '.join(map(str, values))} were not logged: {error}")
            return
        self._lazy.writable.log(media, step=step)

    @_on_main_process
    def log_table(
        self,
        table_name: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[Any]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Log a table of ``columns`` and rows, or of a data frame. ``kwargs`` are those of a Table."""
        from rundial.media import Table

        try:
            table = Table(columns, data, dataframe=dataframe, **kwargs)
        except (TypeError, ValueError) as error:
            warn(f"table {table_name!r} was not logged: {error}")
            return
        self._lazy.writable.log({table_name: table}, step=step)

    @_on_main_process
    def finish(self) -> None:
        """End the run as completed; a run that was given is the user's to end."""
        if self._lazy.opened and self._lazy.given is None:
            self._lazy.run.finish()

    def state_dict(self) -> dict[str, str]:
        """What a saved state keeps: which run it belongs to."""
        return self._lazy.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the run that a saved state names."""
        self._lazy.restore(state)
