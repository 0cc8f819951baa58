"""``wandb.apis.public``: what :class:`Api` gives."""

from __future__ import annotations

from rundial.compat.wandb._api import Api, ArtifactCollection, ArtifactType, Project, Runs
from rundial.compat.wandb._api_file import File
from rundial.compat.wandb._api_run import ApiRun as Run
from rundial.compat.wandb._api_sweep import ApiSweep as Sweep
from rundial.compat.wandb._artifact_class import Artifact

__all__ = ["Api", "Artifact", "ArtifactCollection", "ArtifactType", "File", "Project", "Run", "Runs", "Sweep"]
