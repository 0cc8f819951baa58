"""A PyTorch loop that watches its gradients."""

import torch
import wandb

torch.manual_seed(0)
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
x = torch.randn(64, 4)
y = x.sum(1, keepdim=True)
with wandb.init(project="torch", config={"lr": 0.01, "epochs": 6}) as run:
    wandb.watch(model, log="all", log_freq=2)
    for epoch in range(run.config.epochs):
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        wandb.log({"epoch": epoch, "loss": loss, "lr": optimizer.param_groups[0]["lr"]})
    print(round(float(run.summary["loss"]), 4))
