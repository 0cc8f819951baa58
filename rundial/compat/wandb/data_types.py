"""Media under W&B's names and with its signatures, over :mod:`rundial.media`."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from rundial import media
from rundial.compat.wandb._table import JoinedTable, PartitionedTable, Table
from rundial.compat.wandb._value import WBValue
from rundial.compat.wandb.errors import UsageError
from rundial.media.base import Encoded, Media, Snapshot, stored_file

__all__ = [
    "Audio",
    "BoundingBoxes2D",
    "Classes",
    "Edge",
    "Graph",
    "Histogram",
    "Html",
    "Image",
    "ImageMask",
    "JoinedTable",
    "Media",
    "Molecule",
    "Node",
    "Object3D",
    "PartitionedTable",
    "Plotly",
    "Table",
    "Video",
    "WBValue",
    "box3d",
]
_GRID_COLUMNS = 8
_GRID_PADDING = 2


class Classes(WBValue):
    """Names of classes.

    Args:
        class_set: ``[{"id": 0, "name": "cat"}, ...]``.

    Raises:
        TypeError: an entry without ``id`` and ``name``.
    """

    def __init__(self, class_set: Iterable[Mapping[str, Any]]) -> None:
        self._class_set = [dict(item) for item in class_set]
        for item in self._class_set:
            if "id" not in item or "name" not in item:
                raise TypeError("All class entries must have 'id' and 'name'.")

    @property
    def names(self) -> dict[int, str]:
        """The names by their numbers."""
        return {item["id"]: item["name"] for item in self._class_set}


class BoundingBoxes2D(dict[str, Any], WBValue):
    """Rectangles on a picture: ``{"box_data": [...], "class_labels": {...}}``."""

    def __init__(self, val: Mapping[str, Any], key: str = "boxes") -> None:
        super().__init__(val)


class ImageMask(dict[str, Any], WBValue):
    """Class numbers of a picture's pixels: ``{"mask_data": array, "class_labels": {...}}`` or with a ``path``."""

    def __init__(self, val: Mapping[str, Any], key: str = "masks") -> None:
        super().__init__(val)


class Image(media.Image, WBValue):
    """A picture; see :class:`rundial.media.Image` for what it is made of.

    Args:
        data_or_path: array, tensor, picture, figure, file or another :class:`Image`; of a batch a grid is made.
        mode: Pillow's; an array's own shape decides.
        caption: shown below it.
        grouping: no effect.
        classes: names of the classes of boxes and masks.
        boxes, masks: by name.
        file_type: ``png``, ``jpg`` or ``webp``.
        normalize: no effect: what lies outside 0..255 or 0..1 is scaled, and its metadata says how.
    """

    __slots__ = ("grouping",)

    def __init__(
        self,
        data_or_path: Any,
        mode: str | None = None,
        caption: str | None = None,
        grouping: int | None = None,
        classes: Any = None,
        boxes: Any = None,
        masks: Any = None,
        file_type: str | None = None,
        normalize: bool = True,
    ) -> None:
        known = data_or_path if isinstance(data_or_path, media.Image) else None
        picture = known.image if known is not None else _grid(data_or_path)
        if isinstance(classes, Classes):
            classes = classes.names
        super().__init__(
            picture,
            known.caption if known is not None and caption is None else caption,
            boxes=known.boxes if known is not None and boxes is None else boxes,
            masks=known.masks if known is not None and masks is None else masks,
            classes=known.classes if known is not None and classes is None else classes,
            format=file_type if file_type in ("png", "jpg", "jpeg", "webp") else "png",
        )
        self.grouping = grouping


