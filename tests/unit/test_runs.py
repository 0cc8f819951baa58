import decimal
import fractions
import math
import pickle
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rundial as rd
from rundial.events import Ledger, Marker, Metrics, RunEnd, RunStart, RunUpdate
from rundial.testing import capture_run


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


def test_config_keeps_its_shape():
    """Nesting, ints and lists stay; later values are merged key by key."""
    with capture_run() as (run, server):
        run.update_config({"model": {"layers": 3, "sizes": [1, 2]}, "lr": np.float32(0.5)})
        run.update_config({"model": {"dropout": 0.1}})
        run.finish(5)
    assert run.config == {"model": {"layers": 3, "sizes": [1, 2], "dropout": 0.1}, "lr": 0.5}
    assert [event.config for event in server.events if isinstance(event, RunUpdate)][1] == {"model": {"dropout": 0.1}}


def test_summary_is_a_mapping_and_a_call():
    """summary["x"] = 1, summary({...}) and update() all say the same thing."""
    with capture_run() as (run, server):
        run.summary["best"] = 0.9
        run.summary({"epochs": 3})
        run.summary.update(done=True)
        run.finish(5)
    assert dict(run.summary) == {"best": 0.9, "epochs": 3, "done": True}
    updates = [event.summary for event in server.events if isinstance(event, RunUpdate)]
    assert updates == [{"best": 0.9}, {"epochs": 3}, {"done": True}]


def test_the_end_comes_last_and_only_once():
    """The stream ends with the client's account and the status; a second finish changes nothing."""
    with capture_run() as (run, server):
        run.log({"x": 1})
        assert run.fail("out of patience")
        assert run.finish(status="completed")
    assert isinstance(server.events[-2], Ledger)
    assert server.events[-2].logged == 2
    assert (server.events[-1].status, server.events[-1].reason) == ("failed", "out of patience")
    assert run.status == "failed"


def test_logging_after_the_end_is_counted():
    """A finished run drops what comes, says so once and counts it."""
    with capture_run() as (run, _):
        run.finish(5)
        with pytest.warns(RuntimeWarning, match="is finished") as warned:
            assert run.log({"x": 1}) is False
            assert run.log({"x": 2}) is False
    assert len(warned) == 1


def ends(server):
    return [(event.status, event.reason) for event in server.events if isinstance(event, RunEnd)]


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (None, ("completed", None)),
        (ValueError("bad luck"), ("failed", "ValueError: bad luck")),
        (KeyboardInterrupt(), ("aborted", "KeyboardInterrupt")),
        (SystemExit(0), ("completed", None)),
        (SystemExit(3), ("failed", "SystemExit: 3")),
    ],
)
def test_a_with_block_ends_the_run_as_it_went(error, end):
    """Leaving the block tells how it went, and swallows nothing."""
    with capture_run() as (run, server):
        try:
            with run:
                if error is not None:
                    raise error
        except BaseException as caught:  # noqa: BLE001 - SystemExit is one of them
            assert caught is error
    assert ends(server) == [end]


def test_warnings_as_errors_do_not_reach_the_loop():
    """Under -W error a warning is printed instead of raised."""
    code = "import rundial as rd; run = rd.init(); print(run.log({'x': object()}), run.log({'x': 1.0}))"
    answer = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False True\n"
    assert "value of 'x' was not stored" in answer.stderr


def test_disabled_does_nothing(tmp_path):
    """mode="disabled" and silent ranks accept everything and leave nothing."""
    for options in ({"mode": "disabled"}, {"distributed_rank": 3}):
        run = rd.init(**options)
        assert run.log({"x": object()})
        assert run.summary.update(a=1) is None
        assert run.finish()
        assert run.diagnostics().health == "disabled"
    assert not (tmp_path / "home").exists()
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projekt": "x"}, "Did you mean 'project'"),
        ({"project": "  "}, "project is empty"),
        ({"project": "a/b"}, "cannot be used"),
        ({"endpoint": "127.0.0.1:8787"}, "is no URL"),
        ({"mode": "onlien"}, "online, offline, disabled"),
        ({"kind": "train"}, "training, agent, eval"),
        ({"resume": "must"}, "needs the run_id"),
        ({"run_id": "a b"}, "cannot be used"),
        ({"config": 5}, "config must be a mapping"),
        ({"tags": 5}, "tags must be a list"),
        ({"queue_bytes": "many"}, "must be a number"),
        ({"spool_max_bytes": 1}, "at least"),
    ],
)
def test_a_mistake_in_init_says_what_to_do(options, message):
    """A setting that cannot be right is one clear error, before anything starts."""
    with pytest.raises(rd.ConfigError, match=message):
        rd.init(**options)


def test_the_current_run():
    """rd.run, rd.log and rd.finish speak to the run that was started last."""
    assert rd.run is None
    with pytest.raises(rd.ConfigError, match=r"call rundial\.init"):
        rd.log({"x": 1})
    run = rd.init(quiet=True)
    assert rd.run is run
    assert rd.log({"x": 1}, step=3)
    rd.finish()
    assert rd.run is None
    assert run.status == "completed"


def test_a_run_without_a_name_gets_a_readable_one():
    """Two words and a number."""
    run = rd.init(mode="disabled")
    first, second, number = run.name.split("-")
    assert first.isalpha() and second.isalpha() and number.isdigit()


def test_the_first_record_says_who_writes():
    """Everything init was told is in the first record of the stream."""
    with capture_run() as (run, server):
        run.finish(5)
    assert isinstance(server.events[0], RunStart)
    assert server.events[0].run_id == run.id


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


def test_a_pickled_handle_opens_nothing_until_it_logs():
    """A run that travels costs nothing where it is not used."""
    run = rd.init(quiet=True)
    code = """if True:
        import pickle, sys, threading
        run = pickle.loads(sys.stdin.buffer.read())
        print(run.id, threading.active_count(), run.finish())
    """
    handle = pickle.dumps(run)
    answer = subprocess.run([sys.executable, "-c", code], input=handle, capture_output=True, check=True)
    run.finish()
    assert answer.stdout.decode() == f"{run.id} 1 True\n"
