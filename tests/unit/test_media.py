"""Media: what is kept at the call, and what file becomes of it."""

import base64
import io
import json
import wave

import numpy as np
import PIL.Image
import pytest

from rundial.media import Audio, Histogram, Html, Image, Object3D, Plotly, Table, Text, Video
from rundial.staging import FILES, job_folders, read_job
from rundial.testing import capture_run


class Item:
    """One journalled item: its description and its file."""

    def __init__(self, folder):
        job = read_job(folder)
        (file,) = job.files
        self.name, self.type = job.name, job.type
        self.media = job.media
        self.path, self.content_type = file.path, file.content_type
        self.data = (folder / FILES / file.staged).read_bytes()

    @property
    def facts(self):
        return self.media["metadata"]

    @property
    def picture(self):
        return PIL.Image.open(io.BytesIO(self.data))

    @property
    def pixels(self):
        return np.asarray(self.picture)

    @property
    def document(self):
        return json.loads(self.data)


def items_of(run):
    """What the run has journalled, in order."""
    assert run._pipeline.uploads.prepare(30)
    found = [Item(folder) for folder in job_folders(run._pipeline.spool.folder)]
    return sorted(found, key=lambda item: (item.media["step"], item.media["key"], item.media["index"]))


@pytest.fixture
def run():
    with capture_run() as (run, _):
        yield run


@pytest.fixture
def encoded(run):
    """A function that logs one value and gives the item that became of it."""

    def encode(value):
        assert run.log({"x": value}, step=1)
        (item,) = items_of(run)
        return item

    return encode


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_array_becomes_a_png_with_the_same_pixels(run):
    """An uint8 array comes back exactly, with all that the reader is told of it."""
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)

    run.log({"train": {"samples": Image(pixels, "a cat", metadata={"epoch": 2})}}, step=4, time_ms=1234)
    (item,) = items_of(run)

    assert np.array_equal(item.pixels, pixels)
    described = {name: item.media[name] for name in ("key", "step", "timeMs", "mediaType", "index", "caption")}
    assert described == {
        "key": "train/samples",
        "step": 4,
        "timeMs": 1234,
        "mediaType": "image",
        "index": 0,
        "caption": "a cat",
    }
    assert (item.media["width"], item.media["height"]) == (7, 5)
    assert (item.path, item.content_type, item.facts) == ("image.png", "image/png", {"epoch": 2})
    assert (item.name, item.type) == ("media-train-samples", "media_image")


def test_buffers_that_are_used_again_do_not_change_what_was_logged(run):
    """One array, one picture, one table and one list, overwritten after each call: every step keeps its own."""
    torch = pytest.importorskip("torch")
    array = np.zeros((4, 4), np.uint8)
    picture = PIL.Image.new("L", (4, 4))
    tensor = torch.zeros(1, 4, 4, dtype=torch.uint8, requires_grad=False)
    table = Table(["step", "parts"])
    parts = [0]
    for step in range(10):
        array[:] = step
        picture.putpixel((0, 0), step)
        tensor.fill_(step)
        parts[0] = step
        table.add_data(step, parts)
        values = {"array": Image(array), "picture": picture, "tensor": Image(tensor), "table": table}
        run.log(values | {"histogram": Histogram(array)}, step=step)
        table.data.clear()
    array[:] = 255

    by_key = {}
    for item in items_of(run):
        by_key.setdefault(item.media["key"], []).append(item)

    assert [item.pixels.max() for item in by_key["array"]] == list(range(10))
    assert [item.pixels[0, 0] for item in by_key["picture"]] == list(range(10))
    assert [item.pixels.max() for item in by_key["tensor"]] == list(range(10))
    assert [item.document["rows"] for item in by_key["table"]] == [[[step, [step]]] for step in range(10)]
    assert [item.facts["min"] for item in by_key["histogram"]] == list(range(10))


RAMP = np.linspace(0, 1, 16).reshape(4, 4)


