"""What ``log()`` takes: numbers in every form, texts, media, tensors, steps and times, and what is none of these."""

import decimal
import fractions
import math
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rundial.events import Marker, Metrics
from rundial.testing import capture_run


def of_kind(server, kind):
    return [event for event in server.events if isinstance(event, kind)]


def test_numbers_in_every_form_a_loop_has_them():
    """NumPy scalars, Decimals, bools and one-element arrays are numbers; as steps too."""
    values = [1, 2.5, True, np.float32(0.5), np.float64(0.25), np.int64(3), np.array([4.0]), decimal.Decimal("1.5")]
    values += [fractions.Fraction(1, 4), np.bool_(True), np.array(7)]
    with capture_run() as (run, server):
        for step, value in enumerate(values):
            assert run.log({"x": value, "plain": 1.0}, step=np.int64(step))
        run.finish(5)
    assert server.series("x") == [1, 2.5, True, 0.5, 0.25, 3, 4.0, 1.5, 0.25, True, 7]
    assert server.steps("x") == list(range(len(values)))


def test_torch_scalars():
    """Tensors of one element are numbers, and so are they as steps."""
    torch = pytest.importorskip("torch")
    with capture_run() as (run, server):
        run.log(
            {"loss": torch.tensor(0.5, requires_grad=True), "half": torch.tensor([2.0]).half()}, step=torch.tensor(3)
        )
        run.finish(5)
    assert (server.series("loss"), server.series("half"), server.steps("loss")) == ([0.5], [2.0], [3])


def test_steps_count_themselves():
    """A call without a step takes the next; an explicit step moves the counter."""
    with capture_run() as (run, server):
        run.log({"x": 1})
        run.log({"x": 2})
        run.log({"x": 3}, step=10)
        run.log({"x": 4})
        run.log({"x": 5}, step=3)
        run.log({"x": 6})
        run.finish(5)
    assert server.steps("x") == [0, 1, 10, 11, 3, 4]


def test_nan_and_infinity_are_markers():
    """A non-finite value is no point of the series: it is marked, counted by key, warned of once."""
    with pytest.warns(RuntimeWarning, match="'loss' is nan") as warned, capture_run() as (run, server):
        for step in range(3):
            run.log({"loss": math.nan, "acc": 0.5}, step=step)
        run.finish(5)
    markers = [event for event in server.events if isinstance(event, Marker)]
    assert [(marker.kind, marker.name, marker.step, marker.attrs) for marker in markers[:1]] == [
        ("non_finite", "loss", 0, {"value": "nan"})
    ]
    assert server.series("acc") == [0.5] * 3
    assert server.series("loss") == []
    assert run.diagnostics().non_finite_dropped == {"loss": 3}
    assert len(warned) == 1


def test_nested_values_and_text():
    """Nested mappings flatten with a slash; a str is a text."""
    with capture_run() as (run, server):
        run.log({"train": {"loss": 0.5, "deep": {"er": 1}}, "note": "warm-up"})
        run.finish(5)
    assert [event.values for event in server.events if isinstance(event, Metrics)] == [
        {"train/loss": 0.5, "train/deep/er": 1, "note": "warm-up"}
    ]


class Hostile:
    def __float__(self):
        raise ZeroDivisionError("no")

    def __str__(self):
        raise RuntimeError("nor that")

    __repr__ = __str__


RECURSIVE: dict = {}
RECURSIVE["me"] = RECURSIVE
BAD = [None, Hostile(), [1, 2], b"bytes", 1j, object(), np.zeros(3), RECURSIVE, {"a": Hostile()}]


@pytest.mark.parametrize("bad", BAD, ids=lambda value: type(value).__name__)
def test_a_bad_value_harms_no_neighbour(bad):
    """Whatever stands beside it, the good value is stored, the bad one counted and warned of, and nothing raised."""
    with pytest.warns(RuntimeWarning), capture_run() as (run, server):
        run.log({"good": 1.5, "bad": bad}, step=4)
        run.finish(5)
    assert server.series("good") == [1.5]
    assert run.diagnostics().invalid_values >= 1


@pytest.mark.parametrize("step", [1.5, "7", -3, 2**62, np.float32(2.0)])
def test_odd_steps_are_taken_as_integers(step):
    """A step that can be an integer is one."""
    with capture_run() as (run, server):
        run.log({"x": 1}, step=step)
        run.finish(5)
    assert server.steps("x") == [int(step)]


@pytest.mark.parametrize("step", ["seven", math.nan, 2**64, Hostile(), [1]])
def test_a_step_that_is_none_takes_the_next(step):
    """A step that cannot be used is warned of, and the value is stored all the same."""
    with pytest.warns(RuntimeWarning), capture_run() as (run, server):
        run.log({"x": 1}, step=step)
        run.finish(5)
    assert server.steps("x") == [0]


