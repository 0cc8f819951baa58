"""Spans: what they are part of, what they carry, and that they never get in the way."""

import asyncio
import contextvars
import dataclasses
import os
import threading
import time

import numpy as np
import pytest

import rundial as rd
from rundial import open_spans, tracing
from rundial.attributes import INLINE_BYTES
from rundial.events import Metrics, RunEnd, Span
from rundial.testing import capture_run


def spans(server):
    """What has arrived, by name."""
    return {event.name: event for event in server.events if isinstance(event, Span)}


@pytest.fixture
def traced():
    """A function that runs a script against a run in memory and gives its spans by name."""

    def trace(script, **options):
        with capture_run(**options) as (run, server):
            script(run)
        return spans(server)

    return trace


# -- what belongs to what ---------------------------------------------------------------------------------------------


def test_nested_spans_share_a_trace(traced):
    """The inner one names the outer one as its parent; what comes afterwards is a trace of its own."""

    def script(run):
        with run.trace("agent") as agent:
            assert tracing.current_span() is agent
            with run.trace("plan"), run.trace("think"):
                pass
            with run.trace("act"):
                pass
        assert tracing.current_span() is None
        with run.trace("later"):
            pass

    found = traced(script)

    assert len({found[name].trace_id for name in ("agent", "plan", "think", "act")}) == 1
    assert found["agent"].parent_span_id is None
    assert found["plan"].parent_span_id == found["act"].parent_span_id == found["agent"].span_id
    assert found["think"].parent_span_id == found["plan"].span_id
    assert found["later"].trace_id != found["agent"].trace_id
    assert len({span.span_id for span in found.values()}) == 5
    assert all(len(span.trace_id) == 32 and len(span.span_id) == 16 for span in found.values())


def test_tasks_do_not_become_each_others_parents(traced):
    """A task belongs to the span it was created in, also when tasks overlap."""

    async def work(run, name):
        async with run.trace(name):
            await asyncio.sleep(0.001)
            with run.trace(f"{name}/inner"):
                await asyncio.sleep(0.001)

    async def main(run):
        async with run.trace("all"):
            await asyncio.gather(*(work(run, f"task{number}") for number in range(3)))

    found = traced(lambda run: asyncio.run(main(run)))

    for number in range(3):
        assert found[f"task{number}"].parent_span_id == found["all"].span_id
        assert found[f"task{number}/inner"].parent_span_id == found[f"task{number}"].span_id
    assert len({span.trace_id for span in found.values()}) == 1


def test_a_task_that_outlives_its_span_stays_in_the_trace(traced):
    """What a task does after the span that started it has ended still belongs there."""

    async def late(run):
        await asyncio.sleep(0.005)
        with run.trace("first"):
            pass
        with run.trace("second"):
            pass

    async def main(run):
        with run.trace("starter"):
            task = asyncio.create_task(late(run))
        await task

    found = traced(lambda run: asyncio.run(main(run)))

    assert found["first"].parent_span_id == found["second"].parent_span_id == found["starter"].span_id


def test_a_thread_begins_without_a_parent(traced):
    """Unless it is given the context of where it was started."""

    def script(run):
        def work(name):
            with run.trace(name):
                pass

        with run.trace("main"):
            context = contextvars.copy_context()
            for target, arguments in ((work, ["alone"]), (context.run, [work, "given"])):
                thread = threading.Thread(target=target, args=arguments)
                thread.start()
                thread.join()

    found = traced(script)

    assert (found["alone"].parent_span_id, found["given"].parent_span_id) == (None, found["main"].span_id)
    assert found["alone"].trace_id != found["main"].trace_id


def test_a_span_of_another_run_is_no_parent():
    """Two runs in one process keep their traces apart, and each finds its own again further out."""
    with capture_run() as (one, first), capture_run() as (two, second), one.trace("one") as outer:
        with two.trace("two") as other, one.trace("one again") as inner:
            pass
        one.flush(5)
        two.flush(5)
        of_one, of_two = spans(first), spans(second)

    assert other.trace_id != outer.trace_id
    assert of_two["two"].parent_span_id is None
    assert of_one["one again"].parent_span_id == outer.span_id == inner.parent_span_id


