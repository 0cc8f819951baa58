"""The server's log: one line for each record, as text or JSON, with the id of the request it belongs to.

Nothing that lets somebody in gets through: keys, signatures, tokens and passwords are blotted out of every line,
tracebacks included, whoever wrote it.
"""

from __future__ import annotations

import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The request at hand, also in the threads that work for it."""

_BLOT = "[redacted]"
_NAMES = r"(?:[\w-]*(?:signature|token|password|passwd|secret|api[_-]?key|credential)|rd_session)"
_SECRETS = (
    (re.compile(r"rdk_[\w-]{6,}"), f"rdk_{_BLOT}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), rf"\1 {_BLOT}"),
    (re.compile(r"(://[^\s:/@'\"]*):[^\s/'\"]*@"), rf"\1:{_BLOT}@"),
    (re.compile(rf"(?i)\b({_NAMES})(['\"]?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s&;,'\"}})]+)"), rf"\1\2{_BLOT}"),
)


def blot(text: str) -> str:
    """The text without what would let somebody in."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


class _Text(logging.Formatter):
    """``2026-01-01T00:00:00.000Z WARNING rundial.server: message [request id]``"""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        within = f" [{fields['requestId']}]" if "requestId" in fields else ""
        trace = f"\n{fields['traceback']}" if "traceback" in fields else ""
        return f"{fields['time']} {record.levelname} {record.name}: {fields['message']}{within}{trace}"


class _Json(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message`` and what else there is."""

    def format(self, record: logging.LogRecord) -> str:
        return msgspec.json.encode(_fields(record)).decode()


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields: dict[str, Any] = {
        "time": time,
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": blot(record.getMessage()),
    }
    if (current := request_id.get()) is not None:
        fields["requestId"] = current
    fields |= getattr(record, "fields", {})
    if record.exc_info:
        fields["traceback"] = blot(logging.Formatter().formatException(record.exc_info))
    return fields


def configure(log_format: LogFormat = "text", level: LogLevel = "warning") -> None:
    """Send the log of this process to stderr. At ``info`` every answered request has its line, without its query."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("rundial").setLevel(level.upper())
