"""`rundial artifact` and `rundial evals`: files up and down, where they came from, and what regressed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import rundial
from tests.flows.conftest import Script, ServerProcess

EVALUATE = """
    import sys
    import rundial as rd

    endpoint, key = sys.argv[1:3]
    suite = rd.eval.suite("qa", project="cli-evals", dataset="squad:v2", scorers=["exact"],
                          endpoint=endpoint, api_key=key, quiet=True)
    for name, good in (("evr_base", 300), ("evr_same", 300), ("evr_worse", 299)):
        with suite.run(eval_run_id=name) as eval_run, eval_run.run.trace("examples"):
            for i in range(300):
                eval_run.log_result(f"ex-{i:03}", scores={"exact": i < good})
"""


def test_up_and_down_again(configured: ServerProcess, run_id: str) -> None:
    """A folder becomes a version, which is listed, fetched by alias and verified; the same again is no new version."""
    folder = Path("model")
    (folder / "deep").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 9_000)
    (folder / "deep" / "config.json").write_text("{}")
    here = ("--project", "cli")

    made = rundial(
        "artifact", "put", folder, "--run", run_id, "--type", "model", "--alias", "best", *here, "--json"
    ).json
    again = rundial("artifact", "put", folder, "--run", run_id, "--type", "model", *here, "--json").json

    assert (made["artifact"]["version"], made["artifact"]["fileCount"], again["artifact"]["version"]) == (1, 2, 1)
    (listed,) = rundial("artifact", "ls", *here, "--json").json["artifacts"]
    assert (listed["name"], listed["type"], sorted(listed["aliases"])) == ("model", "model", ["best", "latest"])
    assert "model:v1" in rundial("artifact", "ls", "--run", run_id).out
    for reference in ("model", "model:best", "model:v1", listed["artifactId"]):
        out = Path("got") / reference.replace(":", "-")
        rundial("artifact", "get", reference, "--out", out, *here)
        assert (out / "weights.bin").read_bytes() == (folder / "weights.bin").read_bytes()
        assert (out / "deep" / "config.json").read_text() == "{}"
    assert "no artifact model:v2" in rundial("artifact", "get", "model:v2", *here, code=1).err
    assert list(Path().glob(".*")) == []


def test_lineage(configured: ServerProcess, run_id: str) -> None:
    """Who made it, out of what, and who uses it."""
    Path("data.csv").write_text("a,b\n1,2\n")
    here = ("--project", "cli")
    put = rundial("artifact", "put", "data.csv", *here, "--json").json
    rundial("artifact", "get", "data.csv", "--run", run_id, "--out", "in", *here)

    found = rundial("artifact", "lineage", "data.csv", *here, "--json").json

    assert [maker["runId"] for maker in found["madeBy"]] == [put["runId"]] != [run_id]
    assert [user["runId"] for user in found["usedBy"]] == [run_id]
    assert run_id in rundial("artifact", "lineage", "data.csv", *here).out
    assert rundial("run", "status", put["runId"], "--json").json["run"]["status"] == "completed"


def test_a_file_that_is_not_there(configured: ServerProcess) -> None:
    """One sentence."""
    rundial("artifact", "put", "nowhere.bin", code=1)
    Path("empty").mkdir()
    assert "holds no files" in rundial("artifact", "put", "empty", code=1).err


def test_evals_diff_sees_a_regression_on_any_page(configured: ServerProcess) -> None:
    """The last of 300 examples got worse: with the flag that is exit code 1."""
    Script(EVALUATE, configured.url, configured.key).output()
    compare = ("evals", "diff", "--project", "cli-evals", "--limit", "100", "--fail-on-regression")

    same = rundial(*compare, "evr_base", "evr_same", "--json").json
    worse = rundial(*compare, "evr_base", "evr_worse", "--json", code=1)

    assert (same["regressions"], len(same["result"]["rows"])) == (0, 300)
    assert worse.json["regressions"] == 1
    assert "1 of 300" in json.loads(worse.err)["error"]["message"]
    shown = rundial("evals", "diff", "evr_base", "evr_worse", "--project", "cli-evals").out
    assert "ex-299" in shown and "ex-298" not in shown
    assert "-1" in shown