def test_a_trace_from_elsewhere_goes_on(traced):
    """Ids that came with a request are kept, in lower case; what is no id is left out."""

    def script(run):
        with run.trace("served", trace_id="AB" * 16, parent_span_id="cd" * 8), run.trace("inside"):
            pass
        with pytest.warns(RuntimeWarning, match="trace_id"):
            run.trace("strange", trace_id="no hex", parent_span_id=None).finish()
        with run.trace("outer"), run.trace("other", trace_id="12" * 16):
            pass

    found = traced(script)

    assert (found["served"].trace_id, found["served"].parent_span_id) == ("ab" * 16, "cd" * 8)
    assert found["inside"].trace_id == "ab" * 16
    assert len(found["strange"].trace_id) == 32
    assert (found["other"].trace_id, found["other"].parent_span_id) == ("12" * 16, None)


def test_blocks_that_overlap_leave_nothing_behind(traced):
    """Ended in another order than begun, spans do not stay current."""

    def script(run):
        first, second = run.trace("first"), run.trace("second")
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert tracing.current_span() is second
        second.__exit__(None, None, None)
        assert tracing.current_span() is None

    assert set(traced(script)) == {"first", "second"}


# -- functions --------------------------------------------------------------------------------------------------------


def test_each_call_of_a_decorated_function_is_a_span():
    """Recursion nests; arguments, result and name pass through; the decorator itself is no span."""
    with capture_run() as (run, server):

        @run.trace("fib", kind="tool", attrs={"of": "a test"}, model="m")
        def fib(n: int) -> int:
            """Documented."""
            return n if n < 2 else fib(n - 1) + fib(n - 2)

        assert (fib(3), fib.__name__, fib.__doc__) == (2, "fib", "Documented.")
    found = [event for event in server.events if isinstance(event, Span)]

    assert len(found) == 5
    assert len({span.trace_id for span in found}) == 1
    assert [span.parent_span_id for span in found].count(None) == 1
    assert {(span.kind, span.attrs["of"], span.model) for span in found} == {("tool", "a test", "m")}


def test_coroutine_functions(traced):
    """The span lasts as long as the call is awaited."""

    def script(run):
        @run.trace("answer")
        async def answer(seconds):
            await asyncio.sleep(seconds)
            assert tracing.current_span().name == "answer"
            return 42

        async def main():
            return await asyncio.gather(answer(0.02), answer(0.001))

        assert asyncio.run(main()) == [42, 42]

    found = traced(script)["answer"]  # the one that ended last

    assert found.end_ns - found.start_ns >= 15_000_000


def test_generators(traced):
    """What a generator does between its yields is inside its span; what its caller does meanwhile is not."""

    def script(run):
        @run.trace("rows")
        def rows():
            with run.trace("inside"):
                received = yield 1
            try:
                yield received
            except KeyError:
                yield "caught"
            return "done"

        def caller():
            result = yield from rows()
            assert result == "done"

        made = caller()
        assert next(made) == 1
        assert tracing.current_span() is None
        with run.trace("outside"):
            pass
        assert made.send("sent") == "sent"
        assert made.throw(KeyError()) == "caught"
        assert list(made) == []
        unfinished = rows()
        next(unfinished)
        unfinished.close()

    found = traced(script)

    assert found["outside"].parent_span_id is None
    assert found["rows"].status == "ok"
    assert found["inside"].trace_id == found["rows"].trace_id


def test_asynchronous_generators(traced):
    """The same for those, also when they fail or are left early."""

    def script(run):
        @run.trace("tokens")
        async def tokens(fails):
            for number in range(3):
                await asyncio.sleep(0)
                assert tracing.current_span().name == "tokens"
                yield number
            if fails:
                raise ValueError("no more")

        async def main():
            assert [number async for number in tokens(False)] == [0, 1, 2]
            async for _ in (left := tokens(False)):
                assert tracing.current_span() is None
                break
            await left.aclose()
            with pytest.raises(ValueError, match="no more"):
                [number async for number in tokens(True)]

        asyncio.run(main())

    assert traced(script)["tokens"].status == "error"


def test_what_cannot_be_traced_is_left_as_it_is(traced):
    """A class stays a class."""

    def script(run):
        with pytest.warns(RuntimeWarning, match="only functions"):

            @run.trace("class")
            class Model:
                pass

        assert isinstance(Model(), Model)

    assert traced(script) == {}


# -- how it ends ------------------------------------------------------------------------------------------------------


