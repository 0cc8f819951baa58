"""Texts into the run's log: levels, bounds, lines, and the handler for logging."""

import logging
import threading

import pytest

import rundial as rd
from rundial.events import LogLine
from rundial.logs import MAX_LINE_BYTES, LogHandler
from rundial.testing import capture_run


def lines(server):
    """What reached the log, as (level, message) pairs."""
    return [(event.level, event.message) for event in server.events if isinstance(event, LogLine)]


@pytest.fixture
def logger():
    """A logger of this test alone, at the least level."""
    logger = logging.getLogger("tests.logs")
    logger.setLevel(1)
    logger.propagate = False
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("info", "info"),
        ("WARN", "warn"),
        ("Warning", "warn"),
        (" error", "error"),
        ("critical", "fatal"),
        ("FATAL", "fatal"),
        ("trace", "trace"),
        ("debug", "debug"),
    ],
)
def test_levels_in_any_case(said, kept):
    """Names are those of the page, and the two that logging spells differently."""
    with capture_run() as (run, server):
        assert run.log_text("hello", level=said)
    assert lines(server) == [(kept, "hello")]


@pytest.mark.parametrize("level", ["loud", "", None, 30])
def test_an_unknown_level_is_counted(level):
    """It is False, counted and said once, and nothing raises."""
    with capture_run() as (run, server):
        with pytest.warns(RuntimeWarning, match="is none of trace, debug"):
            assert run.log_text("hello", level=level) is False
        assert run.log_text("again", level=level) is False
    assert (lines(server), run.diagnostics().dropped_log_lines_invalid) == ([], 2)


def test_R30_a_text_of_several_lines_becomes_several():
    """Empty lines in between stay, the end of the last line is no line."""
    with capture_run() as (run, server):
        run.log_text("a\n\nb\r\nc\n")
        run.log_text("")
    assert [message for _, message in lines(server)] == ["a", "", "b", "c", ""]


@pytest.mark.parametrize("sign", ["x", "ä", "€", "🙂"])
def test_a_long_line_is_cut_at_a_character(sign):
    """At most 8 KiB of UTF-8 stay, the line is flagged and counted."""
    with capture_run() as (run, server):
        run.log_text(sign * 10_000)
        run.log_text(sign * (MAX_LINE_BYTES // len(sign.encode())))
    cut, whole = [event for event in server.events if isinstance(event, LogLine)]
    size = len(cut.message.encode())
    assert MAX_LINE_BYTES - len(sign.encode()) < size <= MAX_LINE_BYTES
    assert (set(cut.message), cut.truncated, whole.truncated) == ({sign}, True, False)
    assert run.diagnostics().log_lines_truncated == 1


def test_lone_surrogates_are_replaced():
    """As os.fsdecode() makes them of file names that are no UTF-8."""
    with capture_run() as (run, server):
        assert run.log_text("caf\udce9")
        assert run.log_text("\udce9" * 3000)
    assert lines(server) == [("info", "caf?"), ("info", "?" * 3000)]


def test_any_object_is_a_text():
    """Its str() is logged; one that raises is counted."""

    class Broken:
        def __str__(self):
            raise ValueError("no words")

    with capture_run() as (run, server), pytest.warns(RuntimeWarning, match="no words"):
        assert run.log_text({"lr": 0.1})
        assert run.log_text(Broken()) is False
    assert lines(server) == [("info", "{'lr': 0.1}")]


def test_the_given_time_is_kept():
    """Both of its names are Unix milliseconds."""
    with capture_run() as (run, server):
        run.log_text("a", time_ms=1_760_000_000_000)
        run.log_text("b", timestamp_ms=1_760_000_000_001)
    times = [event.time_ns for event in server.events if isinstance(event, LogLine)]
    assert times == [1_760_000_000_000_000_000, 1_760_000_000_001_000_000]


def test_a_full_queue_is_counted():
    """A line without room is False and in the account, and everything adds up."""
    with capture_run(queue_bytes=64 * 1024, mode="offline") as (run, _):
        with run._pipeline.worker._lock:  # nobody empties the queue
            done = [run.log_text("x" * 1000) for _ in range(200)]
        account = run.diagnostics()
    assert not all(done)
    assert account.dropped_log_lines_queue_full == done.count(False) == account.dropped["queue_full"]
    assert account.balanced


def test_R31_log_text_is_not_printed(capsys):
    """It goes to the log and not to the terminal."""
    with capture_run() as (run, server):
        run.log_text("quiet")
    assert (capsys.readouterr().out, lines(server)) == ("", [("info", "quiet")])


# -- logging ----------------------------------------------------------------------------------------------------------


def test_handler_takes_records(logger):
    """Level, logger's name, message with its arguments, and the exception with its traceback."""
    with capture_run() as (run, server):
        logger.addHandler(LogHandler(run))
        logger.warning("%d left", 3)
        logger.log(5, "small")
        try:
            raise KeyError("lr")
        except KeyError:
            logger.exception("no rate")
    found = [event for event in server.events if isinstance(event, LogLine)]
    assert (found[0].level, found[0].message, found[0].source) == ("warn", "3 left", "tests.logs")
    assert (found[1].level, found[1].message) == ("trace", "small")
    assert (found[2].level, found[2].message) == ("error", "no rate")
    assert found[-1].message == "KeyError: 'lr'"


def test_handler_uses_its_formatter(logger):
    """As every handler does."""
    with capture_run() as (run, server):
        handler = LogHandler(run, level="INFO")
        handler.setFormatter(logging.Formatter("[%(name)s] %(message)s"))
        logger.addHandler(handler)
        logger.info("hello")
        logger.debug("not this")
    assert lines(server) == [("info", "[tests.logs] hello")]


def test_handler_leaves_delivery_out(logger):
    """What Rundial's own threads and loggers say would make the next request say more."""
    own = logging.getLogger("rundial.server")
    with capture_run() as (run, server):
        handler = LogHandler(run)
        logger.addHandler(handler)
        own.addHandler(handler)
        own.error("a commit failed")
        thread = threading.Thread(target=lambda: logger.debug("POST /ingest"), name="rundial-sender")
        thread.start()
        thread.join()
        own.removeHandler(handler)
    assert lines(server) == []


def test_handler_survives_what_cannot_be_formatted(logger):
    """It is counted; logging from within __str__ does not go round in circles."""

    def record(message, *words):
        return logger.makeRecord("tests.logs", logging.INFO, __file__, 1, message, words, None)

    class Chatty:
        def __str__(self):
            handler.handle(record("asked for words: %s", self))
            return "words"

    with capture_run() as (run, server):
        handler = LogHandler(run)
        with pytest.warns(RuntimeWarning, match="could not be formatted"):
            handler.handle(record("%d", "no number"))
        handler.handle(record("%s", Chatty()))
    assert lines(server) == [("info", "words")]
    assert run.diagnostics().dropped_log_lines_invalid == 1


def test_handler_follows_the_current_run(logger):
    """Without a run of its own it writes to the one that is current, and after its end nowhere."""
    logger.addHandler(LogHandler())
    logger.info("before")
    run = rd.init(mode="offline", quiet=True)
    logger.info("within")
    run.finish()
    logger.info("after")
    account = run.diagnostics()
    assert (account.logged, account.dropped) == (4, {})  # start, line, ledger, end
