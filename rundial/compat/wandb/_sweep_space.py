"""The parameters of a sweep: what each may be, with W&B's distributions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import msgspec

from rundial.compat.wandb.errors import UsageError

Path = tuple[str, ...]
Point = list[float]
"""One number from 0 to 1 for each parameter: how far up its distribution the value lies."""
_BOUNDED = {"uniform", "log_uniform", "log_uniform_values", "inv_log_uniform", "inv_log_uniform_values"}
_NORMAL = {"normal", "log_normal"}


class Parameter(msgspec.Struct):
    """One parameter.

    Args:
        path: its name, with those of the parameters around it.
        kind: its distribution, without ``q_``.
        values: what it may be, one by one; empty for a range.
        weights: how likely each of them is.
        low, high: the ends of a range; mean and deviation of a normal distribution; ``a`` and ``b`` of a beta one.
        q: values are multiples of it.
    """

    path: Path
    kind: str
    values: list[Any] = []
    weights: list[float] = []
    low: float = 0.0
    high: float = 1.0
    q: float | None = None

    def at(self, unit: float) -> Any:
        """The value that lies so far, from 0 to 1, up the distribution."""
        if self.values:
            return self.values[self.index(unit)]
        if self.kind == "int_uniform":
            return int(self.low) + min(int(unit * (self.high - self.low + 1)), int(self.high - self.low))
        value = self._real(min(max(unit, 1e-9), 1 - 1e-9))
        if self.q is None:
            return value
        rounded = round(value / self.q) * self.q
        return int(rounded) if self.q == int(self.q) else rounded

    def index(self, unit: float) -> int:
        """Which of the values that is."""
        if not self.weights:
            return min(int(unit * len(self.values)), len(self.values) - 1)
        total = 0.0
        for number, weight in enumerate(self.weights):
            total += weight
            if unit < total:
                return number
        return len(self.values) - 1

    def _real(self, unit: float) -> float:
        low, high = self.low, self.high
        if self.kind == "uniform":
            return low + unit * (high - low)
        if self.kind == "log_uniform":  # its ends are exponents
            return math.exp(low + unit * (high - low))
        if self.kind in ("log_uniform_values", "inv_log_uniform_values"):
            return math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
        if self.kind == "inv_log_uniform":
            return math.exp(-(low + unit * (high - low)))
        if self.kind == "beta":
            return _beta_at(unit, low, high)
        value = NormalDist(low, high).inv_cdf(unit)
        return math.exp(value) if self.kind == "log_normal" else value


def _beta_at(unit: float, a: float, b: float, cells: int = 2000) -> float:
    weights = [((n + 0.5) / cells) ** (a - 1) * (1 - (n + 0.5) / cells) ** (b - 1) for n in range(cells)]
    sums = list(itertools.accumulate(weights))
    return next(n for n, total in enumerate(sums) if total >= unit * sums[-1]) / (cells - 1)


def parameters_of(document: Any, path: Path = ()) -> list[Parameter]:
    """All parameters of a sweep's ``parameters``, nested ones too.

    Raises:
        UsageError: one that says nothing, or of a distribution that is not known.
    """
    if not isinstance(document, Mapping) or (not document and not path):
        raise UsageError("a sweep needs parameters: a mapping of names to what each may be.")
    found: list[Parameter] = []
    for name, about in document.items():
        inner = (*path, str(name))
        if isinstance(about, Mapping) and isinstance(about.get("parameters"), Mapping):
            found += parameters_of(about["parameters"], inner)
        else:
            found.append(_parameter(inner, about))
    return found


def _parameter(path: Path, about: Any) -> Parameter:
    name = ".".join(path)
    if not isinstance(about, Mapping):
        raise UsageError(f"sweep parameter {name!r} must be a mapping such as {{'values': [1, 2]}}, not {about!r}.")
    if "value" in about:
        return Parameter(path, "constant", values=[about["value"]])
    if "values" in about:
        values = list(about["values"])
        weights = [float(weight) for weight in about.get("probabilities") or ()]
        if not values or (weights and len(weights) != len(values)):
            raise UsageError(f"sweep parameter {name!r} needs values, and as many probabilities if any.")
        return Parameter(path, "categorical", values=values, weights=[weight / sum(weights) for weight in weights])
    low, high = about.get("min"), about.get("max")
    whole = isinstance(low, int) and isinstance(high, int)
    kind = str(about.get("distribution") or ("int_uniform" if whole else "uniform"))
    q = float(about.get("q", 1)) if kind.startswith("q_") else None
    kind = kind.removeprefix("q_")
    if kind in _NORMAL:
        return Parameter(path, kind, low=float(about.get("mu", 0)), high=float(about.get("sigma", 1)), q=q)
    if kind == "beta":
        return Parameter(path, kind, low=float(about.get("a", 1)), high=float(about.get("b", 1)), q=q)
    if kind not in _BOUNDED | {"int_uniform"}:
        raise UsageError(f"sweep parameter {name!r} has the distribution {kind!r}, which is not known.")
    if low is None or high is None or not float(low) <= float(high):
        raise UsageError(f"sweep parameter {name!r} needs value, values, or min and max.")
    if kind.endswith("_values") and float(low) <= 0:
        raise UsageError(f"sweep parameter {name!r}: min of {kind} must be above 0.")
    return Parameter(path, kind, low=float(low), high=float(high), q=q)


def nested(parameters: Sequence[Parameter], values: Sequence[Any]) -> dict[str, Any]:
    """Values as the configuration has them."""
    config: dict[str, Any] = {}
    for parameter, value in zip(parameters, values):
        place = config
        for part in parameter.path[:-1]:
            place = place.setdefault(part, {})
        place[parameter.path[-1]] = value
    return config


def grid(parameters: Sequence[Parameter]) -> Iterator[Point]:
    """Every combination, the last parameter changing fastest.

    Raises:
        UsageError: a parameter that is not one of several values.
    """
    axes: list[list[float]] = []
    for parameter in parameters:
        count = len(parameter.values)
        if parameter.kind == "int_uniform":
            count = int(parameter.high - parameter.low) + 1
        elif parameter.q and parameter.kind == "uniform":
            count = int((parameter.high - parameter.low) / parameter.q) + 1
        if not count:
            raise UsageError(f"grid search needs values for {'.'.join(parameter.path)!r}, not a range.")
        if parameter.weights:
            ends = list(itertools.accumulate(parameter.weights))
            axes.append([end - weight / 2 for end, weight in zip(ends, parameter.weights)])
        elif parameter.q and not parameter.values and parameter.kind == "uniform":
            axes.append([number / max(count - 1, 1) for number in range(count)])
        else:
            axes.append([(number + 0.5) / count for number in range(count)])
    return (list(point) for point in itertools.product(*axes))
