"""A training loop with Accelerate, and its log: `python examples/accelerate_loop.py`, then `rundial ui`."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import rundial.integrations  # noqa: F401 - makes "rundial" known to Accelerate

CONFIG = {"hidden": 32, "lr": 0.01, "batch_size": 64, "epochs": 8}


def waves(count: int) -> TensorDataset:
    """Points of a sine with a little noise."""
    x = torch.rand(count, 1) * 6
    return TensorDataset(x, torch.sin(x) + torch.randn(count, 1) * 0.05)


def grid(predicted: Tensor) -> Tensor:
    """The curve (n, 1) as a picture (n / 2, n), white on black."""
    n = len(predicted)
    rows = ((1 - predicted.flatten().clamp(-1, 1)) / 2 * (n // 2 - 1)).round().long()
    picture = torch.zeros(n // 2, n)
    picture[rows, torch.arange(n)] = 1
    return picture


def main() -> None:
    set_seed(7)
    accelerator = Accelerator(cpu=True, log_with="rundial")
    accelerator.init_trackers("waves", config=CONFIG, init_kwargs={"rundial": {"tags": ["accelerate"]}})
    hidden = int(CONFIG["hidden"])
    model, optimizer, data = accelerator.prepare(
        network := nn.Sequential(
            nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1)
        ),
        torch.optim.Adam(network.parameters(), lr=CONFIG["lr"]),
        DataLoader(waves(4000), batch_size=int(CONFIG["batch_size"]), shuffle=True),
    )
    points = torch.linspace(0, 6, 100)[:, None].to(accelerator.device)
    tracker = accelerator.get_tracker("rundial")
    step = 0
    for epoch in range(int(CONFIG["epochs"])):
        for x, y in data:
            loss = nn.functional.mse_loss(model(x), y)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            accelerator.log({"train/loss": loss.item(), "epoch": epoch}, step=step)
            step += 1
        with torch.no_grad():
            curve = model(points)
        error = (curve - torch.sin(points)).abs().max().item()
        accelerator.log({"val/largest_error": error}, step=step - 1)
        if accelerator.is_main_process:
            tracker.log_images({"curve": [grid(curve)]}, step=step - 1, caption=f"epoch {epoch}")
    accelerator.end_training()
    accelerator.print(f"largest error: {error:.3f}")


if __name__ == "__main__":
    main()
