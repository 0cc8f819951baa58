"""A training written for Runicorn, whole: only the import of the logger is another.

python examples/runicorn_lifecycle.py     # needs torch; then: rundial ui

Steps count themselves, each epoch is a stage, and the latest evaluation is carried along on every step, so that both
curves stand on one axis.
"""

from __future__ import annotations

import math

import torch
from PIL import Image, ImageDraw
from torch import nn

import rundial.compat.runicorn as rn

EPOCHS, BATCHES, BATCH_SIZE, INPUTS, CLASSES = 3, 5, 32, 128, 10


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Made-up inputs and classes."""
    return [(torch.randn(BATCH_SIZE, INPUTS), torch.randint(0, CLASSES, (BATCH_SIZE,))) for _ in range(count)]


def preview(epoch: int, train_acc: float, val_acc: float) -> Image.Image:
    """A picture of how far the training is."""
    image = Image.new("RGB", (320, 160), "white")
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((10, 10, 310, 150), radius=12, outline="navy", width=3)
    rows = (f"Epoch {epoch}", "black"), (f"train_acc={train_acc:.3f}", "green"), (f"val_acc={val_acc:.3f}", "purple")
    for number, (text, color) in enumerate(rows):
        draw.text((24, 28 + 37 * number), text, fill=color)
    return image


def main() -> None:
    """Train, and log the training."""
    torch.manual_seed(7)
    run = rn.init(path="cv/resnet50/baseline", alias="seed-42", capture_console=True)
    model = nn.Sequential(nn.Linear(INPUTS, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    run.set_primary_metric("val_acc", mode="max")
    run.log_config(extra={"optimizer": "adam", "lr": 1e-3, "epochs": EPOCHS})

    step, val_acc, train_acc = 0, 0.0, 0.0
    for epoch in range(1, EPOCHS + 1):
        accuracies = []
        for inputs, targets in batches(BATCHES):
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()

            step += 1
            train_loss = 1.6 * math.exp(-0.18 * step) + 0.04 * torch.rand(1).item()
            accuracies.append(min(0.95, 0.35 + 0.08 * math.log1p(step) + 0.02 * torch.rand(1).item()))
            print(f"train_loss: {train_loss:.4f}")
            run.log({"train_loss": train_loss, "train_acc": accuracies[-1], "val_acc": val_acc}, stage=f"epoch_{epoch}")
        train_acc = sum(accuracies) / len(accuracies)
        val_acc = 0.70 + 0.05 * epoch
        run.log_image("epoch_preview", preview(epoch, train_acc, val_acc), caption=f"After epoch {epoch}")

    run.summary(
        {
            "epochs": EPOCHS,
            "final_train_acc": train_acc,
            "final_val_acc": val_acc,
            "final_note": "baseline complete",
        }
    )
    run.finish()


if __name__ == "__main__":
    main()
