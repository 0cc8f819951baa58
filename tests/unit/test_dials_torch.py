"""The dials that a torch training gets for nothing, with real optimizers and schedulers."""

import itertools

import pytest

from rundial.testing import capture_run

torch = pytest.importorskip("torch")
from rundial.control.torch import attach  # noqa: E402 - it is of no use without torch

pytestmark = pytest.mark.frameworks
places = itertools.count()


def command(run, name, value=None):
    place = next(places)
    run._board.arrive([{"commandId": f"cmd_{place}", "place": place, "name": name, "value": value, "leftMs": 60_000}])


@pytest.fixture
def job():
    """A run, a parameter whose gradient is always 3, and its optimizer."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1, weight_decay=0.0)
    with capture_run() as (run, server):
        yield run, server, parameter, optimizer


def step(parameter, optimizer, scheduler=None):
    """One step; the rate it was made with."""
    rate = float(optimizer.param_groups[0]["lr"])
    optimizer.zero_grad()
    (parameter * 3).sum().backward()
    optimizer.step()
    if scheduler is not None:
        scheduler.step()
    return rate


def schedulers(optimizer):
    lrs = torch.optim.lr_scheduler

    def parts():
        return [lrs.LinearLR(optimizer, 0.1, 1.0, 5), lrs.CosineAnnealingLR(optimizer, 20)]

    return {
        "lambda": lambda: lrs.LambdaLR(optimizer, lambda epoch: 0.9**epoch),
        "step": lambda: lrs.StepLR(optimizer, 3, 0.5),
        "cosine": lambda: lrs.CosineAnnealingLR(optimizer, 20),
        "onecycle": lambda: lrs.OneCycleLR(optimizer, 1.0, total_steps=20),
        "cyclic": lambda: lrs.CyclicLR(optimizer, 0.1, 1.0, 4, cycle_momentum=False),
        "sequential": lambda: lrs.SequentialLR(optimizer, parts(), [5]),
    }


@pytest.mark.parametrize("kind", ["lambda", "step", "cosine", "onecycle", "cyclic", "sequential"])
def test_a_schedule_goes_on_from_a_changed_rate(kind):
    """From the change on each rate is twice what it would have been."""

    def rates(multiplier):
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([parameter], lr=0.1)
        scheduler = schedulers(optimizer)[kind]()
        with capture_run() as (run, _):
            attach(run, optimizer, scheduler=scheduler)
            found = []
            for number in range(15):
                if number == 4:
                    command(run, "lr_multiplier", multiplier)
                found.append(step(parameter, optimizer, scheduler))
        return found

    plain, doubled = rates(1.0), rates(2.0)
    assert doubled[:5] == plain[:5]
    assert doubled[5:] == pytest.approx([2 * rate for rate in plain[5:]])


def test_an_absolute_rate(job):
    """It is what it was set to at the next step, and all groups keep their proportion."""
    run, _, parameter, optimizer = job
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.01})
    controls = attach(run, optimizer)
    command(run, "lr", 0.5)
    step(parameter, optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.05])
    assert controls.multiplier == pytest.approx(5)
    command(run, "lr", 0)
    step(parameter, optimizer)
    command(run, "lr", 0.2)
    step(parameter, optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.2]


def test_a_rate_that_is_a_tensor_stays_that_tensor(job):
    """A compiled step has taken hold of it."""
    run, _, parameter, _ = job
    rate = torch.tensor(0.1)
    optimizer = torch.optim.SGD([parameter], lr=rate, foreach=False)
    attach(run, optimizer)
    held = optimizer.param_groups[0]["lr"]
    command(run, "lr", 0.25)
    step(parameter, optimizer)
    assert optimizer.param_groups[0]["lr"] is held
    assert float(held) == 0.25


def test_gradients_are_clipped(job):
    """To the norm that was asked for; 0 takes the bound away."""
    run, _, parameter, optimizer = job
    attach(run, optimizer)
    command(run, "grad_clip", 1.0)
    step(parameter, optimizer)
    before = parameter.item()
    step(parameter, optimizer)
    assert before - parameter.item() == pytest.approx(0.1, rel=1e-4)
    command(run, "grad_clip", 0)
    step(parameter, optimizer)
    before = parameter.item()
    step(parameter, optimizer)
    assert before - parameter.item() == pytest.approx(0.3, rel=1e-4)


def test_weight_decay_leaves_alone_what_does_not_decay(job):
    """A bias goes on without."""
    run, _, parameter, _ = job
    groups = [{"params": [parameter], "weight_decay": 0.1}, {"params": [torch.nn.Parameter(torch.zeros(1))]}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    attach(run, optimizer)
    command(run, "weight_decay", 0.01)
    step(parameter, optimizer)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0]


def test_stop_save_and_evaluate(job):
    """Each is called once, after the step; what it raises stops nothing."""
    run, _, parameter, optimizer = job
    called = []

    def broken():
        called.append("evaluate")
        raise RuntimeError("no data")

    controls = attach(run, optimizer, save=lambda: called.append("save"), evaluate=broken)
    command(run, "save_checkpoint")
    command(run, "evaluate")
    step(parameter, optimizer)
    assert (called, controls.stopped) == (["save", "evaluate"], False)
    command(run, "stop")
    step(parameter, optimizer)
    assert controls.stopped


def test_detached_controls_poll_no_more(job):
    """The hooks are gone."""
    run, _, parameter, optimizer = job
    attach(run, optimizer).detach()
    command(run, "lr", 0.5)
    step(parameter, optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert [ack.status for ack in run.poll()] == ["applied"]