def test_an_exception_is_told_and_goes_on(traced):
    """Status, message and an event with type and stack; the exception itself is the caller's."""

    def script(run):
        with pytest.raises(ZeroDivisionError), run.trace("outer"), run.trace("division"):
            1 / 0  # noqa: B018

    found = traced(script)["division"]

    assert (found.status, found.message) == ("error", "ZeroDivisionError: division by zero")
    name, time_ns, attrs = found.events[0]
    assert (name, attrs["type"], attrs["message"]) == ("exception", "ZeroDivisionError", "division by zero")
    assert "test_tracing.py" in attrs["stack"]
    assert found.start_ns <= time_ns <= found.end_ns


def test_an_exception_with_a_strange_message(traced):
    """One whose text cannot be had, and one with a very long one."""

    class Strange(Exception):
        def __str__(self):
            raise RuntimeError

    def script(run):
        for name, error in (("strange", Strange()), ("long", ValueError("é" * 100_000))):
            with pytest.raises(type(error)), run.trace(name):
                raise error

    found = traced(script)

    assert found["strange"].status == found["long"].status == "error"
    assert len(found["long"].message) <= 1000


def test_what_was_said_of_its_end_stays(traced):
    """A status that was set is not overwritten by a block that ends well."""

    def script(run):
        with run.trace("failed") as span:
            span.set_status("error", "the answer was empty")
        run.trace("fine").finish()
        run.trace("named").finish("error")
        run.trace("unset").finish("unset")
        with pytest.warns(RuntimeWarning, match="status"):
            run.trace("strange").set_status("great").finish()

    found = traced(script)

    assert (found["failed"].status, found["failed"].message) == ("error", "the answer was empty")
    assert [found[name].status for name in ("fine", "named", "unset", "strange")] == ["ok", "error", "unset", "ok"]


def test_a_second_finish_changes_nothing():
    """One span, one record."""
    with capture_run() as (run, server):
        with run.trace("once") as span:
            assert span.finish() is True
        assert span.finish("error") is True
    assert [event.status for event in server.events if isinstance(event, Span)] == ["ok"]


def test_an_end_before_the_start_is_the_start(traced):
    """The older client dropped such a span."""
    found = traced(lambda run: run.trace("back").finish(end_ns=5))["back"]

    assert found.end_ns == found.start_ns > 5


def test_what_is_open_at_the_end_is_sent_as_unfinished():
    """Before the end of the run, with a mark, so that nothing is lost."""
    with capture_run() as (run, server):
        run.trace("forgotten", attrs={"a": 1})
        keep = run.trace("block")
        keep.__enter__()
        run.trace("finished").finish()
    keep._leave()
    found = spans(server)

    for name in ("forgotten", "block"):
        assert (found[name].status, found[name].attrs["rundial.unfinished"]) == ("unset", True)
    assert found["forgotten"].attrs["a"] == 1
    assert "rundial.unfinished" not in found["finished"].attrs
    assert isinstance(server.events[-1], RunEnd)


def test_after_the_end_of_the_run_spans_are_counted():
    """No exception, not even from a function that was decorated before."""
    with capture_run() as (run, server):
        function = run.trace("late")(lambda: 7)
        run.finish()
        with pytest.warns(RuntimeWarning, match="is finished"):
            assert function() == 7
        assert run.trace("later").finish() is False
    assert run.diagnostics().dropped == {} or run._counters.refused["closed"] == 2
    assert spans(server) == {}


def test_a_disabled_run_has_spans_with_ids():
    """They go nowhere, and what links to them works."""
    run = rd.init(mode="disabled")
    with run.trace("outer") as outer, run.trace("inner", kind="nonsense") as inner:
        assert inner.event("x", {"a": object()}).set_attrs(b=1) is inner
        assert inner.trace_id == outer.trace_id
        assert tracing.current_span() is inner
    assert run.tool_call("search", input=1, output=2).span_id
    assert inner.finish() is True
    run.finish()


def test_a_forked_child_goes_on_with_the_trace_and_not_with_its_parents_spans():
    """What is open belongs to the process that began it."""
    with capture_run(mode="offline") as (run, _), run.trace("parent") as parent:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            with run.trace("child") as span:
                pass
            os.write(writing, f"{span.parent_span_id} {len(open_spans._open[run])}".encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reading, 100).decode() == f"{parent.span_id} 0"
        assert len(open_spans._open[run]) == 1
        os.close(reading)
        os.close(writing)


