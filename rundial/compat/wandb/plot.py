"""``wandb.plot``: charts of a table, logged as a figure of Plotly with the table beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rundial.compat.wandb._table import Table
from rundial.media import Plotly

__all__ = [
    "CustomChart",
    "bar",
    "confusion_matrix",
    "histogram",
    "line",
    "line_series",
    "plot_table",
    "pr_curve",
    "roc_curve",
    "scatter",
    "visualize",
]
MAX_CURVE_POINTS = 1000
"""Of a ROC or precision-recall curve; more are thinned out evenly."""
Figure = dict[str, Any]


class CustomChart:
    """A chart of a table. ``wandb.log({"name": chart})`` shows it, and the table as ``name_table``.

    Args:
        vega_spec_name: W&B's name of the form.
        table: the rows.
        fields: which column stands for what.
        string_fields: texts, such as ``title``.
        draw: makes the figure; left out, lines of ``x`` and ``y``.
    """

    def __init__(
        self,
        vega_spec_name: str,
        table: Any,
        fields: Mapping[str, Any],
        string_fields: Mapping[str, Any],
        draw: Callable[[], Figure] | None = None,
    ) -> None:
        self.vega_spec_name = vega_spec_name
        self.table = table
        self.fields = dict(fields)
        self.string_fields = dict(string_fields)
        self._draw = draw

    def as_media(self) -> tuple[Plotly, Any]:
        """The figure and the table."""
        figure = self._draw() if self._draw is not None else self._lines()
        return Plotly(figure), self.table

    def _lines(self) -> Figure:
        names = self.table.columns
        x = _column(self.fields, ("x", "step", "label"), names, 0)
        y = _column(self.fields, ("y", "value", "height"), names, min(1, len(names) - 1))
        group = _column(self.fields, ("class", "color", "stroke", "lineKey", "series", "group"), names, None)
        labels = self.table.get_column(group) if group else ["" for _ in self.table.data]
        lines: dict[Any, tuple[list[Any], list[Any]]] = {}
        for label, left, right in zip(labels, self.table.get_column(x), self.table.get_column(y)):
            lines.setdefault(label, ([], []))[0].append(left)
            lines[label][1].append(right)
        drawn = [_line(str(label), xs, ys) for label, (xs, ys) in lines.items()]
        return _figure(drawn, self.string_fields.get("title"), str(x), str(y))


def _column(fields: Mapping[str, Any], words: Sequence[str], columns: list[str], otherwise: int | None) -> Any:
    for word in words:
        if fields.get(word) in columns:
            return fields[word]
    return None if otherwise is None else columns[otherwise]


def _figure(traces: list[Figure], title: str | None, x: str | None, y: str | None) -> Figure:
    layout = {
        "title": {"text": title or ""},
        "xaxis": {"title": {"text": x or ""}},
        "yaxis": {"title": {"text": y or ""}},
    }
    return {"data": traces, "layout": layout}


def _line(name: str, x: Any, y: Any, mode: str = "lines") -> Figure:
    return {"type": "scatter", "mode": mode, "name": name, "x": list(x), "y": list(y)}


def plot_table(
    vega_spec_name: str,
    data_table: Any,
    fields: Mapping[str, Any],
    string_fields: Mapping[str, Any] | None = None,
    split_table: bool = False,
) -> CustomChart:
    """A chart of your own form: lines of the columns that ``fields`` calls ``x`` and ``y``, one for each class.

    Raises:
        TypeError: no table.
    """
    if not hasattr(data_table, "get_column"):
        raise TypeError(f"Expected `data_table` to be a Table, instead got {type(data_table).__name__}")
    return CustomChart(vega_spec_name, data_table, fields, string_fields or {})


def visualize(id: str, value: Any) -> CustomChart:
    """A table in the form with that name; see :func:`plot_table`."""
    return plot_table(id, value, {})


def line(
    table: Any, x: str, y: str, stroke: str | None = None, title: str = "", split_table: bool = False
) -> CustomChart:
    """A line of two columns, or one for each value of the column ``stroke``."""
    fields = {"x": x, "y": y, **({"stroke": stroke} if stroke else {})}
    return CustomChart("wandb/line/v0", table, fields, {"title": title})


def scatter(table: Any, x: str, y: str, title: str = "", split_table: bool = False) -> CustomChart:
    """Points of two columns."""

    def draw() -> Figure:
        return _figure([_line("", table.get_column(x), table.get_column(y), "markers")], title, x, y)

    return CustomChart("wandb/scatter/v0", table, {"x": x, "y": y}, {"title": title}, draw)


def bar(table: Any, label: str, value: str, title: str = "", split_table: bool = False) -> CustomChart:
    """Bars of one column with the names in another."""

    def draw() -> Figure:
        bars = {"type": "bar", "x": [str(name) for name in table.get_column(label)], "y": table.get_column(value)}
        return _figure([bars], title, label, value)

    return CustomChart("wandb/bar/v0", table, {"label": label, "value": value}, {"title": title}, draw)


def histogram(table: Any, value: str, title: str = "", split_table: bool = False) -> CustomChart:
    """How the values of a column are spread."""

    def draw() -> Figure:
        return _figure([{"type": "histogram", "x": table.get_column(value)}], title, value, "count")

    return CustomChart("wandb/histogram/v0", table, {"value": value}, {"title": title}, draw)


def line_series(
    xs: Any, ys: Any, keys: Sequence[str] | None = None, title: str = "", xname: str = "x", split_table: bool = False
) -> CustomChart:
    """Several lines.

    Args:
        xs: one list for all lines, or one for each.
        ys: a list for each line.
        keys: their names.

    Raises:
        TypeError: ``xs`` or ``ys`` are no lists.
        ValueError: lists of different length.
    """
    lines = [_listed(values) for values in ys]
    places = _listed(xs)
    each = [_listed(values) for values in places] if places and _is_list(places[0]) else [places for _ in lines]
    names = [str(key) for key in keys] if keys is not None else [f"key_{number}" for number in range(len(lines))]
    if not len(each) == len(lines) == len(names):
        raise ValueError("Number of x-lines, y-lines and keys must match")
    rows = [[x, name, y] for xs_, name, ys_ in zip(each, names, lines) for x, y in zip(xs_, ys_)]
    table = Table(columns=["step", "lineKey", "lineVal"], data=rows)

    def draw() -> Figure:
        return _figure([_line(name, x, y) for name, x, y in zip(names, each, lines)], title, xname, "")

    fields = {"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"}
    return CustomChart("wandb/lineseries/v0", table, fields, {"title": title, "xname": xname}, draw)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, range)) or hasattr(value, "tolist")


def _listed(values: Any) -> list[Any]:
    if not _is_list(values):
        raise TypeError(f"Expected a list, instead got {type(values).__name__}")
    return list(values.tolist() if hasattr(values, "tolist") else values)


def confusion_matrix(
    probs: Any = None,
    y_true: Any = None,
    preds: Any = None,
    class_names: Sequence[str] | None = None,
    title: str = "Confusion Matrix Curve",
    split_table: bool = False,
) -> CustomChart:
    """How often each class was taken for which.

    Args:
        probs: probabilities of shape (n, classes); or ``preds``: class numbers or names of shape (n,).
        y_true: the right class numbers, or names.
        class_names: their names, by number.

    Raises:
        ValueError: neither or both of ``probs`` and ``preds``, or lists of different length.
    """
    import numpy as np

    if (probs is None) == (preds is None) or y_true is None:
        raise ValueError("Exactly one of `probs` and `preds` is needed, and `y_true`.")
    guesses = np.argmax(np.asarray(probs), axis=1).tolist() if preds is None else _listed(preds)
    truth = _listed(y_true)
    if len(guesses) != len(truth):
        raise ValueError("Number of predictions and label indices must match")
    names, numbers = _names(class_names, [*truth, *guesses])
    counts = np.zeros((len(names), len(names)), dtype=int)
    for actual, guess in zip(truth, guesses):
        counts[numbers[actual], numbers[guess]] += 1
    rows = [[names[i], names[j], int(counts[i, j])] for i in range(len(names)) for j in range(len(names))]
    table = Table(columns=["Actual", "Predicted", "nPredictions"], data=rows)

    def draw() -> Figure:
        cells = {"type": "heatmap", "x": names, "y": names, "z": counts.tolist(), "colorscale": "Blues"}
        return _figure([cells], title, "Predicted", "Actual")

    fields = {name: name for name in table.columns}
    return CustomChart("wandb/confusion_matrix/v1", table, fields, {"title": title}, draw)


def _names(class_names: Sequence[str] | None, seen: list[Any]) -> tuple[list[str], dict[Any, int]]:
    """Names of the classes, and which of them each label means."""
    if any(isinstance(label, str) for label in seen):
        known = [str(name) for name in class_names] if class_names is not None else sorted({str(s) for s in seen})
        return known, {name: number for number, name in enumerate(known)}
    found = sorted({int(label) for label in seen})
    if class_names is None:
        return [f"Class_{number + 1}" for number in range(len(found))], {n: at for at, n in enumerate(found)}
    if found and max(found) >= len(class_names):
        raise ValueError("Higher predicted index than number of classes")
    return [str(name) for name in class_names], {number: number for number in range(len(class_names))}


def roc_curve(
    y_true: Any = None,
    y_probas: Any = None,
    labels: Sequence[str] | None = None,
    classes_to_plot: Sequence[Any] | None = None,
    title: str = "ROC Curve",
    split_table: bool = False,
) -> CustomChart:
    """Hits over false alarms, for each class against the others. scikit-learn counts.

    Args:
        y_true: class numbers of shape (n,).
        y_probas: their probabilities of shape (n, classes).
        labels: names of the classes.
        classes_to_plot: those that are drawn; left out, all.
    """
    from sklearn.metrics import roc_curve as curve

    def points(truth: Any, score: Any) -> tuple[Any, Any]:
        false_alarms, hits, _ = curve(truth, score)
        return false_alarms, hits

    return _curves("wandb/area-under-curve/v0", points, "fpr", "tpr", y_true, y_probas, labels, classes_to_plot, title)


def pr_curve(
    y_true: Any = None,
    y_probas: Any = None,
    labels: Sequence[str] | None = None,
    classes_to_plot: Sequence[Any] | None = None,
    interp_size: int = 21,
    title: str = "Precision-Recall Curve",
    split_table: bool = False,
) -> CustomChart:
    """Precision over recall at ``interp_size`` places, for each class against the others. scikit-learn counts."""
    import numpy as np
    from sklearn.metrics import precision_recall_curve

    grid = np.linspace(0, 1, interp_size)

    def points(truth: Any, score: Any) -> tuple[Any, Any]:
        precision, recall, _ = precision_recall_curve(truth, score)
        best = np.maximum.accumulate(precision)[::-1]
        rising = recall[::-1]
        return grid, best[np.minimum(np.searchsorted(rising, grid), len(best) - 1)]

    spec = "wandb/area-under-curve/v0"
    return _curves(spec, points, "recall", "precision", y_true, y_probas, labels, classes_to_plot, title)


def _curves(
    spec: str,
    points: Callable[[Any, Any], tuple[Any, Any]],
    x: str,
    y: str,
    y_true: Any,
    y_probas: Any,
    labels: Sequence[str] | None,
    classes_to_plot: Sequence[Any] | None,
    title: str,
) -> CustomChart:
    import numpy as np

    truth, scores = np.asarray(y_true), np.asarray(y_probas)
    classes = np.unique(truth)
    scores = np.column_stack([1 - scores, scores]) if scores.ndim == 1 else scores
    lines: list[tuple[str, list[float], list[float]]] = []
    for number, label in enumerate(classes):
        if (classes_to_plot is not None and label not in classes_to_plot) or number >= scores.shape[1]:
            continue
        name = str(labels[number]) if labels is not None and number < len(labels) else str(label)
        xs, ys = points(truth == label, scores[:, number])
        kept = np.unique(np.linspace(0, len(xs) - 1, min(len(xs), MAX_CURVE_POINTS)).astype(int))
        lines.append((name, np.round(xs[kept], 3).tolist(), np.round(ys[kept], 3).tolist()))
    rows = [[name, left, right] for name, xs, ys in lines for left, right in zip(xs, ys)]
    table = Table(columns=["class", x, y], data=rows)

    def draw() -> Figure:
        return _figure([_line(name, xs, ys) for name, xs, ys in lines], title, x, y)

    return CustomChart(spec, table, {"x": x, "y": y, "class": "class"}, {"title": title}, draw)
