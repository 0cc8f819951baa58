"""A script for W&B logs to a real server, and what is read back is what it logged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import rundial.compat.wandb as wandb
from rundial import runs


def of(server, run):
    """What the server has of a run."""
    return server.get(f"/api/v1/runs/{run.id}")


def test_plain_loop(server):
    """Project, name, tags, configuration, curve, summary and end arrive."""
    with wandb.init(
        project="wb-loop", name="n", tags=["a"], group="g", job_type="train", notes="why", config={"lr": 0.1}
    ) as run:
        for step in range(3):
            wandb.log({"loss": 1 / (step + 1), "acc": step})
        wandb.summary["best"] = 0.5
        wandb.config.epochs = 3
    stored = of(server, run)
    assert (stored["projectSlug"], stored["runName"], stored["status"]) == ("wb-loop", "n", "completed")
    assert stored["tags"] == ["a"]
    assert stored["config"] == {"lr": 0.1, "epochs": 3}
    assert server.points(run.id, "loss") == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    assert {"best": 0.5, "acc": 2}.items() <= stored["summary"].items()


def test_every_rank_of_a_group_has_its_own_run(server, monkeypatch):
    """As in W&B's pattern for distributed jobs; without a group, or with one id for all, only rank 0 logs."""
    monkeypatch.setenv("RANK", "1")
    runs_of_rank_1 = []
    for settings in ({"group": "g"}, {}, {"group": "g", "id": "wb-rank-shared"}):
        with wandb.init(project="wb-ranks", **settings) as run:
            run.log({"loss": 0.5})
        runs_of_rank_1.append(run.id)
    assert [run["runId"] for run in server.runs("wb-ranks")] == runs_of_rank_1[:1]
    assert server.points(runs_of_rank_1[0], "loss") == [(0, 0.5)]


def test_rows_merge_and_none_is_lost(server):
    """commit=False stays in the row, a step jumps, and a step that has passed is kept."""
    run = wandb.init(project="wb-rows")
    run.log({"a": 1}, commit=False)
    run.log({"b": 2})
    run.log({"a": 3}, step=10)
    run.log({"a": 4}, step=5)
    run.log({"b": 5})
    run.finish()
    assert server.points(run.id, "a") == [(0, 1), (5, 4), (10, 3)]
    assert server.points(run.id, "b") == [(0, 2), (10, 5)]


def test_nested_names_and_values_of_all_kinds(server):
    """Nested mappings are joined with a dot, lists are kept as text, None costs nobody anything."""
    run = wandb.init(project="wb-values")
    run.log({"n": {"x": {"y": 1}}, "list": [1, 2], "none": None, "text": "hello", "flag": True})
    run.finish()
    assert server.points(run.id, "n.x.y") == [(0, 1)]
    summary = of(server, run)["summary"]
    assert (summary["list"], summary["text"]) == ("[1,2]", "hello")
    assert run.sink.diagnostics().invalid_values == 0


def test_finish_with_an_exit_code_and_an_exception(server):
    """Another code than 0 is a failure; so is an exception that leaves the block."""
    run = wandb.init(project="wb-ends")
    run.finish(exit_code=3)
    with pytest.raises(ValueError, match="broken"), wandb.init(project="wb-ends") as other:
        raise ValueError("broken")
    assert (of(server, run)["status"], of(server, other)["status"]) == ("failed", "failed")
    assert wandb.run is None


def test_resume_goes_on_where_it_ended(server):
    """Step, configuration and summary come back from the server."""
    run = wandb.init(project="wb-resume", id="resume-me", config={"lr": 1})
    run.log({"loss": 3})
    run.log({"loss": 2})
    run.finish()
    with wandb.init(project="wb-resume", id="resume-me", resume="must") as again:
        assert (again.resumed, again.step, again.config.lr, again.summary["loss"]) == (True, 2, 1, 2)
        again.log({"loss": 1})
    assert server.points(run.id, "loss") == [(0, 3), (1, 2), (2, 1)]
    with pytest.raises(wandb.CommError, match="nobody-knows-it"):
        wandb.init(project="wb-resume", id="nobody-knows-it", resume="must")


def test_resume_without_a_server(tmp_path):
    """The run's own folder remembers what the next process needs."""
    first = wandb.init(project="p", id="local", mode="offline", config={"lr": 1})
    first.log({"loss": 3, "v": {"w": 1}})
    first.finish()
    second = wandb.init(project="p", id="local", mode="offline", resume="allow")
    assert (second.resumed, second.step, second.config["lr"], second.summary["v"]["w"]) == (True, 1, 1, 1)


def test_resume_of_what_ended_before_a_server_was_there(start_server):
    """Two processes log completed parts of one run while nobody listens; a later server has both."""
    words = {"late-allow": "allow", "late-must": "must", "late-true": True, "late-id": None}
    for run_id, resume in words.items():
        for number in range(2):
            with wandb.init(project=run_id, id=run_id, resume=resume if number else None) as run:
                assert run.resumed is (number == 1)
                run.log({"loss": number}, step=number)
    server = start_server()
    for run_id in words:
        server.wait_for(run_id, lambda row: row["status"] == "completed" and row["points"] == 2)
        assert server.points(run_id, "loss") == [(0, 0), (1, 1)]


