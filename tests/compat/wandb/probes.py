"""Questions to `wandb`, answered one a line as JSON: run it under the real one and under ours, and compare."""

from __future__ import annotations

import argparse
import builtins
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import wandb

ANSWERS: dict[str, Any] = {}


def plain(value: Any) -> Any:
    """An answer as JSON has it, without what no two runs have in common."""
    if isinstance(value, float) and value != value:
        return "NaN"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "keys"):
        return {str(k): plain(value[k]) for k in sorted(value.keys()) if k not in ("_runtime", "_timestamp", "_wandb")}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        return value.item()
    return type(value).__name__


def ask(name: str, question: Callable[[], Any]) -> None:
    """Note the answer, or the class of what was raised."""
    try:
        ANSWERS[name] = plain(question())
    except Exception as error:  # noqa: BLE001 - what is raised is the answer
        kinds = [kind.__name__ for kind in type(error).__mro__]
        ANSWERS[name] = "raises " + next(
            k for k in kinds if hasattr(builtins, k) or k in ("Error", "UsageError", "ConfigError")
        )


def summary(run: Any, *keys: str) -> Any:
    return {key: run.summary.get(key) for key in keys}


def before() -> None:
    ask("run before init", lambda: wandb.run)
    ask("log before init", lambda: wandb.log({"a": 1}))
    ask("config before init", lambda: wandb.config.lr)
    ask("config item before init", lambda: wandb.config["lr"])
    ask("set config before init", lambda: setattr(wandb.config, "lr", 1))
    ask("summary before init", lambda: wandb.summary["a"])
    ask("save before init", lambda: wandb.save("x"))
    ask("define_metric before init", lambda: wandb.define_metric("x"))
    ask("finish before init", wandb.finish)


def configuration(run: Any) -> None:
    c = wandb.config
    ask("config is run.config", lambda: c is run.config)
    ask("config attribute", lambda: c.lr)
    ask("config item", lambda: c["lr"])
    ask("config get", lambda: [c.get("lr"), c.get("no"), c.get("no", 3)])
    ask("config in", lambda: ["lr" in c, "no" in c])
    ask("config missing attribute", lambda: c.no)
    ask("config missing item", lambda: c["no"])
    ask("config getattr with default", lambda: getattr(c, "no", 7))
    ask("config nested", lambda: [type(c.nested).__name__, c.nested["a"]])
    ask("config nested attribute", lambda: c.nested.a)
    ask("config dict", lambda: dict(c))
    ask("config spread", lambda: {**c}["lr"])
    ask("config keys", lambda: sorted(c.keys()))
    ask("config items", lambda: sorted(key for key, _ in c.items()))
    ask("config as_dict", lambda: c.as_dict()["lr"])
    ask("config vars", lambda: sorted(vars(c)["_items"]))
    ask("config change by attribute", lambda: setattr(c, "lr", 0.5))
    ask("config change by item", lambda: c.__setitem__("lr", 0.5))
    ask("config change by update", lambda: c.update({"lr": 0.5}))
    ask("config same value again", lambda: c.update({"lr": 0.1}))
    ask("config after refusals", lambda: c.lr)
    ask("config allow_val_change", lambda: c.update({"lr": 0.2}, allow_val_change=True))
    ask("config after change", lambda: c.lr)
    ask("config new by attribute", lambda: (setattr(c, "epochs", 5), c.epochs)[1])
    ask("config new by item", lambda: (c.__setitem__("depth", 3), c["depth"])[1])
    ask("config namespace", lambda: (c.update(argparse.Namespace(alpha=1, beta="b")), c.alpha, c.beta)[1:])
    ask("config setdefaults", lambda: (c.setdefaults({"lr": 9, "gamma": 4}), c.lr, c.gamma)[1:])
    ask("config of a number", lambda: c.update(5))
    ask("config values", lambda: [c.tuple, c.set, c.path, c.float32, c.array, c.none])
    ask("config str", lambda: str(c)[:1])