@pytest.mark.parametrize(
    ("values", "first", "last", "scaled"),
    [
        (RAMP, 0, 255, None),
        (RAMP.astype(np.float16), 0, 255, None),
        (RAMP * 2 - 1, 0, 255, [-1, 1]),
        (RAMP * 255, 0, 255, [0, 255]),
        (RAMP * 1000 - 500, 0, 255, [-500, 500]),
        (RAMP * 0, 0, 0, None),
        (RAMP > 0.5, 0, 255, None),
        ((RAMP * 100).astype(np.int64), 0, 100, None),
        ((RAMP * 60000).astype(np.uint16), 0, 255, [0, 60000]),
    ],
)
def test_values_of_any_type_become_bytes(encoded, values, first, last, scaled):
    """Floats count from 0 to 1, integers from 0 to 255; whatever was scaled otherwise says so."""
    item = encoded(Image(values))

    assert (item.pixels[0, 0], item.pixels[3, 3]) == (first, last)
    assert item.facts.get("scaledFrom") == scaled


def test_value_range_scales_a_row_of_pictures_alike(run):
    """The same value has the same grey in each, whatever else is in the picture."""
    run.log({"x": [Image(np.full((2, 2), 5.0), value_range=(0, 10)), Image(np.eye(2) * 5, value_range=(0, 10))]})

    assert [item.pixels[0, 0] for item in items_of(run)] == [128, 128]


def test_values_that_are_not_finite_are_black_and_counted(encoded):
    """NaN does not spoil its neighbours."""
    item = encoded(Image(np.array([[np.nan, 1.0], [0.5, np.inf]])))

    assert item.pixels.tolist() == [[0, 255], [128, 0]]
    assert item.facts["nonFinite"] == 2


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((6, 8), (8, 6)),
        ((6, 8, 1), (8, 6)),
        ((6, 8, 4), (8, 6)),
        ((3, 6, 8), (8, 6)),
        ((1, 3, 6, 8), (8, 6)),
        ((3, 8, 3), (8, 3)),
    ],
)
def test_layout_of_an_array(encoded, shape, size):
    """Channels last, or first, or none; where both could be, an array of NumPy has them last."""
    assert encoded(Image(np.zeros(shape, np.uint8))).picture.size == size


def test_layout_of_a_tensor():
    """Where both ends could be the channels, a tensor has them first; bfloat16 and gradients are no obstacle."""
    torch = pytest.importorskip("torch")
    with capture_run() as (run, _):
        run.log({"x": [Image(torch.zeros(3, 8, 3)), Image(torch.ones(4, 5, dtype=torch.bfloat16, requires_grad=True))]})
        first, second = items_of(run)

    assert first.picture.size == (3, 8)
    assert second.pixels.min() == 255


def test_array_of_jax(encoded):
    """Arrays of other libraries are understood by what they can do."""
    jax = pytest.importorskip("jax")

    assert encoded(Image(jax.numpy.ones((2, 3), jax.numpy.bfloat16))).pixels.tolist() == [[255] * 3] * 2


def test_array_of_an_unknown_library(encoded):
    """A shape, a type and bytes are enough."""

    class Pixels:
        shape = (2, 2)
        dtype = "uint8"

        def tobytes(self):
            return bytes([1, 2, 3, 4])

    assert encoded(Image(Pixels())).pixels.tolist() == [[1, 2], [3, 4]]


def test_object_that_saves_itself_as_png(encoded):
    """What has Pillow's save() is saved at the call."""

    class Drawing:
        def save(self, target, format):
            PIL.Image.new("RGB", (9, 3)).save(target, format=format)

    item = encoded(Image(Drawing()))

    assert (item.media["width"], item.media["height"], item.content_type) == (9, 3, "image/png")


@pytest.mark.parametrize(("format", "kind"), [("jpg", "JPEG"), ("webp", "WEBP"), ("PNG", "PNG")])
def test_formats(encoded, format, kind):
    """A picture with transparency is written in each of them."""
    item = encoded(Image(PIL.Image.new("RGBA", (4, 4), (255, 0, 0, 0)), format=format))

    assert item.picture.format == kind
    if kind == "JPEG":
        assert item.pixels.min() > 250, "what was transparent is white"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "HSV"])
def test_every_mode_of_pillow_is_stored(encoded, mode):
    """No mode is refused."""
    assert encoded(PIL.Image.new(mode, (3, 2))).picture.size == (3, 2)