@pytest.mark.parametrize("metrics", [None, {}, [1], "loss", 5])
def test_nothing_to_log_is_no_exception(metrics):
    """A call without values returns False, warns, and takes no step."""
    with pytest.warns(RuntimeWarning), capture_run() as (run, server):
        assert run.log(metrics) is False
        run.log({"x": 1})
        run.finish(5)
    assert server.steps("x") == [0]


any_value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=8)
    | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=30) | st.integers() | st.none(), any_value, max_size=5), any_value)
def test_log_never_raises(shared_run, metrics, step):
    """Any dict with any step: no exception, and the good value beside it is stored."""
    run, server = shared_run
    before = len(server.series("good"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run.log({**metrics, "good": 1.0}, step=step)
        assert run.flush(5)
    assert len(server.series("good")) == before + 1


@pytest.fixture(scope="module")
def shared_run():
    with capture_run() as pair:
        yield pair


def test_a_dict_of_ten_thousand_values_is_one_step():
    """Beyond the size of a record a call is split; all values stand at the same step."""
    metrics = {f"a-rather-long-name-for-a-metric/{number}": number / 7 for number in range(10_000)}
    with capture_run() as (run, server):
        assert run.log(metrics)
        run.finish(5)
    events = [event for event in server.events if isinstance(event, Metrics)]
    assert {event.step for event in events} == {0}
    assert {key: value for event in events for key, value in event.values.items()} == metrics


def test_warnings_as_errors_do_not_reach_the_loop():
    """Under -W error a warning is printed instead of raised."""
    code = "import rundial as rd; run = rd.init(); print(run.log({'x': object()}), run.log({'x': 1.0}))"
    answer = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False True\n"
    assert "value of 'x' was not stored" in answer.stderr


class Device:
    type = "accelerator"


class DeviceTensor:
    """A tensor on a device: reading it waits, so it notes in which thread that was done."""

    device = Device()

    def __init__(self, value, readers):
        self.value = value
        self.readers = readers

    def detach(self):
        return self

    def clone(self):
        return DeviceTensor(self.value, self.readers)

    def __radd__(self, other):
        return self

    def item(self):
        self.readers.append(threading.current_thread().name)
        return self.value


def test_a_tensor_on_a_device_is_read_by_the_worker():
    """Logging a loss that lies on an accelerator does not wait for it, and what happens to it later changes nothing."""
    readers = []
    with capture_run(flush_interval_seconds=0.05) as (run, server):
        loss = DeviceTensor(0.5, readers)
        assert run.log({"loss": loss, "lr": 0.1}, step=7)
        loss.value = 99.0
        run.log({"loss": 0.25})
        deadline = time.monotonic() + 5
        while not readers and time.monotonic() < deadline:
            time.sleep(0.01)
        assert run.diagnostics().balanced
        run.finish(5)
    assert sorted(zip(server.steps("loss"), server.series("loss"), strict=True)) == [(7, 0.5), (8, 0.25)]
    assert readers == ["rundial-worker"]


def test_values_on_a_device_are_not_lost_at_the_end():
    """finish() reads what the worker has not come to."""
    with capture_run(flush_interval_seconds=60) as (run, server):
        for step in range(100):
            run.log({"loss": DeviceTensor(step / 2, [])}, step=step)
        assert run.finish(5)
    assert server.steps("loss") == list(range(100))


def test_log_metric_takes_either_name_for_its_time():
    """time_ms and timestamp_ms are the same, and time_ms wins."""
    with capture_run() as (run, server):
        run.log_metric("loss", 0.5, step=1, timestamp_ms=1_700_000_000_000)
        run.log_metric("loss", 0.4, step=2, time_ms=1_700_000_000_001, timestamp_ms=1)
        run.log_metric("loss", 0.3, context={"split": "eval"})
        run.finish(5)
    assert [(m.time_ns, m.step) for m in of_kind(server, Metrics)][:2] == [
        (1_700_000_000_000_000_000, 1),
        (1_700_000_000_001_000_000, 2),
    ]
    assert of_kind(server, Metrics)[2].context == {"split": "eval"}


@pytest.mark.parametrize("moment", ["yesterday", -1, float("nan"), 1e300])
def test_a_time_that_is_none_is_now(moment):
    """The value is kept, the time is now, and it is counted."""
    with capture_run() as (run, server), pytest.warns(RuntimeWarning, match="no Unix time"):
        assert run.log_metric("loss", 0.5, timestamp_ms=moment)
        run.finish(5)
    (record,) = of_kind(server, Metrics)
    assert record.time_ns > 1_600_000_000_000_000_000
    assert run.diagnostics().invalid_values == 1
