"""Media with W&B's signatures, and the charts, read back from a real server."""

import io
import json
import sys
import types
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import rundial.compat.wandb as wandb
from rundial.compat.wandb import plot


def items(server, run):
    """All media of a run by its key, in order."""
    found = {}
    for item in server.get(f"/api/v1/runs/{run.id}/media?limit=1000")["items"]:
        found.setdefault(item["key"], []).append(item)
    return found


def content(server, item):
    """The bytes of one item."""
    answer = server._session.get(server.url + item["url"], timeout=20)
    assert answer.status_code == 200, answer.text
    return answer.content


def logged(server, **values):
    """A run that logged these, and its media."""
    run = wandb.init(project="wb-media")
    run.log(values)
    run.finish()
    return items(server, run)


def test_images_of_all_kinds(server, tmp_path):
    """Arrays, pictures, files, batches and other images, with what lies over them."""
    torch = pytest.importorskip("torch")
    file = tmp_path / "p.png"
    PIL.Image.new("RGB", (5, 3), "red").save(file)
    array = np.full((4, 6, 3), 7, dtype=np.uint8)
    classes = wandb.Classes([{"id": 0, "name": "cat"}])
    boxes = {"truth": {"box_data": [{"position": {"minX": 0, "minY": 0, "maxX": 1, "maxY": 1}, "class_id": 0}]}}
    found = logged(
        server,
        array=wandb.Image(array, caption="seven", classes=classes, boxes=boxes),
        several=[wandb.Image(array), wandb.Image(str(file)), wandb.Image(PIL.Image.new("L", (2, 2)), mode="L")],
        batch=wandb.Image(torch.rand(3, 1, 4, 4)),
        again=wandb.Image(wandb.Image(array, caption="kept")),
        jpg=wandb.Image(array, file_type="jpg"),
    )
    first = found["array"][0]
    assert np.array_equal(np.asarray(PIL.Image.open(io.BytesIO(content(server, first)))), array)
    assert (first["caption"], found["again"][0]["caption"]) == ("seven", "kept")
    assert first["metadata"]["boxes"]["truth"][0]["label"] == "cat"
    assert [(item["width"], item["height"]) for item in found["several"]] == [(6, 4), (5, 3), (2, 2)]
    assert (found["batch"][0]["width"], found["batch"][0]["height"]) == (2 + 3 * 6, 2 + 6)
    assert content(server, found["jpg"][0])[:2] == b"\xff\xd8"


def test_tables(server):
    """Rows, data frames, joined tables, a picture in a cell."""
    pd = pytest.importorskip("pandas")
    left = wandb.Table(columns=["id", "x"], data=[[1, "a"], [2, "b"]])
    right = wandb.Table(dataframe=pd.DataFrame({"id": [2], "y": [0.5]}))
    pictures = wandb.Table(columns=["image"], data=[[wandb.Image(np.zeros((2, 2)))]])
    computed = wandb.Table(columns=["n"], data=[[1], [2]])
    computed.add_computed_columns(lambda number, row: {"double": row["n"] * 2})
    found = logged(
        server,
        joined=wandb.JoinedTable(left, right, "id"),
        frame=pd.DataFrame({"p": [1, 2]}),
        pictures=pictures,
        computed=computed,
    )
    joined = json.loads(content(server, found["joined"][0]))
    assert joined == {"columns": ["0.id", "0.x", "1.id", "1.y"], "rows": [[2, "b", 2, 0.5]]}
    assert json.loads(content(server, found["frame"][0]))["rows"] == [[1], [2]]
    assert json.loads(content(server, found["pictures"][0]))["rows"][0][0]["_type"] == "image"
    assert json.loads(content(server, found["computed"][0]))["rows"] == [[1, 2], [2, 4]]


def test_histograms_and_large_arrays(server):
    """Histograms as they are given; an array of more than 32 elements becomes one."""
    found = logged(
        server,
        values=wandb.Histogram([1, 2, 2, 3], num_bins=2),
        pair=wandb.Histogram(np_histogram=np.histogram([1, 2, 3], 3)),
        large=np.arange(100),
    )
    assert json.loads(content(server, found["values"][0])) == {"edges": [1.0, 2.0, 3.0], "counts": [1, 3]}
    assert json.loads(content(server, found["pair"][0]))["counts"] == [1, 1, 1]
    assert len(json.loads(content(server, found["large"][0]))["counts"]) == 32