def test_resume_by_itself(tmp_path):
    """resume='auto' finds the run that did not end, and forgets one that did."""
    code = """
    import os, rundial.compat.wandb as wandb
    run = wandb.init(project="p", mode="offline", resume="auto")
    print(run.id, flush=True)
    os._exit(1)
    """
    died = subprocess.run([sys.executable, "-c", code.replace("\n    ", "\n")], capture_output=True, text=True)
    run = wandb.init(project="p", mode="offline", resume="auto")
    assert run.id == died.stdout.strip()
    run.finish()
    assert wandb.init(project="p", mode="offline", resume="auto").id != run.id


def test_environment_and_settings(monkeypatch, tmp_path):
    """Variables stand below setup, that below settings=, those below arguments."""
    monkeypatch.setenv("WANDB_PROJECT", "env")
    monkeypatch.setenv("WANDB_NAME", "env-name")
    monkeypatch.setenv("WANDB_RUN_ID", "env-id")
    monkeypatch.setenv("WANDB_TAGS", "a, b")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = wandb.init(settings=wandb.Settings(run_name="from-settings", _service_wait=300, https_proxy="x"), notes="n")
    assert (run.project, run.name, run.id, run.tags) == ("env", "from-settings", "env-id", ("a", "b"))
    assert (run.entity, run.path, run.offline, run.notes) == ("team", "team/env/env-id", True, "n")
    assert Path(run.dir).is_relative_to(tmp_path / "elsewhere/wandb")
    assert run.sink.workspace == "default-workspace"


@pytest.mark.parametrize("variable", [("WANDB_MODE", "disabled"), ("WANDB_DISABLED", "true")])
def test_disabled(monkeypatch, variable, tmp_path):
    """A disabled run takes everything and keeps nothing, not even a folder."""
    monkeypatch.setenv(*variable)
    run = wandb.init(project="p", config={"a": 1})
    run.log({"loss": 1})
    assert (run.disabled, run.config.a, run.summary["loss"], run.url) == (True, 1, 1, None)
    run.finish()
    assert list(Path.cwd().iterdir()) == []


def test_dryrun_is_offline(monkeypatch):
    """The older word for it."""
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert wandb.init().offline


def test_wrong_words_are_errors():
    """A mode, a resume or a fork that cannot be is said at once."""
    for wrong in ({"mode": "sometimes"}, {"resume": "must"}, {"resume": "maybe"}, {"fork_from": "x?_step=1"}):
        with pytest.raises(wandb.UsageError):
            wandb.init(**wrong)


def test_unknown_keywords_are_warned_about(monkeypatch, capsys):
    """They do not stop a training."""
    monkeypatch.delenv("WANDB_SILENT")
    run = wandb.init(mode="offline", settings={"quiet": True}, zork=1, force=True, anonymous="allow", magic=True)
    run.finish()
    assert capsys.readouterr().err.count("zork") == 1


def test_second_init_and_reinit():
    """While a run is active it is given back; reinit ends it, create_new lets it be."""
    first = wandb.init(mode="offline", config={"a": 1})
    assert wandb.init(config={"b": 2}) is first
    assert dict(first.config) == {"a": 1, "b": 2}
    beside = wandb.init(mode="offline", reinit="create_new")
    assert (wandb.run, beside is first) == (first, False)
    beside.finish()
    second = wandb.init(mode="offline", reinit=True)
    assert (second is first, wandb.run is second, first.sink.status) == (False, True, "completed")


def test_two_threads_log_at_once(server):
    """Nothing is lost; steps are nobody's promise."""
    from concurrent.futures import ThreadPoolExecutor

    run = wandb.init(project="wb-threads")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda worker: [run.log({f"t{worker}": i}, step=i) for i in range(50)], range(4)))
    run.finish()
    assert [len(server.points(run.id, f"t{worker}")) for worker in range(4)] == [50] * 4


def test_a_pickled_run_is_the_same_run(server, script):
    """Another process that gets the run logs to it."""
    import pickle

    run = wandb.init(project="wb-pickle")
    assert pickle.loads(pickle.dumps(run)) is run
    child = script(
        """
        import pickle, sys
        run = pickle.loads(bytes.fromhex(sys.argv[1]))
        run.log({"child": 1}, step=3)
        run.sink.finish()
        """,
        pickle.dumps(run).hex(),
    )
    child.output()
    run.finish()
    assert server.points(run.id, "child") == [(3, 1)]


def test_attach_joins_by_id(server):
    """What Lightning does in a spawned process."""
    run = wandb.init(project="wb-attach", id="attach-me")
    assert wandb._attach("attach-me") is run


def test_folder_is_where_libraries_look(tmp_path):
    """`latest-run` leads to the run's folder, and the id is in the name of its file."""
    run = wandb.init(mode="offline")
    found = list(Path("wandb/latest-run/").glob("run-*"))
    assert [path.name for path in found] == [f"run-{run.id}.wandb"]
    assert Path(run.dir) == Path.cwd() / "wandb" / Path("wandb/latest-run").readlink() / "files"
    run.finish()
    assert json.loads((Path(run.dir) / "wandb-summary.json").read_text())["_step"] == 0


