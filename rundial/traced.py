"""Functions that are spans each time they are called: plain ones, coroutines and generators of either kind."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any

from rundial.open_spans import innermost

if TYPE_CHECKING:
    from rundial.tracing import Span


def traced(function: Callable[..., Any], again: Callable[[], Span]) -> Callable[..., Any]:
    """A function whose every call is a span. A coroutine or generator is one as long as it runs.

    Args:
        function: the function.
        again: makes the span of one call.
    """
    if inspect.iscoroutinefunction(function):

        async def call_later(*args: Any, **kwargs: Any) -> Any:
            with again():
                return await function(*args, **kwargs)

        return call_later
    if inspect.isasyncgenfunction(function):
        return _traced_async_generator(function, again)
    if inspect.isgeneratorfunction(function):
        return _traced_generator(function, again)

    def call(*args: Any, **kwargs: Any) -> Any:
        with again():
            return function(*args, **kwargs)

    return call


def _traced_generator(function: Callable[..., Any], again: Callable[[], Span]) -> Callable[..., Any]:
    """A generator inside a span, which is around what the generator does and not around what its caller does."""

    def each(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        inner = function(*args, **kwargs)
        span = again()
        inside: Span | None = span

        def step(resume: Callable[..., Any], *values: Any) -> Any:
            nonlocal inside
            span._outer = outside = innermost.get()
            innermost.set(inside)
            try:
                return resume(*values)
            finally:
                inside = innermost.get()
                innermost.set(outside)
                span._outer = None

        try:
            item = step(next, inner)
            while True:
                try:
                    received = yield item
                except GeneratorExit:
                    step(inner.close)
                    raise
                except BaseException as error:  # noqa: BLE001 - it is the generator's to handle
                    item = step(inner.throw, error)
                else:
                    item = step(inner.send, received)
        except StopIteration as end:
            return end.value
        except GeneratorExit:
            raise
        except BaseException as error:
            span._note_exception(error)
            raise
        finally:
            span.finish()

    return each


def _traced_async_generator(function: Callable[..., Any], again: Callable[[], Span]) -> Callable[..., Any]:
    """The same for an asynchronous generator."""

    async def each(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        inner = function(*args, **kwargs)
        span = again()
        inside: Span | None = span

        async def step(resume: Callable[..., Any], *values: Any) -> Any:
            nonlocal inside
            span._outer = outside = innermost.get()
            innermost.set(inside)
            try:
                return await resume(*values)
            finally:
                inside = innermost.get()
                innermost.set(outside)
                span._outer = None

        try:
            item = await step(inner.__anext__)
            while True:
                try:
                    received = yield item
                except GeneratorExit:
                    await step(inner.aclose)
                    raise
                except BaseException as error:  # noqa: BLE001 - it is the generator's to handle
                    item = await step(inner.athrow, error)
                else:
                    item = await step(inner.asend, received)
        except StopAsyncIteration:
            return
        except GeneratorExit:
            raise
        except BaseException as error:
            span._note_exception(error)
            raise
        finally:
            span.finish()

    return each