def test_sounds_videos_pages_scenes_molecules(server, tmp_path):
    """Each in its forms: arrays, files, and what can be read."""
    mp4 = tmp_path / "v.mp4"
    mp4.write_bytes(b"not really")
    page = tmp_path / "p.html"
    page.write_text("<b>file</b>")
    found = logged(
        server,
        audio=wandb.Audio(np.zeros(100), sample_rate=8000, caption="silence"),
        video=wandb.Video(np.zeros((2, 3, 4, 4), dtype=np.uint8), fps=4, format="gif"),
        video_file=wandb.Video(str(mp4), fps=4, format="mp4"),
        video_bytes=wandb.Video(io.BytesIO(b"GIF89a"), format="gif"),
        html=wandb.Html("<b>text</b>"),
        html_file=wandb.Html(str(page)),
        html_read=wandb.Html(io.StringIO("<i>read</i>")),
        points=wandb.Object3D(np.zeros((5, 3))),
        scene=wandb.Object3D({"type": "lidar/beta", "points": np.zeros((2, 3)), "boxes": np.array([])}),
        boxed=wandb.Object3D.from_point_cloud(np.zeros((2, 3)), np.array([{"label": "a"}, {"label": "b"}])),
        obj=wandb.Object3D(io.StringIO("v 0 0 0"), file_type="obj"),
        molecule=wandb.Molecule(io.StringIO("ATOM"), file_type="pdb"),
    )
    assert (found["audio"][0]["mediaType"], found["audio"][0]["caption"]) == ("audio", "silence")
    assert content(server, found["video"][0])[:3] == b"GIF"
    assert content(server, found["video_file"][0]) == b"not really"
    assert content(server, found["video_bytes"][0]) == b"GIF89a"
    assert [content(server, found[key][0]) for key in ("html", "html_file", "html_read")] == [
        b"<b>text</b>",
        b"<b>file</b>",
        b"<i>read</i>",
    ]
    assert json.loads(content(server, found["scene"][0]))["type"] == "lidar/beta"
    assert json.loads(content(server, found["boxed"][0]))["boxes"] == [{"label": "a"}, {"label": "b"}]
    assert (content(server, found["obj"][0]), content(server, found["molecule"][0])) == (b"v 0 0 0", b"ATOM")
    assert found["points"][0]["metadata"]["points"] == 5


def test_figures_of_other_libraries(server):
    """Matplotlib's module, figures and axes become pictures, Plotly's figures stay what they are."""
    matplotlib = pytest.importorskip("matplotlib")
    go = pytest.importorskip("plotly.graph_objects")
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([1, 2])
    found = logged(
        server,
        module=plt,
        figure=figure,
        axes=axes,
        plotly=go.Figure(go.Scatter(y=[1, 2])),
        wrapped=wandb.Plotly(go.Figure()),
    )
    plt.close("all")
    assert {key: item[0]["mediaType"] for key, item in found.items()} == {
        "module": "image",
        "figure": "image",
        "axes": "image",
        "plotly": "plotly",
        "wrapped": "plotly",
    }


def test_charts(server):
    """Every chart is a figure, with its table beside it."""
    pytest.importorskip("sklearn")
    table = wandb.Table(columns=["a", "b", "c"], data=[[1, 2.0, "x"], [2, 3.0, "y"], [3, 1.0, "x"]])
    truth, probabilities = [0, 1, 1, 0], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]
    charts = {
        "line": plot.line(table, "a", "b", stroke="c", title="t"),
        "scatter": plot.scatter(table, "a", "b"),
        "bar": plot.bar(table, "c", "b"),
        "histogram": plot.histogram(table, "b"),
        "series": plot.line_series([0, 1], [[1, 2], [3, 4]], keys=["p", "q"]),
        "matrix": plot.confusion_matrix(probs=probabilities, y_true=truth, class_names=["n", "p"]),
        "roc": plot.roc_curve(truth, probabilities, labels=["n", "p"]),
        "pr": plot.pr_curve(truth, probabilities),
        "own": wandb.plot_table("me/own", table, {"x": "a", "y": "b"}, {"title": "mine"}),
    }
    found = logged(server, **charts)
    assert set(found) == {name for key in charts for name in (key, f"{key}_table")}
    assert {found[key][0]["mediaType"] for key in charts} == {"plotly"}
    figures = {key: json.loads(content(server, found[key][0])) for key in charts}
    assert {trace["name"]: trace["y"] for trace in figures["line"]["data"]} == {"x": [2.0, 1.0], "y": [3.0]}
    assert figures["matrix"]["data"][0]["z"] == [[2, 0], [1, 1]]
    assert figures["own"]["layout"]["title"]["text"] == "mine"
    assert [trace["name"] for trace in figures["roc"]["data"]] == ["n", "p"]
    assert json.loads(content(server, found["series_table"][0]))["rows"][0] == [0, "p", 1]


