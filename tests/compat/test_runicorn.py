"""Runicorn's promises, by their numbers, kept by the door and read back from a real server."""

import inspect
import json
import os
import re
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
import requests

import rundial.compat.runicorn as rn
from rundial import snapshot
from rundial.config import resolve
from rundial.ignore import code_files

ROOT = Path(__file__).parent.parent.parent


def lines_of(server, run_id):
    """The run's log, oldest line first."""
    answer = requests.post(
        f"{server.url}/api/v1/query/logs",
        json={"runId": run_id, "limit": 1000, "order": "asc"},
        headers={"authorization": f"Bearer {server.key}"},
        timeout=20,
    )
    answer.raise_for_status()
    return [row["message"] for row in answer.json()["rows"]]


def of(server, run):
    return server.get(f"/api/v1/runs/{run.id}")


def test_R1_init_takes_its_parameters_in_order():
    """The names, their order and their defaults are the promised ones."""
    parameters = inspect.signature(rn.init).parameters.values()
    assert [(p.name, p.default) for p in parameters] == [
        ("path", None),
        ("storage", None),
        ("run_id", None),
        ("alias", None),
        ("capture_env", False),
        ("snapshot_code", False),
        ("workspace_root", None),
        ("snapshot_format", "zip"),
        ("force_snapshot", False),
        ("capture_console", False),
        ("tqdm_mode", "smart"),
    ]
    assert {p.kind for p in parameters} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, "default"),
        ("/", ""),
        ("", ""),
        ("a\\b\\c", "a/b/c"),
        ("\\a/b/", "a/b"),
        ("cv/detection/yolo", "cv/detection/yolo"),
        ("research/ablation/seed-42", "research/ablation/seed-42"),
        ("a//b", "a/b"),
        ("x" * 200, "x" * 200),
    ],
)
def test_R2_R3_R4_R6_paths_are_normalised(server, given, kept):
    """No path is `default`, a slash is the root, backslashes are slashes, nesting is kept."""
    run = rn.init(path=given)
    run.finish()
    assert (run.path, of(server, run)["path"]) == (kept, kept)


@pytest.mark.parametrize("path", ["..", "a/../b", "x/./y", "a b", "a.b", "ä", "a:b", "a\0b", "x" * 201, "a\n"])
def test_R5_invalid_paths_are_refused(path):
    """Anything but letters, digits, underscores, dashes and slashes is a ValueError before anything is made."""
    with pytest.raises(ValueError, match="cannot be used"):
        rn.init(path=path)
    assert not Path(".rundial_spool").exists()


def test_R7_storage_holds_this_run_alone(start_server, tmp_path, monkeypatch, capfd):
    """A run with a storage lies in that folder, and a server whose home it is shows it; the next run does not."""
    elsewhere = tmp_path / "elsewhere"
    run = rn.init(path="here", storage=str(elsewhere))
    run.log(loss=0.5)
    run.finish()
    assert f"`RUNDIAL_HOME={elsewhere} rundial ui` shows it" in capfd.readouterr().err
    assert list((elsewhere / "spool").iterdir())
    assert not Path(".rundial_spool").exists()
    assert os.environ["RUNDIAL_HOME"] != str(elsewhere)
    monkeypatch.setenv("RUNDIAL_HOME", str(elsewhere))
    server = start_server()
    found = server.wait_for("default-project", lambda row: row["status"] == "completed")
    assert (found["runId"], found["path"]) == (run.id, "here")
    assert server.points(run.id, "loss") == [(1, 0.5)]


def test_R8_run_ids_are_given_or_made(server):
    """A given id is the run's; made ones differ; one that exists is refused instead of mixed up."""
    run = rn.init(run_id="my-own-id")
    run.finish()
    first, second = rn.init(), rn.init()
    assert run.id == run.run_id == of(server, run)["runId"] == "my-own-id"
    assert first.id != second.id
    with pytest.raises(RuntimeError, match="my-own-id exists already"):
        rn.init(run_id="my-own-id")


def test_R9_aliases_are_shown_and_may_repeat(server):
    """Two runs may have one alias."""
    both = [rn.init(alias="trial-01") for _ in range(2)]
    for run in both:
        run.finish()
    assert [of(server, run)["alias"] for run in both] == ["trial-01", "trial-01"]


