"""``wandb.sweep`` and ``wandb.agent``: hyper-parameter search on this machine, by as many agents as one likes."""

from __future__ import annotations

import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rundial.compat.wandb import _init, _sweep_store
from rundial.compat.wandb._settings import from_environment
from rundial.compat.wandb._sweep_search import suggest
from rundial.compat.wandb._sweep_space import nested, parameters_of
from rundial.compat.wandb._sweep_store import Sweep, Trial
from rundial.compat.wandb.errors import CommError, UsageError
from rundial.compat.wandb.errors.term import termerror, termlog
from rundial.sweeps import Link, tell

if TYPE_CHECKING:
    from rundial.compat.wandb._run import Run

PARAMETERS_VARIABLE = "WANDB_SWEEP_PARAM_PATH"
METHODS = ("grid", "random", "bayes")
CONTROLLER_SECONDS = 0.2
"""How often an agent asks whether the controller has scheduled something."""
FAILURES_AT_FIRST = 3
"""An agent gives up when so many runs fail before any succeeds."""


class Stopped(SystemExit):
    """Raised by ``log`` in a run that ``early_terminate`` ends. As a SystemExit it passes ``except Exception``."""


def sweep(
    sweep: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    entity: str | None = None,
    project: str | None = None,
    prior_runs: Sequence[str] | None = None,
) -> str:
    """Make a sweep; its id, for :func:`agent`. No server is needed.

    Args:
        sweep: ``method``, ``parameters``, and ``metric``, ``early_terminate``, ``run_cap``, ``name`` if wanted.
        entity, project: of its runs; otherwise those in ``sweep``, or those of the environment.
        prior_runs: taken, without effect.

    Raises:
        UsageError: another method, parameters that say nothing, ``bayes`` or ``early_terminate`` without a metric.
    """
    config = dict(sweep() if callable(sweep) else sweep)
    method = config.get("method")
    if method not in METHODS:
        raise UsageError(f"a sweep's method must be one of {', '.join(METHODS)}, not {method!r}.")
    parameters = parameters_of(config.get("parameters"))
    if method == "grid":
        suggest("grid", parameters, [], [])
    if (method == "bayes" or config.get("early_terminate")) and not (config.get("metric") or {}).get("name"):
        raise UsageError("bayes and early_terminate need the metric: {'name': 'loss', 'goal': 'minimize'}.")
    known = _init.global_settings.copy()
    known.update(from_environment())
    found = Sweep(
        _init.generate_id(),
        str(project or config.get("project") or known.project or ""),
        str(entity or config.get("entity") or known.entity or ""),
        msgspec.json.decode(msgspec.json.encode(config, enc_hook=str)),
    )
    _sweep_store.create(found)
    termlog(f"Created sweep with ID: {found.sweep_id}")
    link = _link(found)
    if link is not None and link.announce(found.config, name=str(config.get("name") or "") or None):
        termlog(f"View sweep at: {link.url}")
    return found.sweep_id


def _link(found: Sweep, project: str | None = None) -> Link | None:
    """The sweep on the server where its runs go; None while it is not known which project that will be."""
    known = _init.global_settings.copy()
    known.update(from_environment())
    known.update({"project": project or found.project or known.project})
    place = _init._project(known)
    if place == _init.DEFAULT_PROJECT and not known.project:
        return None
    return Link(found.sweep_id, project=place, mode=_init._mode(known))