def _grid(value: Any) -> Any:
    """A batch of tensors (n, channels, h, w) as one tensor, eight pictures a row. It stays on its device."""
    if not hasattr(value, "detach") or value.dim() != 4 or value.shape[0] == 1:
        return value
    batch = value.detach()
    count, channels, height, width = batch.shape
    columns = min(_GRID_COLUMNS, count)
    rows = -(-count // columns)
    pad = _GRID_PADDING
    grid = batch.new_zeros((channels, rows * (height + pad) + pad, columns * (width + pad) + pad))
    for number in range(count):
        top = pad + (number // columns) * (height + pad)
        left = pad + (number % columns) * (width + pad)
        grid[:, top : top + height, left : left + width] = batch[number]
    return grid


class Histogram(media.Histogram, WBValue):
    """How values are spread.

    Args:
        sequence: the values.
        np_histogram: counts and edges instead.
        num_bins: how many intervals, at most 512.

    Raises:
        ValueError: too many intervals, or ``np_histogram`` is no pair.
    """

    __slots__ = ("_amount",)
    MAX_LENGTH: ClassVar[int] = 512

    def __init__(self, sequence: Any = None, np_histogram: Any = None, num_bins: int = 64) -> None:
        if np_histogram is not None:
            if len(np_histogram) != 2:
                raise ValueError("Expected np_histogram to be a tuple of (values, bin_edges)")
        elif sequence is None:
            raise ValueError("Histogram needs a sequence or np_histogram")
        size = num_bins if np_histogram is None else len(np_histogram[0])
        if size > self.MAX_LENGTH:
            raise ValueError(f"The maximum length of a histogram is {self.MAX_LENGTH}")
        super().__init__(sequence, bins=num_bins, np_histogram=np_histogram)

    @property
    def bins(self) -> Any:
        """The edges of the intervals, as W&B has them; they are counted now."""
        return [float(edge) for edge in self._counted()[1]]

    @bins.setter
    def bins(self, bins: Any) -> None:
        self._amount = bins

    @property
    def histogram(self) -> list[Any]:
        """The counts; they are counted now."""
        return [count.item() if hasattr(count, "item") else count for count in self._counted()[0]]

    def snapshot(self) -> Snapshot:
        """A copy of the values; they are counted in the background."""
        return media.Histogram(self.values, bins=self._amount, np_histogram=self.np_histogram).snapshot()

    def _counted(self) -> Any:
        if self.np_histogram is not None:
            return self.np_histogram
        import numpy as np

        from rundial.media.base import array_of

        values = array_of(self.values).ravel()
        return np.histogram(values[np.isfinite(values)], self._amount)


class Audio(media.Audio, WBValue):
    """A sound: a file, or samples with their ``sample_rate``. Raises ValueError for samples without one."""

    __slots__ = ()

    def __init__(self, data_or_path: Any, sample_rate: int | None = None, caption: str | None = None) -> None:
        if sample_rate is None and not isinstance(data_or_path, (str, os.PathLike)):
            raise ValueError('Argument "sample_rate" is required when instantiating wandb.Audio with raw data.')
        super().__init__(data_or_path, sample_rate, caption)


class Video(media.Video, WBValue):
    """A video: a file, the bytes of one, or frames of shape (t, channels, h, w)."""

    __slots__ = ("_content",)

    def __init__(
        self, data_or_path: Any, caption: str | None = None, fps: float | None = None, format: str | None = None
    ) -> None:
        self._content = data_or_path.read() if hasattr(data_or_path, "read") else None
        super().__init__(data_or_path, 4 if fps is None else fps, caption, format)

    def snapshot(self) -> Snapshot:
        """The bytes, or as any video."""
        content, suffix = self._content, f".{self.format or 'mp4'}"
        if content is None:
            return super().snapshot()
        kind = "image/gif" if suffix == ".gif" else f"video/{suffix[1:]}"
        return Snapshot(lambda _: Encoded(suffix, kind, content), len(content))


class Html(media.Html, WBValue):
    """A page: its text, something with ``read()``, or a file whose name ends in ``.html``.

    Args:
        data: the page.
        inject: no effect: pages are shown in a frame of their own style.
        data_is_not_path: whether a text is the page even if it looks like a file's name.
    """

    __slots__ = ()

    def __init__(self, data: Any, inject: bool = True, data_is_not_path: bool = False) -> None:
        if isinstance(data, str) and not data_is_not_path and data.endswith(".html") and Path(data).is_file():
            data = Path(data)
        super().__init__(data.encode() if isinstance(data, str) else data)


class Object3D(media.Object3D, WBValue):
    """A scene: a file, something with ``read()``, points of shape (n, 3 | 4 | 6), or a mapping with ``points``."""

    __slots__ = ("_content", "_suffix")

    def __init__(self, data_or_path: Any, caption: str | None = None, **kwargs: Any) -> None:
        self._content = data_or_path.read() if hasattr(data_or_path, "read") else None
        self._suffix = f".{kwargs.get('file_type') or 'obj'}"
        super().__init__(data_or_path, caption)

    def snapshot(self) -> Snapshot:
        """The text of a file, or as any scene."""
        if self._content is None:
            return super().snapshot()
        content = self._content.encode() if isinstance(self._content, str) else bytes(self._content)
        suffix = self._suffix
        kind = "model/obj" if suffix == ".obj" else "application/octet-stream"
        return Snapshot(lambda _: Encoded(suffix, kind, content), len(content))

    @classmethod
    def from_file(cls, data_or_path: Any, file_type: str | None = None) -> Object3D:
        """A scene of a file."""
        return cls(data_or_path, file_type=file_type)

    @classmethod
    def from_numpy(cls, data: Any) -> Object3D:
        """A scene of points."""
        return cls(data)

    @classmethod
    def from_point_cloud(
        cls, points: Any, boxes: Any, vectors: Any = None, point_cloud_type: str = "lidar/beta"
    ) -> Any:
        """A scene of points with boxes and vectors."""
        more = {name: [] if it is None else list(it) for name, it in (("boxes", boxes), ("vectors", vectors))}
        return cls({"type": point_cloud_type, "points": points, **more})


def box3d(
    *,
    center: Sequence[float],
    size: Sequence[float],
    orientation: Sequence[float],
    color: Sequence[int],
    label: str | None = None,
    score: float | None = None,
) -> dict[str, Any]:
    """A box in a scene. ``orientation`` is a quaternion (x, y, z, w); the corners are what is stored."""
    import numpy as np

    x, y, z, w = (float(part) for part in orientation)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    signs = np.array([[i, j, k] for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (-0.5, 0.5)])
    corners = (signs * np.asarray(size, float)) @ rotation.T + np.asarray(center, float)
    box = {"corners": corners.tolist(), "color": list(color), "label": label, "score": score}
    return {key: value for key, value in box.items() if value is not None}


class _File(Media, WBValue):
    """A file that is kept as it is."""

    __slots__ = ("_content", "_suffix", "source")
    kind: ClassVar[str] = "object3d"

    def __init__(self, source: Any, caption: str | None, suffix: str) -> None:
        super().__init__(caption)
        self.source = source
        self._content = source.read() if hasattr(source, "read") else None
        self._suffix = suffix

    def snapshot(self) -> Snapshot:
        """The content, or the file."""
        if self._content is None:
            path = Path(self.source)
            return Snapshot(lambda _: stored_file(path, self._suffix, {}), source=path)
        content = self._content.encode() if isinstance(self._content, str) else bytes(self._content)
        return Snapshot(lambda _: Encoded(self._suffix, "application/octet-stream", content), len(content))


class Molecule(_File):
    """A molecule: a file of PDB, SDF and the like, or something with ``read()`` and its ``file_type``.

    Raises:
        ValueError: a kind of file that is none of a molecule's.
    """

    __slots__ = ()
    SUPPORTED_TYPES: ClassVar[frozenset[str]] = frozenset(
        {"pdb", "pqr", "mmcif", "mcif", "cif", "sdf", "sd", "gro", "mol2", "mmtf"}
    )

    def __init__(self, data_or_path: Any, caption: str | None = None, **kwargs: Any) -> None:
        is_path = isinstance(data_or_path, (str, os.PathLike))
        kind = Path(data_or_path).suffix[1:] if is_path else str(kwargs.get("file_type") or "")
        if kind not in self.SUPPORTED_TYPES:
            raise ValueError(f"Molecule needs a file of {', '.join(sorted(self.SUPPORTED_TYPES))}, not {kind!r}.")
        super().__init__(data_or_path, caption, f".{kind}")

    @classmethod
    def from_rdkit(cls, data_or_path: Any, caption: str | None = None, **kwargs: Any) -> Molecule:
        """A molecule of RDKit, or a file that it reads."""
        from rdkit import Chem

        read = {".mol": Chem.MolFromMolFile, ".sdf": Chem.MolFromMolFile}
        path = isinstance(data_or_path, (str, os.PathLike))
        molecule = read.get(Path(data_or_path).suffix, Chem.MolFromMolFile)(str(data_or_path)) if path else data_or_path
        return cls(io.StringIO(Chem.MolToPDBBlock(molecule)), caption, file_type="pdb")

    @classmethod
    def from_smiles(cls, data: str, caption: str | None = None, **kwargs: Any) -> Molecule:
        """A molecule of its SMILES text; RDKit makes it."""
        from rdkit import Chem
        from rdkit.Chem import AllChem

        molecule = Chem.AddHs(Chem.MolFromSmiles(data))
        AllChem.EmbedMolecule(molecule)
        return cls.from_rdkit(molecule, caption)


class Plotly(media.Plotly, WBValue):
    """A figure of Plotly."""

    __slots__ = ()

    def __init__(self, val: Any) -> None:
        super().__init__(val)

    @classmethod
    def make_plot_media(cls, val: Any) -> Any:
        """A figure of Plotly, or a picture of one of Matplotlib."""
        return cls(val) if type(val).__module__.startswith("plotly") else Image(val)


class Node(WBValue):
    """A layer of a :class:`Graph`."""

    def __init__(self, id: Any = None, name: str | None = None, class_name: str | None = None, **facts: Any) -> None:
        self.id = id
        self.name = name
        self.class_name = class_name
        self.facts = facts


class Edge(WBValue):
    """A connection of two nodes of a :class:`Graph`."""

    def __init__(self, from_node: Node, to_node: Node) -> None:
        self.from_node = from_node
        self.to_node = to_node


class Graph(media.Table, WBValue):
    """A model's layers, shown as a table of them."""

    __slots__ = ("edges", "format", "nodes")

    def __init__(self, format: str = "keras") -> None:
        if format not in ("keras", "torch"):
            raise UsageError(f"Graph takes the format 'keras' or 'torch', not {format!r}.")
        super().__init__(columns=["layer", "type", "parameters"])
        self.format = format
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []

    def add_node(self, node: Node | None = None, **facts: Any) -> Node:
        """Add a layer."""
        made = Node(**facts) if node is None else node
        self.nodes.append(made)
        self.add_data(made.name, made.class_name, made.facts.get("num_parameters"))
        return made

    def add_edge(self, from_node: Node, to_node: Node) -> Edge:
        """Connect two layers."""
        edge = Edge(from_node, to_node)
        self.edges.append(edge)
        return edge

    @classmethod
    def from_keras(cls, model: Any) -> Graph:
        """The layers of a model of Keras."""
        graph = cls()
        for layer in model.layers:
            count = layer.count_params() if getattr(layer, "built", True) else None
            graph.add_node(id=layer.name, name=layer.name, class_name=type(layer).__name__, num_parameters=count)
        return graph
