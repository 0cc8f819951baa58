"""``wandb.Api`` over a real server: what was logged is what it says."""

from __future__ import annotations

import numpy as np
import pytest

import rundial.compat.wandb as wandb
from rundial.compat.wandb._api_filters import matches, ordered
from tests.flows.conftest import ServerProcess


def log_runs(project: str) -> list[str]:
    """Three runs with different configurations and losses; their ids."""
    ids = []
    for number in range(3):
        with wandb.init(project=project, name=f"run-{number}", config={"lr": 0.1 * number, "n": {"k": number}}) as run:
            for step in range(10):
                run.log({"loss": 10 * number + step, "acc": step / 10} if step % 2 else {"loss": 10 * number + step})
            run.log({"picture": wandb.Image(np.zeros((4, 4, 3), dtype=np.uint8))})
            ids.append(run.id)
    return ids


def test_runs_are_filtered_and_ordered(server: ServerProcess) -> None:
    """MongoDB's operators over configuration, summary and facts; ``order`` by any of them."""
    ids = log_runs("filters")
    api = wandb.Api()

    def found(filters: dict[str, object], order: str = "+created_at") -> list[str]:
        return [run.id for run in api.runs("me/filters", filters, order)]

    assert found({}) == ids and found({}, "-created_at") == ids[::-1]
    assert found({}, "-summary_metrics.loss") == ids[::-1] and len(api.runs("filters")) == 3
    assert found({"config.lr": {"$gt": 0.05}}) == ids[1:] and found({"config.n.k": 1}) == [ids[1]]
    assert found({"$or": [{"display_name": "run-0"}, {"summary_metrics.loss": {"$gte": 29}}]}) == [ids[0], ids[2]]
    assert found({"state": "finished", "display_name": {"$regex": "run-[12]"}}) == ids[1:]
    assert found({"state": {"$in": ["crashed", "failed"]}}) == []
    with pytest.raises(ValueError, match="nothing"):
        len(api.runs("nothing"))


def test_a_run_has_what_it_logged(server: ServerProcess) -> None:
    """Configuration, summary, history with and without keys, samples, media and files."""
    (run_id, *_) = log_runs("contents")
    run = wandb.Api().run(f"me/contents/{run_id}")
    assert wandb.Api().default_entity == "default-workspace"
    assert (run.name, run.state, run.config) == ("run-0", "finished", {"lr": 0.0, "n": {"k": 0}})
    assert run.summary["loss"] == 9 and run.summary.acc == 0.9 and run.lastHistoryStep == 9
    rows = run.history(pandas=False)
    assert [row["loss"] for row in rows if "loss" in row] == list(range(10))
    assert [row["_step"] for row in run.scan_history(min_step=3, max_step=6)] == [3, 4, 5]
    assert list(run.scan_history(keys=["loss", "acc"])) == [{"loss": n, "acc": n / 10} for n in (1, 3, 5, 7, 9)]
    assert len(run.history(samples=4, pandas=False)) == 4
    (file,) = run.files()
    assert file.name.startswith("media/image/picture_10")
    with file.download(replace=True) as stream:
        assert stream.name.endswith(".png")
    with pytest.raises(wandb.CommError, match="404"):
        wandb.Api().run("me/contents/nothing")


def test_history_is_a_data_frame_where_pandas_is(server: ServerProcess) -> None:
    """The default form of W&B."""
    pd = pytest.importorskip("pandas")
    (run_id, *_) = log_runs("frames")
    frame = wandb.Api().run(run_id).history(keys=["loss"])
    assert isinstance(frame, pd.DataFrame) and frame["loss"].tolist() == list(range(10))


def test_changes_reach_the_server_and_do_not_reopen_the_run(server: ServerProcess) -> None:
    """Configuration, tags, name and summary; the run stays as it ended."""
    (run_id, *_) = log_runs("changes")
    api = wandb.Api()
    run = api.run(run_id)
    run.config["lr"], run.name, run.summary["verdict"] = 7, "renamed", "good"
    run.tags.append("seen")
    run.update()
    again = api.run(run_id)
    assert (again.config["lr"], again.name, again.tags) == (7, "renamed", ["seen"])
    assert again.summary["verdict"] == "good" and again.state == "finished"


def test_artifacts_by_name_type_and_run(server: ServerProcess) -> None:
    """Versions, types, collections; made and used by a run."""
    with wandb.init(project="versions") as run:
        for number in range(2):
            artifact = wandb.Artifact("data", "dataset")
            with artifact.new_file("n.txt") as file:
                file.write(str(number))
            run.log_artifact(artifact).wait()
    api = wandb.Api()
    assert [version.name for version in api.artifact_versions("dataset", "versions/data")] == ["data:v1", "data:v0"]
    assert api.artifact("versions/data:v0", type="dataset").logged_by().id == run.id
    assert [kind.name for kind in api.artifact_types("versions")] == ["dataset"]
    assert [name.name for name in api.artifact_type("dataset", "versions").collections()] == ["data"]
    assert [artifact.name for artifact in api.run(run.id).logged_artifacts()] == ["data:v1", "data:v0"]
    assert not api.artifact_exists("versions/nothing:latest")
    with pytest.raises(ValueError, match="model"):
        api.artifact("versions/data:v0", type="model")


def test_without_a_server_it_says_what_to_do() -> None:
    """No server is started: the error names the command that does."""
    with pytest.raises(wandb.CommError, match="rundial ui"):
        wandb.Api().run("a/b/c")


RUN = {"runId": "r", "runName": "n", "status": "completed", "tags": ["a"], "startedAtMs": 0, "updatedAtMs": 5000}
RUN |= {"finishedAtMs": None, "config": {"a.b": 1, "c": {"d": "x"}, "l": [1]}, "summary": {"s": 2}, "group": None}


@pytest.mark.parametrize(
    ("filters", "fits"),
    [
        ({"config.a.b": 1}, True),
        ({"config.c.d": {"$ne": "x"}}, False),
        ({"config.c.d": {"$gt": 3}}, False),
        ({"config.nothing": None}, True),
        ({"config.nothing": {"$exists": False}}, True),
        ({"tags": "a"}, True),
        ({"tags": {"$nin": ["a"]}}, False),
        ({"summary_metrics.s": {"$not": {"$lt": 3}}}, False),
        ({"$nor": [{"state": "finished"}]}, False),
        ({"$and": [{"duration": {"$lte": 5}}, {"name": "r"}]}, True),
    ],
)
def test_filters_mean_what_mongodb_means(filters: dict[str, object], fits: bool) -> None:
    """One operator each."""
    assert matches(RUN, filters) is fits


def test_an_unknown_filter_is_an_error_and_runs_without_a_value_come_last() -> None:
    """Nothing is silently let through."""
    with pytest.raises(ValueError, match="nothing"):
        matches(RUN, {"nothing": 1})
    with pytest.raises(ValueError, match="near"):
        matches(RUN, {"state": {"$near": 1}})
    others = [{**RUN, "runId": str(n), "summary": {"s": n} if n else {}} for n in range(3)]
    assert [run["runId"] for run in ordered(others, "-summary_metrics.s")] == ["2", "1", "0"]
