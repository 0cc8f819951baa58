"""The captured console: what is printed reaches the terminal first, then the log, however it was written."""

import contextlib
import io
import os
import signal
import sys
import threading
import warnings

import pytest

from rundial.console import Console, Tee
from rundial.events import LogLine
from rundial.testing import capture_run


class Terminal(io.StringIO):
    """A stream as Jupyter has it: no fileno, and a property of its own."""

    colour = "blue"

    def isatty(self):
        return True


@contextlib.contextmanager
def captured(mode="smart", **options):
    """A run, the stand-in for the terminal, and a list that holds the (level, message) pairs once the block ended."""
    terminal, found = Terminal(), []
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = terminal
    try:
        with capture_run(**options) as (run, server):
            console = Console(run._pipeline, mode)
            console.start()
            yield run, terminal, found
            console.stop()
        assert sys.stdout is sys.stderr is terminal
    finally:
        sys.stdout, sys.stderr = before
    found += [(event.level, event.message) for event in server.events if isinstance(event, LogLine)]


def written(*writes, mode="smart"):
    """The messages that these writes become."""
    with captured(mode) as (_, terminal, found):
        for text in writes:
            sys.stdout.write(text)
    assert terminal.getvalue() == "".join(writes)
    return [message for _, message in found]


def test_R17_stdout_is_info_and_stderr_error():
    """Both streams reach terminal and log."""
    with captured() as (_, terminal, found):
        print("hello", 3)
        print("oh", file=sys.stderr)
    assert found == [("info", "hello 3"), ("error", "oh")]
    assert terminal.getvalue() == "hello 3\noh\n"


def test_writes_are_joined_to_lines():
    """However the text was cut; blank lines are left out, colours stay, the last line needs no end."""
    assert written("a", "b\nc", "\n\n  \n", "\x1b[31mred\x1b[0m\n", "end") == ["ab", "c", "\x1b[31mred\x1b[0m", "end"]


@pytest.mark.parametrize("mode", ["smart", "all", "none"])
@pytest.mark.parametrize("writes", [("a\r\nb\r\n",), ("a\r", "\nb", "\r\n"), ("a", "\r", "\n", "b\r\r\n")])
def test_R18_crlf_is_one_end_of_line(mode, writes):
    """Also when it was cut in two."""
    assert written(*writes, mode=mode) == ["a", "b"]


BAR = ("\r 10%", "\r 50%", "\r100%", "\n", "done\n")


@pytest.mark.parametrize(
    ("mode", "kept"),
    [("smart", ["100%", "done"]), ("all", [" 10%", " 50%", "100%", "done"]), ("none", ["done"])],
)
def test_R18_tqdm_mode(mode, kept):
    """The last state, every state, or none of a bar that is written over."""
    assert written(*BAR, mode=mode) == kept
    assert written("".join(BAR), mode=mode) == kept


@pytest.mark.parametrize(
    ("mode", "kept"), [("smart", ["2/2", "done"]), ("all", ["1/2", "2/2", "done"]), ("none", ["done"])]
)
def test_bars_that_end_with_a_return(mode, kept):
    """As print(..., end="\\r") makes them."""
    assert written("1/2\r", "2/2\r", "\n", "done\n", mode=mode) == (kept if mode != "none" else ["2/2", "done"])
    assert written("1/2\r2/2\r", "done\n", mode=mode) == [line for line in kept if line != "2/2" or mode == "all"]


def test_R18_text_that_shares_a_write_with_a_bar():
    """It is kept also when bars are not."""
    assert written("epoch 1\n\r 50%", "\r 60%\nepoch 2\n", mode="none") == ["epoch 1", "epoch 2"]


def test_a_bar_under_way_is_kept_at_the_end():
    """Where it stood when the run ended; one that was wiped out is gone."""
    assert written("\r 10%", "\r 20%") == [" 20%"]
    assert written("\r 10%", "\r    \r") == []
    assert written("\r 10%", "\r 20%", mode="none") == []


def test_tqdm_itself():
    """Two bars, one below the other: a line for each state of the outer one and not one for each refresh."""
    tqdm = pytest.importorskip("tqdm")
    with captured() as (_, _, found):
        for epoch in tqdm.tqdm(range(3), desc="epochs", mininterval=0, ncols=60):
            for _ in tqdm.tqdm(range(50), desc=f"batches {epoch}", mininterval=0, ncols=60, leave=False):
                pass
    messages = [message for _, message in found]
    assert messages[-1].startswith("epochs: 100%")
    assert len(messages) < 12, messages


def test_a_very_long_line_is_cut():
    """Also one that never ends: it costs no more than 8 KiB."""
    with captured() as (run, _, found):
        for _ in range(3000):
            sys.stdout.write("0123456789")
        assert max(map(len, sys.stdout._feed._pending.values())) < 9000
    assert len(found[0][1]) == 8192
    assert run.diagnostics().log_lines_truncated == 1


