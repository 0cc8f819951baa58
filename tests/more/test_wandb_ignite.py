"""Ignite's own ``WandBLogger``, unmodified, under ``install()``."""

from __future__ import annotations

import json
from typing import Any

from tests.integrations.conftest import history, succeed

CODE = """
import json
import rundial.compat.wandb
rundial.compat.wandb.install()
from ignite.engine import Events
from ignite.handlers.wandb_logger import WandBLogger
from tests.more.test_ignite import BATCHES, parts

model, optimizer, trainer = parts()
logger = WandBLogger(project="ignite-own", name="n", config={"lr": 0.5}, tags=["t"])
logger.watch(model)
logger.attach_opt_params_handler(trainer, Events.ITERATION_STARTED, optimizer=optimizer)
logger.attach_output_handler(
    trainer, Events.ITERATION_COMPLETED, tag="train", output_transform=lambda loss: {"loss": loss}
)
losses = []
trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output))
trainer.run(BATCHES, max_epochs=2)
run_id = logger.run.id
logger.close()
print(json.dumps([run_id, losses]))
"""


def test_ignites_own_logger(server: Any, program: Any) -> None:
    """Each loss stands at its iteration, with the learning rate, and the run is what the logger said it is."""
    run_id, losses = json.loads(succeed(program(CODE), 200).splitlines()[-1])
    found = history(server, run_id)
    assert {step: values["train/loss"] for step, values in found.items()} == dict(enumerate(losses, 1))
    assert {values["lr/group_0"] for values in found.values()} == {0.5}
    stored = server.get(f"/api/v1/runs/{run_id}")
    assert (stored["runName"], stored["config"]["lr"], stored["tags"], stored["status"]) == (
        "n",
        0.5,
        ["t"],
        "completed",
    )
