"""Counters with reasons: the client's own account of what became of every record.

One identity holds in every state: ``logged = acknowledged + pending + dropped``. A *record* is one call (a ``log()``
with ten values is one), or one thing the run says about itself: its start, a change of config, its end.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from types import FrameType
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import asdict

Health = Literal["healthy", "degraded", "buffering", "error", "disabled"]

MAX_COUNTED_KEYS = 31
OTHER_KEYS = "__other__"
PROGRESS_SECONDS = 0.1
MAX_WARNINGS = 50
"""Different warnings of one run: ten thousand strange keys are one problem, not ten thousand lines."""


class Diagnostics(Struct, frozen=True, kw_only=True):
    """What became of everything a run logged, at one moment."""

    logged: int
    """Records given to the run: accepted by the queue or refused by it."""
    acknowledged: int
    """Records a server has committed."""
    pending: int
    """Records in the queue or the spool, on their way."""
    dropped: dict[str, int] = {}
    """Records lost to a bound or refused for good, by reason: ``queue_full``, ``spool_bytes``, ``spool_age``,
    ``spool_lost``, ``rejected``, ``unsupported``, ``closed``, ``too_large``, ``device_busy``."""
    invalid_values: int = 0
    """Values, not records, that could not be stored; their neighbours were."""
    non_finite_dropped: dict[str, int] = {}
    """NaN and infinite values by metric key: they are markers on the chart, not points of the series."""
    acknowledged_sequence: int = 0
    """Sequence number the server expects next."""
    queue_depth: int = 0
    """Records in the shared-memory queue."""
    queue_bytes: int = 0
    spool_segments: int = 0
    spool_bytes: int = 0
    spool_directory: str = ""
    sent_batches: int = 0
    retry_attempts: int = 0
    failed_flush_attempts: int = 0
    """Deliveries that were not acknowledged, for whatever reason."""
    out_of_order_step_writes: int = 0
    """Calls whose step lies below one logged before."""
    config_truncations: int = 0
    """Configurations that were too large to be taken whole."""
    log_lines_truncated: int = 0
    """Log lines that were longer than 8 KiB and were cut."""
    dropped_log_lines_queue_full: int = 0
    """Log lines the full queue refused; they are among ``dropped``, too."""
    dropped_log_lines_invalid: int = 0
    """Texts that were not logged: an unknown level, or no text could be made of them."""
    system_samples_collected: int = 0
    """Samples of system metrics that were logged."""
    system_samples_skipped_backpressure: int = 0
    """Samples left out because the queue was nearly full."""
    artifacts_logged: int = 0
    """Artifacts given to the run: taken, or refused and counted."""
    artifacts_uploaded: int = 0
    """Artifacts a server has, whole and verified."""
    artifacts_pending: int = 0
    artifacts_dropped: dict[str, int] = {}
    """Artifacts that were not or cannot be uploaded, by reason: ``missing``, ``changed``, ``unreadable``,
    ``unwritable``, ``invalid``, ``queue_full``, ``staging_full``, ``rejected``, ``closed``."""
    artifact_bytes_uploaded: int = 0
    media_logged: int = 0
    """Images, tables and the like given to the run; a list of images counts each."""
    media_uploaded: int = 0
    media_pending: int = 0
    media_dropped: dict[str, int] = {}
    """Media that was not stored, by reason: those of artifacts, and ``memory_full``, ``unfinished``."""
    worker_running: bool = False
    last_error: str | None = None
    """What went wrong last, even when all is well again."""
    health: Health = "healthy"

    @property
    def dropped_total(self) -> int:
        """All dropped records together."""
        return sum(self.dropped.values())

    @property
    def artifacts_failed(self) -> int:
        """All dropped artifacts together."""
        return sum(self.artifacts_dropped.values())

    @property
    def enqueued_points(self) -> int:
        """The same as ``logged``; the older client's name."""
        return self.logged

    @property
    def accepted_points(self) -> int:
        """The same as ``acknowledged``; the older client's name."""
        return self.acknowledged

    @property
    def dropped_points_queue_full(self) -> int:
        """Records the full queue refused."""
        return self.dropped.get("queue_full", 0)

    @property
    def dropped_points_spool_eviction(self) -> int:
        """Records the spool's bounds dropped, or that were removed from under it."""
        return sum(self.dropped.get(reason, 0) for reason in ("spool_bytes", "spool_age", "spool_lost"))

    @property
    def dropped_points_non_retryable(self) -> int:
        """Records refused for good: by the server, for their size, or after the end of the run."""
        return sum(self.dropped.get(reason, 0) for reason in ("rejected", "too_large", "closed"))

    @property
    def dropped_points_retry_exhausted(self) -> int:
        """Always 0: nothing is given up after a number of attempts. The older client's name."""
        return 0

    @property
    def dropped_points_non_finite(self) -> int:
        """NaN and infinite values together."""
        return sum(self.non_finite_dropped.values())

    @property
    def pending_spooled_batches(self) -> int:
        """The same as ``spool_segments``; the older client's name."""
        return self.spool_segments

    @property
    def balanced(self) -> bool:
        """Whether the account adds up: each of its four parts is counted by itself."""
        return self.logged == self.acknowledged + self.pending + self.dropped_total


