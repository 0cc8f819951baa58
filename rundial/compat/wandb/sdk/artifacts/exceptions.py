"""``wandb.sdk.artifacts.exceptions``."""

from __future__ import annotations

from rundial.compat.wandb._artifact_class import ArtifactFinalizedError, ArtifactNotLoggedError

__all__ = ["ArtifactFinalizedError", "ArtifactNotLoggedError"]
