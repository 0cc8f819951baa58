"""The errors that scripts for W&B catch."""

from __future__ import annotations

from rundial.errors import RundialError

PAGE = "docs/wandb-compat.md"


class Error(RundialError):
    """The base of them all."""

    @property
    def message(self) -> str:
        """What went wrong."""
        return str(self)


class CommError(Error):
    """A server did not answer, or refused."""

    def __init__(self, msg: str = "", exc: BaseException | None = None) -> None:
        super().__init__(msg)
        self.exc = exc


class AuthenticationError(CommError):
    """A server refused the key."""


class UsageError(Error):
    """A call that makes no sense here, such as one to a run that has ended."""


class UnsupportedError(UsageError):
    """A combination of arguments that is not supported."""


class UnsupportedSymbol(NotImplementedError, AttributeError):
    """A name of W&B that Rundial does not have. As an AttributeError it makes ``hasattr`` answer False."""

    def __init__(self, symbol: str) -> None:
        super().__init__(f"{symbol} is not supported by rundial.compat.wandb; see {PAGE}.")