def steps(run: Any) -> None:
    ask("first step", lambda: run.step)
    run.log({"a": 1})
    ask("step after log", lambda: run.step)
    run.log({"b": 2}, commit=False)
    ask("step after commit=False", lambda: run.step)
    run.log({"c": 3})
    ask("step after the row", lambda: run.step)
    run.log({"d": 4}, step=10)
    ask("step after step=10", lambda: run.step)
    run.log({"e": 5}, step=10)
    ask("step after another step=10", lambda: run.step)
    run.log({"f": 6}, step=3)
    ask("step after step=3", lambda: run.step)
    run.log({"g": 7})
    ask("step after an automatic one", lambda: run.step)
    ask("late row in summary", lambda: "f" in run.summary.keys())  # noqa: SIM118 - the real one has no __contains__
    run.log({"h": 8}, step=20, commit=True)
    ask("step after step=20, commit", lambda: run.step)
    ask("summary of steps", lambda: summary(run, "a", "b", "c", "d", "e", "g", "h"))
    ask("log without data", lambda: wandb.log())
    ask("log a list", lambda: run.log([1]))
    ask("log a number key", lambda: run.log({1: 2}))
    ask("log returns", lambda: run.log({"r": 1}))


def values(run: Any) -> None:
    run.log(
        {
            "int": 1,
            "float": 0.5,
            "bool": True,
            "text": "x",
            "none": None,
            "np": np.float32(1.5),
            "zero_d": np.array(2.0),
            "one": np.array([3.0]),
            "list": [1, 2],
            "array": np.arange(3),
            "nested": {"a": {"b": 1}},
            "nan": float("nan"),
        }
    )
    keys = ("int", "float", "bool", "text", "none", "np", "zero_d", "one", "list", "array", "nested", "nan")
    for key in keys:
        ask(f"summary of {key}", lambda key=key: run.summary[key])
    ask("summary by attribute", lambda: run.summary.int)
    ask("summary nested", lambda: [run.summary["nested"]["a"]["b"], run.summary.nested.a.b])
    ask("summary missing", lambda: run.summary["no"])
    ask("summary missing attribute", lambda: run.summary.no)
    ask("summary get", lambda: [run.summary.get("int"), run.summary.get("no"), run.summary.get("no", 2)])
    ask("summary set", lambda: (run.summary.__setitem__("best", 0.9), run.summary["best"])[1])
    ask("summary set attribute", lambda: (setattr(run.summary, "attr", 1), run.summary.attr)[1])
    ask(
        "summary update",
        lambda: (run.summary.update({"u": 1, "v": {"w": 2}}), run.summary["u"], run.summary["v"]["w"])[1:],
    )
    ask("summary dict", lambda: sorted(k for k in dict(run.summary) if k in ("int", "best", "u", "_step")))
    ask("wandb.summary", lambda: wandb.summary["best"])
    ask("summary set, then logged", lambda: (run.log({"best": 0.1}), run.summary["best"])[1])


def metrics(run: Any) -> None:
    ask("define_metric", lambda: type(run.define_metric("m/min", summary="min")).__name__)
    run.define_metric("m/max", summary="max")
    run.define_metric("m/mean", summary="mean")
    run.define_metric("m/both", summary="min,max")
    run.define_metric("m/none", summary="none")
    run.define_metric("m/last", summary="last")
    run.define_metric("glob/*", summary="max")
    for value in (3, 1, 2):
        run.log({f"m/{kind}": value for kind in ("min", "max", "mean", "both", "none", "last")} | {"glob/x": value})
    for kind in ("min", "max", "mean", "both", "none", "last"):
        ask(f"define_metric {kind}", lambda kind=kind: run.summary.get(f"m/{kind}"))
    ask("define_metric glob", lambda: run.summary.get("glob/x"))
    ask("define_metric part", lambda: run.summary["m/min"]["min"])
    run.define_metric("ep")
    run.define_metric("val/*", step_metric="ep", step_sync=True)
    run.log({"ep": 4})
    run.log({"val/x": 1})
    ask("define_metric step_metric", lambda: [run.summary["val/x"], run.summary["ep"]])
    ask("define_metric bad glob", lambda: run.define_metric("a*b"))
    ask("define_metric bad summary", lambda: run.define_metric("a", summary="foo"))
    ask("define_metric bad name", lambda: run.define_metric(3))
    ask("define_metric best", lambda: run.define_metric("a", summary="best", goal="maximize") and "fine")


