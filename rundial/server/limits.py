"""Limits: what one client can make others pay for. Every number of it that can be set is here, with its default.

They are given as ``NAME=NUMBER``, by the flag ``--limit`` or in ``RUNDIAL_LIMITS``; docs/operations.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from rundial.errors import ConfigError
from rundial.server.store import passwords, quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Counts are for each process of the server. 0 requests per second is no limit; every other is at least 1."""

    max_body_bytes: int = 8 * 1024 * 1024
    """A request with records or results, as it arrives."""
    max_inflated_bytes: int = 32 * 1024 * 1024
    """The same, inflated."""
    requests_per_second: int = 0
    """Requests of one key; twice as many may come at once after a pause."""
    streams_per_key: int = 100
    """Live streams that one key has open."""
    login_failures: int = passwords.ACCOUNT_FAILURES
    """Wrong passwords for one account in 15 minutes."""
    login_failures_per_address: int = passwords.ADDRESS_FAILURES
    """Wrong passwords from one address in 15 minutes."""
    metrics_per_run: int = quota.MAX_RUN_KEYS
    """Names of metrics of one run."""
    runs_per_minute: int = quota.RUNS_PER_MINUTE
    """New runs of one workspace."""
    projects_per_workspace: int = quota.MAX_PROJECTS


NAMES = tuple(field.name for field in fields(Limits))


def read_limits(texts: Iterable[str]) -> dict[str, int]:
    """``NAME=NUMBER`` each, the last of a name wins. Raises :class:`ConfigError` for a name or number that is none."""
    found: dict[str, int] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name not in NAMES:
            raise ConfigError(f"{name[:40]!r} is no limit. There are {', '.join(NAMES)}.")
        least = 0 if name == "requests_per_second" else 1
        if not (number.isascii() and number.isdigit() and len(number) < 16 and int(number) >= least):
            raise ConfigError(f"the limit {name} must be a whole number from {least} on, as in {name}=1000.")
        found[name] = int(number)
    return found


def apply(limits: Limits) -> None:
    """Make those of the store hold in this process. To be called once, before the store is opened."""
    quota.MAX_RUN_KEYS = limits.metrics_per_run
    quota.RUNS_PER_MINUTE = limits.runs_per_minute
    quota.MAX_PROJECTS = limits.projects_per_workspace
    passwords.ACCOUNT_FAILURES = limits.login_failures
    passwords.ADDRESS_FAILURES = limits.login_failures_per_address
