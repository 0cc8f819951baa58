"""OpenAI-style clients: each call of a model becomes a span with its messages, tokens and errors.

    from openai import OpenAI
    from rundial.integrations.openai import trace_client

    client = trace_client(OpenAI(), project="agents")
    client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}])

Works with every client that has the shape of OpenAI's, sync or async, streamed or not.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import wraps
from typing import Any, TypeVar

from rundial.integrations._adapter import LazyRun
from rundial.runs import Run
from rundial.tracing import Span

METHODS = (
    "chat.completions.create",
    "chat.completions.parse",
    "beta.chat.completions.parse",
    "completions.create",
    "responses.create",
    "responses.parse",
    "embeddings.create",
)
_PARAMETERS = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "max_output_tokens", "stream", "seed")
_PROMPTS = ("messages", "input", "prompt", "instructions", "tools")
_MARK = "__rundial_traced__"
C = TypeVar("C")


def trace_client(client: C, run: Run | None = None, **settings: Any) -> C:
    """Trace the calls that ``client`` makes; the client itself is given back. A second time changes nothing.

    Args:
        client: an ``OpenAI`` or ``AsyncOpenAI``, or an object with methods of the same names.
        run: the run to log to; left out, the current one, or one made with the settings.
        settings: arguments of :func:`rundial.init` for a run of its own.
    """
    target = LazyRun(run, settings)
    system = _system(client)
    for path in METHODS:
        *parts, name = path.split(".")
        owner: Any = client
        for part in parts:
            owner = getattr(owner, part, None)
        method = getattr(owner, name, None)
        if callable(method) and not hasattr(method, _MARK):
            traced = _traced(method, path, target, system)
            setattr(traced, _MARK, True)
            setattr(owner, name, traced)
    return client


def _system(client: Any) -> str:
    """Who serves the models, as far as the client's address tells."""
    host = getattr(getattr(client, "base_url", None), "host", None)
    return "openai" if host in (None, "api.openai.com") else str(host)


def _traced(method: Callable[..., Any], path: str, target: LazyRun, system: str) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(inspect.unwrap(method)):

        @wraps(method)
        async def later(*args: Any, **kwargs: Any) -> Any:
            span = _begin(target, path, kwargs, system)
            with _Around(span):
                answer = await method(*args, **kwargs)
            if hasattr(answer, "__aiter__"):
                return _AsyncStream(answer, span)
            return _end(span, answer)

        return later

    @wraps(method)
    def now(*args: Any, **kwargs: Any) -> Any:
        span = _begin(target, path, kwargs, system)
        with _Around(span):
            answer = method(*args, **kwargs)
        if hasattr(answer, "__iter__") and kwargs.get("stream"):
            return _Stream(answer, span)
        return _end(span, answer)

    return now


def _begin(target: LazyRun, path: str, kwargs: Mapping[str, Any], system: str) -> Span:
    model = kwargs.get("model")
    attrs = {name: kwargs[name] for name in (*_PROMPTS, *_PARAMETERS) if kwargs.get(name) is not None}
    run = target.writable
    return run.trace(path, kind="client", attrs=attrs, model=None if model is None else str(model), system=system)


