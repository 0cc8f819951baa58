"""Stable-Baselines3: a callback for ``learn``, and the output format it adds to the model's logger."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Figure, HParam, Image, KVWriter, Video

from rundial.integrations._adapter import LazyRun, last_step, prefixed
from rundial.integrations._guarded import guarded
from rundial.integrations.summary_writer import SummaryMethods
from rundial.runs import Run

_LEFT_OUT = frozenset({"tensorboard", "rundial"})
"""Whoever keeps a value out of the curves of TensorBoard does not want it in ours."""


class RundialWriter(KVWriter, SummaryMethods):  # type: ignore[misc]  # Stable-Baselines3 is not there when types are checked
    """An output format of a ``Logger``: all that the algorithm records goes to a run, at its time steps.

    Numbers and texts, and the classes ``Image``, ``Figure``, ``Video`` and ``HParam`` of
    ``stable_baselines3.common.logger``; arrays become histograms. What is excluded from ``tensorboard`` or
    ``rundial`` is left out.

    Args:
        run: your own run; it is logged to and never ended here. Without it and without settings the run that
            ``rundial.init`` made last is used, else one is made.
        metric_prefix: put before every name, with ``/``.
        settings: arguments of :func:`rundial.init`, such as ``project``, ``name``, ``tags`` and ``endpoint``.

    Raises:
        ConfigError: an unknown option, or both a run and settings.
    """

    def __init__(self, run: Run | None = None, *, metric_prefix: str = "", **settings: Any) -> None:
        self._lazy = LazyRun(run, settings)
        self._prefix = metric_prefix
        self.offset = 0
        """Time steps of earlier calls of ``learn``, where the model counts from zero again."""

    @property
    def run(self) -> Run:
        """The run itself, which is made now if it has not been. It may have ended."""
        return self._lazy.run

    def _summary_run(self) -> Run:
        return self._lazy.writable

    @guarded
    def write(self, key_values: Mapping[str, Any], key_excluded: Mapping[str, Any], step: int = 0) -> None:
        """Log what the logger dumps."""
        step += self.offset
        plain: dict[str, Any] = {}
        for name, value in key_values.items():
            if _LEFT_OUT.isdisjoint(key_excluded.get(name) or ()):
                key = f"{self._prefix}/{name}" if self._prefix else name
                if not self._write_media(key, value, step):
                    plain[key] = value
        if plain:
            self._lazy.writable.log(plain, step=step)

    def _write_media(self, key: str, value: Any, step: int) -> bool:
        match value:
            case Image():
                self.add_image(key, value.image, step, dataformats=value.dataformats)
            case Figure():
                self.add_figure(key, value.figure, step, close=value.close)
            case Video():
                self.add_video(key, value.frames, step, fps=int(value.fps))
            case HParam():
                self.add_hparams(value.hparam_dict, value.metric_dict)
            case _ if getattr(value, "ndim", 0) > 0:
                self.add_histogram(key, value, step)
            case _:
                return False
        return True

    def close(self) -> None:
        """Nothing: the run ends with its process, or when its owner ends it."""


class RundialSB3Callback(BaseCallback):  # type: ignore[misc]  # as above
    """Logs all that an algorithm records, at its time steps: ``model.learn(..., callback=RundialSB3Callback(...))``.

    The run is made when learning begins, and ends with the process. Nothing raises into the training. A further
    ``learn`` goes on with the curves. ``model.save`` keeps which run it is, and a loaded model that goes on with
    ``reset_num_timesteps=False`` goes on with that run.

    Args:
        run: your own run; it is logged to and never ended here. Without it and without settings the run that
            ``rundial.init`` made last is used, else one is made.
        metric_prefix: put before every name, with ``/``.
        log_model: store the model as an artifact when ``learn`` ends.
        settings: arguments of :func:`rundial.init`, such as ``project``, ``name``, ``tags`` and ``endpoint``.

    Raises:
        ConfigError: an unknown option, or both a run and settings.
    """

    def __init__(
        self, run: Run | None = None, *, metric_prefix: str = "", log_model: bool = False, **settings: Any
    ) -> None:
        super().__init__()
        self._writer = RundialWriter(run, metric_prefix=metric_prefix, **settings)
        self._lazy = self._writer._lazy
        self._prefix = metric_prefix
        self._log_model = log_model
        self._done = 0

    @property
    def run(self) -> Run:
        """The run itself, which is made now if it has not been. It may have ended."""
        return self._lazy.run

    @guarded
    def log(self, metrics: Mapping[str, Any]) -> None:
        """Log values of your own at the time step of now."""
        step = self._writer.offset + self.num_timesteps
        self._lazy.writable.log(prefixed(metrics, self._prefix, "/"), step=step)

    @guarded
    def _on_training_start(self) -> None:
        if self.num_timesteps:
            self._lazy.restore(getattr(self.model, "rundial", None))
        else:
            self._writer.offset = self._done
        self._lazy.configure({"stable_baselines3": _configuration(self.model)})
        self._lazy.writable  # noqa: B018 - makes it
        self.model.rundial = self._lazy.state()  # all attributes of a model are saved with it
        # learn() may make a new logger each time.
        if self._writer not in self.logger.output_formats:
            self.logger.output_formats.append(self._writer)

    def _on_step(self) -> bool:
        """Never asks to stop."""
        return True

    @guarded
    def _on_training_end(self) -> None:
        run = self._lazy.writable
        self._done = self._writer.offset + self.num_timesteps
        run.event("learn ended", step=self._done, kind="phase")
        if self._log_model:
            with tempfile.TemporaryDirectory(prefix="rundial-") as folder:
                path = Path(folder) / "model.zip"
                self.model.save(path)
                run.log_artifact(path, f"model-{run.id}", "model", step=max(self._done, last_step(run)))


def _configuration(model: Any) -> dict[str, Any]:
    """The algorithm, its plain hyper-parameters, the policy's name and size, and the environment."""
    found: dict[str, Any] = {"algorithm": type(model).__name__, "policy": type(model.policy).__name__}
    found |= {
        name: value
        for name, value in vars(model).items()
        if not name.startswith("_") and isinstance(value, (bool, int, float, str)) and name != "num_timesteps"
    }
    if isinstance(model.policy_kwargs, Mapping):
        found["policy_kwargs"] = {name: value for name, value in model.policy_kwargs.items() if name != "use_sde"}
    found["num_parameters"] = sum(int(parameter.numel()) for parameter in model.policy.parameters())
    spec = model.env.get_attr("spec")[0] if model.env is not None else None
    if spec is not None:
        found["env"] = spec.id
    return found