def facts(run: Any) -> None:
    ask("id", lambda: [len(run.id), run.id.isalnum(), run.id.lower() == run.id])
    ask("project", lambda: run.project)
    ask("entity", lambda: run.entity)
    ask("group, job_type", lambda: [run.group, run.job_type])
    ask("tags", lambda: [type(run.tags).__name__, run.tags])
    ask("notes", lambda: run.notes)
    ask("name", lambda: run.name)
    ask("set name", lambda: (setattr(run, "name", "other"), run.name)[1])
    ask("set tags", lambda: (setattr(run, "tags", ("x", "y")), run.tags)[1])
    ask("set notes", lambda: (setattr(run, "notes", "more"), run.notes)[1])
    ask("url", lambda: run.url)
    ask("get_url", lambda: run.get_url())
    ask("offline, disabled, resumed", lambda: [run.offline, run.disabled, run.resumed])
    ask("starting_step", lambda: run.starting_step)
    ask("sweep_id", lambda: run.sweep_id)
    ask("path", lambda: run.path == f"{run.project}/{run.id}")
    ask(
        "dir",
        lambda: [Path(run.dir).name, Path(run.dir).is_dir(), Path(run.dir).parent.name.startswith("offline-run-")],
    )
    ask("dir ends with id", lambda: Path(run.dir).parent.name.endswith(run.id))
    ask("latest-run", lambda: str(Path("wandb/latest-run").readlink()) == Path(run.dir).parent.name)
    ask("run file", lambda: [path.name == f"run-{run.id}.wandb" for path in Path("wandb/latest-run/").glob("run-*")])
    ask("settings", lambda: [run.settings.mode, run.settings.project])
    ask("_label", lambda: run._label(repo="x"))
    ask("second init", lambda: wandb.init() is run)
    ask("isinstance", lambda: [isinstance(run, wandb.Run), isinstance(run, wandb.sdk.wandb_run.Run)])


def files(run: Any) -> None:
    Path("m.txt").write_text("model")
    Path("deep").mkdir()
    Path("deep/n.txt").write_text("n")
    ask("save", lambda: [Path(p).relative_to(run.dir).as_posix() for p in wandb.save("m.txt")])
    ask(
        "save base_path", lambda: [Path(p).relative_to(run.dir).as_posix() for p in wandb.save("deep/*", base_path=".")]
    )
    ask("save nothing", lambda: wandb.save("no*"))
    ask("saved text", lambda: (Path(run.dir) / "m.txt").read_text())
    ask("alert", lambda: run.alert("a", "b", level=wandb.AlertLevel.WARN))
    ask("mark_preempting", lambda: run.mark_preempting())


def media() -> None:
    table = wandb.Table(columns=["a", "b"], data=[[1, "x"]])
    ask("table add_data", lambda: (table.add_data(2, "y"), table.data)[1])
    ask("table wrong length", lambda: table.add_data(1))
    ask("table columns", lambda: table.columns)
    ask("table get_column", lambda: [table.get_column("a"), type(table.get_column("a", convert_to="numpy")).__name__])
    ask("table add_column", lambda: (table.add_column("c", [1, 2]), table.columns, table.data[0])[1:])
    ask("table default columns", lambda: wandb.Table().columns)
    ask("table frame", lambda: list(table.get_dataframe().columns))
    ask("table iterrows", lambda: [[index, len(row)] for index, row in table.iterrows()])
    ask("table array", lambda: wandb.Table(data=np.eye(2), columns=["p", "q"]).data)
    ask("table live list", lambda: (table.data.append([9, "z", 3]), len(table.data))[1])
    histogram = wandb.Histogram([1, 2, 2, 3], num_bins=3)
    ask("histogram counts", lambda: histogram.histogram)
    ask("histogram edges", lambda: [len(histogram.bins), histogram.bins[0], histogram.bins[-1]])
    ask("histogram of pair", lambda: wandb.Histogram(np_histogram=([1, 2], [0.0, 1.0, 2.0])).histogram)
    ask("histogram too many bins", lambda: wandb.Histogram([1], num_bins=1000))
    ask("audio without rate", lambda: wandb.Audio(np.zeros(10)))
    ask("classes without name", lambda: wandb.Classes([{"id": 1}]))
    ask("molecule of another kind", lambda: wandb.Molecule("x.txt"))
    base = wandb.sdk.data_types.base_types.wb_value.WBValue
    image = wandb.Image(np.zeros((4, 4, 3), dtype=np.uint8), caption="c")
    ask("media are WBValue", lambda: [isinstance(value, base) for value in (image, table, histogram)])
    ask("plot line columns", lambda: wandb.plot.line_series([1, 2], [[3, 4]], keys=["k"]).table.columns)
    matrix = wandb.plot.confusion_matrix(y_true=[0, 1, 1], preds=[0, 1, 0], class_names=["a", "b"])
    ask("plot confusion matrix", lambda: [matrix.table.columns, sorted(matrix.table.data)])
    ask("plot bar", lambda: wandb.plot.bar(wandb.Table(columns=["l", "v"], data=[["a", 1]]), "l", "v").table.columns)


