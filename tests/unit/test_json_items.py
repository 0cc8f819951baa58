"""Events as items of the JSON wire, within the bounds of that wire."""

import json

from rundial import json_items
from rundial.events import EvalResult, Marker, Metrics, RunUpdate, Span

ITEM = {"projectId": "p", "runId": "r"}


def test_a_config_becomes_flat():
    """Nesting is joined with dots, a list is JSON, what JSON has no number for is a text, what is too long is cut."""
    values = {
        "a": {"b": {"c": 1}},
        "list": [1, {"d": 2}],
        "nan": float("nan"),
        "none": None,
        "empty": {},
        "t": "x" * 3000,
    }
    entries, cut = json_items.flat_config(values)
    assert entries["t"].startswith("xxx")
    assert len(entries.pop("t")) == json_items.MAX_CONFIG_TEXT
    assert entries == {"a.b.c": 1, "list": '[1,{"d":2}]', "nan": "nan", "none": None, "empty": "{}"}
    assert cut == ["t"]
    [key] = json_items.flat_config({"k" * 300: 1})[0]
    assert len(key) == json_items.MAX_CONFIG_KEY


def test_a_large_config_goes_in_parts():
    """Every entry is in one part, and each part is within the bounds of one request."""
    entries = {f"key{number}": "v" * 1000 for number in range(1200)}
    parts = list(json_items.config_patches(entries))
    assert {name: value for part in parts for name, value in part.items()} == entries
    assert max(len(part) for part in parts) <= json_items.MAX_ENTRIES
    assert max(len(json.dumps(part)) for part in parts) <= 65_536


def test_a_change_of_the_run_is_config():
    """What has no field of its own stands under one name; an environment has no place."""
    update = RunUpdate(0, config={"lr": 1}, summary={"best": {"acc": 2}}, tags=["a"], environment={"python": "3"})
    entries, lacking = json_items.update_config(update)
    assert entries == {"lr": 1, "rundial.summary.best.acc": 2, "rundial.tags": '["a"]'}
    assert lacking == ["environment"]


def test_points_of_one_call():
    """Numbers are points, truth values 0 and 1, the stage is in the context; the rest says why it is missing."""
    event = Metrics(5_000_000_000, 7, {"a": 0.5, "b": True, "c": "text", "d": float("inf")}, "val", {"k": "v"})
    found, lacking = json_items.points(event, ITEM)
    common = {**ITEM, "step": 7, "timestampMs": 5000, "context": {"k": "v", "stage": "val"}}
    assert found == [common | {"metricKey": "a", "value": 0.5}, common | {"metricKey": "b", "value": 1}]
    assert lacking == ["a text as a value", "a value that is not finite"]
    assert json_items.points(Metrics(0, -1, {"a": 1.0}), ITEM) == ([], ["a step below 0"])


def test_a_marker_is_a_line_that_is_the_same_each_time():
    """Its number is that of its record, apart for each rank."""
    event = Marker(1_000_000, "alert", "hot", 3, {"text": "it is hot"})
    first = json_items.marker_line(event, ITEM, 9, 0)
    assert first == json_items.marker_line(event, ITEM, 9, 0)
    assert first["message"] == 'alert hot at step 3 {"text":"it is hot"}'
    assert (first["level"], first["sequence"]) == ("warn", 10)
    assert json_items.marker_line(event, ITEM, 9, 1)["sequence"] != 10
    long = json_items.marker_line(Marker(0, "note", "n", None, {"text": "ü" * 9000}), ITEM, 0, 0)
    assert long["truncated"]
    assert len(long["message"].encode()) <= json_items.MAX_MESSAGE


def test_a_span_within_its_bounds():
    """Times are texts, the reason is an attribute, and attributes that are too long give way to their names."""
    event = Span(
        "0" * 32, "1" * 16, None, "work", "tool", 1, 2, "error", "it broke", {"n": 1}, [("e", 3, {"x": "y" * 5000})]
    )
    item = json_items.span(event, ITEM)
    assert (item["startNs"], item["endNs"]) == ("1", "2")
    assert json.loads(item["attrsJson"]) == {"otel.status_description": "it broke", "n": 1}
    assert json.loads(item["events"][0]["attrsJson"]) == {"rundial.originalKeys": ["x"], "rundial.truncated": True}


def test_a_result_has_what_the_wire_wants():
    """Without a verdict and a trace it gets both, marked as such, the same each time; names are within their bounds."""
    event = EvalResult(0, "e", "x" * 300, "s" * 200, 0.5)
    row = json_items.result(event)
    assert (row["passed"], len(row["exampleId"]), len(row["scorer"])) == (False, 256, 128)
    assert row["meta"] == {"rundial.verdict": "none", "rundial.trace": "none"}
    assert row == json_items.result(event)
    given = json_items.result(EvalResult(0, "e", "x", "s", 0.5, True, "a" * 32, None, {"m": 1}))
    assert (given["passed"], given["traceId"], given["meta"]) == (True, "a" * 32, {"m": 1})
