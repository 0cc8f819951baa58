"""Reading back through `rd.Client`: runs page by page, and histories, exact and thinned."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

import rundial as rd
from rundial.errors import ConfigError, RequestError
from tests.flows.conftest import ServerProcess

STEPS = 1500


@pytest.fixture(scope="module")
def client(lasting_server: ServerProcess) -> Iterator[Any]:
    """A client, and a project of eight runs, one of which has a long history."""
    made = rd.Client(lasting_server.url, api_key=lasting_server.key, project="reading", quiet=True)
    for number in range(7):
        tags = ["even", "all"] if number % 2 == 0 else ["all"]
        config = {"lr": 0.1 * number, "model": {"depth": number}}
        run = made.start_run("reading", run_id=f"run_{number}", run_name=f"n{number}", tags=tags, config=config)
        run.log({"loss": 1.0 / (number + 1)})
        run.finish(10)
    run = made.start_run("reading", run_id="run_long", kind="eval", group="g")
    for step in range(STEPS):
        run.log({"loss": 1.0 / (step + 1), "tokens": step * 10, "system/cpu": 5.0}, step=step, time_ms=1_000 + step)
        if step % 3 == 0:
            run.log({"acc": step / STEPS}, step=step, time_ms=2_000_000 + step)
    run.log({"loss": 7.0}, step=4, time_ms=3_000_000)
    run.log({"note": "done"}, step=STEPS, time_ms=3_000_001)
    run.finish(10)
    yield made
    made.close()


def test_runs_come_page_by_page_and_typed(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked before it is needed, and no more than that."""
    asked: list[str | None] = []
    query = client.query_runs

    def counting(*place: str, **options: Any) -> Any:
        asked.append(options["cursor"])
        return query(*place, **options)

    monkeypatch.setattr(client, "query_runs", counting)
    runs = client.runs(order_by="runId", order="asc", page_size=3)
    assert asked == []

    first = next(iter(runs))
    assert (first.run_id, first.run_name, first.status, first.tags) == ("run_0", "n0", "completed", ("even", "all"))
    assert (first.config["model"], first.summary["loss"], first.document["runId"]) == ({"depth": 0}, 1.0, "run_0")
    assert len(asked) == 1
    assert [run.run_id for run in runs] == [*(f"run_{number}" for number in range(7)), "run_long"]
    assert len(asked) == 1 + 3
    assert [run.run_id for run in client.runs("reading", limit=2, order_by="runId")] == ["run_long", "run_6"]
    assert "run_0" in repr(first)


def test_runs_are_chosen(client: Any) -> None:
    """By what the server looks for and by what it does not."""

    def names(**chosen: Any) -> list[str]:
        return [run.run_id for run in client.runs(order_by="runId", order="asc", page_size=2, **chosen)]

    assert names(tags=["even"]) == ["run_0", "run_2", "run_4", "run_6"] == names(tags="even")
    assert names(group="g") == names(kind="eval") == ["run_long"] == names(search="long")
    assert names(where=lambda run: run.config.get("lr", 0) > 0.45) == ["run_5", "run_6"]
    assert names(statuses=["running"]) == []
    assert names(tags=["all"], limit=1) == ["run_0"]
    with pytest.raises(RequestError, match="404"):
        list(client.runs("nowhere"))


def test_a_run_alone_and_a_run_to_log_into(client: Any) -> None:
    """One id reads; a project and an id give a handle, by position and by name."""
    assert client.run("run_long").group == "g" == client.run(run_id="run_long").group
    assert isinstance(client.run("reading", "run_more"), rd.Run)
    assert client.run(project_id="reading", run_id="run_more", kind="training").run_id == "run_more"
    with pytest.raises(RequestError, match="404") as failure:
        client.run("run_unknown")
    assert failure.value.error_code == "NOT_FOUND"
    with pytest.raises(ConfigError):
        client.run()


def test_history_is_exact(client: Any) -> None:
    """Every step with its latest value, by step, without what the machine said."""
    rows = list(client.history("run_long"))

    assert len(rows) == STEPS + 1
    assert rows[3].values == {"loss": 0.25, "tokens": 30, "acc": 3 / STEPS}
    assert (rows[4].step, rows[4].x, rows[4].values) == (4, 4, {"loss": 7.0, "tokens": 40})
    assert (rows[-1].values, rows[5].time_ms) == ({"note": "done"}, 1_005)
    assert next(row.values for row in client.run("run_long").history(["system/cpu"])) == {"system/cpu": 5.0}


def test_history_is_thinned(client: Any) -> None:
    """At most so many points of each metric, among them the newest."""
    history = client.history("run_long", ["loss", "tokens"], samples=50)

    rows = list(history)
    assert 25 <= len(history) <= 50
    assert rows[-1].step == STEPS - 1
    assert all(row.values["tokens"] == row.step * 10 for row in rows)
    with pytest.raises(ConfigError, match="samples"):
        client.history("run_long", samples=0)


def test_history_over_other_axes(client: Any) -> None:
    """Time, seconds of the run, another metric."""
    run = client.run("run_long")
    by_tokens = list(run.history(["acc"], x="tokens"))
    wall = list(run.history(["tokens"], x="wall"))
    relative = list(run.history(["tokens"], x="relative"))

    assert [(row.x, row.values["acc"]) for row in by_tokens[:2]] == [(0.0, 0.0), (30.0, 3 / STEPS)]
    assert [row.x for row in wall[:2]] == [1.0, 1.001]
    assert relative[0].x == pytest.approx(1.0 - run.started_at_ms / 1000)
    for asked in ({"keys": ["losss"]}, {"x": "tokns"}):
        with pytest.raises(RequestError, match=r"It has|name of a metric"):
            list(run.history(**asked))


def test_frames(client: Any) -> None:
    """A table of runs and one of a history."""
    pytest.importorskip("pandas")

    runs = client.runs(order_by="runId", order="asc").to_pandas()
    history = client.history("run_long", ["loss", "acc"]).to_pandas()

    assert runs.loc["run_3", "config.model/depth"] == 3
    assert runs.loc["run_1", "summary.loss"] == 0.5
    assert list(history.columns) == ["loss", "acc"]
    assert (history.index.name, history.loc[3, "acc"]) == ("step", 3 / STEPS)
    assert history["acc"].count() == STEPS / 3
    assert len(client.runs(search="nothing").to_pandas()) == 0


def test_without_pandas_the_error_says_what_to_do(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else needs it."""
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(ConfigError, match="pip install pandas"):
        client.runs().to_pandas()
    with pytest.raises(ConfigError, match="pip install pandas"):
        client.history("run_long").to_pandas()


def test_an_answer_that_is_no_run_is_an_error(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not a half-filled object."""
    monkeypatch.setattr(client, "get_run", lambda run_id: {"runId": 7})

    with pytest.raises(RequestError, match="no run"):
        client.run("run_long")