def test_R10_the_environment_is_kept(server, monkeypatch):
    """With capture_env the packages, the platform and chosen variables stand with the run; no others do."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv("HOME_GROWN_SECRET", "hush")
    run = rn.init(capture_env=True)
    run.finish()
    environment = of(server, run)["environment"]
    assert environment["python"]["version"] == sys.version.split()[0]
    assert "numpy" in environment["packages"]
    assert environment["variables"]["CUDA_VISIBLE_DEVICES"] == "7"
    assert "hush" not in json.dumps(environment)


def artifacts_of(server, run, eventually):
    """The run's code artifacts."""

    def find():
        rows = server.get(f"/api/v1/runs/{run.id}/artifacts")
        return [row for row in rows["artifacts"] if row["type"] == "code"]

    return eventually(find)


def test_R11_R12_the_workspace_is_archived(server, eventually):
    """With snapshot_code the workspace root is kept as an artifact."""
    Path("inner").mkdir()
    Path("inner/train.py").write_text("print(1)\n")
    Path("outer.py").write_text("print(2)\n")
    run = rn.init(snapshot_code=True, workspace_root="inner")
    run.finish()
    (found,) = artifacts_of(server, run, eventually)
    assert (found["metadata"]["files"], found["metadata"]["bytes"]) == (1, 9)
    assert found["metadata"]["root"] == str(Path("inner").resolve())


def test_R12_output_folders_are_scanned_below_the_root(server, eventually):
    """What is new or changed is kept, once; links and other folders are not; the end looks a last time."""
    outputs = Path("inner/outputs")
    outputs.mkdir(parents=True)
    (outputs / "a.ckpt").write_text("1")
    (outputs / "notes.txt").write_text("no")
    Path("secret.ckpt").write_text("no")
    (outputs / "link.ckpt").symlink_to(Path("secret.ckpt").resolve())
    run = rn.init(workspace_root="inner")
    assert run.scan_outputs_once(["outputs"], ["*.ckpt"]) == ["outputs-a.ckpt"]
    assert run.scan_outputs_once(["outputs"], ["*.ckpt"]) == []
    with pytest.warns(RuntimeWarning, match="lies outside"):
        assert run.scan_outputs_once([".."]) == []
    (outputs / "a.ckpt").write_text("12")
    run.watch_outputs(["outputs"], ["*.ckpt"], interval_sec=60)
    (outputs / "late.ckpt").write_text("3")
    run.finish()

    def kept():
        rows = server.get(f"/api/v1/runs/{run.id}/artifacts")["artifacts"]
        return sorted((row["name"], row["version"]) for row in rows) if len(rows) == 3 else None

    assert eventually(kept) == [("outputs-a.ckpt", 1), ("outputs-a.ckpt", 2), ("outputs-late.ckpt", 1)]
    assert "rundial-outputs" not in [thread.name for thread in threading.enumerate()]


def test_R13_only_zip_is_a_format():
    """Another snapshot format is a ValueError that says so."""
    with pytest.raises(ValueError, match="snapshot_format"):
        rn.init(snapshot_code=True, snapshot_format="tar")


@pytest.mark.parametrize(("bound", "says"), [("MAX_FILES", "too many files"), ("MAX_BYTES", "total bytes exceeded")])
def test_R14_a_workspace_beyond_the_bounds_is_refused_unless_forced(server, monkeypatch, eventually, bound, says):
    """Too many files or bytes are a ValueError at init, and no run is made; force_snapshot packs them."""
    for number in range(3):
        Path(f"{number}.py").write_text("x")
    monkeypatch.setattr(snapshot, bound, 2)
    before = len(server.runs("default-project"))
    with pytest.raises(ValueError, match=says):
        rn.init(snapshot_code=True)
    assert len(server.runs("default-project")) == before
    run = rn.init(snapshot_code=True, force_snapshot=True)
    run.finish()
    (found,) = artifacts_of(server, run, eventually)
    assert found["metadata"]["files"] == 3


