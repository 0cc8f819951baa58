"""`rundial metrics` and `rundial logs`: tails that follow, and exports that are whole."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, rundial
from tests.flows.conftest import Script, ServerProcess
from tests.flows.proxy import Exchange, Proxy, passing

SLOWLY = """
    import sys
    import rundial as rd

    endpoint, key, run_id = sys.argv[1:4]
    with rd.init(project="cli", run_id=run_id, endpoint=endpoint, api_key=key, quiet=True) as run:
        for step in range(3):
            run.log({"loss": step}, step=step)
            run.log_text(f"line {step}")
        run.flush()
        print("begun", flush=True)
        sys.stdin.readline()
        for step in range(3, 6):
            run.log({"loss": step}, step=step)
            run.log_text(f"line {step}")
"""


def test_tail_shows_the_last_points(configured: ServerProcess, run_id: str) -> None:
    """The newest of each metric, by step; a comma separates names, unless a name has one."""
    series = rundial("metrics", "tail", run_id, "--points", 3, "--json").json["series"]["series"]
    assert {it["metricKey"]: [point["step"] for point in it["points"]] for it in series} == {
        "lr, warm": [37, 38, 39],
        "note": [0],
        "train/loss": [37, 38, 39],
    }
    for keys in (["--keys", "train/loss,note"], ["--keys", "train/loss", "--keys", "note"]):
        found = rundial("metrics", "tail", run_id, *keys, "--json").json["series"]["series"]
        assert [it["metricKey"] for it in found] == ["train/loss", "note"]
    assert "lr, warm" in rundial("metrics", "tail", run_id, "--keys", "lr, warm").out


def test_tail_of_a_long_series_ends_with_its_end(configured: ServerProcess, train: Callable[..., str]) -> None:
    """The last points are the last ones, not those that thinning left."""
    run_id = train(steps=25_000)

    (series,) = rundial("metrics", "tail", run_id, "--keys", "train/loss", "--points", 4, "--json").json["series"][
        "series"
    ]

    assert [point["step"] for point in series["points"]] == [24_996, 24_997, 24_998, 24_999]


@pytest.mark.parametrize(("noun", "shown"), [("metrics", '"step":{}'), ("logs", "line {}")])
def test_follow_appends_and_ends_with_the_run(configured: ServerProcess, noun: str, shown: str) -> None:
    """Through a pipe each line comes when it is logged, once, and the end of the run ends it."""
    run_id = f"run_follow_{noun}"
    with Script(SLOWLY, configured.url, configured.key, run_id) as job:
        assert job.stdout and job.stdin
        assert job.stdout.readline() == b"begun\n"
        command = [*COMMAND, noun, "tail", run_id, "--follow", "--interval-seconds", "0.2", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tail:
            assert tail.stdout
            lines = [tail.stdout.readline() for _ in range(3)]
            job.stdin.write(b"\n")
            job.stdin.flush()
            lines += tail.stdout.readlines()
            assert tail.wait(30) == 0

    assert [shown.format(step) in line for step, line in enumerate(lines)] == [True] * 6


def test_a_reader_that_has_seen_enough_ends_it_quietly(configured: ServerProcess, run_id: str) -> None:
    """`rundial logs tail … | head -1` is no error."""
    command = [*COMMAND, "logs", "tail", run_id, "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tail:
        assert tail.stdout and tail.stderr
        tail.stdout.close()

        assert (tail.wait(30), tail.stderr.read()) == (0, "")


def test_logs_tail(configured: ServerProcess, run_id: str) -> None:
    """The last lines, oldest first, by level and text."""
    rows = rundial("logs", "tail", run_id, "--lines", 2, "--json").json["logs"]["rows"]
    assert [row["message"] for row in rows] == ["line 39", "=HYPERLINK(1)"]
    warned = rundial("logs", "tail", run_id, "--min-level", "warn", "--json").json["logs"]["rows"]
    assert [row["message"] for row in warned] == [f"line {step}" for step in range(1, 40, 2)]
    assert [line.split()[-1] for line in rundial("logs", "tail", run_id, "--text", "LINE 3").out.splitlines()] == [
        "3", *map(str, range(30, 40))
    ]  # fmt: skip


def test_an_export_goes_through_a_pipe(configured: ServerProcess, run_id: str) -> None:
    """`-` is the standard output, and what is no file is written to and not replaced by one."""
    through = rundial("metrics", "export", run_id, "--format", "csv", "--out", "-")
    assert (len(through.out.splitlines()), through.err) == (82, "")
    pipe = Path("pipe")
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        rundial("metrics", "export", run_id, "--format", "jsonl", "--out", pipe)
        assert reader.stdout and len(reader.stdout.readlines()) == 81
    assert pipe.is_fifo()
    assert "is no file" in rundial("export", run_id, "--html", "--out", pipe, code=1).err


@pytest.fixture
def exported(configured: ServerProcess, run_id: str) -> Callable[..., Path]:
    """Exports the metrics of the run in small pages."""

    def export(format: str, noun: str = "metrics") -> Path:
        out = Path(f"out.{format}")
        result = rundial(noun, "export", run_id, "--format", format, "--out", out, "--page-size", 7, "--json").json
        assert (result["format"], result["rows"]) == (format, {"metrics": 81, "logs": 41}[noun])
        assert [path.name for path in Path().iterdir()] == [out.name]
        return out

    return export


def test_export_csv(exported: Callable[..., Path]) -> None:
    """A negative number is a number, a text that would be a formula is a text."""
    rows = list(csv.DictReader(exported("csv").read_text().splitlines()))

    losses = [float(row["value"]) for row in rows if row["metricKey"] == "train/loss"]
    assert losses == [-0.5 + step for step in range(40)]
    assert [row["value"] for row in rows if row["metricKey"] == "note"] == ["'=1+1"]
    Path("out.csv").unlink()
    assert "'=HYPERLINK(1)" in exported("csv", "logs").read_text()


def test_export_json_and_lines(exported: Callable[..., Path]) -> None:
    """One document, or one a line; the same rows."""
    document = json.loads(exported("json").read_text())
    Path("out.json").unlink()
    lines = [json.loads(line) for line in exported("jsonl").read_text().splitlines()]

    assert (document["type"], document["version"], document["export"]["pageCount"]) == ("metrics", 1, 12)
    assert document["rows"] == lines


def test_export_parquet(exported: Callable[..., Path]) -> None:
    """Columns with types, a text where any value is one."""
    parquet = pytest.importorskip("pyarrow.parquet")

    metrics = parquet.read_table(exported("parquet"))
    Path("out.parquet").unlink()
    logs = parquet.read_table(exported("parquet", "logs"))

    assert [str(field.type) for field in metrics.schema] == ["string", "int64", "int64", "string"]
    assert logs.column("message").to_pylist()[0] == "line 0"


def test_an_interrupted_export_goes_on(server: ServerProcess, run_id: str) -> None:
    """After a server that went away in the middle, the same command asks for no page twice, and no file is half."""
    asked: list[bytes] = []

    def until_third(exchange: Exchange) -> None:
        if b"startMs" in exchange.body():
            if len(asked) == 3:
                exchange.reset()
            asked.append(exchange.body())
        passing(exchange)

    def counting(exchange: Exchange) -> None:
        if b"startMs" in exchange.body():
            asked.append(exchange.body())
        passing(exchange)

    with Proxy(server.port) as proxy:
        there = {"RUNDIAL_ENDPOINT": proxy.url, "RUNDIAL_API_KEY": server.key}
        command = ("metrics", "export", run_id, "--format", "jsonl", "--out", "out.jsonl", "--page-size", 10)
        proxy.switch(until_third)
        assert "goes on from there" in rundial(*command, code=1, **there).err
        assert not Path("out.jsonl").exists()
        proxy.switch(counting)
        rundial(*command, **there)

    assert len(asked) == 9 == len({json.loads(body).get("cursor") for body in asked})
    assert len(Path("out.jsonl").read_text().splitlines()) == 81
    assert [path.name for path in Path().iterdir()] == ["out.jsonl"]


def test_a_file_that_cannot_be_written(configured: ServerProcess, run_id: str) -> None:
    """One sentence, before anything is asked for."""
    assert "there is no folder" in rundial("logs", "export", run_id, "--out", "no/where.json", code=1).err