# -- what it carries --------------------------------------------------------------------------------------------------


def test_attributes_keep_their_shape(traced):
    """Numbers, texts, nested values; what JSON has no word for becomes a text; bytes are base64."""

    @dataclasses.dataclass
    class Query:
        text: str
        top: int

    values = {
        "int": 3,
        "huge": 1 << 70,
        "nan": float("nan"),
        "inf": np.float32("-inf"),
        "text": "é" * 5000,
        "surrogate": "a\ud800",
        "list": [1, (2.5, None), {"x": {True}}],
        "bytes": b"\x00\xff",
        "query": Query("q", 5),
        "array": np.arange(3),
        "large": np.zeros((64, 64)),
        3: "a key of another kind",
    }
    attrs = traced(lambda run: run.trace("all", attrs=values).finish())["all"].attrs

    assert (attrs["int"], attrs["huge"], attrs["nan"], attrs["inf"]) == (3, str(1 << 70), "NaN", "-Infinity")
    assert attrs["text"] == "é" * 5000
    assert (attrs["surrogate"], attrs["list"]) == ("a?", [1, [2.5, None], {"x": [True]}])
    assert attrs["bytes"] == {"kind": "rundial.bytes", "encoding": "base64", "data": "AP8="}
    assert (attrs["query"], attrs["array"], attrs["3"]) == ({"text": "q", "top": 5}, [0, 1, 2], "a key of another kind")
    assert attrs["large"] == "(ndarray of shape (64, 64), float64)"


def test_attributes_are_those_of_the_moment(traced):
    """A list that grows after the call does not grow in the span."""

    def script(run):
        messages = ["question"]
        with run.trace("chat", attrs={"messages": messages}) as span:
            messages.append("answer")
            span.set_attrs({"more": messages}, last=messages[-1])

    attrs = traced(script)["chat"].attrs

    assert attrs == {"messages": ["question"], "more": ["question", "answer"], "last": "answer"}


def test_names_are_cut_and_cleaned(traced):
    """512 characters for a span, 256 for an event, 128 for an attribute."""

    def script(run):
        run.trace("n" * 600, attrs={"k" * 200: 1}).event("e" * 300).finish()
        run.trace("line\nbreak").finish()
        run.trace("").finish()

    found = traced(script)

    assert set(found) == {"n" * 511 + "…", "line\ufffdbreak", "(empty)"}
    span = found["n" * 511 + "…"]
    assert list(span.attrs) == ["k" * 127 + "…"]
    assert span.events[0][0] == "e" * 255 + "…"


def test_events_have_their_time_and_their_bounds(traced):
    """128 are kept and the rest counted; long texts in them are cut; all together fit into a record."""

    def script(run):
        with run.trace("busy") as span:
            span.event("given", {"tokens": 128}, timestamp_ns=12345, more="yes")
            for number in range(199):
                span.event(f"e{number}")
        with run.trace("long") as span, pytest.warns(RuntimeWarning, match="4,096"):
            for _ in range(100):
                span.event("text", text="x" * 3900)
            span.event("longer", text="y" * 50_000)
            span.event("many", {str(number): "z" * 900 for number in range(20)})

    found = traced(script)

    assert found["busy"].events[0] == ("given", 12345, {"tokens": 128, "more": "yes"})
    assert len(found["busy"].events) == 128
    assert found["busy"].attrs == {"rundial.dropped_events": 72}
    kept = [attrs for _, _, attrs in found["long"].events]
    assert len(kept) == 102
    assert kept[-1]["rundial.truncated"] is True
    assert len(kept[-1]["rundial.originalKeys"]) == 20


def test_the_exception_finds_room_among_many_events(traced):
    """Why it failed is worth more than what happened before."""

    def script(run):
        with pytest.raises(KeyError), run.trace("busy") as span:
            for number in range(200):
                span.event(f"e{number}")
            raise KeyError("k")

    assert traced(script)["busy"].events[-1][0] == "exception"


