"""A logger for Lightning Fabric."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from lightning.fabric.loggers.logger import Logger, rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only

from rundial.compat import wandb


class WandbLogger(Logger):
    """Logs what Fabric logs.

    Args:
        name, project, tags and others: of ``wandb.init``.
        save_dir, dir: where the run's folder is made.
        version, id: of the run, which is continued if it exists.
        offline: only keep it on disk.
        prefix: put before every name, with ``-``.
        experiment: a run that is there.
        log_model, checkpoint_name, log_checkpoint_on, anonymous: taken; Fabric has no checkpoints of its own.
    """

    LOGGER_JOIN_CHAR = "-"

    def __init__(
        self,
        name: str | None = None,
        save_dir: Any = ".",
        version: str | None = None,
        offline: bool = False,
        dir: Any = None,
        id: str | None = None,
        anonymous: bool | None = None,
        project: str | None = None,
        log_model: Any = False,
        experiment: wandb.Run | None = None,
        prefix: str = "",
        checkpoint_name: str | None = None,
        log_checkpoint_on: str = "success",
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self._init = {
            "name": name,
            "project": project or os.environ.get("WANDB_PROJECT", "lightning_fabric_logs"),
            "dir": os.fspath(save_dir or dir or "."),
            "id": version or id,
            "resume": "allow",
            **({"mode": "offline"} if offline else {}),
            **kwargs,
        }
        self._prefix = prefix
        self._experiment = experiment

    @property
    @rank_zero_experiment
    def experiment(self) -> wandb.Run:
        """The run, which is begun when it is first asked for."""
        if self._experiment is None:
            if wandb.run is None:
                self._experiment = wandb.init(**self._init)
                self._experiment.define_metric("trainer/global_step")
                self._experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
            else:
                self._experiment = wandb.run
        return self._experiment

    @property
    def name(self) -> str | None:
        """The project."""
        return str(self._init["project"])

    @property
    def version(self) -> str | None:
        """The run's id; None before it is begun, unless it was given."""
        return self._experiment.id if self._experiment is not None else self._init["id"]

    @property
    def save_dir(self) -> str | None:
        """Where the run's folder is made."""
        return str(self._init["dir"])

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Merge parameters into the configuration."""
        self.experiment.config.update(params, allow_val_change=True)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values, with ``trainer/global_step`` beside them when a step is given."""
        row = {f"{self._prefix}{self.LOGGER_JOIN_CHAR}{k}" if self._prefix else k: v for k, v in metrics.items()}
        self.experiment.log(row if step is None else {**row, "trainer/global_step": step})

    def watch(self, model: Any, log: str = "gradients", log_freq: int = 100, log_graph: bool = True) -> None:
        """Log histograms of a model's gradients or parameters."""
        self.experiment.watch(model, log=log, log_freq=log_freq, log_graph=log_graph)

    @rank_zero_only
    def log_table(
        self, key: str, columns: Any = None, data: Any = None, dataframe: Any = None, step: int | None = None
    ) -> None:
        """Log a table."""
        self.log_metrics({key: wandb.Table(columns=columns, data=data, dataframe=dataframe)}, step)

    log_text = log_table

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Log pictures; ``caption=[...]`` and other lists have one entry for each."""
        self._log_media(wandb.Image, key, images, step, kwargs)

    def log_audio(self, key: str, audios: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Log sounds; ``sample_rate=[...]`` and other lists have one entry for each."""
        self._log_media(wandb.Audio, key, audios, step, kwargs)

    def log_video(self, key: str, videos: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Log videos; ``fps=[...]`` and other lists have one entry for each."""
        self._log_media(wandb.Video, key, videos, step, kwargs)

    @rank_zero_only
    def _log_media(self, kind: Any, key: str, items: list[Any], step: int | None, kwargs: dict[str, Any]) -> None:
        if not isinstance(items, list):
            raise TypeError(f'Expected a list as "{key}", found {type(items)}')
        if any(len(values) != len(items) for values in kwargs.values()):
            raise ValueError(f"Expected {len(items)} entries in each of {', '.join(kwargs)}")
        made = [kind(item, **{k: values[at] for k, values in kwargs.items()}) for at, item in enumerate(items)]
        self.log_metrics({key: made}, step)

    def use_artifact(self, artifact: str, artifact_type: str | None = None) -> Any:
        """An artifact that this run uses."""
        return self.experiment.use_artifact(artifact, type=artifact_type)

    @staticmethod
    def download_artifact(
        artifact: str, save_dir: Any = None, artifact_type: str | None = None, use_artifact: bool = True
    ) -> str:
        """Bring an artifact here; gives its folder."""
        found = (
            wandb.run.use_artifact(artifact)
            if wandb.run is not None and use_artifact
            else wandb.Api().artifact(artifact, type=artifact_type)
        )
        return str(found.download(root=None if save_dir is None else os.fspath(save_dir)))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """The run goes on: what ends is a loop."""
