"""What the store answers to a request that cannot be granted."""

from __future__ import annotations

from rundial.errors import RundialError


class Refusal(RundialError):
    """A request that cannot be granted, with what HTTP says of it.

    Args:
        status: HTTP status.
        code: one of the codes of docs/http.md, such as ``CONFLICT``.
        message: what is wrong, a sentence.
        hint: what to do about it, a sentence.
        retry_after: seconds after which a 429 may be different.
    """

    def __init__(self, status: int, code: str, message: str, hint: str, retry_after: int = 1) -> None:
        super().__init__(status, code, message, hint)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.message} {self.hint}"


def not_found(what: str) -> Refusal:
    """The one answer for what does not exist and for what the caller may not see."""
    return Refusal(
        404, "NOT_FOUND", f"{what} was not found.", "Check its name, and that the key belongs to its workspace."
    )


def invalid(message: str, hint: str) -> Refusal:
    return Refusal(400, "INVALID_REQUEST", message, hint)
