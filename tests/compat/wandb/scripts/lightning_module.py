"""A LightningModule with WandbLogger."""

import warnings

warnings.simplefilter("ignore")
import lightning.pytorch as pl
import torch
import wandb
from lightning.pytorch.loggers import WandbLogger


class Regression(pl.LightningModule):
    def __init__(self, lr: float = 0.1):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, _):
        loss = (self.layer(batch) ** 2).mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


pl.seed_everything(0, verbose=False)
logger = WandbLogger(project="lightning", name="tiny", save_dir=".")
trainer = pl.Trainer(
    max_epochs=2,
    logger=logger,
    log_every_n_steps=1,
    accelerator="cpu",
    enable_progress_bar=False,
    enable_model_summary=False,
    enable_checkpointing=False,
)
trainer.fit(Regression(), torch.utils.data.DataLoader(torch.randn(8, 3), batch_size=2))
print(
    sorted(key for key in logger.experiment.summary.keys() if not key.startswith("_")), logger.experiment.config["lr"]
)
wandb.finish()