class _Around:
    """Around the call alone: a span that fails ends here, one that succeeds with its last word."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> None:
        self._span._enter()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._span._leave()
        if error is not None:
            self._span._note_exception(error)
            self._span.finish()


def _end(span: Span, answer: Any) -> Any:
    _describe(span, answer)
    span.finish()
    return answer


def _describe(span: Span, answer: Any) -> None:
    """What the answer says: model, tokens, texts, tool calls; a field that is not there is left out."""
    parsed = answer
    if hasattr(answer, "parse") and not hasattr(answer, "usage"):  # with_raw_response
        return
    usage = getattr(parsed, "usage", None)
    span.set_usage(
        model=getattr(parsed, "model", None),
        tokens_in=_amount(usage, "prompt_tokens", "input_tokens"),
        tokens_out=_amount(usage, "completion_tokens", "output_tokens"),
    )
    said: dict[str, Any] = {}
    if getattr(parsed, "id", None):
        said["response.id"] = parsed.id
    choices = getattr(parsed, "choices", None)
    if choices:
        said["finish_reasons"] = [getattr(choice, "finish_reason", None) for choice in choices]
        said["output"] = [_message(choice) for choice in choices]
    elif isinstance(getattr(parsed, "output_text", None), str):
        said["output"] = parsed.output_text
    elif isinstance(getattr(parsed, "data", None), list):
        said["embeddings"] = len(parsed.data)
    span.set_attrs(said)


def _message(choice: Any) -> Any:
    message = getattr(choice, "message", None)
    if message is None:
        return getattr(choice, "text", None)
    calls = getattr(message, "tool_calls", None)
    if not calls:
        return getattr(message, "content", None)
    return {
        "content": getattr(message, "content", None),
        "tool_calls": [
            {"name": getattr(call.function, "name", None), "arguments": getattr(call.function, "arguments", None)}
            for call in calls
            if getattr(call, "function", None) is not None
        ],
    }


def _amount(usage: Any, *names: str) -> int | None:
    return next((value for name in names if isinstance(value := getattr(usage, name, None), int)), None)


class _Pieces:
    """What a stream has said so far."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self._texts: list[str] = []
        self._count = 0

    def take(self, piece: Any) -> None:
        """One chunk of chat completions or one event of responses."""
        if not self._count:
            self.span.event("first chunk")
        self._count += 1
        delta = getattr(piece, "delta", None)
        if isinstance(delta, str) and getattr(piece, "type", "") == "response.output_text.delta":
            self._texts.append(delta)
        for choice in getattr(piece, "choices", None) or ():
            text = getattr(getattr(choice, "delta", None), "content", None) or getattr(choice, "text", None)
            if isinstance(text, str):
                self._texts.append(text)
        whole = getattr(piece, "response", None)
        usage = getattr(piece, "usage", None) or getattr(whole, "usage", None)
        self.span.set_usage(
            model=getattr(piece, "model", None) or getattr(whole, "model", None),
            tokens_in=_amount(usage, "prompt_tokens", "input_tokens"),
            tokens_out=_amount(usage, "completion_tokens", "output_tokens"),
        )

    def end(self, error: BaseException | None = None) -> None:
        """The stream is over, or was left."""
        if error is not None:
            self.span._note_exception(error)
        self.span.set_attrs({"output": "".join(self._texts), "chunks": self._count})
        self.span.finish()


class _Stream:
    """A stream of the client that is listened to; whatever else it can do is its own."""

    def __init__(self, stream: Any, span: Span) -> None:
        self._stream = stream
        self._pieces = _Pieces(span)

    def __iter__(self) -> Iterator[Any]:
        try:
            for piece in self._stream:
                self._pieces.take(piece)
                yield piece
        except GeneratorExit:
            raise
        except BaseException as error:
            self._pieces.end(error)
            raise
        finally:
            if not self._pieces.span._done:
                self._pieces.end()

    def __next__(self) -> Any:
        try:
            piece = next(self._stream)
        except BaseException as error:
            self._pieces.end(None if isinstance(error, StopIteration) else error)
            raise
        self._pieces.take(piece)
        return piece

    def __enter__(self) -> _Stream:
        self._stream.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        if not self._pieces.span._done:
            self._pieces.end(error[1])
        return self._stream.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _AsyncStream:
    """The same for a client of asyncio."""

    def __init__(self, stream: Any, span: Span) -> None:
        self._stream = stream
        self._pieces = _Pieces(span)

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for piece in self._stream:
                self._pieces.take(piece)
                yield piece
        except GeneratorExit:
            raise
        except BaseException as error:
            self._pieces.end(error)
            raise
        finally:
            if not self._pieces.span._done:
                self._pieces.end()

    async def __anext__(self) -> Any:
        try:
            piece = await self._stream.__anext__()
        except BaseException as error:
            self._pieces.end(None if isinstance(error, StopAsyncIteration) else error)
            raise
        self._pieces.take(piece)
        return piece

    async def __aenter__(self) -> _AsyncStream:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        if not self._pieces.span._done:
            self._pieces.end(error[1])
        return await self._stream.__aexit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