def agent(
    sweep_id: str,
    function: Callable[[], Any] | None = None,
    entity: str | None = None,
    project: str | None = None,
    count: int | None = None,
    forward_signals: bool = False,
) -> None:
    """Run the trials of a sweep, one after another, until it is exhausted.

    Args:
        sweep_id: of :func:`sweep`; ``entity/project/id`` will do.
        function: called for each trial; it calls ``wandb.init``. Left out, the sweep's ``program`` is started.
        entity, project: of the runs; left out, the sweep's.
        count: the most trials.

    Raises:
        CommError: there is no such sweep on this machine.
        UsageError: neither a function nor a program.
    """
    sweep_id = sweep_id.strip("/").rpartition("/")[2]
    done = failed = 0
    link: Link | None = None
    while count is None or done < count:
        link = link or _link(_sweep_store.read(sweep_id), project)
        if link is not None and not link.wait(termlog):
            break
        taken = _take(sweep_id)
        if taken is None:
            known = _sweep_store.read(sweep_id)
            if link is not None and (known.state == "FINISHED" or _is_full(known)):
                link.finish()
            break
        found, trial = taken
        done += 1
        termlog(f"Agent Starting Run: {trial.run_id} with config: {trial.params}")
        if function is not None:
            state = _call(function, found, trial, project or found.project, entity or found.entity)
        else:
            from rundial.compat.wandb._sweep_command import start

            state = start(found, trial, project or found.project, entity or found.entity)
        _settle(sweep_id, trial.run_id, state)
        failed = failed + 1 if state == "failed" and failed == done - 1 else failed
        if failed == done == FAILURES_AT_FIRST:
            termerror(f"The first {failed} runs of the sweep failed; the agent stops.")
            break


def _take(sweep_id: str) -> tuple[Sweep, Trial] | None:
    """The next trial, noted as running; None when there is none. Waits for the controller of a sweep that has one."""
    while True:
        with _sweep_store.changing(sweep_id) as found:
            if is_controlled(found.config):
                trial = next((trial for trial in found.trials if trial.state == "pending"), None)
            else:
                trial = suggested(found)
                if trial is None and found.state == "RUNNING" and not _is_full(found):
                    found.state = "FINISHED"
                if trial is not None:
                    found.trials.append(trial)
            if trial is not None:
                trial.state = "running"
                return found, trial
            if found.state != "RUNNING" or not is_controlled(found.config):
                return None
        time.sleep(CONTROLLER_SECONDS)


def is_controlled(config: Mapping[str, Any]) -> bool:
    """Whether a ``wandb.controller`` says what comes next."""
    return (config.get("controller") or {}).get("type") == "local"


def _is_full(found: Sweep) -> bool:
    cap = found.config.get("run_cap")
    return cap is not None and len(found.trials) >= int(cap)


def suggested(found: Sweep) -> Trial | None:
    """What the sweep's method tries next; None when it is through."""
    if found.state != "RUNNING" or _is_full(found):
        return None
    parameters = parameters_of(found.config["parameters"])
    sign = sign_of(found)
    results = [(it.point, sign * it.metric) for it in found.trials if it.metric is not None]
    finite = [(point, value) for point, value in results if math.isfinite(value)]
    point = suggest(found.config["method"], parameters, [it.point for it in found.trials], finite)
    if point is None:
        return None
    params = nested(parameters, [parameter.at(unit) for parameter, unit in zip(parameters, point)])
    return Trial(_init.generate_id(), point, params)


def sign_of(found: Sweep) -> int:
    """1 when the metric is to be small, -1 when large."""
    return -1 if str((found.config.get("metric") or {}).get("goal", "minimize")).startswith("max") else 1


def _settle(sweep_id: str, run_id: str, state: str) -> None:
    with _sweep_store.changing(sweep_id) as found:
        trial = found.trial(run_id)
        if trial is not None and trial.state == "running":
            trial.state = state


@contextmanager
def _settings(**values: Any) -> Iterator[None]:
    """Settings for what is begun inside the block."""
    before = dict(_init.global_settings.__dict__)
    _init.global_settings.update({name: value for name, value in values.items() if value})
    try:
        yield
    finally:
        _init.global_settings.__dict__.clear()
        _init.global_settings.__dict__.update(before)


def _call(function: Callable[[], Any], found: Sweep, trial: Trial, project: str, entity: str) -> str:
    package: Any = sys.modules["rundial.compat.wandb"]
    if package.run is not None:
        package.run.finish()
    with _settings(
        sweep_id=found.sweep_id, sweep_config=trial.params, run_id=trial.run_id, project=project, entity=entity
    ):
        try:
            function()
        except Stopped:
            state = "stopped"
        except Exception:  # noqa: BLE001 - one trial that fails is no reason not to try the others
            termerror(f"Run {trial.run_id} errored:\n{traceback.format_exc()}")
            state = "failed"
        else:
            state = "finished"
        finally:
            if package.run is not None:
                package.run.finish(1 if sys.exc_info()[0] is not None else 0)
    return state


