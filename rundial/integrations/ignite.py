"""PyTorch Ignite: a logger whose handlers log engines' outputs and metrics, and optimizers' parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ignite.handlers.base_logger import BaseLogger, BaseOptimizerParamsHandler, BaseOutputHandler

from rundial.integrations._adapter import LazyRun, prefixed
from rundial.integrations._guarded import guarded
from rundial.runs import Run


class RundialIgniteLogger(BaseLogger):  # type: ignore[misc]  # Ignite is not there when types are checked
    """Logs what engines compute: attach it with ``attach_output_handler`` and ``attach_opt_params_handler``.

    The run is made when something is logged, and ends with the process; closing the logger does not end it. Nothing
    raises into the training. In ``to_save`` of a ``Checkpoint`` the logger keeps which run it is, and a training that
    loads the checkpoint goes on with that run.

    Args:
        run: your own run; it is logged to and never ended here. Without it and without settings the run that
            ``rundial.init`` made last is used, else one is made.
        metric_prefix: put before every name, with ``/``.
        settings: arguments of :func:`rundial.init`, such as ``project``, ``name``, ``config`` and ``endpoint``.

    Raises:
        ConfigError: an unknown option, or both a run and settings.
    """

    def __init__(self, run: Run | None = None, *, metric_prefix: str = "", **settings: Any) -> None:
        self._lazy = LazyRun(run, settings)
        self._prefix = metric_prefix

    @property
    def run(self) -> Run:
        """The run itself, which is made now if it has not been. It may have ended."""
        return self._lazy.run

    @guarded
    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values of your own: numbers, texts, tensors of one element, media.

        Args:
            step: left out, the one after the last.
        """
        if metrics:
            self._lazy.writable.log(prefixed(metrics, self._prefix, "/"), step=step)

    def state_dict(self) -> dict[str, str]:
        """Which run it is, for a checkpoint."""
        return self._lazy.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the run of a checkpoint, unless a run or an id was given."""
        self._lazy.restore(state)

    def _create_output_handler(self, *args: Any, **kwargs: Any) -> OutputHandler:
        return OutputHandler(*args, **kwargs)

    def _create_opt_params_handler(self, *args: Any, **kwargs: Any) -> OptimizerParamsHandler:
        return OptimizerParamsHandler(*args, **kwargs)


class OutputHandler(BaseOutputHandler):  # type: ignore[misc]  # as above
    """Logs an engine's metrics, output and attributes of its state, as ``<tag>/<name>``.

    Takes what ``ignite.handlers.base_logger.BaseOutputHandler`` does: ``tag``, ``metric_names``, ``output_transform``,
    ``global_step_transform``, ``state_attributes``.
    """

    @guarded
    def __call__(self, engine: Any, logger: RundialIgniteLogger, event_name: Any) -> None:
        """Log what the engine has now."""
        values = self._setup_output_metrics_state_attrs(engine, log_text=True, key_tuple=False)
        logger.log(values, step=self.global_step_transform(engine, event_name))


class OptimizerParamsHandler(BaseOptimizerParamsHandler):  # type: ignore[misc]  # as above
    """Logs a parameter of an optimizer's groups, as ``<tag>/lr/group_0``.

    Takes what ``ignite.handlers.base_logger.BaseOptimizerParamsHandler`` does: ``optimizer``, ``param_name``, ``tag``.
    """

    @guarded
    def __call__(self, engine: Any, logger: RundialIgniteLogger, event_name: Any) -> None:
        """Log the parameter as it is now."""
        groups = {f"group_{i}": float(group[self.param_name]) for i, group in enumerate(self.optimizer.param_groups)}
        values = prefixed(groups, f"{self.tag}/{self.param_name}" if self.tag else self.param_name, "/")
        logger.log(values, step=engine.state.get_event_attrib_value(event_name))
