"""Media, by the places of their classes."""

from __future__ import annotations

from rundial.compat.wandb import _submodules
from rundial.compat.wandb.data_types import Audio, Histogram, Html, Image, Molecule, Object3D, Plotly, Table, Video

__all__ = ["Audio", "Histogram", "Html", "Image", "Molecule", "Object3D", "Plotly", "Table", "Video"]

__getattr__ = _submodules.of(__name__)
