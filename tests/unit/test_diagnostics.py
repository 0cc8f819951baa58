"""Counters with reasons, and what is said about them."""

import subprocess
import sys
import warnings

import pytest

from rundial.diagnostics import MAX_COUNTED_KEYS, MAX_WARNINGS, Counters, Diagnostics, say


def test_the_account_adds_up_or_says_so():
    """Every record is acknowledged, pending or dropped."""
    dropped = {"queue_full": 3, "spool_bytes": 2, "rejected": 1}
    assert Diagnostics(logged=20, acknowledged=10, pending=4, dropped=dropped).balanced
    assert not Diagnostics(logged=21, acknowledged=10, pending=4, dropped=dropped).balanced


def test_the_names_of_the_older_client_answer():
    """Scripts that read them go on to work, and nothing is counted under two of them."""
    dropped = {
        "queue_full": 1,
        "spool_bytes": 2,
        "spool_age": 3,
        "spool_lost": 4,
        "rejected": 5,
        "too_large": 6,
        "closed": 7,
    }
    account = Diagnostics(
        logged=50, acknowledged=20, pending=2, dropped=dropped, non_finite_dropped={"a": 1, "b": 2}, spool_segments=3
    )
    assert (account.enqueued_points, account.accepted_points) == (50, 20)
    assert account.dropped_points_queue_full == 1
    assert account.dropped_points_spool_eviction == 9
    assert account.dropped_points_non_retryable == 18
    assert account.dropped_points_retry_exhausted == 0
    assert account.dropped_points_non_finite == 3
    assert account.pending_spooled_batches == 3
    assert account.dropped_total == 28
    assert account.balanced


def test_a_kind_of_trouble_is_said_once():
    """The first time it is a warning; after that only a number."""
    counters = Counters()
    with pytest.warns(RuntimeWarning) as warned:
        for _ in range(100):
            counters.warn_once("unreachable", "no answer")
        counters.warn_once("spool", "disk full")
    assert [str(warning.message) for warning in warned] == ["rundial: no answer", "rundial: disk full"]


def test_a_warning_names_the_line_that_called_us(tmp_path):
    """The user's own line, not one of ours; from a thread of ours there is none, and no line of ours is shown."""
    script = tmp_path / "train.py"
    script.write_text(
        "import threading\n"
        "from rundial.diagnostics import Counters, warn\n"
        "Counters().warn_once('kind', 'from the script')\n"
        "thread = threading.Thread(target=warn, args=('from a thread',))\n"
        "thread.start(), thread.join()\n"
    )
    said = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stderr.splitlines()
    assert said[0] == f"{script}:3: RuntimeWarning: rundial: from the script" and "kind" in said[1]
    assert said[2:] == ["rundial:1: RuntimeWarning: rundial: from a thread"]


def test_ten_thousand_kinds_of_trouble_are_one_problem():
    """The number of different warnings has an end."""
    counters = Counters()
    with pytest.warns(RuntimeWarning) as warned:
        for number in range(10_000):
            counters.warn_once(f"value {number}", f"value {number} was not stored")
    assert len(warned) == MAX_WARNINGS


def test_each_run_warns_for_itself():
    """What one run has said, another still says."""
    with pytest.warns(RuntimeWarning) as warned:
        for counters in (Counters(), Counters()):
            counters.warn_once("spool", "disk full")
    assert len(warned) == 2


def test_a_warning_never_becomes_an_exception(capsys):
    """Where warnings are errors, it is printed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Counters().warn_once("spool", "disk full")
    assert capsys.readouterr().err == "rundial: warning: disk full\n"


def test_non_finite_values_are_counted_by_key_up_to_a_limit():
    """The first keys by name, all others together, and none twice."""
    counters = Counters()
    for number in range(100):
        counters.count_non_finite(f"layer/{number}")
    counters.count_non_finite("layer/0")
    assert len(counters.non_finite) == MAX_COUNTED_KEYS + 1
    assert counters.non_finite["layer/0"] == 2
    assert counters.non_finite["__other__"] == 100 - MAX_COUNTED_KEYS
    assert counters.non_finite.total() == 101


@pytest.mark.parametrize("end", ["sys.stderr.close()", "sys.stderr = None", "os.close(2)"])
def test_nobody_listening_is_no_error(end):
    """A job whose standard error is closed or missing trains on."""
    code = f"import os, sys; from rundial.diagnostics import say; {end}; say('hello'); print('fine')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert answer.stdout == "fine\n"


def test_what_is_said_is_one_line_on_standard_error(capsys):
    """Standard output belongs to the script."""
    say("brave-dial-12 http://127.0.0.1:8787")
    assert capsys.readouterr() == ("", "rundial: brave-dial-12 http://127.0.0.1:8787\n")
