"""Train a small network with Lightning and log it: `python examples/lightning_fit.py`, then `rundial ui`."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from rundial.integrations import RundialLogger


class Spiral(pl.LightningModule):
    """Tells which of two spirals a point of the plane lies on."""

    def __init__(self, hidden: int = 32, lr: float = 0.02) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.layers = nn.Sequential(
            nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1)
        )

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """One batch of points (n, 2) and sides (n, 1)."""
        loss, accuracy = self._judge(batch)
        self.log_dict({"train/loss": loss, "train/accuracy": accuracy})
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """The same of points held back."""
        loss, accuracy = self._judge(batch)
        self.log_dict({"val/loss": loss, "val/accuracy": accuracy})

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        """Adam with a learning rate that falls along a cosine."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)]

    def _judge(self, batch: list[Tensor]) -> tuple[Tensor, Tensor]:
        points, sides = batch
        answers = self.layers(points)
        loss = nn.functional.binary_cross_entropy_with_logits(answers, sides)
        return loss, ((answers > 0) == (sides > 0.5)).float().mean()


def spirals(count: int, seed: int) -> TensorDataset:
    """Points on two spirals, with a little noise, and which of the two each lies on."""
    generator = torch.Generator().manual_seed(seed)
    sides = torch.randint(0, 2, (count, 1), generator=generator).float()
    turns = torch.rand(count, 1, generator=generator) * 6
    angles = turns + torch.pi * sides
    points = torch.cat([turns * angles.cos(), turns * angles.sin()], dim=1) / 6
    return TensorDataset(points + torch.randn(count, 2, generator=generator) * 0.02, sides)


def main() -> None:
    pl.seed_everything(7, verbose=False)
    logger = RundialLogger(project="spirals", tags=["lightning"], log_model=True)
    model = Spiral()
    logger.watch(model, "all", log_freq=50)
    trainer = pl.Trainer(
        logger=logger,
        accelerator="cpu",
        max_epochs=12,
        log_every_n_steps=5,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=".lightning",
        callbacks=[LearningRateMonitor("epoch"), ModelCheckpoint(monitor="val/loss", save_last=True)],
    )
    trainer.fit(model, DataLoader(spirals(2000, 1), 64, shuffle=True), DataLoader(spirals(500, 2), 500))
    print(f"accuracy on points held back: {trainer.callback_metrics['val/accuracy']:.1%}")


if __name__ == "__main__":
    main()