def test_list_of_pictures_is_one_step(run):
    """Each gets its index, in the order of the list."""
    run.log({"x": [Image(np.full((1, 1), value, np.uint8), f"no. {value}") for value in range(4)]}, step=7)

    found = [(item.media["step"], item.media["index"], item.media["caption"]) for item in items_of(run)]
    assert found == [(7, number, f"no. {number}") for number in range(4)]


def test_file_is_stored_as_it_is(run, tmp_path):
    """The bytes of the file at the time of the call, even when the next step overwrites it."""
    path = tmp_path / "grid.jpg"
    PIL.Image.new("RGB", (12, 10), "red").save(path)
    before = path.read_bytes()

    run.log({"x": Image(path, caption="validation")}, step=1)
    path.write_bytes(b"overwritten")
    (item,) = items_of(run)

    assert item.data == before
    assert (item.path, item.content_type) == ("image.jpg", "image/jpeg")
    assert (item.media["width"], item.media["height"]) == (12, 10)


def test_log_image_takes_what_an_image_takes(run):
    """Pillow, array, bytes and path; with a caption and a format."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (2, 2)).save(buffer, "PNG")
    with open("file.png", "wb") as file:
        file.write(buffer.getvalue())
    values = [PIL.Image.new("RGB", (2, 2)), np.zeros((2, 2, 3)), buffer.getvalue(), "file.png"]

    taken = [run.log_image("x", value, step, "words", "jpg", 50) for step, value in enumerate(values)]

    assert taken == [True] * 4
    found = items_of(run)
    assert [item.picture.format for item in found] == ["JPEG", "JPEG", "PNG", "PNG"]
    assert {item.media["caption"] for item in found} == {"words"}


def test_log_image_takes_no_step_of_its_own():
    """Without a step it belongs to the last one, and the next automatic step is the one it would have been."""
    with capture_run() as (run, server):
        run.log_image("first", np.zeros((2, 2)))
        for _ in range(3):
            run.log({"loss": 1.0})
            run.log_image("x", np.zeros((2, 2)))
        run.flush(5)
        assert server.steps("loss") == [0, 1, 2]
        assert [(item.media["key"], item.media["step"]) for item in items_of(run)] == [
            ("first", 0),
            ("x", 0),
            ("x", 1),
            ("x", 2),
        ]


def test_numbers_beside_media_are_logged(run):
    """Media in a call take nothing away from its numbers."""
    with capture_run() as (run, server):
        run.log({"loss": 0.5, "x": Image(np.zeros((1, 1)))}, step=2)
        run.flush(5)
        assert server.series("loss") == [0.5]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "value",
    [
        Image("nowhere.png"),
        Image(object()),
        Image(np.zeros((5, 5, 7))),
        Image(np.zeros((0, 4))),
        Image(b"no picture"),
        Image(np.zeros((4, 4)), format="bmp"),
        Image(np.array([["a"]])),
        Image(np.zeros((4, 4)), boxes=[[1, 2, 3]]),
        Image(np.zeros((4, 4)), masks={"m": np.zeros(3)}),
        Audio(np.zeros(4)),
        Audio(np.zeros((20, 20)), 100),
        Video(np.zeros((4, 4))),
        Histogram(),
        Histogram(np_histogram=([1, 2], [0, 1])),
        Object3D(np.zeros((4, 5))),
        Plotly({"no": "data"}),
        Plotly(3),
    ],
)
def test_nonsense_is_counted_and_never_raises(value):
    """One item is lost, with a reason; the run goes on."""
    with capture_run() as (run, server):
        run.log({"x": value, "loss": 1.0}, step=1)
        assert items_of(run) == []
        run.flush(5)
        assert server.series("loss") == [1.0]
        diagnostics = run.diagnostics()

    assert (diagnostics.media_logged, diagnostics.media_dropped) == (1, {"invalid": 1})


def test_warns_once_and_says_which(run):
    """A broken logger in a loop says one line, with the key and the reason."""
    with pytest.warns(RuntimeWarning) as caught:
        for step in range(5):
            run.log({"val/samples": Image("nowhere.png")}, step=step)

    (warning,) = caught
    assert "'val/samples'" in str(warning.message)
    assert "nowhere.png" in str(warning.message)
    assert run.diagnostics().media_dropped == {"invalid": 5}


def test_too_many_are_dropped_and_counted():
    """Beyond the bound the call returns False; what was taken is kept, and the account balances."""
    with capture_run(artifact_queue_capacity=5) as (run, _):
        with pytest.warns(RuntimeWarning, match="artifact_queue_capacity"):
            taken = [run.log({"x": Image(np.zeros((2, 2)))}, step=step) for step in range(20)]
        assert taken == [True] * 5 + [False] * 15
        assert len(items_of(run)) == 5
        diagnostics = run.diagnostics()

    assert diagnostics.media_logged == 20
    assert diagnostics.media_dropped == {"queue_full": 15}
    assert diagnostics.media_pending == 5


# -- boxes and masks --------------------------------------------------------------------------------------------------


def test_boxes_in_all_forms_become_fractions(encoded):
    """Plain corners in pixels, corners and middles by name, fractions, labels and scores."""
    pixels = np.zeros((100, 200), np.uint8)
    boxes = {
        "predictions": {
            "box_data": [
                {"position": {"minX": 0.1, "minY": 0.2, "maxX": 0.3, "maxY": 0.4}, "class_id": 1, "scores": {"p": 0.9}},
                {
                    "position": {"middle": [100, 50], "width": 20, "height": 10},
                    "domain": "pixel",
                    "box_caption": "dog",
                },
            ],
            "class_labels": {1: "cat"},
        },
        "truth": [[20, 10, 40, 30]],
        "array": np.array([[0, 0, 200, 100]]),
        "words": [{"box": [20, 10, 40, 30], "label": "bird", "score": 0.5}],
    }

    found = encoded(Image(pixels, boxes=boxes)).facts["boxes"]

    assert found == {
        "predictions": [
            {"box": [0.1, 0.2, 0.3, 0.4], "label": "cat", "class": 1, "scores": {"p": 0.9}},
            {"box": [0.45, 0.45, 0.55, 0.55], "label": "dog"},
        ],
        "truth": [{"box": [0.1, 0.1, 0.2, 0.3]}],
        "array": [{"box": [0, 0, 1, 1]}],
        "words": [{"box": [0.1, 0.1, 0.2, 0.3], "label": "bird", "scores": {"score": 0.5}}],
    }


def test_a_thousand_boxes_are_enough(encoded):
    """The rest is cut off, and the number of all is told."""
    facts = encoded(Image(np.zeros((9, 9)), boxes=np.ones((1500, 4)))).facts

    assert len(facts["boxes"]["boxes"]) == 1000
    assert facts["boxesTruncated"] == 1500


def test_mask_comes_back_as_class_numbers(encoded):
    """A small PNG in the metadata, with the names of the classes that are in it."""
    mask = np.array([[0, 1], [2, 1]])
    classes = [{"id": 0, "name": "ground"}, {"id": 1, "name": "road"}, {"id": 7, "name": "sky"}]

    found = encoded(Image(np.zeros((2, 2)), masks={"truth": {"mask_data": mask}}, classes=classes)).facts["masks"]

    picture = PIL.Image.open(io.BytesIO(base64.b64decode(found["truth"]["png"])))
    assert np.asarray(picture).tolist() == mask.tolist()
    assert found["truth"]["classes"] == {"0": "ground", "1": "road"}


def test_mask_from_a_file(encoded):
    """The file is read at the call: it may be gone a moment later."""
    PIL.Image.fromarray(np.array([[3, 4]], np.uint8)).save("mask.png")
    image = Image(np.zeros((1, 2)), masks={"truth": {"path": "mask.png"}})

    found = encoded(image).facts["masks"]["truth"]

    assert np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(found["png"])))).tolist() == [[3, 4]]


def test_a_large_mask_is_made_coarser(encoded):
    """Noise has no short form; it is halved until it fits into the metadata, and that is told."""
    noise = np.random.default_rng(1).integers(0, 256, (400, 400))

    found = encoded(Image(np.zeros((400, 400)), masks=noise)).facts["masks"]["mask"]

    assert found["coarse"] is True
    assert (found["width"], found["height"]) == (400, 400)
    assert len(base64.b64decode(found["png"])) <= 32 * 1024


# -- tables -----------------------------------------------------------------------------------------------------------


def test_table_holds_what_cells_can_hold(encoded):
    """Numbers stay numbers, texts whole, None stays; what JSON has no form for becomes text."""
    table = Table(columns=["id", "values"])
    cells = [1, 2.5, "é\ud800", None, True, float("nan"), -float("inf"), [1, {"a": 2}], np.float32(1.5), 1 << 70]
    for number, cell in enumerate(cells):
        table.add_data(number, cell)

    item = encoded(table)

    assert item.document["columns"] == ["id", "values"]
    assert [row[1] for row in item.document["rows"]] == [
        *[1, 2.5, "é?", None, True, "NaN", "-Infinity", [1, {"a": 2}], 1.5],
        str(1 << 70),
    ]
    assert (item.media["tableRows"], item.media["tableColumns"]) == (10, 2)
    assert item.media["mediaType"] == "table"


def test_table_from_rows_and_mappings(run):
    """Sequences in order, mappings by name; `rows` and `data` are the same."""
    run.log(
        {
            "a": Table(columns=["x", "y"], rows=[[1, 2], (3, 4), {"y": 6, "x": 5}]),
            "b": Table(data=[{"x": 1}, {"y": 2}]),
            "c": Table(data=np.arange(4).reshape(2, 2)),
        }
    )

    found = [(item.document["columns"], item.document["rows"]) for item in items_of(run)]
    assert found == [
        (["x", "y"], [[1, 2], [3, 4], [5, 6]]),
        (["x", "y"], [[1, None], [None, 2]]),
        (["0", "1"], [[0, 1], [2, 3]]),
    ]


def test_table_from_a_data_frame(encoded):
    """The frame of the call, with its missing values as None or NaN."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [1, 2], "y": ["a", None], "when": pandas.to_datetime(["2026-01-02", None])})
    table = Table(dataframe=frame)

    item = encoded(table)
    frame.loc[0, "x"] = 99

    assert item.document["columns"] == ["x", "y", "when"]
    assert item.document["rows"][0] == [1, "a", "2026-01-02 00:00:00"]
    assert item.document["rows"][1][0] == 2
    assert item.document["rows"][1][2] is None
    assert table.columns == ["x", "y", "when"]


