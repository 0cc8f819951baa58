"""W&B's surface and what became of it: the table of the page.

``python -m rundial.compat.wandb --table`` prints ``docs/wandb-compat.md``.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from rundial.compat.wandb._names import UNSUPPORTED

Status = Literal["same", "better", "differs", "not supported"]


class Row(NamedTuple):
    """One line of the table."""

    symbol: str
    status: Status
    note: str = ""


ROWS: list[Row] = [
    Row(
        "wandb.init",
        "better",
        "no account, no server, no network; unknown keywords are warned about; `WANDB_*` is read each time",
    ),
    Row(
        "wandb.init(entity=)",
        "differs",
        "kept as `run.entity`, which is the workspace when it is left out; runs go to the configured one",
    ),
    Row("wandb.init(id=)", "differs", "an id that exists is continued, not overwritten"),
    Row(
        "wandb.init(resume=)",
        "better",
        "`allow`, `must`, `never`, `auto`, `True`; a run is continued however it ended; step, config and summary come"
        " back, offline too",
    ),
    Row("wandb.init(reinit=)", "same"),
    Row(
        "wandb.init in every process of a distributed job",
        "differs",
        "one run, of rank 0; the others are silent. With `group=` and no `id=` each process has its own run, as there",
    ),
    Row("wandb.init(config=)", "better", "also a namespace, a dataclass, a YAML or JSON file"),
    Row("wandb.init(mode=)", "same", "`online` keeps everything on this machine until a server is there"),
    Row(
        "wandb.init(sync_tensorboard=)",
        "same",
        "SummaryWriters of PyTorch, TensorBoard, tensorboardX; a value's step is its own",
    ),
    Row(
        "wandb.init(monitor_gym=)",
        "better",
        "what `RecordVideo` of Gymnasium or Gym writes, of 1.0 and later too, as `videos`",
    ),
    Row("wandb.init(save_code=)", "same", "the script, as an artifact of type `code`"),
    Row(
        "wandb.init(magic=)",
        "better",
        "W&B 0.31 no longer has it: the command line's long options become configuration, and the trainings of Keras,"
        " XGBoost and LightGBM are logged, if they were imported before `init`",
    ),
    Row("wandb.init(force=, anonymous=)", "differs", "taken, no effect"),
    Row("wandb.init(fork_from=, resume_from=)", "not supported", "UsageError: what was logged stays"),
    Row("wandb.run", "same", "None before `init` and after `finish`; `run.sink` is the `rundial.Run`"),
    Row("wandb.Run", "same"),
    Row("wandb.config", "same", "attribute, item, `in`, `update`, `setdefaults`, `vars(config)['_items']`; also `len`"),
    Row("wandb.Config", "same"),
    Row("wandb.summary", "better", "also `items()`, `in`, iteration; it can be read after `finish`"),
    Row("wandb.log", "same", "before `init` it raises `Error`, after `finish` `run.log` raises `UsageError`"),
    Row("wandb.log(step=)", "better", "a row with a step that has passed is kept; W&B drops it"),
    Row("wandb.log(commit=)", "same", "rows merge by their step"),
    Row("wandb.log() without data", "better", "ends the row; W&B 0.31 raises TypeError"),
    Row("wandb.log of something that is no mapping", "better", "a warning and a counter; W&B raises TypeError"),
    Row("wandb.log of nested mappings", "same", "names on charts are joined with `.`"),
    Row("wandb.log of NaN and infinity", "better", "marked on the chart, and counted"),
    Row("wandb.log of lists and small arrays", "differs", "kept as JSON text; arrays over 32 elements are histograms"),
    Row("wandb.log of Matplotlib figures", "differs", "as a picture, not turned into Plotly"),
    Row(
        "wandb.define_metric",
        "better",
        "`goal=`, `summary='best'`; charts are drawn over the `step_metric`",
    ),
    Row("wandb.finish", "same", "an exit code other than 0 marks the run failed"),
    Row("wandb.join", "same"),
    Row("wandb.teardown", "same"),
    Row("wandb.login", "better", "never asks; True. A key is neither kept nor sent"),
    Row("wandb.setup", "differs", "gives `.settings`; there is no service to start"),
    Row("wandb.require", "differs", "no effect"),
    Row("wandb.ensure_configured", "differs", "no effect"),
    Row("wandb.Settings", "differs", "takes any keyword; those that mean something here are used"),
    Row("wandb.api", "differs", "`api_key` is never empty"),
    Row("wandb._attach", "same", "another process logs to the same run"),
    Row(
        "wandb.watch",
        "better",
        "no graph is kept alive; large tensors are sampled. `log_graph` gives a table of layers",
    ),
    Row("wandb.unwatch", "same"),
    Row("wandb.save", "differs", "stored at once and, if changed, at the end; each file is an artifact of type `file`"),
    Row("wandb.restore", "same"),
    Row("run.get_url", "better", "None while there is no page; W&B 0.31 no longer has it"),
    Row("run.dir", "same", "what lies there at the end is stored"),
    Row("wandb.alert", "differs", "a marker and a line in the log; nobody is mailed"),
    Row("wandb.AlertLevel", "same"),
    Row("wandb.log_code", "same"),
    Row("wandb.mark_preempting", "differs", "a marker"),
    Row("wandb.log_artifact", "same"),
    Row("wandb.use_artifact", "better", "needs no account: a local server is enough"),
    Row("wandb.link_artifact", "better", "works locally"),
    Row("wandb.log_model", "same"),
    Row("wandb.use_model", "better", "works locally"),
    Row("wandb.link_model", "better", "works locally"),
    Row("wandb.Artifact", "same"),
    Row("wandb.Api", "better", "works locally"),
    Row("wandb.apis", "differs", "`apis.public.Api`"),
    Row("wandb.apis.reports", "not supported", "nor has W&B 0.31 it"),
    Row("wandb.sweep", "better", "works without a server; where there is one, the page pauses, resumes and stops it"),
    Row("wandb.agent", "better", "works locally"),
    Row(
        "wandb.controller",
        "differs",
        "agents of a sweep with `controller: {type: local}` wait for it; hopeless runs end by themselves, `stop_runs`"
        " of a run raises NotImplementedError",
    ),
    Row("wandb.sagemaker_auth", "differs", "writes `secrets.env` with what it is given; no key is looked up or added"),
    Row("wandb.Table", "differs", "types of cells are not checked; at most 10,000 rows are shown"),
    Row("wandb.JoinedTable", "differs", "joined when it is made"),
    Row("wandb.PartitionedTable", "differs", "of a folder; W&B 0.31 no longer has the name"),
    Row(
        "wandb.Image",
        "better",
        "values beyond 0..255 are scaled, and it says how; `boxes`, `masks`, `classes`, batches",
    ),
    Row("wandb.Classes", "differs", "an entry without `id` or `name` is a TypeError, not an AssertionError"),
    Row("wandb.Histogram", "same"),
    Row("wandb.Audio", "same"),
    Row("wandb.Video", "differs", "arrays become GIF or WebP; MP4 comes from files"),
    Row("wandb.Html", "differs", "shown in a frame in which no script runs"),
    Row("wandb.Object3D", "same"),
    Row("wandb.box3d", "same"),
    Row("wandb.Molecule", "differs", "kept as a file; it is not drawn"),
    Row("wandb.Plotly", "same"),
    Row("wandb.Graph", "differs", "shown as a table of layers"),
    Row("wandb.plot", "differs", "drawn as Plotly figures, with the table beside them"),
    Row("wandb.plots", "same", "the older name of `wandb.plot`"),
    Row("wandb.plot_table", "differs", "your own Vega forms are drawn as lines"),
    Row("wandb.visualize", "differs", "as `plot_table`"),
    Row("%%wandb", "differs", "the cell runs, then the run's address is shown; no live frame"),
    Row("wandb.sklearn", "same", "all `plot_*`"),
    Row("wandb.xgboost", "same"),
    Row("wandb.lightgbm", "same"),
    Row("wandb.catboost", "same"),
    Row("wandb.keras", "better", "with any backend; also `WandbCallback`, which W&B no longer has"),
    Row("wandb.fastai", "differs", "losses, rates, metrics; no predictions and data sets"),
    Row("wandb.sacred", "same", "`WandbObserver`"),
    Row(
        "wandb.integration",
        "differs",
        "`keras`, `xgboost`, `lightgbm`, `catboost`, `fastai`, `sb3`, `sacred`, `tensorboard`, `lightning.fabric`",
    ),
    Row("wandb.integration.openai", "better", "`autolog`: each call is a span; W&B 0.31 no longer has it"),
    Row(
        "wandb.integration.diffusers", "differs", "`autolog`: what pipelines make as media; arguments as configuration"
    ),
    Row("wandb.integration.ultralytics", "differs", "`add_wandb_callback`; no tables of predictions"),
    Row("wandb.sdk.data_types.trace_tree", "differs", "`Trace` and `WBTraceTree` become spans of the run"),
    Row("wandb.tensorboard", "differs", "`patch`; `log` of a TensorFlow summary raises NotImplementedError"),
    Row("wandb.tensorflow", "differs", "as `wandb.tensorboard`"),
    Row("wandb.gym", "same"),
    Row("wandb.data_types", "same"),
    Row("wandb.errors", "same"),
    Row("wandb.Error", "same"),
    Row("wandb.CommError", "same"),
    Row("wandb.UsageError", "same"),
    Row("wandb.termlog", "same"),
    Row("wandb.termwarn", "same"),
    Row("wandb.termerror", "same"),
    Row("wandb.env", "same"),
    Row("wandb.util", "differs", "`generate_id`, `make_artifact_name_safe`, `json_dumps_safer`, `get_module`"),
    Row("wandb.helper", "same"),
    Row("wandb.sdk", "differs", "the modules that libraries import from"),
    Row("wandb.wandb_sdk", "differs", "as `wandb.sdk`"),
    Row("wandb.wandb_run", "same"),
    Row("wandb.install", "better", "of Rundial alone: `import wandb` means this module from then on"),
    *(Row(f"wandb.{name}", "not supported") for name in sorted(UNSUPPORTED)),
]

HEAD = """\
# Scripts written for W&B

