"""skorch: a callback for ``NeuralNet`` and what is made from it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from skorch.callbacks import Callback
from skorch.callbacks.logging import filter_log_keys

from rundial.integrations._adapter import LazyRun, prefixed
from rundial.integrations._guarded import guarded
from rundial.runs import Run


class RundialSkorchCallback(Callback):  # type: ignore[misc]  # skorch is not there when types are checked
    """Logs the row of each epoch in the net's history, with the learning rate; the step is the epoch's number.

    The run is made when a fit begins, and ends with the process. Nothing raises into the training. A further fit with
    the same callback goes on with the curves; each clone that a search fits makes a run of its own from the settings.

    Args:
        run: your own run; it is logged to and never ended here. Without it and without settings the run that
            ``rundial.init`` made last is used, else one is made.
        metric_prefix: put before every name, with ``/``.
        log_model: store the module's parameters as an artifact when a fit ends.
        settings: arguments of :func:`rundial.init`, such as ``project``, ``name``, ``tags`` and ``endpoint``.

    Raises:
        ConfigError: an unknown option, or both a run and settings.
    """

    def __init__(
        self, run: Run | None = None, *, metric_prefix: str = "", log_model: bool = False, **settings: Any
    ) -> None:
        self._arguments = {"run": run, "metric_prefix": metric_prefix, "log_model": log_model, **settings}
        self._lazy = LazyRun(run, settings)
        self._prefix = metric_prefix
        self._log_model = log_model
        self._offset = 0
        self._done = 0
        self._row: dict[str, Any] = {}
        """The history's row of the last epoch that ended."""
        self._logged: set[str] = set()
        """What of it has been logged."""

    @property
    def run(self) -> Run:
        """The run itself, which is made now if it has not been. It may have ended."""
        return self._lazy.run

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments it was made with, as scikit-learn asks for them when it clones."""
        return dict(self._arguments)

    def set_params(self, **params: Any) -> RundialSkorchCallback:
        """Make it anew with other arguments. Raises as the constructor does."""
        if params:
            self.__init__(**{**self._arguments, **params})  # type: ignore[misc]
        return self

    @guarded
    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Make the run, with the net's parameters under ``skorch``."""
        if not net.history:
            self._offset = self._done
        self._lazy.configure({"skorch": _configuration(net)})
        self._lazy.writable  # noqa: B018 - makes it

    @guarded
    def on_epoch_begin(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Log what callbacks behind this one have added to the last epoch."""
        self._log()
        self._row = {}

    @guarded
    def on_epoch_end(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Log an epoch."""
        self._row, self._logged = net.history[-1], set()
        self._done = self._offset + self._row["epoch"]
        self._log(learning_rate=net.optimizer_.param_groups[0]["lr"])

    @guarded
    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Mark the end of the fit, which is not the end of the run; store the model if asked for."""
        self._log()
        run = self._lazy.writable
        run.event("fit ended", step=self._done, kind="phase")
        if self._log_model:
            with tempfile.TemporaryDirectory(prefix="rundial-") as folder:
                path = Path(folder) / "params.pt"
                net.save_params(f_params=str(path))
                run.log_artifact(path, f"model-{run.id}", "model", step=self._done)

    def _log(self, **more: Any) -> None:
        """Log what is new in the last epoch's row."""
        found = {key: self._row[key] for key in filter_log_keys(self._row, keys_ignored={"batches", *self._logged})}
        if found:
            self._logged |= set(found)
            self._lazy.writable.log(prefixed({**found, **more}, self._prefix, "/"), step=self._done)


def _configuration(net: Any) -> dict[str, Any]:
    """The net's own parameters that are plain, or classes by their names, and the size of the module."""
    found: dict[str, Any] = {"class": type(net).__name__}
    for name, value in net.get_params(deep=False).items():
        if isinstance(value, (bool, int, float, str)):
            found[name] = value
        elif isinstance(value, type):
            found[name] = value.__name__
        elif name == "module":
            found[name] = type(value).__name__
    found["num_parameters"] = sum(int(parameter.numel()) for parameter in net.module_.parameters())
    return found