def test_table_can_be_built_and_read(run):
    """Rows and columns are added and read back; what does not fit is refused at once."""
    table = Table(["a", "b"])
    table.add_data(1, 2)
    table.add_row({"b": 4, "a": 3})
    table.add_column("c", ["x", "y"])

    assert table.data == [[1, 2, "x"], [3, 4, "y"]]
    assert table.columns == ["a", "b", "c"]
    assert table.get_column("c") == ["x", "y"]
    with pytest.raises(ValueError, match="1 cells for 3 columns"):
        table.add_data(1)
    with pytest.raises(ValueError, match="cells for 2 rows"):
        table.add_column("d", [1])


def test_too_large_a_table_is_cut_and_says_so(encoded):
    """Ten thousand rows and 256 columns are kept, and the reader is told how many there were."""
    table = Table(columns=list(range(300)), data=[range(300)] * 10_050)

    item = encoded(table)

    assert (item.media["tableRows"], item.media["tableColumns"]) == (10_000, 256)
    assert item.facts == {"truncated": True, "totalRows": 10_050, "totalColumns": 300}


def test_uneven_rows_are_filled(encoded):
    """A row that is too short or too long costs nobody else."""
    item = encoded(Table(columns=["a", "b"], data=[[1], [1, 2, 3], [1, 2]]))

    assert item.document["rows"] == [[1, None], [1, 2], [1, 2]]
    assert item.facts == {"unevenRows": 2}


