"""A callback for Stable Baselines3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from rundial.compat import wandb
from rundial.compat.wandb.errors.term import termwarn


class WandbCallback(BaseCallback):  # type: ignore[misc]
    """Keeps the algorithm's settings as configuration, and its model as a file; metrics come by ``sync_tensorboard``.

    Args:
        verbose: of Stable Baselines3.
        model_save_path: a folder for the model; left out, it is not saved.
        model_save_freq: steps from one saving to the next; 0: at the end only.
        gradient_save_freq: as ``log_freq`` of ``wandb.watch``; 0: never.
        log: as ``log`` of ``wandb.watch``.

    Raises:
        Error: there is no run.
    """

    def __init__(
        self,
        verbose: int = 0,
        model_save_path: str | None = None,
        model_save_freq: int = 0,
        gradient_save_freq: int = 0,
        log: str | None = "all",
    ) -> None:
        super().__init__(verbose)
        if wandb.run is None:
            raise wandb.Error("You must call wandb.init() before WandbCallback()")
        self.model_save_freq = model_save_freq
        self.gradient_save_freq = gradient_save_freq
        self.log = log if log in (None, "all", "gradients", "parameters") else "all"
        self.path = Path(model_save_path) / "model.zip" if model_save_path is not None else None
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        elif model_save_freq:
            termwarn("model_save_freq has no effect without model_save_path", repeat=False)

    def _init_callback(self) -> None:
        settings: dict[str, Any] = {"algo": type(self.model).__name__}
        for name, value in vars(self.model).items():
            if name not in wandb.config:
                settings[name] = value if isinstance(value, (int, float, str)) else str(value)
        wandb.config.setdefaults(settings)
        if self.gradient_save_freq > 0:
            wandb.watch(self.model.policy, log_freq=self.gradient_save_freq, log=self.log)

    def _on_step(self) -> bool:
        if self.model_save_freq > 0 and self.path is not None and self.n_calls % self.model_save_freq == 0:
            self._save()
        return True

    def _on_training_end(self) -> None:
        if self.path is not None:
            self._save()

    def _save(self) -> None:
        assert self.path is not None
        self.model.save(self.path)
        wandb.save(str(self.path), base_path=str(self.path.parent))
