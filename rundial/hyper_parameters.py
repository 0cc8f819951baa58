"""A run's configuration: hyper-parameters from everywhere, without secrets, in records that are not too long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rundial.errors import ConfigError
from rundial.values import plain, redacted
from rundial.wire import MAX_RECORD_BYTES, encode

if TYPE_CHECKING:
    from rundial.runs import Run


def read(config: object) -> dict[str, Any]:
    """A configuration as plain values. Raises :class:`ConfigError`."""
    if config is None:
        return {}
    values = plain(config)
    if not isinstance(values, dict):
        raise ConfigError(f"config must be a mapping, a namespace or a dataclass, not {type(config).__name__}.")
    return redacted(values)


def update(run: Run, config: Mapping[str, Any] | object) -> bool:
    """Merge values into a run's configuration; see :meth:`rundial.Run.update_config`."""
    values = plain(config)
    if not isinstance(values, dict):
        if run._pipeline is not None:
            run._counters.warn_once("config", f"config must be a mapping, not {type(config).__name__}.")
        return False
    values = redacted(values)
    _merge(run.config, values)
    return send(run, values)


def send(run: Run, values: dict[str, Any]) -> bool:
    """Send configuration in as many records as it takes; a single value that fits into none is left out."""
    if not values:
        return True
    if len(encode(values)) <= MAX_RECORD_BYTES // 2:
        return run._update(config=values)
    if len(values) > 1:
        sent = [send(run, part) for part in halves(values)]
        return all(sent)
    ((key, value),) = values.items()
    if isinstance(value, dict) and len(value) > 1:
        sent = [send(run, {key: part}) for part in halves(value)]
        return all(sent)
    run._counters.config_truncations += 1
    run._counters.warn_once("config", f"config {key!r} is too large and was left out; log it as an artifact.")
    return False


def halves(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A mapping that is too long for one record, as two."""
    items = list(values.items())
    return dict(items[: len(items) // 2]), dict(items[len(items) // 2 :])


def _merge(target: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value