def test_pictures_in_cells(encoded):
    """They are copied at the call and stand in the table as files; a broken one costs its cell."""
    pixels = np.full((2, 3), 7, np.uint8)
    table = Table(["image", "label"], [[Image(pixels, "seven"), "a"], [PIL.Image.new("L", (1, 1)), "b"]])
    table.add_data(Image("nowhere.png"), "c")

    item = encoded(table)
    pixels[:] = 0

    first, second, third = (row[0] for row in item.document["rows"])
    picture = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(first["data"]))))
    assert picture.tolist() == [[7] * 3] * 2
    assert (first["_type"], first["width"], first["height"], first["caption"]) == ("image", 3, 2, "seven")
    assert second["contentType"] == "image/png"
    assert "nowhere.png" in third["error"]
    assert item.facts == {"cutCells": 1}


def test_a_large_picture_in_a_cell_is_made_smaller(encoded):
    """A table stays something one can open."""
    noise = np.random.default_rng(1).integers(0, 256, (900, 900, 3), dtype=np.uint8)

    item = encoded(Table(["image"], [[Image(noise)]]))

    cell = item.document["rows"][0][0]
    assert len(base64.b64decode(cell["data"])) <= 256 * 1024
    assert (cell["width"], cell["contentType"]) == (900, "image/webp")


