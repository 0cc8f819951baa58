"""An agent that is traced: what it did, what it asked its tools, what its model took. Look at it with `rundial ui`."""

import asyncio
import random

import rundial as rd

run = rd.init(project="agents", kind="agent")


@run.trace("model", kind="client", model="tiny-1", system="example")
async def ask(question: str) -> str:
    """Stand in for a language model."""
    await asyncio.sleep(random.uniform(0.005, 0.03))
    return f"An answer to {question!r}."


async def answer(question: str) -> str:
    """One turn: a plan, two tools at once, the words."""
    async with run.trace("agent.turn", attrs={"question": question}) as turn:
        with run.trace("plan") as plan:
            plan.event("prompt.ready", tokens=len(question.split()))
        await asyncio.gather(look_up("encyclopedia"), look_up("calendar"))
        text = await ask(question)
        turn.set_usage(tokens_in=120, tokens_out=len(text.split()), cost_usd=0.0004)
        turn.set_attrs(answer=text)
        return text


async def look_up(source: str) -> None:
    """A tool that takes its time and sometimes fails."""
    async with run.trace(f"tool:{source}", kind="tool") as span:
        await asyncio.sleep(random.uniform(0.01, 0.05))
        if random.random() < 0.2:
            span.set_status("error", "nothing found")


for question in ("Who was Ada Lovelace?", "What is a dial?", "How long is a second?"):
    print(asyncio.run(answer(question)))
run.finish()