def test_R15_anchored_rules_links_and_secrets(tmp_path):
    """Anchored rules at the root hold, links are not followed, and `.env` and key files never go in."""
    work = tmp_path / "ws"
    for name in (
        "top.txt",
        "sub/top.txt",
        "secret/a.py",
        "sub/secret/a.py",
        ".env",
        "sub/.env.local",
        "id_rsa",
        "a.pem",
    ):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("x")
    (work / ".gitignore").write_text("/top.txt\n/secret/\n")
    (tmp_path / "outside.py").write_text("x")
    (work / "link.py").symlink_to(tmp_path / "outside.py")
    (work / "folder").symlink_to(tmp_path)
    assert sorted(file.path for file in code_files(work)) == [".gitignore", "sub/secret/a.py", "sub/top.txt"]


def test_R17_R31_R32_what_is_printed_and_what_is_written(server, capfd):
    """print reaches terminal and log, log_text the log alone, both in one place; without capture print stays out."""
    run = rn.init(capture_console=True)
    print("printed")
    print("complained", file=sys.stderr)
    run.log_text("written")
    run.finish()
    terminal = capfd.readouterr()
    assert "printed" in terminal.out
    assert "complained" in terminal.err
    assert "written" not in terminal.out + terminal.err
    assert lines_of(server, run.id) == ["printed", "complained", "written"]

    bare = rn.init()
    print("printed only")
    bare.log_text("written only")
    bare.finish()
    assert lines_of(server, bare.id) == ["written only"]


def test_R19_captured_lines_carry_a_time_and_keep_their_colours(server):
    """The page shows both; the text has no time put into it."""
    before = int(time.time() * 1000)
    run = rn.init(capture_console=True)
    print("\x1b[31mred\x1b[0m and plain")
    run.finish()
    answer = requests.post(
        f"{server.url}/api/v1/query/logs",
        json={"runId": run.id},
        headers={"authorization": f"Bearer {server.key}"},
        timeout=20,
    )
    (row,) = answer.json()["rows"]
    assert row["message"] == "\x1b[31mred\x1b[0m and plain"
    assert before <= row["timestampMs"] <= int(time.time() * 1000)


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        ("smart", ["100%", "windows line", "text"]),
        ("all", ["0%", "50%", "100%", "windows line", "text"]),
        ("none", ["windows line", "text"]),
    ],
)
def test_R18_progress_bars_are_kept_as_asked(server, mode, kept):
    """A bar leaves its last state, every state, or none; lines that end in CRLF are never lost."""
    run = rn.init(capture_console=True, tqdm_mode=mode)
    sys.stdout.write("\r0%")
    sys.stdout.write("\r50%")
    sys.stdout.write("\r100%\n")
    print("windows line\r")
    print("text")
    run.finish()
    assert [line.strip() for line in lines_of(server, run.id) if line.strip()] == kept


def test_R18_another_tqdm_mode_is_refused():
    """It is a ValueError that names the three, and does not act as one of them."""
    with pytest.raises(ValueError, match="smart, all, none"):
        rn.init(capture_console=True, tqdm_mode="some")


def test_R20_a_mapping_keywords_or_both(server):
    """Metrics come as a mapping, as keywords, or as both; a keyword wins."""
    run = rn.init()
    run.log({"loss": 0.8, "acc": 0.1})
    run.log(loss=0.4)
    run.log({"loss": 0.2, "acc": 0.3}, acc=0.9)
    run.finish()
    assert server.points(run.id, "loss") == [(1, 0.8), (2, 0.4), (3, 0.2)]
    assert server.points(run.id, "acc") == [(1, 0.1), (3, 0.9)]


def test_R21_R22_R26_steps_count_from_one_and_carry_a_time(server):
    """Without a step the counter goes on from the last, explicit ones too; empty calls burn none."""
    run = rn.init()
    run.log(loss=1)
    run.log({})
    run.log()
    run.log(loss=2)
    run.log(loss=3, step=10)
    run.log(loss=4)
    run.finish()
    assert server.points(run.id, "loss") == [(1, 1), (2, 2), (10, 3), (11, 4)]
    answer = requests.post(
        f"{server.url}/api/v1/query/series",
        json={"runId": run.id, "metricKeys": ["loss"]},
        headers={"authorization": f"Bearer {server.key}"},
        timeout=20,
    ).json()
    times = [point["timestampMs"] for point in answer["series"][0]["points"]]
    assert times == sorted(times)
    assert times[0] > 1_600_000_000_000


