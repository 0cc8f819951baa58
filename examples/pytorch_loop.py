"""A training loop in plain PyTorch, with histograms of gradients and parameters: `python examples/pytorch_loop.py`."""

from __future__ import annotations

import torch
from torch import nn

import rundial as rd
from rundial.integrations import watch

CONFIG = {"hidden": 64, "lr": 0.01, "steps": 600, "batch_size": 128, "seed": 7}


def wave(points: torch.Tensor) -> torch.Tensor:
    """The curve to be learned, over points from -1 to 1."""
    return torch.sin(6 * points) * torch.exp(-points * points)


def main() -> None:
    torch.manual_seed(int(CONFIG["seed"]))
    hidden, steps = int(CONFIG["hidden"]), int(CONFIG["steps"])
    model = nn.Sequential(nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=CONFIG["lr"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with rd.init(project="wave", config=CONFIG, tags=["pytorch"]) as run, watch(run, model, "all", log_freq=100):
        for step in range(steps):
            points = torch.rand(int(CONFIG["batch_size"]), 1) * 2 - 1
            loss = nn.functional.mse_loss(model(points), wave(points))
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            # tensors may be handed over as they are: one on a GPU is read later, in the background
            run.log({"loss": loss, "grad_norm": norm, "lr": schedule.get_last_lr()[0]}, step=step)
        run.summary["final_loss"] = loss.item()
    print(f"mean squared error at the end: {loss.item():.5f}")


if __name__ == "__main__":
    main()
