"""The summary: what was logged last, what define_metric keeps, what the script sets."""

import pytest

import rundial.compat.wandb as wandb


def stored(server, run):
    """The summary at the server."""
    return server.get(f"/api/v1/runs/{run.id}")["summary"]


def test_definitions_keep_their_value(server):
    """Each operation, at once here and in the end at the server."""
    run = wandb.init(project="wb-summary")
    run.define_metric("loss", summary="min")
    run.define_metric("acc*", summary="max")
    run.define_metric("both", summary="min,max,mean")
    run.define_metric("best", summary="best", goal="maximize")
    run.define_metric("hidden", summary="none")
    for value in (3, 1, 2):
        run.log({"loss": value, "acc/top": value, "both": value, "best": value, "hidden": value, "plain": value})
    expected = {
        "loss": {"min": 1},
        "acc/top": {"max": 3},
        "both": {"min": 1, "max": 3, "mean": 2},
        "best": {"best": 3},
        "plain": 2,
    }
    assert {key: run.summary.get(key) for key in expected} == expected
    assert "hidden" not in run.summary
    assert run.summary.loss.min == 1
    run.finish()
    assert {key: stored(server, run).get(key) for key in expected} == expected


def test_the_longest_beginning_wins_and_overwrite_forgets():
    """A name's own definition, then the nearest glob; an earlier one stays unless it is overwritten."""
    run = wandb.init(mode="offline")
    run.define_metric("*", summary="min")
    run.define_metric("val/*", summary="max")
    run.define_metric("val/x", step_metric="epoch")
    run.define_metric("val/x", summary="mean")
    for value in (1, 3):
        run.log({"a": value, "val/y": value, "val/x": value})
    assert [run.summary[key] for key in ("a", "val/y", "val/x")] == [{"min": 1}, {"max": 3}, {"mean": 2}]
    run.define_metric("val/x", summary="last", overwrite=True)
    run.log({"val/x": 7})
    assert run.summary["val/x"]["last"] == 7


def test_step_metric_goes_along(server):
    """A row without the metric it is drawn over gets its last value; the definition stands with the run."""
    run = wandb.init(project="wb-steps")
    run.define_metric("epoch")
    run.define_metric("val/*", step_metric="epoch")
    run.log({"epoch": 1})
    run.log({"val/loss": 0.5})
    run.finish()
    assert server.points(run.id, "epoch") == [(0, 1), (1, 1)]
    assert server.get(f"/api/v1/runs/{run.id}")["config"]["_wandb"]["metrics"]["val/*"]["step_metric"] == "epoch"


def test_set_then_logged_is_the_later_one(server):
    """As in W&B the last writer wins, also at the server."""
    run = wandb.init(project="wb-last")
    run.summary["x"] = 1
    run.log({"x": 5})
    run.log({"y": 1})
    run.summary["y"] = 7
    run.finish()
    assert (stored(server, run)["x"], stored(server, run)["y"]) == (5, 7)


def test_nested_values_can_be_changed(server):
    """By item or attribute, at any depth."""
    run = wandb.init(project="wb-nested")
    run.summary["a"] = {"b": {"c": 1}}
    run.summary["a"]["b"]["c"] = 2
    run.summary.a.b.d = 3
    run.finish()
    assert stored(server, run)["a"] == {"b": {"c": 2, "d": 3}}


def test_media_and_arrays_in_the_summary(server):
    """A table that is set there is logged; an array becomes a list."""
    np = pytest.importorskip("numpy")
    run = wandb.init(project="wb-summary-media")
    run.summary["table"] = wandb.Table(columns=["a"], data=[[1]])
    run.summary["array"] = np.arange(3)
    run.finish()
    assert stored(server, run)["array"] == [0, 1, 2]
    assert [m["key"] for m in server.get(f"/api/v1/runs/{run.id}/media?limit=100")["items"]] == ["table"]


def test_what_is_logged_is_not_kept_alive():
    """A tensor's graph and an image's pixels are not held by the summary."""
    torch = pytest.importorskip("torch")
    run = wandb.init(mode="offline")
    loss = (torch.ones(3, requires_grad=True) * 2).sum()
    run.log({"loss": loss, "image": wandb.Image(torch.zeros(2, 2))})
    assert (run.summary["loss"], type(run.summary["loss"])) == (6.0, float)
    assert dict(run.summary["image"]) == {"_type": "image"}


def test_facts_come_with_the_first_row():
    """_step and _runtime, as scripts that spread the summary expect."""
    run = wandb.init(mode="offline")
    assert dict(run.summary) == {}
    run.log({"a": 1})
    run.log({"a": 2})
    assert run.summary["_step"] == 1
    assert set(dict(run.summary)) == {"a", "_step", "_runtime", "_timestamp"}
    assert getattr(run.summary, "missing", "none") == "none"
