"""Callbacks for Keras, with any backend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from rundial.compat import wandb
from rundial.compat.wandb._table import Table


def _require_run(name: str) -> None:
    if wandb.run is None:
        raise wandb.Error(f"You must call wandb.init() before {name}()")


def _learning_rate(model: Any) -> float | None:
    optimizer = getattr(model, "optimizer", None)
    rate = getattr(optimizer, "learning_rate", None)
    return None if rate is None else float(rate)


class WandbMetricsLogger(keras.callbacks.Callback):  # type: ignore[misc]
    """Logs ``epoch/...``, and ``batch/...`` when ``log_freq`` says so.

    Args:
        log_freq: ``epoch``, ``batch``, or a number of batches.
        initial_global_step: the number of batches before this training.

    Raises:
        Error: there is no run.
    """

    def __init__(self, log_freq: str | int = "epoch", initial_global_step: int = 0, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        _require_run("WandbMetricsLogger")
        self.log_freq = 1 if log_freq == "batch" else log_freq
        self.global_step = initial_global_step
        assert wandb.run is not None
        if isinstance(self.log_freq, int):
            wandb.run.define_metric("batch/batch_step")
            wandb.run.define_metric("batch/*", step_metric="batch/batch_step")
        wandb.run.define_metric("epoch/epoch")
        wandb.run.define_metric("epoch/*", step_metric="epoch/epoch")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the metrics of an epoch."""
        values: dict[str, Any] = {f"epoch/{name}": value for name, value in (logs or {}).items()}
        values["epoch/epoch"] = epoch
        rate = _learning_rate(self.model)
        if rate is not None:
            values["epoch/learning_rate"] = rate
        wandb.log(values)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the metrics of a batch, if it is its turn."""
        self.global_step += 1
        if not isinstance(self.log_freq, int) or batch % self.log_freq:
            return
        values: dict[str, Any] = {f"batch/{name}": value for name, value in (logs or {}).items()}
        rate = _learning_rate(self.model)
        if rate is not None:
            values["batch/learning_rate"] = rate
        wandb.log({**values, "batch/batch_step": self.global_step - 1})


class WandbModelCheckpoint(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
    """Keras' own checkpoints, each kept as a version of the artifact ``run_<id>_model``.

    Args:
        filepath: where Keras writes them.
        kwargs: as for ``keras.callbacks.ModelCheckpoint``.

    Raises:
        Error: there is no run.
    """

    def __init__(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        _require_run("WandbModelCheckpoint")
        kwargs.pop("initial_value_threshold", None) if kwargs.get("initial_value_threshold") is None else None
        path = str(filepath)
        if not kwargs.get("save_weights_only") and not path.endswith((".keras", ".h5")):
            path += ".keras"  # the only forms that Keras 3 writes a whole model in
        super().__init__(path, *args, **kwargs)
        self._kept: set[tuple[str, float]] = set()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Keep what Keras may have saved."""
        super().on_train_batch_end(batch, logs)
        if isinstance(self.save_freq, int):
            self._keep(self._current_epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep what Keras may have saved."""
        super().on_epoch_end(epoch, logs)
        self._keep(epoch, logs)

    def _keep(self, epoch: int, logs: Any) -> None:
        try:
            path = Path(self.filepath.format(epoch=epoch + 1, **(logs or {})))
        except KeyError:
            return  # Keras has said what is missing
        if not path.exists() or (str(path), path.stat().st_mtime) in self._kept or wandb.run is None:
            return
        self._kept.add((str(path), path.stat().st_mtime))
        aliases = ["latest", f"epoch_{epoch}"]
        wandb.run.log_artifact(str(path), name=f"run_{wandb.run.id}_model", type="model", aliases=aliases)


class WandbEvalCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """A table of what the model says, epoch after epoch; a subclass says what is in it.

    Args:
        data_table_columns: of the table that :meth:`add_ground_truth` fills.
        pred_table_columns: of that which :meth:`add_model_predictions` fills.

    Raises:
        Error: there is no run.
    """

    def __init__(self, data_table_columns: list[str], pred_table_columns: list[str], *args: Any, **kwargs: Any) -> None:
        super().__init__()
        _require_run("WandbEvalCallback")
        self.data_table_columns = data_table_columns
        self.pred_table_columns = pred_table_columns

    def on_train_begin(self, logs: Any = None) -> None:
        """Fill and log the first table."""
        self.init_data_table(column_names=self.data_table_columns)
        self.add_ground_truth(logs)
        self.log_data_table()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Fill and log this epoch's table."""
        self.init_pred_table(column_names=self.pred_table_columns)
        self.add_model_predictions(epoch, logs)
        self.log_pred_table()

    def add_ground_truth(self, logs: Any = None) -> None:
        """Fill ``self.data_table``; a subclass does."""
        raise NotImplementedError(f"{type(self).__name__}.add_ground_truth")

    def add_model_predictions(self, epoch: int, logs: Any = None) -> None:
        """Fill ``self.pred_table``; a subclass does."""
        raise NotImplementedError(f"{type(self).__name__}.add_model_predictions")

    def init_data_table(self, column_names: list[str]) -> None:
        """Begin the first table."""
        self.data_table = Table(columns=column_names, allow_mixed_types=True)

    def init_pred_table(self, column_names: list[str]) -> None:
        """Begin an epoch's table."""
        self.pred_table = Table(columns=column_names)

    def log_data_table(self, name: str = "val", type: str = "dataset", table_name: str = "val_data") -> None:
        """Log the first table; its rows stay at hand as ``self.data_table_ref``."""
        self.data_table_ref = self.data_table
        wandb.log({table_name: self.data_table}, commit=False)

    def log_pred_table(
        self, type: str = "evaluation", table_name: str = "eval_data", aliases: list[str] | None = None
    ) -> None:
        """Log an epoch's table."""
        wandb.log({table_name: self.pred_table}, commit=False)


class WandbCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Logs each epoch's metrics, and keeps the best model as an artifact: the callback W&B had before 0.20.

    Args:
        monitor: the metric that decides.
        verbose: no effect.
        mode: ``min``, ``max`` or ``auto``.
        save_model: keep the best model.
        log_batch_frequency: also log every so many batches.
        others: of the original; predictions, gradients and evaluations are not logged.

    Raises:
        Error: there is no run.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        verbose: int = 0,
        mode: str = "auto",
        save_weights_only: bool = False,
        log_weights: bool = False,
        log_gradients: bool = False,
        save_model: bool = True,
        log_batch_frequency: int | None = None,
        **others: Any,
    ) -> None:
        super().__init__()
        _require_run("WandbCallback")
        self.monitor = monitor
        self.save_model = save_model
        self.log_weights = log_weights
        self.log_batch_frequency = log_batch_frequency
        higher = mode == "max" or (mode == "auto" and ("acc" in monitor or monitor.startswith("fmeasure")))
        self._sign = 1.0 if higher else -1.0
        self._best: float | None = None

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the metrics of a batch, if that is wanted."""
        if self.log_batch_frequency and batch % self.log_batch_frequency == 0:
            wandb.log(dict(logs or {}))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the metrics of an epoch; keep the model if it is the best."""
        values: dict[str, Any] = {"epoch": epoch, **(logs or {})}
        if self.log_weights:
            for layer in self.model.layers:
                for number, weight in enumerate(layer.get_weights()):
                    values[f"parameters/{layer.name}.{number}"] = wandb.Histogram(weight)
        wandb.log(values)
        score = (logs or {}).get(self.monitor)
        if score is None or wandb.run is None:
            return
        if self._best is None or self._sign * float(score) > self._sign * self._best:
            self._best = float(score)
            wandb.run.summary.update({f"best_{self.monitor}": self._best, "best_epoch": epoch})
            if self.save_model:
                path = Path(wandb.run.dir) / "model-best.keras"
                self.model.save(path)
                wandb.run.log_artifact(str(path), name=f"model-{wandb.run.name}", type="model")
