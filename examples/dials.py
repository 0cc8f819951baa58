"""A training loop whose learning rate is turned while it runs.

With `rundial ui` open, the run's Dials tab has a slider for it; so has the terminal: `rundial control RUN lr 0.01`.
Left alone, the example ends by itself after two seconds.
"""

import math
import time

import rundial as rd

SECONDS = 2.0


def main() -> None:
    run = rd.init(project="dials")
    state = {"lr": 0.1, "stop": False}
    run.dial("lr", lambda: state["lr"], lambda value: state.update(lr=value), min=1e-5, max=1.0)
    run.dial("stop", set=lambda: state.update(stop=True), description="end the training after this step")
    noise = run.dial("noise", value=0.05, min=0.0, max=1.0, description="how rough the loss is")

    weight, step = 5.0, 0
    until = time.monotonic() + SECONDS
    while not state["stop"] and time.monotonic() < until:
        for ack in run.poll():
            print(f"{ack.name}: {ack.status}, {ack.former} -> {ack.value}")
        weight -= state["lr"] * weight * 0.1
        run.log({"loss": weight**2 + float(noise.value or 0.0) * math.sin(step), "lr": state["lr"]})
        step += 1
        time.sleep(0.01)
    run.finish()


if __name__ == "__main__":
    main()
