"""Which point a sweep tries next: every one, a random one, or the most promising one."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

from rundial.compat.wandb._sweep_space import Parameter, Point, grid

RANDOM_FIRST = 5
"""Points that a bayesian search draws before it begins to learn."""
CANDIDATES = 1000
_NOISE = 1e-4
_LENGTHS = (0.1, 0.2, 0.4, 0.8)


def suggest(
    method: str, parameters: Sequence[Parameter], tried: Sequence[Point], results: Sequence[tuple[Point, float]]
) -> Point | None:
    """The next point; None when a grid is exhausted.

    Args:
        method: ``grid``, ``random`` or ``bayes``.
        parameters: what there is to choose.
        tried: all points so far, also those that are still running.
        results: points with the value that is to be as small as possible.
    """
    if method == "grid":
        return next(itertools.islice(grid(parameters), len(tried), None), None)
    source = random.SystemRandom()  # a script that fixes its seeds must not try one point again and again
    if method == "random" or len(results) < RANDOM_FIRST:
        return [source.random() for _ in parameters]
    return _most_promising(parameters, tried, results, source.randrange(1 << 32))


def _most_promising(
    parameters: Sequence[Parameter], tried: Sequence[Point], results: Sequence[tuple[Point, float]], seed: int
) -> Point:
    """The random point with the largest expected improvement under a Gaussian process.

    Points that are still running count as if they gave what is expected of them, so that agents keep apart.
    """
    import numpy as np

    points = [point for point, _ in results]
    known = np.array([_features(parameters, point) for point in points])
    values = np.array([value for _, value in results], dtype=float)
    values = (values - values.mean()) / (values.std() or 1.0)
    length = max(_LENGTHS, key=lambda length: _likelihood(known, values, length))
    running = [_features(parameters, point) for point in tried if point not in points]
    if running:
        expected, _ = _predict(known, values, np.array(running), length)
        known, values = np.vstack([known, running]), np.concatenate([values, expected])
    rng = np.random.default_rng(seed)
    candidates = rng.random((CANDIDATES, len(parameters)))
    # Half of them near the best point, where improvement is a matter of small steps.
    best = np.array(points[int(np.argmin([value for _, value in results]))])
    near = CANDIDATES // 2
    candidates[:near] = np.clip(best + rng.normal(0, 0.1, (near, len(parameters))), 0, 1)
    features = np.array([_features(parameters, list(candidate)) for candidate in candidates])
    mean, deviation = _predict(known, values, features, length)
    gain = values.min() - mean
    ratio = gain / deviation
    improvement = gain * _normal_cdf(ratio) + deviation * np.exp(-(ratio**2) / 2) / np.sqrt(2 * np.pi)
    return [float(number) for number in candidates[int(np.argmax(improvement))]]


def _features(parameters: Sequence[Parameter], point: Point) -> list[float]:
    """A point in a space where values without an order are all equally far from one another."""
    features: list[float] = []
    for parameter, unit in zip(parameters, point):
        if not parameter.values:
            features.append(unit)
        elif len(parameter.values) > 1:
            chosen = parameter.index(unit)
            ordered = all(isinstance(value, (int, float)) for value in parameter.values)
            if ordered:
                features.append(sorted(parameter.values).index(parameter.values[chosen]) / (len(parameter.values) - 1))
            else:
                features += [0.7 if number == chosen else 0.0 for number in range(len(parameter.values))]
    return features or [0.0]


def _kernel(one: Any, other: Any, length: float) -> Any:
    import numpy as np

    distance = np.sqrt(((one[:, None, :] - other[None, :, :]) ** 2).sum(-1)) / length
    scaled = np.sqrt(5) * distance
    return (1 + scaled + scaled**2 / 3) * np.exp(-scaled)


def _likelihood(known: Any, values: Any, length: float) -> float:
    import numpy as np

    factor = np.linalg.cholesky(_kernel(known, known, length) + _NOISE * np.eye(len(known)))
    solved = np.linalg.solve(factor, values)
    return float(-0.5 * solved @ solved - np.log(np.diag(factor)).sum())


def _predict(known: Any, values: Any, wanted: Any, length: float) -> tuple[Any, Any]:
    import numpy as np

    factor = np.linalg.cholesky(_kernel(known, known, length) + _NOISE * np.eye(len(known)))
    across = np.linalg.solve(factor, _kernel(known, wanted, length))
    mean = across.T @ np.linalg.solve(factor, values)
    return mean, np.sqrt(np.maximum(1.0 - (across**2).sum(0), 1e-12))


def _normal_cdf(values: Any) -> Any:
    from statistics import NormalDist

    import numpy as np

    cdf = NormalDist().cdf
    return np.array([cdf(float(value)) for value in values])
