"""An observer for Sacred."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from sacred.observers import RunObserver

from rundial.compat import wandb


class WandbObserver(RunObserver):  # type: ignore[misc]
    """Logs an experiment's configuration, metrics, results and files.

    Args:
        settings: arguments of ``wandb.init``.
    """

    def __init__(self, **settings: Any) -> None:
        self.run = wandb.init(**settings)

    def started_event(
        self, ex_info: Any, command: Any, host_info: Any, start_time: Any, config: Any, meta_info: Any, _id: Any
    ) -> Any:
        """Keep the configuration; gives Sacred the run's id."""
        self.run.config.update(dict(config), allow_val_change=True)
        return self.run.id

    def log_metrics(self, metrics_by_name: Any, info: Any) -> None:
        """Log the values of each metric at their steps."""
        for name, known in metrics_by_name.items():
            for step, value in zip(known["steps"], known["values"]):
                self.run.log({name: wandb.Image(value) if _is_picture(value) else value}, step=step)

    def completed_event(self, stop_time: Any, result: Any) -> None:
        """Keep what the experiment returned: numbers and texts, pictures, and the rest as an artifact."""
        if result is not None:
            for number, value in enumerate(result if isinstance(result, tuple) else (result,)):
                self._keep(f"result_{number}", value)
        self.run.finish()

    def interrupted_event(self, interrupt_time: Any, status: Any) -> None:
        """The run has failed."""
        self.run.finish(exit_code=255)

    def failed_event(self, fail_time: Any, fail_trace: Any) -> None:
        """The run has failed."""
        self.run.finish(exit_code=1)

    def _keep(self, name: str, value: Any) -> None:
        if isinstance(value, (int, float, str)):
            self.run.log({name: value})
        elif isinstance(value, dict):
            self.run.log(value)
        elif _is_picture(value):
            self.run.log({name: wandb.Image(value)})
        else:
            artifact = wandb.Artifact(f"{name}.pkl", type="result")
            with artifact.new_file(f"{name}.pkl", mode="wb") as file:
                pickle.dump(value, file)
            self.run.log_artifact(artifact)

    def artifact_event(self, name: str, filename: str, metadata: Any = None, content_type: Any = None) -> None:
        """Keep a file."""
        artifact = wandb.Artifact(name, type=content_type or "file", metadata=metadata)
        artifact.add_file(filename)
        self.run.log_artifact(artifact)

    def resource_event(self, filename: str) -> None:
        """Keep a file that was read."""
        artifact = wandb.Artifact(Path(filename).name, type="resource")
        artifact.add_file(filename)
        self.run.log_artifact(artifact)


def _is_picture(value: Any) -> bool:
    return getattr(value, "ndim", 0) in (2, 3) and hasattr(value, "dtype")