def test_files_of_a_run_are_kept(server, eventually):
    """What is saved, and what just lies in run.dir, can be restored by another run."""
    run = wandb.init(project="wb-files")
    Path("m.txt").write_text("saved")
    assert [Path(place).name for place in wandb.save("m.txt")] == ["m.txt"]
    (Path(run.dir) / "left.txt").write_text("left behind")
    run.finish()
    other = wandb.init(project="wb-files")
    restored = eventually(lambda: wandb.restore("left.txt", run_path=f"wb-files/{run.id}"))
    with restored:
        assert restored.read() == "left behind"
    with wandb.restore("m.txt", run_path=f"x/wb-files/{run.id}") as stream:
        assert stream.read() == "saved"
    assert wandb.restore("no-such.txt", run_path=f"wb-files/{run.id}") is None
    assert Path(stream.name).is_relative_to(other.dir)


def test_alert_is_a_marker_and_a_line(server):
    """With its level."""
    run = wandb.init(project="wb-alert")
    run.alert("Low accuracy", "0.1", level=wandb.AlertLevel.WARN, wait_duration=300)
    run.finish()
    body = {"runId": run.id, "order": "asc", "limit": 100}
    lines = server._session.post(f"{server.url}/api/v1/query/logs", json=body, timeout=20).json()["rows"]
    assert [(line["level"], line["message"]) for line in lines if "Low" in line["message"]] == [
        ("warn", "Low accuracy: 0.1")
    ]


def test_script_without_finish_is_complete(server, script):
    """The end of the process is the end of the run, with what only the end knows."""
    child = script(
        """
        import rundial.compat.wandb as wandb
        run = wandb.init(project="wb-exit", id="exits")
        run.define_metric("loss", summary="min")
        for loss in (3, 1, 2):
            wandb.log({"loss": loss})
        """
    )
    child.output()
    stored = server.get("/api/v1/runs/exits")
    assert (stored["status"], stored["summary"]["loss"]) == ("completed", {"min": 1})


def test_nothing_raises_into_the_loop():
    """Whatever is logged, the training goes on."""
    run = wandb.init(mode="offline")

    class Bad:
        def __float__(self):
            raise RuntimeError("no")

    for data in ({"a": Bad()}, {"b": object()}, {"c": b"x"}, {3: 1}, 5, "x", None, {"d": {"e": Bad()}}, {"f": 1 + 2j}):
        run.log(data)
    run.log({"g": 1}, step="three")
    run.log({"g": 2})
    assert run.summary["g"] == 2


def test_login_never_asks(monkeypatch):
    """Nobody is prompted, and api_key is never empty."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    assert wandb.login() is True
    assert wandb.login(key="x" * 40, host="https://example.com") is True
    assert wandb.api.api_key
    assert wandb.setup(wandb.Settings(sweep_id="s")).settings.sweep_id == "s"


def test_watch_logs_gradients_in_their_row(server):
    """Histograms of gradients and parameters, each model's under its own names; twice is an error."""
    torch = pytest.importorskip("torch")
    run = wandb.init(project="wb-watch")
    models = [torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)]
    wandb.watch(models, log="all", log_freq=1, log_graph=True)
    with pytest.raises(ValueError, match="once per model"):
        wandb.watch(models[0])
    run.log({"x": 1})
    for model in models:
        model(torch.ones(1, 2)).sum().backward()
    run.log({"loss": 1})
    wandb.unwatch()
    run.finish()
    keys = {item["key"]: item["step"] for item in server.get(f"/api/v1/runs/{run.id}/media?limit=100")["items"]}
    assert {"gradients/weight", "parameters/bias", "graph_1gradients/weight", "graph_0"} <= set(keys)
    assert keys["gradients/weight"] == 1


def test_cell_magic_runs_its_cell(monkeypatch, capsys):
    """%%wandb runs the cell, then says where its run is."""

    class Shell:
        def register_magic_function(self, function, magic_kind, magic_name):
            assert (magic_kind, magic_name) == ("line_cell", "wandb")
            self.magic = function

        def run_cell(self, cell):
            exec(cell, {"wandb": wandb})

    monkeypatch.delenv("WANDB_SILENT")
    shell = Shell()
    wandb.load_ipython_extension(shell)
    run = wandb.init(mode="offline", settings={"quiet": True})
    run.sink.url = "http://here/#/runs/1"
    shell.magic("", "wandb.log({'a': 1})")
    assert run.summary["a"] == 1
    assert "http://here/#/runs/1" in capsys.readouterr().err
    assert run.get_project_url() == "http://here/#/p/default-workspace/uncategorized"


def test_run_behind_is_rundials():
    """What Rundial can do besides is one attribute away."""
    run = wandb.init(mode="offline")
    assert isinstance(run.sink, runs.Run)
    assert isinstance(run, wandb.sdk.wandb_run.Run)
