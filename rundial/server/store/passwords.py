"""Passwords: what is kept of them, and how many may be tried."""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import threading
import time
from functools import lru_cache

from rundial.server.store.refusal import Refusal, invalid

LEAST = 10
LONGEST = 1024
WINDOW_SECONDS = 900.0
ACCOUNT_FAILURES = 10
"""Wrong passwords for one account within the window, after which nobody is let in until it has passed."""
ADDRESS_FAILURES = 100
_REMEMBERED = 20_000
_N, _R, _P = 2**15, 8, 1
"""scrypt (RFC 7914): 32 MiB and about a tenth of a second for each try."""
_MEMORY = 64 * 1024 * 1024
_AT_ONCE = threading.Semaphore(2)


def keep(password: str) -> str:
    """What is stored of a password. Raises :class:`Refusal` 400 when it is too short or too long."""
    if not LEAST <= len(password) <= LONGEST:
        raise invalid(
            f"A password must have {LEAST} to {LONGEST} characters.", "Choose a longer one, such as a phrase."
        )
    salt = secrets.token_bytes(16)
    return f"scrypt${_N}${_R}${_P}${salt.hex()}${_derive(password, salt, _N, _R, _P).hex()}"


@lru_cache(maxsize=1)
def nobodys() -> str:
    """What is checked where there is no account of the name, so that both answers take the same time."""
    return keep(secrets.token_hex(16))


def is_right(password: str, kept: str) -> bool:
    """Whether it is the password that ``kept`` was made from."""
    _, n, r, p, salt, digest = kept.split("$")
    found = _derive(password[:LONGEST], bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, bytes.fromhex(digest))


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    with _AT_ONCE:  # each try takes its memory; many at once would take all
        return hashlib.scrypt(password.encode("utf-8", "replace"), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)


class Throttle:
    """Counts failures by name within a window of time, in memory."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._failures: dict[str, list[float]] = {}

    def check(self, name: str, most: int) -> None:
        """Raises :class:`Refusal` 429 when the name has failed ``most`` times within the window."""
        since = time.monotonic() - WINDOW_SECONDS
        with self._guard:
            recent = [at for at in self._failures.get(name, ()) if at > since]
        if len(recent) >= most:
            raise Refusal(
                429,
                "RATE_LIMITED",
                "Too many wrong passwords.",
                f"Try again in {WINDOW_SECONDS / 60:.0f} minutes.",
                math.ceil(recent[-most] - since),
            )

    def fail(self, name: str) -> None:
        """Count a failure."""
        now = time.monotonic()
        with self._guard:
            if name not in self._failures and len(self._failures) >= _REMEMBERED:
                self._failures.pop(next(iter(self._failures)))
            recent = [at for at in self._failures.pop(name, ()) if at > now - WINDOW_SECONDS]
            self._failures[name] = [*recent[-max(ACCOUNT_FAILURES, ADDRESS_FAILURES) :], now]

    def succeed(self, name: str) -> None:
        """Forget the failures of a name."""
        with self._guard:
            self._failures.pop(name, None)
