"""Suites, eval runs and results in the SDK."""

import copy
import math
import os
import subprocess
import sys

import numpy as np
import pytest

import rundial as rd
from rundial import evals
from rundial.evals import EvalRun
from rundial.events import EvalResult, EvalStart, RunEnd, RunUpdate
from rundial.testing import capture_run


def results(server):
    """What was taken in, as example, scorer, score, verdict."""
    return [(e.example_id, e.scorer, e.score, e.passed) for e in server.events if isinstance(e, EvalResult)]


def test_scores_in_every_form():
    """Numbers of all kinds, bools that are their own verdict, mappings with more."""
    with capture_run() as (run, server):
        scores = {"f": 0.5, "np": np.float32(0.25), "bool": True, "npbool": np.bool_(False), "int": 3}
        scores["more"] = {"score": 0.75, "passed": True, "meta": {"why": "close"}}
        assert run.log_eval_result("evr_1", "ex", scores=scores, meta={"k": 1})
        run.finish(5)
    assert results(server) == [
        ("ex", "f", 0.5, None),
        ("ex", "np", 0.25, None),
        ("ex", "bool", 1.0, True),
        ("ex", "npbool", 0.0, False),
        ("ex", "int", 3.0, None),
        ("ex", "more", 0.75, True),
    ]
    found = [event for event in server.events if isinstance(event, EvalResult)]
    assert {event.eval_run_id for event in found} == {"evr_1"}
    assert (found[0].meta, found[-1].meta) == ({"k": 1}, {"k": 1, "why": "close"})


def test_one_verdict_for_all_scorers_or_one_for_each():
    """A mapping names those it knows; a bool score without an entry keeps its own."""
    with capture_run() as (run, server):
        run.log_eval_result("e", "1", scores={"a": 0.5, "b": 0.1}, passed=True)
        run.log_eval_result("e", "2", scores={"a": 0.5, "b": 0.1, "c": True}, passed={"a": False})
        run.finish(5)
    assert [row[3] for row in results(server)] == [True, True, False, None, True]


def test_a_bad_score_harms_no_other():
    """It is counted and warned of once; NaN is counted by its scorer."""
    with pytest.warns(RuntimeWarning) as warned, capture_run() as (run, server):
        for _ in range(2):
            scores = {"nan": math.nan, "text": "high", "none": None, "good": 1.0, "list": [1, 2]}
            assert not run.log_eval_result("e", "1", scores=scores)
        run.finish(5)
    assert results(server) == [("1", "good", 1.0, None)] * 2
    assert run.diagnostics().non_finite_dropped == {"eval/nan": 2}
    assert run.diagnostics().invalid_values == 6
    assert len(warned) == 4


class Strange(dict):
    def items(self):
        raise ValueError("strange")


@pytest.mark.parametrize(
    ("example", "options"),
    [
        (None, {"scores": {"a": 1}}),
        ("", {"scores": {"a": 1}}),
        ("1", {"scores": {}}),
        ("1", {"scores": 0.5}),
        ("1", {"scores": Strange(a=1)}),
    ],
    ids=range(5),
)
def test_what_is_no_result_is_refused(example, options):
    """Counted, warned of, and nothing raised."""
    with pytest.warns(RuntimeWarning), capture_run() as (run, server):
        assert run.log_eval_result("e", example, **options) is False
        run.finish(5)
    assert results(server) == []
    assert run.diagnostics().invalid_values == 1


def test_what_surrounds_a_score_may_be_wrong():
    """Trace, evidence, meta and verdict are left out with a warning, and the score stays."""
    with pytest.warns(RuntimeWarning) as warned, capture_run() as (run, server):
        large = {f"key{i}": "x" * 1000 for i in range(100)}
        run.log_eval_result("e", "1", scores={"a": 1}, trace="no trace", evidence=["x"], meta=[1], passed="perhaps")
        run.log_eval_result("e", "2", scores={"a": 1}, meta=large)
        run.finish(5)
    first, second = [event for event in server.events if isinstance(event, EvalResult)]
    assert (first.trace_id, first.evidence, first.meta, first.passed) == (None, None, {}, None)
    assert second.meta == {"rundial.truncated": True, "rundial.originalKeys": sorted(large)[:32]}
    assert len(warned) == 5


