"""``wandb.sdk.artifacts.artifact``."""

from __future__ import annotations

from rundial.compat.wandb._artifact_class import Artifact, ArtifactFinalizedError, ArtifactNotLoggedError

__all__ = ["Artifact", "ArtifactFinalizedError", "ArtifactNotLoggedError"]