def test_usage(traced):
    """Model, tokens and cost; what is no amount is left out and counted."""

    def script(run):
        with run.trace("call", model="m-1", system="openai") as span:
            span.set_usage(tokens_in=np.int64(10), tokens_out=5, cost_usd=0.25)
            with pytest.warns(RuntimeWarning, match="tokens_in"):
                span.set_usage(tokens_in=-1, tokens_out=5.0)
        with pytest.warns(RuntimeWarning, match="cost_usd|tokens_out"):
            run.trace("strange").set_usage(cost_usd=float("nan"), tokens_out=10**400).finish()

    found = traced(script)
    call = found["call"]

    assert (call.model, call.system, call.tokens_out, call.cost_usd) == ("m-1", "openai", 5, 0.25)
    assert (found["strange"].cost_usd, found["strange"].tokens_out) == (None, None)


def test_tool_call(traced):
    """A finished span with what went in and what came out."""

    def script(run):
        with run.trace("agent"):
            span = run.tool_call("search", input={"q": "Ada"}, output=["a", "b"], attrs={"n": 1}, status="error")
            assert span.trace_id == tracing.current_span().trace_id

    found = traced(script)
    call = found["tool:search"]

    assert (call.kind, call.status, call.start_ns) == ("tool", "error", call.end_ns)
    assert call.attrs == {"n": 1, "tool.name": "search", "tool.input": {"q": "Ada"}, "tool.output": ["a", "b"]}
    assert call.parent_span_id == found["agent"].span_id


def test_mistakes_are_warned_about_once_and_nothing_raises(traced):
    """A kind there is none of, attributes that are no mapping, objects that raise whatever one does."""

    class Hostile:
        def __str__(self):
            raise RuntimeError

        __repr__ = __iter__ = keys = __int__ = __float__ = __str__

    def script(run):
        with pytest.warns(RuntimeWarning) as warned:
            for _ in range(2):
                span = run.trace("strange", kind="nonsense", attrs=[1, 2])
                span.set_attrs({"h": Hostile(), "nested": [Hostile()]}).set_attrs(Hostile())
                span.event(Hostile(), Hostile(), timestamp_ns="never").set_status(Hostile())
                span.set_usage(tokens_in=Hostile(), model=Hostile()).finish(end_ns=Hostile())
                run.trace(Hostile()).finish()
        assert len(warned) == len({str(warning.message) for warning in warned})
        assert run.diagnostics().invalid_values >= 8

    found = traced(script)

    assert (found["strange"].kind, found["strange"].attrs["h"]) == ("internal", "(Hostile: RuntimeError)")
    assert found["(Hostile)"].status == "ok"


def test_spans_from_many_threads(traced):
    """Each thread has its own traces, and none is lost."""

    def script(run):
        def work():
            for _ in range(50):
                with run.trace("outer"), run.trace(f"{threading.get_ident()}"):
                    pass

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        run.log({"done": 1})

    with capture_run() as (run, server):
        script(run)
    found = [event for event in server.events if isinstance(event, Span)]
    outer = {span.span_id: span.trace_id for span in found if span.name == "outer"}

    assert len(found) == 800
    assert all(outer[s.parent_span_id] == s.trace_id for s in found if s.parent_span_id)
    assert any(isinstance(event, Metrics) for event in server.events)


def test_times_are_of_the_work_and_not_of_its_making(traced):
    """A span that is made long before it is entered begins when it is entered."""

    def script(run):
        span = run.trace("waiting")
        time.sleep(0.02)
        with span:
            pass

    found = traced(script)["waiting"]

    assert found.end_ns - found.start_ns < 20_000_000
    assert INLINE_BYTES == 16_384


def test_secrets_in_spans_are_redacted(traced):
    """In attributes, in events and in what a tool was asked; the same rule as for config."""

    def script(run):
        with run.trace("call", attrs={"api_key": "sk-1", "model": "m"}) as span:
            span.set_attrs(headers={"authorization": "Bearer sk-1"})
            span.event("retry", {"access_token": "sk-1", "attempt": 2})
        run.tool_call("login", input={"user": "ann", "password": "sk-1"}, output="ok")

    found = traced(script)
    assert found["call"].attrs == {
        "api_key": "[redacted]",
        "model": "m",
        "headers": {"authorization": "[redacted]"},
    }
    assert found["call"].events[0][2] == {"access_token": "[redacted]", "attempt": 2}
    assert found["tool:login"].attrs["tool.input"] == {"user": "ann", "password": "[redacted]"}
