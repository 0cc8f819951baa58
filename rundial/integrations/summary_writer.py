"""The methods of TensorBoard's SummaryWriter over a run: ``add_scalar``, ``add_image``, ``add_histogram`` ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rundial.integrations._adapter import last_step
from rundial.runs import Run

if TYPE_CHECKING:
    from rundial.media import Image


class SummaryMethods:
    """Answers as ``torch.utils.tensorboard.SummaryWriter`` does; what is added goes to a run.

    ``tag`` is the name, ``global_step`` the step (left out, the next one), ``walltime`` the moment in seconds since
    1970. Nothing raises for a value: what cannot be stored is a warning once and a counter. ``add_graph``,
    ``add_onnx_graph``, ``add_embedding``, ``add_mesh`` and ``add_custom_scalars`` do nothing and say so once.
    """

    def _summary_run(self) -> Run:
        """The run all of it goes to."""
        raise NotImplementedError

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        """One number; kept in double precision in any case."""
        self._log({tag: scalar_value}, global_step, walltime)

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Several numbers, each under ``main_tag/name``."""
        self._log({main_tag: dict(tag_scalar_dict)}, global_step, walltime)

    def add_tensor(self, tag: str, tensor: Any, global_step: int | None = None, walltime: float | None = None) -> None:
        """A tensor: its number if it has one element, else the histogram of its values."""
        if getattr(tensor, "numel", lambda: 1)() == 1:
            self._log({tag: tensor}, global_step, walltime)
        else:
            self.add_histogram(tag, tensor, global_step, walltime=walltime)

    def add_histogram(
        self,
        tag: str,
        values: Any,
        global_step: int | None = None,
        bins: Any = "tensorflow",
        walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:
        """The distribution of an array's values. ``bins`` is their number; a name of a rule means 64."""
        from rundial.media import Histogram

        self._media(tag, lambda: Histogram(values, bins=bins if isinstance(bins, int) else 64), global_step, walltime)

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """An image whose axes are in the order of ``dataformats``: CHW, HWC or HW; uint8, or float from 0 to 1."""
        self._media(tag, lambda: _image(img_tensor, dataformats), global_step, walltime)

    def add_images(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:
        """Images whose axes are in the order of ``dataformats``; they stand side by side at one step."""
        axis = dataformats.upper().find("N")
        rest = dataformats.replace("N", "").replace("n", "")
        self._media(
            tag,
            lambda: [_image(part, rest) for part in _array(img_tensor).swapaxes(0, max(axis, 0))],
            global_step,
            walltime,
        )

    def add_image_with_boxes(
        self,
        tag: str,
        img_tensor: Any,
        box_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        rescale: float = 1,
        dataformats: str = "CHW",
        labels: Sequence[str] | None = None,
    ) -> None:
        """An image and what lies over it: boxes of (n, 4) in pixels, as x0, y0, x1, y1."""
        self._media(
            tag, lambda: _image(img_tensor, dataformats, _boxes(box_tensor, rescale, labels)), global_step, walltime
        )

    def add_figure(
        self,
        tag: str,
        figure: Any,
        global_step: int | None = None,
        close: bool = True,
        walltime: float | None = None,
    ) -> None:
        """A figure of matplotlib, or a list of them; they are closed then, unless ``close`` is False."""
        figures = list(figure) if isinstance(figure, (list, tuple)) else [figure]
        self._log({tag: figures if len(figures) > 1 else figures[0]}, global_step, walltime)
        if close:
            from matplotlib import pyplot

            for each in figures:
                pyplot.close(each)

    def add_video(
        self,
        tag: str,
        vid_tensor: Any,
        global_step: int | None = None,
        fps: int = 4,
        walltime: float | None = None,
    ) -> None:
        """Videos with the axes N, T, C, H, W."""
        from rundial.media import Video

        self._media(tag, lambda: [Video(each, fps=fps) for each in _array(vid_tensor)], global_step, walltime)

    def add_audio(
        self,
        tag: str,
        snd_tensor: Any,
        global_step: int | None = None,
        sample_rate: int = 44100,
        walltime: float | None = None,
    ) -> None:
        """Sound of one channel, from -1 to 1, with ``sample_rate`` values a second."""
        from rundial.media import Audio

        self._media(tag, lambda: Audio(_array(snd_tensor).reshape(-1), sample_rate=sample_rate), global_step, walltime)

    def add_text(
        self, tag: str, text_string: str, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """A text in Markdown."""
        from rundial.media import Text

        self._media(tag, lambda: Text(text_string, markdown=True), global_step, walltime)

    def add_hparams(
        self,
        hparam_dict: Mapping[str, Any],
        metric_dict: Mapping[str, Any],
        hparam_domain_discrete: Any = None,
        run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:
        """Hyper-parameters into the run's configuration, and the metrics they led to into its summary."""
        run = self._summary_run()
        run.update_config(hparam_dict)
        if metric_dict:
            run.summary.update(dict(metric_dict))

    def add_pr_curve(
        self,
        tag: str,
        labels: Any,
        predictions: Any,
        global_step: int | None = None,
        num_thresholds: int = 127,
        weights: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Precision and recall over thresholds from 0 to 1, as a table.

        Args:
            labels, predictions: (n,) of 0 or 1, and (n,) from 0 to 1.
        """
        from rundial.media import Table

        self._media(
            tag,
            lambda: Table(
                columns=["threshold", "precision", "recall"],
                data=_precision_recall(labels, predictions, num_thresholds, weights),
            ),
            global_step,
            walltime,
        )

    def add_graph(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: graphs are not kept."""
        self._not_kept("add_graph")

    def add_onnx_graph(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: graphs are not kept."""
        self._not_kept("add_onnx_graph")

    def add_embedding(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: embeddings are not kept; log a table."""
        self._not_kept("add_embedding")

    def add_mesh(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: meshes are not kept; log an ``rd.Object3D``."""
        self._not_kept("add_mesh")

    def add_custom_scalars(self, layout: Any) -> None:
        """Nothing: the page arranges charts by their names."""
        self._not_kept("add_custom_scalars")

    def flush(self) -> None:
        """Nothing: what was added is safe already, and a training waits for no server."""

    def _log(self, values: dict[str, Any], step: int | None, walltime: float | None) -> None:
        moment = None if walltime is None else int(walltime * 1000)
        self._summary_run().log(values, step=step, time_ms=moment)

    def _media(self, tag: str, make: Any, step: int | None, walltime: float | None) -> None:
        run = self._summary_run()
        try:
            media = make()
        except Exception as error:  # noqa: BLE001 - a shape that is no picture, a library that is missing
            run._counters.invalid_values += 1
            run._counters.warn_once(f"value {tag}", f"value of {tag!r} was not stored: {error}.")
            return
        self._log({tag: media}, last_step(run) if step is None else step, walltime)

    def _not_kept(self, method: str) -> None:
        self._summary_run()._counters.warn_once(method, f"{method}() stores nothing in Rundial.")


def _array(value: Any) -> Any:
    """A tensor, array or list as a NumPy array in memory of this process."""
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has no such type
            value = value.float()
        return value.numpy()
    return np.asarray(value)


def _image(value: Any, axes: str, boxes: list[dict[str, Any]] | None = None) -> Image:
    """An array with the axes named by ``axes`` as an image of rows, columns and channels."""
    from rundial.media import Image

    array = _array(value)
    names = axes.upper()
    if len(names) != array.ndim or not {"H", "W"} <= set(names) <= {"H", "W", "C"}:
        raise ValueError(f"an array of shape {array.shape} has no axes {axes!r}")
    array = array.transpose([names.index(name) for name in "HWC" if name in names])
    return Image(array, boxes=boxes)


def _boxes(boxes: Any, rescale: float, labels: Sequence[str] | None) -> list[dict[str, Any]]:
    corners = (_array(boxes).reshape(-1, 4) * rescale).tolist()
    words: Sequence[str | None] = labels or [None] * len(corners)
    return [{"position": position, "label": word} for position, word in zip(corners, words)]


def _precision_recall(labels: Any, predictions: Any, thresholds: int, weights: Any) -> list[list[float]]:
    import numpy as np

    truth = _array(labels).reshape(-1) > 0.5
    scores = _array(predictions).reshape(-1)
    weight = np.ones(len(scores)) if weights is None else _array(weights).reshape(-1)
    rows: list[list[float]] = []
    for threshold in np.linspace(0, 1, thresholds):
        chosen = scores >= threshold
        right = float(weight[chosen & truth].sum())
        picked, wanted = float(weight[chosen].sum()), float(weight[truth].sum())
        rows.append([float(threshold), right / picked if picked else 1.0, right / wanted if wanted else 0.0])
    return rows