def test_R23_explicit_steps_are_used_as_given(server):
    """Going back is accepted, and the counter goes on from there; what is no number warns and counts on."""
    run = rn.init()
    run.log(loss=1, step=5)
    run.log(loss=2, step=3)
    run.log(loss=3)
    with pytest.warns(RuntimeWarning, match="is no integer"):
        run.log(loss=4, step="late")
    run.finish()
    assert server.points(run.id, "loss") == [(3, 2), (4, 3), (5, 4)]


def test_R24_R26_stages_go_along(monkeypatch):
    """The stage is kept with the values, whatever its type, as an argument or in the mapping."""
    seen = []
    run = rn.init()
    monkeypatch.setattr(run.run, "log", lambda values, **options: seen.append((values, options["stage"])))
    run.log({"loss": 0.8}, step=50, stage="epoch_1")
    run.log({"loss": 0.4, "stage": 2})
    run.log({"loss": 0.4, "stage": 2, "step": 9, "global_step": 9}, stage="epoch_3")
    assert seen == [({"loss": 0.8}, "epoch_1"), ({"loss": 0.4}, 2), ({"loss": 0.4}, "epoch_3")]


def test_R25_train_and_eval_share_a_step(server):
    """Two records at one step stand at one x."""
    run = rn.init()
    run.log(train_loss=0.5, step=100)
    run.log(val_loss=0.4, step=100)
    run.finish()
    assert server.points(run.id, "train_loss") == [(100, 0.5)]
    assert server.points(run.id, "val_loss") == [(100, 0.4)]


def test_R27_a_carried_value_is_a_flat_line(server):
    """The latest evaluation logged at every step is a point at every step."""
    run = rn.init()
    latest = 0.0
    for step in range(1, 301):
        latest = step / 1000 if step % 100 == 0 else latest
        run.log({"train_loss": 1 / step, "val_acc": latest}, step=step)
    run.finish()
    assert [value for _, value in server.points(run.id, "val_acc")] == [0.0] * 99 + [0.1] * 100 + [0.2] * 100 + [0.3]


def test_R28_modes_are_max_and_min():
    """Any other mode is a ValueError."""
    run = rn.init()
    with pytest.raises(ValueError, match="max, min"):
        run.set_primary_metric("loss", mode="best")


@pytest.mark.parametrize(("mode", "best", "at"), [("max", 0.9, 2), ("min", 0.1, 5)])
def test_R29_the_best_value_stands_in_the_summary(server, mode, best, at):
    """The first of equal values counts, and a NaN at the beginning spoils nothing."""
    run = rn.init()
    run.set_primary_metric("acc", mode=mode)
    with pytest.warns(RuntimeWarning, match="nan"):
        run.log(acc=float("nan"))
    for value in (0.9, 0.9, 0.5, 0.1, 0.1):
        run.log(acc=value)
    run.finish()
    summary = of(server, run)["summary"]
    assert (summary["best_metric_value"], summary["best_metric_step"]) == (best, at)
    assert (summary["best_metric_name"], summary["best_metric_mode"]) == ("acc", mode)


def test_R30_texts_of_several_lines(server, capfd):
    """log_text prints nothing and keeps every line."""
    run = rn.init()
    run.log_text("epoch 1\n\nsaved")
    run.finish()
    assert capfd.readouterr().out == ""
    assert lines_of(server, run.id) == ["epoch 1", "", "saved"]


def test_R33_summaries_merge(server):
    """Each call adds to what is there."""
    run = rn.init()
    run.summary({"final_acc": 0.9, "note": "first"})
    run.summary({"note": "second", "best_ckpt": "a.pt"})
    run.finish()
    summary = of(server, run)["summary"]
    assert (summary["final_acc"], summary["note"], summary["best_ckpt"]) == (0.9, "second", "a.pt")


