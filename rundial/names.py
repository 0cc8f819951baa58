"""Readable names for runs: two words and a number, such as ``brave-dial-12``."""

from __future__ import annotations

import os
import time

from rundial.errors import ConfigError

_ADJECTIVES = """
able amber bold brave brief bright brisk calm candid clear clever cosy crisp deft eager early easy even fair
fast fine firm fleet fond free fresh gentle glad golden good grand great green happy hardy honest humble jolly
keen kind late light lively loyal lucky mellow merry mild misty modest neat nimble noble odd patient plain
prime proud quick quiet rapid rare ready rosy royal sharp shiny silent simple sleek smart smooth snug sober
solid spare steady still stout sunny sure sweet swift tall tame tidy trim true vivid warm wild wise witty
young
"""
_NOUNS = """
acorn arrow aspen badger beacon birch bison breeze brook canyon cedar cloud clover comet coral crane creek
dawn delta dial dune eagle ember falcon fern field finch fjord flame forest fox frost garden gate glade grove
gull harbor hawk hazel heron hill horizon island ivy jay juniper lake lark laurel leaf lily linden lynx maple
marsh meadow moon moss oak ocean olive orbit orchid otter owl peak pearl pebble pine plum pond poplar prairie
quail rain raven reed ridge river robin rose sage sail shore sky snow sparrow spring spruce star stone storm
stream summit sun swan thistle tide trail tulip valley violet wave willow wind wolf wren
"""
ADJECTIVES = tuple(_ADJECTIVES.split())
NOUNS = tuple(_NOUNS.split())


def random_name() -> str:
    """A readable name; nine million are equally likely, and ``random.seed`` does not touch them."""
    draw = int.from_bytes(os.urandom(8), "big")
    draw, adjective = divmod(draw, len(ADJECTIVES))
    draw, noun = divmod(draw, len(NOUNS))
    return f"{ADJECTIVES[adjective]}-{NOUNS[noun]}-{draw % 999 + 1}"


def new_run_id() -> str:
    """A run id that sorts by time: ``run_``, milliseconds since 1970 in hex, 12 random hex digits."""
    return f"run_{time.time_ns() // 1_000_000:011x}{os.urandom(6).hex()}"


def new_stream_id() -> str:
    """A stream's id, 32 hex digits that sort by time: milliseconds since 1970, then 80 random bits."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


MAX_PATH = 200
_PATH_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/")


def run_path(path: str) -> str:
    """A run's place in the tree of its project, without slashes at its ends: ``/`` is the root and becomes ``""``.

    Backslashes count as slashes. Raises :class:`ConfigError` for anything but ASCII letters, digits, ``_``, ``-`` and
    ``/``, and beyond 200 characters.
    """
    text = str(path).replace("\\", "/")
    if len(text) > MAX_PATH or not _PATH_CHARACTERS.issuperset(text):
        raise ConfigError(
            f"path {text[:40]!r} cannot be used: at most {MAX_PATH} ASCII letters, digits, '_', '-', with '/' between."
        )
    return "/".join(part for part in text.split("/") if part)