def test_long_names_stay_apart():
    """Two ids that differ after the bound are two examples, and an int is a name, too."""
    with capture_run() as (run, server):
        for name in ("x" * 400 + "1", "x" * 400 + "2", 7):
            run.log_eval_result("e", name, scores={"a": 1})
        assert run.log_eval_result("\ud800", "\ud800", scores={"\ud800": 1}, meta={"\ud800": "\ud800"})
        run.finish(5)
    names = [row[0] for row in results(server)]
    assert len(set(names)) == 4
    assert names[2] == "7"
    assert max(map(len, names)) <= 250


def test_the_span_around_is_the_trace():
    """An explicit one wins, and that of another run is none."""
    with capture_run() as (run, server), capture_run() as (other, elsewhere):
        with run.trace("example") as span:
            run.log_eval_result("e", "1", scores={"a": 1})
            run.log_eval_result("e", "2", scores={"a": 1}, trace="AB" * 16)
            run.log_eval_result("e", "3", scores={"a": 1}, trace=span)
            other.log_eval_result("e", "4", scores={"a": 1})
        run.log_eval_result("e", "5", scores={"a": 1})
        run.finish(5)
        other.finish(5)
    found = {e.example_id: e.trace_id for e in [*server.events, *elsewhere.events] if isinstance(e, EvalResult)}
    assert found == {"1": span.trace_id, "2": "ab" * 16, "3": span.trace_id, "4": None, "5": None}


def test_logging_a_result_changes_nothing_of_the_caller():
    """What the caller does with his meta afterwards changes nothing here."""
    meta = {"answers": ["a"]}
    before = copy.deepcopy(meta)
    with capture_run() as (run, server):
        run.log_eval_result("e", "1", scores={"a": {"score": 1, "meta": {"b": 2}}}, meta=meta)
        assert meta == before
        meta["answers"].append("b")
        run.finish(5)
    assert [event.meta for event in server.events if isinstance(event, EvalResult)] == [{"answers": ["a"], "b": 2}]


def test_an_eval_run_says_what_it_is_and_what_came_out():
    """Its start first, its scores in the summary before the end; of a repeated example the last one."""
    suite = evals.suite("qa", dataset="squad:v2", scorers=["exact", {"name": "judge", "config": {"model": "m"}}])
    with capture_run() as (run, server):
        eval_run = EvalRun(run, suite, "evr_1")
        eval_run.log_result("1", scores={"exact": True, "judge": 0.5})
        eval_run.log_result("2", scores={"exact": False, "judge": 0.1})
        eval_run.log_result("2", scores={"exact": True, "judge": 0.25})
        expected = {
            "exact": {"count": 2, "mean": 1.0, "pass_rate": 1.0},
            "judge": {"count": 2, "mean": 0.375, "pass_rate": None},
        }
        assert eval_run.summary == expected
        assert eval_run.complete()
        assert not eval_run.log_result("3", scores={"exact": True})
    start = next(event for event in server.events if isinstance(event, EvalStart))
    end = [event for event in server.events if isinstance(event, RunUpdate | RunEnd)]
    assert (start.suite, start.dataset["artifactRef"], start.scorers[1]["config"]) == ("qa", "squad:v2", {"model": "m"})
    assert end[0].summary == {
        "eval/exact/count": 2,
        "eval/exact/mean": 1.0,
        "eval/exact/pass_rate": 1.0,
        "eval/judge/count": 2,
        "eval/judge/mean": 0.375,
    }
    assert isinstance(end[1], RunEnd)
    assert run.summary["eval/judge/mean"] == 0.375


