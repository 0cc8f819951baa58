"""Every exception Rundial raises on purpose::

    RundialError
    ├── ConfigError            a setting that cannot be right: unknown option, empty project, bad endpoint
    ├── RequestError           the server said no, or could not be reached; has status_code and error_code
    │   ├── AuthError          401 or 403: the key is missing, wrong, revoked or lacks a scope
    │   └── UnreachableError   no answer at all: refused, timed out, DNS, TLS
    └── WireError              bytes that are no record, chunk or segment

Nothing here is ever raised by ``run.log()``: inside a training loop a mistake is a warning once and a counter.
"""

from __future__ import annotations


class RundialError(Exception):
    """Base of everything Rundial raises on purpose."""


class ConfigError(RundialError, ValueError):
    """A setting that cannot be right. The message names it and says what to write instead."""


class RequestError(RundialError, RuntimeError):
    """The server refused a request.

    Args:
        message: the whole sentence for the user.
        status_code: HTTP status, None when no answer came.
        error_code: ``error.code`` of the answer, such as ``CONFLICT``.
        error_message: ``error.message`` of the answer.
        error_hint: ``error.details.hint`` of the answer: what to do about it.
    """

    def __init__(
        self,
        message: str,
        status_code: int | None = None,
        error_code: str | None = None,
        error_message: str | None = None,
        error_hint: str | None = None,
    ) -> None:
        super().__init__(message, status_code, error_code, error_message, error_hint)
        self.message = message
        self.status_code = status_code
        self.error_code = error_code
        self.error_message = error_message
        self.error_hint = error_hint

    def __str__(self) -> str:
        return self.message


class AuthError(RequestError):
    """401 or 403: the key is missing, wrong, revoked, expired or lacks a scope."""


class UnreachableError(RequestError):
    """No answer at all: connection refused, timed out, name not found, TLS refused."""


class WireError(RundialError, ValueError):
    """Bytes that are no whole, undamaged record, chunk or segment."""