@pytest.mark.parametrize(
    ("given", "stored", "named"),
    [
        (None, "completed", "finished"),
        ("finished", "completed", "finished"),
        (" Success ", "completed", "finished"),
        ("failed", "failed", "failed"),
        ("ERROR", "failed", "failed"),
        ("crashed", "failed", "failed"),
        ("interrupted", "aborted", "interrupted"),
        ("killed", "aborted", "interrupted"),
        ("cancelled", "aborted", "interrupted"),
        ("", "completed", "finished"),
        ("whatever", "completed", "finished"),
        ("running", "completed", "finished"),
    ],
)
def test_R34_R35_R37_final_statuses(server, given, stored, named):
    """finish uses the status it is given, in any of its words, and `finished` without one."""
    run = rn.init()
    assert run.status == "running"
    run.finish() if given is None else run.finish(given)
    assert (of(server, run)["status"], run.status) == (stored, named)


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, "finished"), (ValueError("bad luck"), "failed"), (KeyboardInterrupt(), "failed")],
)
def test_R36_a_block_ends_its_run(server, error, status):
    """Leaving the block finishes the run, an exception fails it."""
    try:
        with rn.init() as run:
            run.log(loss=1)
            if error is not None:
                raise error
    except BaseException as caught:  # noqa: BLE001 - KeyboardInterrupt is one of the cases
        assert caught is error
    assert run.status == status
    assert of(server, run)["status"] == {"finished": "completed", "failed": "failed"}[status]


def test_R36_an_explicit_finish_inside_a_block_stays(server):
    """What finish said is not overwritten when the block ends, nor by a second finish."""
    with rn.init() as run:
        run.finish("interrupted")
    run.finish("failed")
    assert (run.status, of(server, run)["status"]) == ("interrupted", "aborted")


def test_R38_after_the_end_nothing_is_taken(server):
    """Every call after finish warns instead of raising, and changes nothing."""
    run = rn.init()
    run.log(loss=1)
    run.finish()
    before = of(server, run)
    with pytest.warns(RuntimeWarning, match="is finished"):
        run.log(loss=2)
    run.summary({"late": 1})
    run.log_text("late")
    run.set_primary_metric("loss")
    assert run.log_image("late", b"", step=1) == ""
    assert of(server, run) == before


def test_R39_finish_stops_the_capture_and_keeps_the_best(server):
    """After finish the process's output is its own again."""
    stdout = sys.stdout
    run = rn.init(capture_console=True)
    run.set_primary_metric("acc")
    run.log(acc=0.7)
    run.finish()
    assert sys.stdout is stdout
    assert of(server, run)["summary"]["best_metric_value"] == 0.7