def test_charts_say_what_is_wrong():
    """A programming error is an error, before anything is logged."""
    with pytest.raises(ValueError, match="must match"):
        plot.confusion_matrix(y_true=[0], preds=[0, 1])
    with pytest.raises(TypeError, match="Expected"):
        plot.plot_table("x", [1], {})
    with pytest.raises(ValueError, match="keys must match"):
        plot.line_series([0], [[1], [2]], keys=["a"])


def test_sklearn_plots(server):
    """A classifier, a regressor and a clusterer leave all their plots."""
    pytest.importorskip("sklearn")
    from sklearn.cluster import KMeans
    from sklearn.linear_model import LinearRegression, LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3))
    labels = (x[:, 0] > 0).astype(int)
    run = wandb.init(project="wb-sklearn")
    model = LogisticRegression().fit(x, labels)
    wandb.sklearn.plot_classifier(
        model, x, x, labels, labels, model.predict(x), model.predict_proba(x), ["n", "p"], is_binary=True
    )
    wandb.sklearn.plot_regressor(LinearRegression(), x, x, x[:, 0] * 2, x[:, 0] * 2)
    clusterer = KMeans(2, n_init=1).fit(x)
    wandb.sklearn.plot_clusterer(clusterer, x, clusterer.labels_)
    run.finish()
    expected = {"feature_importances", "confusion_matrix", "summary_metrics", "class_proportions", "calibration_curve"}
    expected |= {"roc", "precision_recall", "learning_curve", "outlier_candidates", "residuals"}
    expected |= {"elbow_curve", "silhouette_curve"}
    assert {key for key in items(server, run) if not key.endswith("_table")} == expected
    assert run.summary["r2_score"] == pytest.approx(1)


def test_box3d_has_its_corners():
    """Turned by a quarter around z, length becomes breadth."""
    half = 2**-0.5
    corners = wandb.box3d(center=(1, 0, 0), size=(4, 2, 2), orientation=(0, 0, half, half), color=(1, 2, 3))["corners"]
    assert sorted({round(corner[0], 6) for corner in corners}) == [0, 2]
    assert sorted({round(corner[1], 6) for corner in corners}) == [-2, 2]


def test_tensorboard_is_followed(server, tmp_path):
    """Scalars, texts, pictures and histograms that a SummaryWriter writes, at their own steps."""
    pytest.importorskip("tensorboard")
    writer_of = pytest.importorskip("torch.utils.tensorboard").SummaryWriter
    run = wandb.init(project="wb-tb", sync_tensorboard=True)
    writer = writer_of(str(tmp_path / "tb"))
    for step in (0, 100, 200):
        writer.add_scalar("charts/return", step / 10, step)
    writer.add_text("note", "hello", 0)
    writer.add_image("image", np.zeros((3, 4, 4), dtype=np.uint8), 100)
    writer.add_histogram("weights", np.arange(10.0), 200)
    writer.close()
    run.finish()
    assert server.points(run.id, "charts/return") == [(0, 0.0), (100, 10.0), (200, 20.0)]
    steps = {key: item[0]["step"] for key, item in items(server, run).items()}
    assert steps == {"note": 0, "image": 100, "weights": 200}
    assert (run.summary["global_step"], run.summary["_step"], run.summary["charts/return"]) == (200, 200, 20.0)


def test_recorded_videos_are_logged(server, tmp_path, monkeypatch):
    """What gymnasium's wrapper has written when a recording stops."""

    class RecordVideo:
        video_folder = str(tmp_path)

        def stop_recording(self):
            Path(self.video_folder, "episode-0.mp4").write_bytes(b"movie")

    package, wrappers = types.ModuleType("gymnasium"), types.ModuleType("gymnasium.wrappers")
    package.__spec__ = wrappers.__spec__ = types.SimpleNamespace(name="gymnasium")
    wrappers.RecordVideo = RecordVideo
    monkeypatch.setitem(sys.modules, "gymnasium", package)
    monkeypatch.setitem(sys.modules, "gymnasium.wrappers", wrappers)
    run = wandb.init(project="wb-gym", monitor_gym=True)
    RecordVideo().stop_recording()
    run.finish()
    assert content(server, items(server, run)["videos"][0]) == b"movie"
