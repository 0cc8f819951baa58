"""Checkpoints with wandb.save, and going on from one."""

import os

import torch
import wandb

torch.manual_seed(0)
model = torch.nn.Linear(2, 1)
with wandb.init(project="save") as run:
    torch.save(model.state_dict(), os.path.join(wandb.run.dir, "model.pt"))
    wandb.save(os.path.join(wandb.run.dir, "model.pt"))
    os.makedirs("logs", exist_ok=True)
    with open("logs/notes.txt", "w") as file:
        file.write("note")
    saved = wandb.save("logs/*.txt", base_path=".")
    print(len(saved), wandb.save("nothing/*.bin"), os.path.basename(run.dir))
    state = torch.load(os.path.join(run.dir, "model.pt"))
    print(sorted(state))
