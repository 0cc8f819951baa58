"""How a typed script uses Rundial. Never run: mypy checks that these lines type as they should."""

from __future__ import annotations

from typing import assert_type

import numpy as np

import rundial as rd
import rundial_sdk


def a_run() -> None:
    run = rd.init(project="typed", kind="eval", resume="allow", tags=["a"], config={"lr": 0.1}, queue_bytes=1 << 20)
    assert_type(run, rd.Run)
    assert_type(run.log({"loss": 0.5, "split": {"train": 1, "name": "a"}}, step=np.int64(3)), bool)
    assert_type(run.log(loss=np.float32(0.5), stage="epoch_1", context={"subset": "val"}), bool)
    assert_type(run.log_metric("loss", value=0.5, time_ms=1_760_000_000_000), bool)
    assert_type(run.update_config({"optimizer": {"name": "sgd"}}), bool)
    run.summary["best"] = 0.9
    run.summary({"note": "good"})
    assert_type(run.flush(1.0), bool)
    assert_type(run.diagnostics(), rd.Diagnostics)
    assert_type(run.finish(5, status="completed", reason=None), bool)


def a_context() -> None:
    with rd.init(mode="offline", distributed="all", distributed_rank=1) as run:
        assert_type(run.id, str)
        assert_type(run.run_id, str)
        assert_type(run.url, str | None)


def the_current_run() -> None:
    assert_type(rd.run, rd.Run | None)
    rd.log({"loss": 0.5})
    rd.finish()


def the_older_path() -> None:
    assert_type(rundial_sdk.init(project="typed"), rd.Run)
    error: type[rd.RequestError] = rundial_sdk.RundialRequestError
    print(error)
