"""A trainer and an evaluator of Ignite in one run: `python examples/more/ignite_engine.py`."""

from __future__ import annotations

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy

from rundial.integrations.ignite import RundialIgniteLogger


def main() -> None:
    torch.manual_seed(7)
    features = torch.randn(256, 4)
    kinds = (features.sum(dim=1) > 0).long()
    batches = list(zip(features.split(16), kinds.split(16), strict=True))
    train, valid = batches[:12], batches[12:]
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(model, optimizer, torch.nn.CrossEntropyLoss())
    evaluator = create_supervised_evaluator(model, metrics={"accuracy": Accuracy()})
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run(valid))

    with RundialIgniteLogger(project="ignite", config={"lr": 0.1}) as logger:
        logger.attach_output_handler(
            trainer, Events.ITERATION_COMPLETED, tag="train", output_transform=lambda loss: {"loss": loss}
        )
        logger.attach_opt_params_handler(trainer, Events.ITERATION_STARTED, optimizer=optimizer)
        logger.attach_output_handler(
            evaluator,
            Events.EPOCH_COMPLETED,
            tag="valid",
            metric_names="all",
            global_step_transform=lambda *_: trainer.state.iteration,
        )
        trainer.run(train, max_epochs=5)
    print(f"accuracy {evaluator.state.metrics['accuracy']:.2f}")


if __name__ == "__main__":
    main()