def test_an_eval_inside_a_training_leaves_the_training_current():
    """What the loop logs goes on into its own run; without one the eval run is the current one."""
    suite = evals.suite("qa", mode="disabled")
    alone = suite.run()
    assert rd.run is alone.run
    alone.finish()
    training = rd.init(mode="disabled")
    with suite.run() as inner:
        assert rd.run is training
        assert inner.log_result("1", scores={"a": 1})
        assert inner.summary["a"]["count"] == 1
    assert rd.run is training
    training.finish()
    assert rd.run is None


def test_datasets_and_scorers():
    """A name is an artifact with a version of its own; a mapping is kept."""
    named = evals.suite("qa", dataset="squad:latest").dataset
    assert (named["name"], named["artifactRef"], len(named["version"])) == ("dataset", "squad:latest", 16)
    assert evals.suite("qa", dataset="a:v1", dataset_name="a", dataset_version="1").dataset == {
        "name": "a",
        "version": "1",
        "artifactRef": "a:v1",
    }
    mapping = {"name": "n", "version": "1", "artifactRef": "r", "datasetId": "d"}
    assert evals.suite("qa", dataset=mapping).dataset == mapping
    assert evals.suite("qa", scorers="exact").scorers == [{"name": "exact"}]
    assert evals.suite("qa").suite_id == evals.suite("qa").suite_id != evals.suite("qb").suite_id
    assert evals.suite("qa", suite_id="evs_1").suite["suiteId"] == "evs_1"


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": " "},
        {"name": "x" * 300},
        {"name": "a", "dataset": 3},
        {"name": "a", "scorers": [3]},
        {"name": "a", "scorers": [{}]},
        {"name": "a", "scorers": 5},
    ],
    ids=str,
)
def test_a_mistake_in_a_suite_raises(arguments):
    """When it is made, not in the middle of an evaluation."""
    with pytest.raises(rd.ConfigError):
        evals.suite(**arguments)


def test_a_mistake_in_a_run_raises():
    """An id that no server would take, and an option that nobody knows."""
    suite = evals.suite("qa", mode="disabled")
    with pytest.raises(rd.ConfigError, match="eval_run_id"):
        suite.run(eval_run_id="a\nb")
    with pytest.raises(rd.ConfigError, match="unknown option"):
        suite.run(colour="red")


def pytest_session(tmp_path, text, *options, **environment):
    """Runs a session with the plugin in a process of its own; what it printed and its exit status."""
    tests = tmp_path / "session" / "test_it.py"
    tests.parent.mkdir(exist_ok=True)
    tests.write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", rd.eval.pytest_plugin, "-p", "no:cacheprovider", "-q"]
    done = subprocess.run(
        [*command, *options, str(tests)], capture_output=True, text=True, cwd=tests.parent, env=os.environ | environment
    )
    return done.stdout + done.stderr, done.returncode


def test_the_plugin_does_nothing_unasked(tmp_path):
    """No run, no file, no line of output."""
    output, status = pytest_session(tmp_path, "def test_a(): pass")

    assert status == 0
    assert "rundial" not in output
    assert not (tmp_path / "session" / ".rundial_spool").exists()
    assert not (tmp_path / "home").exists()


def test_the_plugin_does_not_hide_a_failure(tmp_path):
    """The exit status is pytest's own, a mistake in the settings is one of usage, and collecting records nothing."""
    failing = "def test_a(): assert 1 == 2"

    output, status = pytest_session(tmp_path, failing, "--rundial-project", "qa", RUNDIAL_MODE="offline")
    assert (status, "assert 1 == 2" in output, "rundial: 1 results" in output) == (1, True, True)

    output, status = pytest_session(tmp_path, failing, "--rundial-project", "a/b")
    assert (status, "project 'a/b' cannot be used" in output) == (4, True)

    output, status = pytest_session(tmp_path, failing, "--rundial-project", "qa", "--collect-only")
    assert (status, "rundial:" in output) == (0, False)
