"""Media from log() to the server: what a reader gets is what was there at the call."""

import io
import json

import numpy as np
import PIL.Image
import pytest
import requests

LOG = """
    import sys, time, warnings
    import numpy as np
    import rundial as rd
    from rundial.media import Histogram, Html, Image, Table, Text
"""


def items(server, run_id, key):
    """All items of a key in order, over all pages."""
    found, cursor = [], ""
    while cursor is not None:
        page = server.get(f"/api/v1/runs/{run_id}/media?key={key}&limit=100&cursor={cursor}")
        found += page["items"]
        cursor = page["page"]["nextCursor"]
    return found


def content(server, item):
    """The file of an item, as a browser gets it."""
    answer = requests.get(server.url + item["url"], headers={"authorization": f"Bearer {server.key}"}, timeout=20)
    answer.raise_for_status()
    return answer.content


def pixels(server, item):
    return np.asarray(PIL.Image.open(io.BytesIO(content(server, item))))


def test_three_hundred_pictures_and_tables_in_a_loop(start_server, script):
    """One buffer, overwritten at each step: every item arrives, with the pixels and rows of its own step."""
    server = start_server()
    process = script(
        LOG
        + """
    run = rd.init(project="loop", quiet=True)
    buffer = np.zeros((32, 32), np.uint8)
    table = Table(columns=["step", "square"])
    began = time.perf_counter()
    for step in range(300):
        buffer[:] = step % 256
        table.data[:] = [[step, step * step]] * 20
        run.log({"picture": Image(buffer, caption=f"step {step}"), "table": table, "loss": float(step)}, step=step)
    looped = time.perf_counter() - began
    delivered = run.finish(90)
    print(delivered, run.diagnostics().media_logged, run.diagnostics().media_uploaded, looped)
    """
    )
    delivered, logged, uploaded, _ = process.output(100)[0].split()

    assert (delivered, logged, uploaded) == ("True", "600", "600")
    run = server.wait_for("loop", lambda run: run["status"] == "completed")
    pictures, tables = items(server, run["runId"], "picture"), items(server, run["runId"], "table")
    assert [item["step"] for item in pictures] == [item["step"] for item in tables] == list(range(300))
    for step in (0, 1, 17, 255, 256, 299):
        assert np.array_equal(pixels(server, pictures[step]), np.full((32, 32), step % 256))
        assert json.loads(content(server, tables[step])) == {
            "columns": ["step", "square"],
            "rows": [[step, step * step]] * 20,
        }
    assert pictures[299]["caption"] == "step 299"
    assert (tables[0]["tableRows"], tables[0]["tableColumns"]) == (20, 2)
    assert len(server.points(run["runId"], "loss")) == 300


def test_list_of_pictures_and_every_kind_beside_numbers(start_server, script):
    """One call with a list, a histogram, a page, a text, a PIL image and a number: each is there by its key."""
    server = start_server()
    script(
        LOG
        + """
    import PIL.Image
    run = rd.init(project="kinds", quiet=True)
    batch = [Image(np.full((4, 6, 3), n * 50, np.uint8), caption=str(n)) for n in range(3)]
    run.log({
        "val": {"samples": batch, "weights": Histogram(np.arange(10.0), bins=5)},
        "report": Html("<b>good</b>"), "notes": Text("# all is well", markdown=True),
        "pil": PIL.Image.new("RGB", (5, 5), "red"), "loss": 0.25,
    }, step=9)
    print(run.finish(60))
    """
    ).output()
    run = server.wait_for("kinds", lambda run: run["status"] == "completed")
    run_id = run["runId"]

    keys = server.get(f"/api/v1/runs/{run_id}/media")["keys"]
    assert {key["key"]: (key["mediaType"], key["count"]) for key in keys} == {
        "val/samples": ("image", 3),
        "val/weights": ("histogram", 1),
        "report": ("html", 1),
        "notes": ("text", 1),
        "pil": ("image", 1),
    }
    samples = items(server, run_id, "val/samples")
    assert [(item["index"], item["caption"], item["step"]) for item in samples] == [
        (0, "0", 9),
        (1, "1", 9),
        (2, "2", 9),
    ]
    assert [int(pixels(server, item).max()) for item in samples] == [0, 50, 100]
    assert json.loads(content(server, items(server, run_id, "val/weights")[0]))["counts"] == [2] * 5
    assert content(server, items(server, run_id, "report")[0]) == b"<b>good</b>"
    assert items(server, run_id, "notes")[0]["metadata"] == {"markdown": True}
    assert server.points(run_id, "loss") == [(9, 0.25)]


def test_media_of_a_killed_script_arrive_later(start_server, script):
    """Without a server everything is kept; after SIGKILL the next server gets what was encoded by then."""
    process = script(
        LOG
        + """
    run = rd.init(project="killed", quiet=True)
    for step in range(5):
        run.log({"picture": Image(np.full((8, 8), step, np.uint8)), "loss": 1.0}, step=step)
    time.sleep(0.5)
    run.flush(5)
    print("logged", run.diagnostics().media_pending, flush=True)
    sys.stdin.readline()
    """
    )
    assert process.stdout.readline() == b"logged 5\n"
    process.kill()
    process.wait()

    server = start_server()
    run = server.wait_for("killed", lambda run: len(items(server, run["runId"], "picture")) == 5, 40)

    found = items(server, run["runId"], "picture")
    assert [int(pixels(server, item)[0, 0]) for item in found] == list(range(5))


def test_bad_media_cost_only_themselves(start_server, script):
    """A missing file, a strange shape, an object: one line for each reason, the script ends well, the rest arrives."""
    server = start_server()
    out, err = script(
        LOG
        + """
    warnings.simplefilter("always")
    run = rd.init(project="bad", quiet=True)
    for step in range(3):
        run.log({"a": Image("nowhere.png"), "b": Image(np.zeros((5, 5, 9))), "loss": 1.0, "good": Image(np.eye(3))})
        run.log_image("c", object(), step)
    print(run.finish(60), run.diagnostics().media_dropped)
    """
    ).output()

    assert out.startswith("True {'invalid': 9}")
    assert err.count("nowhere.png") == 1
    run = server.wait_for("bad", lambda run: run["status"] == "completed")
    assert len(items(server, run["runId"], "good")) == 3
    assert len(server.points(run["runId"], "loss")) == 3


@pytest.mark.frameworks
def test_tensors_are_read_as_they_were(start_server, script):
    """A tensor in a graph, changed in place after the call, arrives as it was, channels first."""
    server = start_server()
    script(
        LOG
        + """
    import torch
    run = rd.init(project="tensors", quiet=True)
    weight = torch.zeros(3, 8, 16, requires_grad=True)
    for step in range(4):
        with torch.no_grad():
            weight.fill_(step / 4)
        run.log({"picture": Image(weight), "weights": Histogram(weight)}, step=step)
    with torch.no_grad():
        weight.fill_(1)
    print(run.finish(60))
    """
    ).output()
    run = server.wait_for("tensors", lambda run: run["status"] == "completed")

    found = items(server, run["runId"], "picture")
    assert [pixels(server, item).shape for item in found] == [(8, 16, 3)] * 4
    assert [int(pixels(server, item).max()) for item in found] == [0, 64, 128, 191]
    assert [item["metadata"]["mean"] for item in items(server, run["runId"], "weights")] == [0, 0.25, 0.5, 0.75]
