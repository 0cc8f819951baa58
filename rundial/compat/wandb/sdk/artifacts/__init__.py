"""``wandb.sdk.artifacts``."""