# -- the others -------------------------------------------------------------------------------------------------------


def test_histogram_counts_finite_values(encoded):
    """As NumPy counts them; NaN and infinity are left out and told."""
    values = np.concatenate([np.random.default_rng(1).normal(size=1000), [np.nan, np.inf]])

    item = encoded(Histogram(values, bins=10))

    counts, edges = np.histogram(values[:1000], 10)
    assert item.document == {"edges": edges.tolist(), "counts": counts.tolist()}
    assert item.facts["nonFinite"] == 2
    assert item.facts["count"] == 1000
    assert item.facts["mean"] == pytest.approx(values[:1000].mean())


def test_histogram_of_tensors_lists_and_ready_counts(run):
    """Gradients, integers, bools, nothing at all, and what numpy.histogram gives."""
    torch = pytest.importorskip("torch")
    weight = torch.ones(3, 3, dtype=torch.bfloat16, requires_grad=True)
    values = [
        Histogram(weight, bins=2, range=(0, 2)),
        Histogram([1, 2, 2], bins=[0, 2, 3]),
        Histogram([True, False, True], bins=2),
        Histogram([], bins=1),
        Histogram(np_histogram=np.histogram([1, 2, 3], 3)),
    ]

    run.log({"x": values})

    assert [item.document["counts"] for item in items_of(run)] == [[0, 9], [1, 2], [1, 2], [0], [1, 1, 1]]


