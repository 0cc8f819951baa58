"""Watching a torch model: what is logged, how often, and that nothing stays behind."""

from __future__ import annotations

import gc
import weakref

import pytest

torch = pytest.importorskip("torch")

from rundial.errors import ConfigError  # noqa: E402
from rundial.integrations import unwatch, watch  # noqa: E402
from rundial.integrations.pytorch import MAX_SAMPLE, _sample  # noqa: E402
from rundial.testing import capture_run  # noqa: E402

pytestmark = pytest.mark.frameworks


class Recorder:
    """A run that keeps what it is given, as media need a server to be read back from."""

    status = "running"
    _highest = 4

    def __init__(self) -> None:
        self.calls = []

    def log(self, values, step):
        self.calls.append((step, values))


def train(model, passes):
    for _ in range(passes):
        model.zero_grad()
        model(torch.ones(3, 4)).sum().backward()


def tiny():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))


@pytest.mark.parametrize(
    ("log", "prefixes"),
    [
        ("gradients", {"gradients"}),
        ("parameters", {"parameters"}),
        ("all", {"gradients", "parameters"}),
    ],
)
def test_one_in_log_freq_is_logged(log, prefixes):
    """The first backward pass and every third after it, for each parameter, at the run's step."""
    model, run = tiny(), Recorder()
    with watch(run, model, log, log_freq=3):
        train(model, 7)
    names = [name for name, _ in model.named_parameters()]
    keys = [key for _, values in run.calls for key in values]
    assert sorted(keys) == sorted(f"{prefix}/{name}" for prefix in prefixes for name in names for _ in range(3))
    assert {step for step, _ in run.calls} == {4}


def test_hooks_go_away():
    """By remove(), by unwatch(), by the end of the block and by the end of the run: then a pass logs nothing."""
    for end in ("remove", "unwatch", "run"):
        model, run = tiny(), Recorder()
        watching = watch(run, model, log_freq=1)
        train(model, 1)
        if end == "remove":
            watching.remove()
        elif end == "unwatch":
            unwatch(model)
        else:
            run.status = "completed"
        before = len(run.calls)
        train(model, 2)
        assert len(run.calls) == before
        assert not any(parameter._backward_hooks for parameter in model.parameters())


def test_nothing_is_kept_alive():
    """The model goes when the training lets go of it, and what is logged hangs on no graph."""
    model, run = tiny(), Recorder()
    watch(run, model, "all", log_freq=1)
    train(model, 1)
    logged = [item for _, values in run.calls for item in values.values()]
    assert len(logged) == 8
    assert not any(item.values.requires_grad or item.values.grad_fn for item in logged)
    found = weakref.ref(model)
    del model, logged
    run.calls.clear()
    gc.collect()
    assert found() is None


def test_frozen_parameters_are_left_out():
    """What is not trained has no gradient to look at."""
    model, run = tiny(), Recorder()
    model[0].requires_grad_(False)
    with watch(run, model, log_freq=1):
        train(model, 1)
    assert {key for _, values in run.calls for key in values} == {"gradients/2.weight", "gradients/2.bias"}


def test_large_tensors_are_sampled():
    """Of a large tensor an even sample is taken, without a copy of the whole."""
    small, large = torch.arange(10.0).reshape(2, 5), torch.arange(200_000.0)
    assert _sample(small).tolist() == list(range(10))
    sample = _sample(large)
    assert MAX_SAMPLE / 2 < len(sample) <= MAX_SAMPLE
    assert sample.untyped_storage().data_ptr() == large.untyped_storage().data_ptr()
    assert float(sample.mean()) == pytest.approx(100_000, rel=0.01)


def test_a_mistake_is_said_at_once():
    """Another word, or a frequency that is none."""
    with capture_run() as (run, _):
        with pytest.raises(ConfigError, match="log must be"):
            watch(run, tiny(), "weights")
        with pytest.raises(ConfigError, match="log_freq"):
            watch(run, tiny(), log_freq=0)


def test_an_exception_never_reaches_the_backward_pass():
    """Whatever goes wrong in a hook stops the watching with a warning, and the training goes on."""

    class Broken(Recorder):
        def log(self, values, step):
            raise RuntimeError("no disk")

    model = tiny()
    watch(Broken(), model, log_freq=1)
    with pytest.warns(RuntimeWarning, match="watching stopped"):
        train(model, 2)