def after(run: Any) -> None:
    ask("finish", lambda: run.finish())
    ask("run after finish", lambda: wandb.run)
    ask("run.log after finish", lambda: run.log({"a": 1}))
    ask("log after finish", lambda: wandb.log({"a": 1}))
    ask("config read after finish", lambda: run.config.lr)
    ask("config write after finish", lambda: run.config.update({"late": 1}))
    ask("summary read after finish", lambda: run.summary["a"])
    ask("summary write after finish", lambda: run.summary.update({"late": 1}))
    ask("finish again", lambda: run.finish())
    ask("wandb.finish again", lambda: wandb.finish(exit_code=0))


def disabled() -> None:
    with wandb.init(mode="disabled", config={"a": 1}) as run:
        ask("disabled", lambda: [run.disabled, run.config.a, len(run.id) > 0])
        ask("disabled log", lambda: run.log({"x": 1}))
        ask("disabled active", lambda: wandb.run is run)
        ask("disabled summary", lambda: run.summary["x"])
    wandb.finish()


def again() -> None:
    first = wandb.init(project="p1", id="abc12345", name="n", tags=["t"], notes="no", group="g", job_type="j")
    ask("given", lambda: [first.id, first.name, first.tags, first.notes, first.group, first.job_type, first.project])
    second = wandb.init(reinit=True)
    ask("reinit", lambda: [second is first, wandb.run is second])
    second.finish()
    os.environ.update(WANDB_PROJECT="env-project", WANDB_NAME="env-name", WANDB_TAGS="a,b", WANDB_RUN_GROUP="env-group")
    with wandb.init() as third:
        ask("environment", lambda: [third.project, third.name, sorted(third.tags), third.group])
    with wandb.init(project="argument") as fourth:
        ask("argument over environment", lambda: fourth.project)
    try:
        with wandb.init():
            raise ValueError("x")
    except ValueError:
        ask("run after an exception", lambda: wandb.run)
    ask("login", lambda: wandb.login() in (True, False))
    ask("require", lambda: wandb.require("core"))
    ask("setup", lambda: wandb.setup().settings.sweep_id)
    ask("unknown name", lambda: wandb.this_is_no_name)
    ask("hasattr", lambda: [hasattr(wandb, "run"), hasattr(wandb, "__version__"), hasattr(wandb, "no_such")])


def main() -> None:
    before()
    run = wandb.init(
        config={
            "lr": 0.1,
            "nested": {"a": 1},
            "tuple": (1, 2),
            "set": {3},
            "path": Path("/a/b"),
            "float32": np.float32(1.5),
            "array": np.arange(2),
            "none": None,
        }
    )
    configuration(run)
    steps(run)
    values(run)
    metrics(run)
    facts(run)
    files(run)
    media()
    after(run)
    disabled()
    again()
    Path(sys.argv[1]).write_text(json.dumps(ANSWERS, indent=1) + "\n")


if __name__ == "__main__":
    main()