def test_everything_else_is_the_original_stream():
    """What others ask of sys.stdout they get."""
    with captured() as (_, terminal, found):
        assert sys.stdout.isatty()
        assert sys.stdout.colour == "blue"
        assert sys.stdout.encoding == terminal.encoding
        assert not hasattr(sys.stdout, "no_such_thing")
        with pytest.raises(io.UnsupportedOperation):
            sys.stdout.fileno()
        with pytest.raises(TypeError):
            sys.stdout.write(b"bytes")
        assert sys.stdout.write("four") == 4
        sys.stdout.writelines(["a\n", "b\n"])
        print("c", flush=True)
    assert [message for _, message in found] == ["foura", "b", "c"]


def test_a_closed_terminal_is_the_callers_matter():
    """An error of the stream itself reaches print() as without us."""
    with captured() as (_, terminal, found):
        terminal.close()
        with pytest.raises(ValueError, match="closed file"):
            print("hello")
        sys.stdout = sys.stdout._original
    assert found == []


def test_a_failure_inside_never_reaches_print():
    """A log that breaks is counted, and the terminal has the text."""

    def broken(record):
        raise OSError("no ring")

    with captured() as (run, terminal, found):
        offer, run._pipeline.offer = run._pipeline.offer, broken
        print("hello")
        run._pipeline.offer = offer
        print("again")
    assert (terminal.getvalue(), found) == ("hello\nagain\n", [("info", "again")])
    assert run.diagnostics().dropped_log_lines_invalid == 1


def test_streams_are_put_back_unless_somebody_took_them():
    """A stream put in our place stays, and what it holds of us only passes through."""
    with capture_run() as (run, server):
        before = sys.stdout
        console = Console(run._pipeline, "smart")
        console.start()
        ours, other = sys.stdout, io.StringIO()
        sys.stdout = other
        console.stop()
        try:
            assert sys.stdout is other
        finally:
            sys.stdout = before
        ours.write("after the end\n")
    assert not any(isinstance(event, LogLine) for event in server.events)


def test_two_runs_at_once():
    """Each gets what is printed while it is open, in whichever order they end."""
    before = sys.stdout
    with capture_run() as (first, server_1), capture_run() as (second, server_2):
        one, two = Console(first._pipeline, "smart"), Console(second._pipeline, "smart")
        one.start()
        print("only one")
        two.start()
        print("both")
        one.stop()
        print("only two")
        two.stop()
        assert sys.stdout is before
    found = [[e.message for e in s.events if isinstance(e, LogLine)] for s in (server_1, server_2)]
    assert found == [["only one", "both"], ["both", "only two"]]


def test_threads_do_not_mix_their_lines():
    """Each thread's line is whole, whatever the others write in between."""
    count, threads = 300, 4

    def work(name):
        for i in range(count):
            for piece in (f"{name}", ":", f"{i}", "\n"):
                sys.stdout.write(piece)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with captured(queue_bytes=16 * 1024 * 1024) as (_, _, found):
            workers = [threading.Thread(target=work, args=(name,)) for name in "abcd"[:threads]]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
    finally:
        sys.setswitchinterval(interval)
    for name in "abcd":
        assert [m for _, m in found if m.startswith(name)] == [f"{name}:{i}" for i in range(count)]
    assert len(found) == count * threads


def test_a_signal_handler_may_print():
    """X1: a handler that prints into a print() in progress neither hangs nor costs a word."""
    printed = 0

    def handler(number, frame):
        nonlocal printed
        printed += 1
        print("signal", file=sys.stderr)
        print("signal")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with captured(queue_bytes=64 * 1024 * 1024) as (_, _, found):
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            for i in range(20_000):
                print("line", i)
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    # print() writes a line in pieces, so the handler's words may stand inside one, on the terminal too; none is lost.
    text = "".join(message for _, message in found).replace(" ", "")
    assert printed > 3
    assert text.count("signal") == 2 * printed
    assert text.replace("signal", "") == "".join(f"line{i}" for i in range(20_000))


def test_our_own_warnings_are_captured_once():
    """A warning that logging itself gives comes into the log like any other and starts no circle."""
    with captured() as (run, _, found), warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = lambda message, *rest: print(message, file=sys.stderr)
        run.log({})
        run.log()
    assert [message for _, message in found] == ["rundial: log() was called without any value; nothing was logged."]


def test_a_missing_stream_stays_missing():
    """Under pythonw there is no sys.stderr."""
    before = sys.stderr
    sys.stderr = None
    try:
        with capture_run() as (run, _):
            console = Console(run._pipeline, "smart")
            console.start()
            assert sys.stderr is None
            assert isinstance(sys.stdout, Tee)
            console.stop()
    finally:
        sys.stderr = before


def test_a_forked_child_does_not_repeat_the_parents_line():
    """What the parent had begun is the parent's; its own line is whole."""
    with captured() as (_, _, found):
        sys.stdout.write("half ")
        pid = os.fork()
        if pid == 0:
            os._exit(len(sys.stdout._feed._pending))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        sys.stdout.write("whole\n")
    assert found == [("info", "half whole")]