@pytest.mark.parametrize(
    ("samples", "channels", "loudest"),
    [
        (np.sin(np.linspace(0, 100, 8000)), 1, 32767),
        (np.ones((800, 2), np.float32) * 0.5, 2, 16384),
        (np.ones((2, 800), np.int16) * 5, 2, 5),
        (np.ones(800) * 4, 1, 32767),
        (np.full(800, 255, np.uint8), 1, 127 * 256),
    ],
)
def test_samples_become_a_wave_file(encoded, samples, channels, loudest):
    """Sixteen bits at the given rate; what is too loud is made quieter, and that is told."""
    item = encoded(Audio(samples, sample_rate=8000, caption="beep"))

    with wave.open(io.BytesIO(item.data)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (channels, 8000, 2)
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert frames.size == samples.size
    assert abs(int(frames.max()) - loudest) <= 1
    assert item.content_type == "audio/wav"
    assert item.facts["seconds"] == pytest.approx(frames.size / channels / 8000)
    assert item.facts.get("scaledFrom") == ([-4, 4] if samples.max() == 4 else None)


def test_frames_become_a_gif(run):
    """Channels first or last, one or three; the number of frames and their pace are kept."""
    frames = np.zeros((5, 3, 8, 6), np.uint8)
    frames[:, 0] = np.arange(5)[:, None, None] * 60

    run.log({"x": [Video(frames, fps=10, caption="moves", format="mp4"), Video(frames.transpose(0, 2, 3, 1))]})

    first, second = items_of(run)
    for item in (first, second):
        assert item.content_type == "image/gif"
        assert item.picture.n_frames == 5
        assert item.picture.size == (6, 8)
    assert first.picture.info["duration"] == 100
    assert first.facts == {"frames": 5, "fps": 10, "requestedFormat": "mp4"}


def test_files_of_sounds_videos_scenes_and_pages(run, tmp_path):
    """They are stored as they are, with the type that their name says."""
    kinds = {"a.mp4": Video, "b.mp3": Audio, "c.glb": Object3D, "d.html": Html, "e.unknown": Video}
    for name, kind in kinds.items():
        (tmp_path / name).write_bytes(name.encode())
        assert run.log({name[0]: kind(tmp_path / name)}, step=1)

    found = items_of(run)
    assert [item.data.decode() for item in found] == list(kinds)
    assert [item.content_type for item in found] == [
        "video/mp4",
        "audio/mpeg",
        "model/gltf-binary",
        "text/html",
        "application/octet-stream",
    ]


def test_html_from_text_and_from_something_that_reads(run):
    """A str is the page itself unless it is the name of one."""
    run.log({"x": [Html("<b>bold</b>"), Html(io.StringIO("<i>read</i>")), Html("plain words")]})

    found = items_of(run)
    assert [item.data.decode() for item in found] == ["<b>bold</b>", "<i>read</i>", "plain words"]
    assert {item.content_type for item in found} == {"text/html"}


def test_text_is_cut_at_a_mebibyte(run):
    """Between two characters, and flagged."""
    run.log({"x": [Text("# words", markdown=True), Text("é" * 1024 * 1024)]})

    short, long = items_of(run)
    assert (short.data.decode(), short.path, short.facts) == ("# words", "text.md", {"markdown": True})
    assert long.data.decode() == "é" * 512 * 1024
    assert long.facts == {"truncated": True}


def test_points_become_json(run):
    """Coordinates and colours; a scene as a mapping keeps what else belongs to it."""
    points = np.array([[0.123456789, 1, 2, 255, 0, 0], [np.nan, 0, 0, 0, 0, 0]])
    boxes = np.array([{"label": "car", "score": np.float32(0.5), "corners": np.zeros((1, 3))}])
    scenes = [{"points": points[:1, :3], "boxes": kind} for kind in ([{"label": "car"}], boxes)]
    run.log({"x": [Object3D(points), *map(Object3D, scenes)]})

    first, second, third = items_of(run)
    assert first.document == {"points": [[0.12346, 1, 2, 255, 0, 0]]}
    assert first.facts == {"points": 2, "nonFinite": 1}
    assert second.document == {"points": [[0.12346, 1, 2]], "boxes": [{"label": "car"}]}
    assert third.document["boxes"] == [{"label": "car", "score": 0.5, "corners": [[0, 0, 0]]}]


def test_figure_of_plotly_becomes_plain_json(run):
    """Packed arrays are unpacked; the figure may be changed afterwards; a plain figure needs no wrapping."""
    graphs = pytest.importorskip("plotly.graph_objects")
    figure = graphs.Figure(graphs.Scatter(x=np.arange(3), y=np.array([1.5, np.nan, 3])))

    run.log({"a": figure, "b": Plotly(figure.to_json()), "c": Plotly({"data": [{"type": "bar", "y": (1, 2)}]})})
    figure.data[0].y = [0, 0, 0]

    first, second, third = items_of(run)
    assert first.media["mediaType"] == "plotly"
    for item in (first, second):
        assert item.document["data"][0]["x"] == [0, 1, 2]
        assert item.document["data"][0]["y"] == [1.5, None, 3]
    assert third.document == {"data": [{"type": "bar", "y": [1, 2]}]}


def test_figure_of_matplotlib_is_drawn_at_the_call(run):
    """What is drawn into it afterwards is not seen, and it stays open."""
    pytest.importorskip("matplotlib").use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(2, 1), dpi=50)
    axes.plot([1, 2, 3])
    run.log({"x": [figure, Image(axes), Image(pyplot)]}, step=1)
    axes.set_facecolor("black")
    run.log({"x": figure}, step=2)
    assert pyplot.fignum_exists(figure.number)
    pyplot.close(figure)

    first, second, third, later = items_of(run)
    assert (first.media["width"], first.media["height"]) == (100, 50)
    assert first.data == second.data == third.data
    assert later.pixels[:, :, :3].mean() < first.pixels[:, :, :3].mean() - 50
