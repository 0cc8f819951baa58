"""``wandb.sdk.artifacts.artifact``."""

from __future__ import annotations

from rundial.compat.wandb._artifact_class import Artifact, ArtifactNotLoggedError
from rundial.compat.wandb._artifact_draft import ArtifactFinalizedError

__all__ = ["Artifact", "ArtifactFinalizedError", "ArtifactNotLoggedError"]