```python
import rundial.compat.wandb as wandb

with wandb.init(project="mnist", config={"lr": 0.01}) as run:
    for epoch in range(3):
        run.log({"loss": 1 / (epoch + 1), "epoch": epoch})
    run.summary["done"] = True
```

Change the import, and the script logs here: no account, no server, no network. The script can stay as it is, too:

- `python -m rundial.compat.wandb train.py --lr 0.01` runs it with this module in the place of `wandb`;
- `RUNDIAL_COMPAT=wandb` in the environment does the same for every process;
- `rundial.compat.wandb.install()`, before anything imports `wandb`, makes other libraries' loggers log here.

`WANDB_PROJECT`, `WANDB_ENTITY`, `WANDB_NAME`, `WANDB_NOTES`, `WANDB_TAGS`, `WANDB_RUN_ID`, `WANDB_RESUME`,
`WANDB_MODE`, `WANDB_DIR`, `WANDB_DISABLED`, `WANDB_SILENT`, `WANDB_QUIET`, `WANDB_RUN_GROUP`, `WANDB_JOB_TYPE`,
`WANDB_CONSOLE`, `WANDB_SAVE_CODE`, `WANDB_DISABLE_CODE`, `WANDB_SWEEP_ID` and `WANDB_IGNORE_GLOBS` mean what they mean
there. `WANDB_API_KEY` and `WANDB_BASE_URL` are not used: where data goes is said by
[Rundial's own settings](settings.md).

On disk there is `wandb/run-<date>-<id>/files`, with `wandb/latest-run` beside it, as there. The file `run-<id>.wandb`
in it is empty.

## Libraries that log to W&B

With `install()` or `RUNDIAL_COMPAT=wandb` they log here, unchanged. What has been tried, and how:

| Run with the library itself, in real small trainings | |
|---|---|
| Transformers, Lightning in both namespaces, Accelerate, Optuna | `tests/compat/wandb/test_integrations.py` |
| fastai, Ignite, skorch, Ray Tune, Ultralytics: their own loggers of W&B | `tests/more/test_wandb_*.py` |
| Keras, XGBoost, LightGBM, Lightning Fabric, OpenAI's client: W&B's callbacks | `tests/compat/wandb` |
| CatBoost, Stable-Baselines3, fastai, Ultralytics, Sacred, Diffusers: W&B's callbacks | `tests/more/test_wandb_*.py` |

Composer, verl, lerobot and torchtune need GPUs or a large installation and have not been run whole. The modules that
hold their loggers were loaded unmodified from their packages (0.32.1, 0.9.1, 0.4.4, 0.6.1), with the rest of each one
replaced, and logged, stored, resumed and downloaded here; `tests/compat/wandb/test_third_parties.py` repeats their
calls in the same order. fastai's own callback fails with fastcore 2.2 while it writes its configuration, whatever
`wandb` is.

## What it costs

`import rundial.compat.wandb` takes 34 ms of CPU. `wandb.log` takes 1.6 to 1.7 times as long as `run.log`: 1.6 µs for 3
numbers, 1.9 µs for 10, 2.9 µs for 30. `python benchmarks/wandb_shim.py` measures it, and fails beyond 60 ms and twice.

## Symbol by symbol

*same*: as W&B 0.31 does it. *better*: does more, or goes on where W&B stops. *differs*: read the note.
*not supported*: the name raises `NotImplementedError` when it is used, and `hasattr` says False.

| Symbol | Status | Note |
|---|---|---|
"""
"""The page above the table."""


def markdown() -> str:
    """The page ``docs/wandb-compat.md``."""
    return HEAD + "".join(f"| `{row.symbol}` | {row.status} | {row.note} |\n" for row in ROWS)