def test_R40_a_run_whose_process_vanished_is_failed(start_server, script):
    """A killed process leaves no run `running`; its status is `failed` here."""
    server = start_server()
    process = script(
        """
        import os, signal
        import rundial.compat.runicorn as rn
        run = rn.init()
        run.log(loss=1)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    process.wait(60)
    found = server.wait_for("default-project", lambda row: row["status"] != "running")
    assert rn.status_name(found["status"]) == "failed"


def test_R41_switched_off_nothing_happens(monkeypatch):
    """The same code runs, and leaves nothing: by set_enabled, by a block, by the environment."""
    rn.set_enabled(False)
    try:
        run = rn.init(path="debug", snapshot_code=True, capture_console=True)
        assert not rn.is_enabled()
    finally:
        rn.reset_enabled()
    run.set_primary_metric("loss")
    run.log({"loss": 0.1})
    run.log_config(extra={"lr": 1})
    run.log_text("x")
    run.summary({"x": 1})
    assert run.log_image("x", b"") == ""
    with run:
        run.finish("failed")
    assert (run.id, isinstance(run, rn.NoOpRun)) == ("disabled", True)
    with rn.enabled(False):
        assert isinstance(rn.init(), rn.NoOpRun)
    monkeypatch.setenv("RUNDIAL_ON", "0")
    assert isinstance(rn.init(), rn.NoOpRun)
    assert not Path(".rundial_spool").exists()


def media_of(server, run):
    return server.get(f"/api/v1/runs/{run.id}/media")["items"]


def test_R42_configuration_and_images(server, tmp_path, eventually):
    """log_config takes parsed arguments and more; an image may be PIL, an array, bytes or a path."""
    import argparse

    import numpy as np
    from PIL import Image

    run = rn.init()
    run.log_config(args=argparse.Namespace(lr=0.1, depth=3), extra={"lr": 0.2})
    picture = Image.new("RGB", (8, 4), "navy")
    picture.save(tmp_path / "p.png")
    run.log(loss=1)
    for image in (picture, np.zeros((4, 8, 3), np.uint8), (tmp_path / "p.png").read_bytes(), tmp_path / "p.png"):
        assert run.log_image("preview", image, caption="a picture") == "preview"
    run.finish()
    assert of(server, run)["config"] == {"lr": 0.2, "depth": 3}
    items = eventually(lambda: len(media_of(server, run)) == 4 and media_of(server, run))
    assert {(item["caption"], item["width"], item["height"]) for item in items} == {("a picture", 8, 4)}
    assert sorted(item["step"] for item in items) == [1, 2, 3, 4]


@pytest.mark.frameworks
def test_R43_the_full_example_runs(start_server):
    """The example of a whole training logs 15 steps in 3 stages, 3 images, its log, its summary and the best value."""
    server = start_server()
    environment = os.environ | {"RUNDIAL_ENDPOINT": server.url, "RUNDIAL_API_KEY": server.key}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/runicorn_lifecycle.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    run = server.wait_for("default-project", lambda row: row["status"] == "completed")
    assert (run["path"], run["alias"]) == ("cv/resnet50/baseline", "seed-42")
    assert run["config"] == {"optimizer": "adam", "lr": 1e-3, "epochs": 3}
    assert [step for step, _ in server.points(run["runId"], "train_loss")] == list(range(1, 16))
    carried = [value for _, value in server.points(run["runId"], "val_acc")]
    assert carried == pytest.approx([0.0] * 5 + [0.75] * 5 + [0.8] * 5)
    summary = run["summary"]
    assert (summary["best_metric_value"], summary["best_metric_step"]) == (carried[10], 11)
    assert (summary["epochs"], summary["final_note"]) == (3, "baseline complete")
    assert summary["final_val_acc"] == pytest.approx(0.85)
    lines = lines_of(server, run["runId"])
    assert sum(line.startswith("train_loss: ") for line in lines) == 15
    images = server.get(f"/api/v1/runs/{run['runId']}/media")["items"]
    assert sorted((image["step"], image["caption"]) for image in images) == [
        (5, "After epoch 1"),
        (10, "After epoch 2"),
        (15, "After epoch 3"),
    ]


def test_R16_the_archive_is_the_same_for_the_same_code(tmp_path):
    """Unchanged code packs to the same bytes, so it is stored once."""
    Path("a.py").write_text("print(1)\n")
    root = Path.cwd()
    for name in ("one.zip", "two.zip"):
        snapshot.pack(snapshot.listed(root), root, tmp_path / name)
        os.utime("a.py")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert zipfile.ZipFile(tmp_path / "one.zip").read("a.py") == b"print(1)\n"


def test_R45_a_run_can_be_had_as_files(server, tmp_path):
    """In the folders and shapes that are read elsewhere: meta, status, summary, events, logs, assets."""
    run = rn.init("cv/yolo", alias="first", capture_env=True)
    run.log_config(extra={"lr": 0.1})
    run.log({"loss": 0.5, "acc": 0.25})
    run.log({"loss": 0.25})
    run.log_text("half way")
    run.summary({"final": 1})
    run.finish("interrupted")
    folder = rn.export(run.id, tmp_path / "out")
    assert folder == tmp_path / "out/runs/cv/yolo" / run.id
    documents = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert (documents["meta.json"]["alias"], documents["meta.json"]["path"]) == ("first", "cv/yolo")
    assert documents["status.json"]["status"] == "interrupted"
    assert (documents["summary.json"]["final"], documents["assets.json"]["config"]) == (1, {"lr": 0.1})
    assert documents["environment.json"]
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [(event["type"], event["data"]["global_step"]) for event in events] == [("metrics", 1), ("metrics", 2)]
    assert (events[0]["data"]["loss"], events[0]["data"]["acc"]) == (0.5, 0.25)
    assert re.fullmatch(r"\[\d\d:\d\d:\d\d\] half way\n", (folder / "logs.txt").read_text())


def test_a_configured_mode_is_kept(monkeypatch, tmp_path):
    """A storage takes a run away from no configured server: it only moves its spool."""
    monkeypatch.setenv("RUNDIAL_ENDPOINT", "http://127.0.0.1:9")
    run = rn.init(storage=str(tmp_path / "s"))
    run.log(loss=1)
    run.finish()
    assert run.run._settings.endpoint == resolve({}).endpoint
    assert list((tmp_path / "s" / "spool").iterdir())
