"""A learner of fastai: `python examples/more/fastai_fit.py`."""

from __future__ import annotations

import torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner

from rundial.integrations.fastai import RundialFastaiCallback


def main() -> None:
    torch.manual_seed(7)
    rows = [(x, x.sum(0, keepdim=True)) for x in torch.randn(256, 4)]
    loaders = DataLoaders(DataLoader(rows[:192], bs=16), DataLoader(rows[192:], bs=16))
    callback = RundialFastaiCallback(project="fastai")
    learn = Learner(loaders, torch.nn.Linear(4, 1), torch.nn.MSELoss(), lr=0.1, cbs=callback)
    learn.fit(5)
    print(f"loss {learn.recorder.values[-1][1]:.4f}")


if __name__ == "__main__":
    main()