# -- in the run --------------------------------------------------------------------------------------------------------


def parameters_from_environment() -> dict[str, Any]:
    """The parameters that an agent chose for this process; empty without one."""
    path = os.environ.get(PARAMETERS_VARIABLE)
    if not path:
        return {}
    document = msgspec.json.decode(Path(path).read_bytes(), type=dict[str, Any])
    return {name: value["value"] for name, value in document.items()}


def joined(run: Run) -> None:
    """A run of a sweep has begun: note what becomes of its metric, and end it when it is hopeless.

    Called by ``init`` for every run whose settings have a ``sweep_id``.
    """
    sweep_id = str(run.sweep_id)
    chosen = parameters_from_environment()
    if chosen:
        run.config.update_locked(chosen)
    run.sink.update_config({"_wandb": {"sweep": sweep_id}})
    try:
        found = _sweep_store.read(sweep_id)
    except CommError:
        return  # another machine's sweep: the parameters have come with the environment
    tell(run.sink, sweep_id, found.config, name=str(found.config.get("name") or ""))
    if not found.project:
        with _sweep_store.changing(sweep_id) as now:
            now.project = run.project
    metric = (found.config.get("metric") or {}).get("name")
    if found.trial(run.id) is None or not metric:
        return
    bands = bands_of(found.config.get("early_terminate"))
    log, leave = run.log, run._on_finish
    best = math.inf
    calls = 0

    def watched(data: Any = None, *args: Any, **kwargs: Any) -> None:
        nonlocal best, calls
        log(data, *args, **kwargs)
        value = _number(data.get(metric)) if isinstance(data, Mapping) else None
        if value is None:
            return
        calls += 1
        best = min(best, sign_of(found) * value)
        if calls in bands and _is_hopeless(sweep_id, run.id, bands.index(calls), best, found):
            termlog(f"Run {run.id} is stopped early: {metric} is not among the best after {calls} steps.")
            raise Stopped(0)

    def ended(run: Run) -> None:
        value = _number(run.summary.get(metric))
        with _sweep_store.changing(sweep_id) as now:
            trial = now.trial(run.id)
            if trial is not None:
                trial.metric = value
        leave(run)

    if bands:
        run.log = watched  # type: ignore[method-assign]
    run._on_finish = ended


def _number(value: Any) -> float | None:
    if isinstance(value, Mapping):  # what define_metric(summary=...) keeps
        value = next(iter(value.values()), None)
    try:
        return None if value is None or isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        return None


def bands_of(early: Any) -> list[int]:
    """After how many values of the metric hyperband looks at a run.

    Args:
        early: ``{"type": "hyperband", "min_iter": 3, "eta": 3}``, or with ``max_iter`` and ``s``.

    Raises:
        UsageError: another type.
    """
    if not early:
        return []
    if early.get("type", "hyperband") != "hyperband":
        raise UsageError(f"early_terminate knows the type hyperband, not {early.get('type')!r}.")
    eta = float(early.get("eta", 3))
    if "max_iter" in early:
        count = int(early.get("s", 3))
        bands = [int(early["max_iter"] / eta**power) for power in range(count, 0, -1)]
    else:
        bands = [int(early.get("min_iter", 1) * eta**power) for power in range(20)]
    return sorted({band for band in bands if band >= 1})


def _is_hopeless(sweep_id: str, run_id: str, band: int, best: float, found: Sweep) -> bool:
    """Note how good a run was at a band, and whether it is outside the best part of all that came to it."""
    eta = float(found.config["early_terminate"].get("eta", 3))
    with _sweep_store.changing(sweep_id) as now:
        trial = now.trial(run_id)
        if trial is not None:
            trial.bands[str(band)] = best
        values = sorted(it.bands[str(band)] for it in now.trials if str(band) in it.bands)
        hopeless = len(values) > 1 and best > values[max(int(len(values) / eta), 1) - 1]
        if hopeless and trial is not None:
            trial.state = "stopped"
        return hopeless
