"""``wandb.sdk.artifacts.exceptions``."""

from __future__ import annotations

from rundial.compat.wandb._artifact_class import ArtifactNotLoggedError
from rundial.compat.wandb._artifact_draft import ArtifactFinalizedError

__all__ = ["ArtifactFinalizedError", "ArtifactNotLoggedError"]