_WORST: tuple[Health, ...] = ("disabled", "healthy", "buffering", "degraded", "error")


def added(accounts: Sequence[Diagnostics]) -> Diagnostics:
    """Several accounts as one, as healthy as the worst of them."""
    if len(accounts) == 1:
        return accounts[0]
    total: dict[str, Any] = {"logged": 0, "acknowledged": 0, "pending": 0}
    for account in accounts:
        for name, value in asdict(account).items():
            total[name] = _sum(total.get(name), value)
    total["health"] = max((account.health for account in accounts), key=_WORST.index, default="healthy")
    return Diagnostics(**total)


def _sum(left: Any, right: Any) -> Any:
    if isinstance(right, bool):
        return bool(left) or right
    if isinstance(right, int | float):
        return (left or 0) + right
    if isinstance(right, dict):
        return dict(Counter(left or {}) + Counter(right))
    return right or left


class Tally:
    """What became of the uploads of one kind: ``logged = uploaded + pending + dropped``."""

    def __init__(self) -> None:
        self.logged = 0
        self.uploaded = 0
        self.pending = 0
        self.bytes_uploaded = 0
        self.dropped: Counter[str] = Counter()


class Counters:
    """What the parts of one pipeline count. Increments are made under a lock only where threads can meet."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        """Records that had a place in the stream and were refused for good, by reason."""
        self.refused: Counter[str] = Counter()
        """Records that never got a place in the stream, by reason."""
        self.non_finite: Counter[str] = Counter()
        self.invalid_values = 0
        self.sent_batches = 0
        self.retry_attempts = 0
        self.out_of_order_steps = 0
        self.config_truncations = 0
        self.log_lines_truncated = 0
        self.dropped_log_lines_queue_full = 0
        self.dropped_log_lines_invalid = 0
        self.system_samples_collected = 0
        self.system_samples_skipped_backpressure = 0
        self.last_error: str | None = None
        self._warned: set[str] = set()

    def count_non_finite(self, key: str) -> None:
        """Count a NaN or infinite value; at most 31 keys by name, the rest together."""
        known = key in self.non_finite or len(self.non_finite) < MAX_COUNTED_KEYS
        self.non_finite[key if known else OTHER_KEYS] += 1

    def warn_once(self, kind: str, message: str) -> None:
        """A RuntimeWarning the first time ``kind`` happens; later ones are only counted by the caller."""
        if (
            kind not in self._warned and len(self._warned) < MAX_WARNINGS
        ):  # no lock: a signal handler may be inside, and twice is no harm
            self._warned.add(kind)
            warn(message)


def warn(message: str) -> None:
    """A RuntimeWarning at the line that called us; it never becomes an exception there, also under ``-W error``."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "rundial":
        frame, level = frame.f_back, level + 1
    try:
        if frame is None or frame.f_globals.get("__name__") == "threading":  # a thread of ours: no line of theirs
            warnings.warn_explicit(f"rundial: {message}", RuntimeWarning, "rundial", 1, module="rundial")
        else:
            warnings.warn(f"rundial: {message}", RuntimeWarning, stacklevel=level)
    except RuntimeWarning:
        say(f"warning: {message}")


def amount(size: float) -> str:
    """A number of bytes for people."""
    if size < 1000:
        return f"{size:.0f} bytes"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:,.1f} GB"


class Progress:
    """A line on standard error that is written over while something takes long; nothing where that is no terminal."""

    def __init__(self) -> None:
        self._length = 0
        self._shown_at = 0.0

    def show(self, message: str) -> None:
        """Write over the line, at most ten times a second."""
        if time.monotonic() - self._shown_at >= PROGRESS_SECONDS:
            self._shown_at = time.monotonic()
            self._write(f"\rrundial: {message}")

    def clear(self) -> None:
        """Take the line away."""
        if self._length:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        try:
            if sys.stderr is not None and sys.stderr.isatty():
                sys.stderr.write(text.ljust(self._length))
                sys.stderr.flush()
                self._length = len(text)
        except (OSError, ValueError, AttributeError, RuntimeError):
            pass  # as in say()


def say(message: str) -> None:
    """One line on standard error."""
    if sys.stderr is None:  # print() would take standard output instead
        return
    try:
        print(f"rundial: {message}", file=sys.stderr, flush=True)  # noqa: T201 - the one place that talks to people
    except (OSError, ValueError, AttributeError, RuntimeError):
        pass  # standard error is closed, missing, or being written by what a signal interrupted
