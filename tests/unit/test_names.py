"""Names and ids that nobody had to think of."""

import random
import time

import rundial as rd
from rundial.names import ADJECTIVES, NOUNS, new_run_id, new_stream_id, random_name


def test_a_name_is_two_words_and_a_number():
    """Readable, and the same in an address, a file name and a shell."""
    adjective, noun, number = random_name().split("-")
    assert adjective in ADJECTIVES
    assert noun in NOUNS
    assert 1 <= int(number) <= 999


def test_nine_million_names():
    """No word stands there twice, so that all names are equally likely."""
    assert len(set(ADJECTIVES)) == len(ADJECTIVES)
    assert len(set(NOUNS)) == len(NOUNS)
    assert len(ADJECTIVES) * len(NOUNS) * 999 > 9_000_000


def test_a_seed_makes_no_twins():
    """Scripts seed `random` for their experiments: their runs are named apart all the same, and nothing is drawn."""
    random.seed(7)
    first, state = random_name(), random.getstate()
    random.seed(7)
    assert random.getstate() == state
    assert {random_name() for _ in range(3)} != {first}


def test_ids_sort_by_time_and_never_meet():
    """A later run has a larger id, and a thousand made in one instant are a thousand."""
    early = new_run_id()
    time.sleep(0.005)
    assert early < new_run_id()
    assert len({new_run_id() for _ in range(1000)}) == 1000


def test_an_id_made_here_is_one_that_init_takes():
    """It can be passed on to resume the run."""
    made = new_run_id()
    assert rd.init(mode="disabled", run_id=made).id == made


def test_stream_ids_sort_by_time(monkeypatch):
    """What was begun first is delivered first, also by who finds it in a folder later."""
    now = 1_700_000_000_000_000_000
    monkeypatch.setattr("rundial.names.time.time_ns", lambda: now)
    early = new_stream_id()
    now += 1_000_000
    late = new_stream_id()
    assert early < late
    assert len(early) == len(late) == 32
    assert int(early, 16)
