"""What TensorBoard is told, W&B is told."""

import wandb

run = wandb.init(project="tensorboard", sync_tensorboard=True)
from torch.utils.tensorboard import SummaryWriter

writer = SummaryWriter("tb")
for step in range(5):
    writer.add_scalar("charts/reward", step * 2.0, step)
writer.close()
wandb.finish()
print("done")
