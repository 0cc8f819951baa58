"""Callbacks for the models of Ultralytics."""

from __future__ import annotations

from typing import Any

from rundial.compat import wandb
from rundial.integrations.ultralytics import RundialUltralyticsCallback


def add_wandb_callback(
    model: Any,
    epoch_logging_interval: int = 1,
    enable_model_checkpointing: bool = False,
    enable_train_validation_logging: bool = True,
    enable_validation_logging: bool = True,
    enable_prediction_logging: bool = True,
    max_validation_batches: int | None = 1,
    visualize_skeleton: bool | None = True,
) -> Any:
    """Log the trainings of a model; gives the model.

    Args:
        model: of Ultralytics.
        enable_model_checkpointing: store the best weights.
        enable_train_validation_logging: log the pictures that Ultralytics draws.
        epoch_logging_interval, enable_validation_logging, enable_prediction_logging, max_validation_batches,
            visualize_skeleton: of W&B's tables of predictions, which are not made here.
    """
    run = wandb.init(project="ultralytics") if wandb.run is None else wandb.run
    RundialUltralyticsCallback(
        run.sink, log_model=enable_model_checkpointing, log_plots=enable_train_validation_logging
    ).attach(model)
    return model
