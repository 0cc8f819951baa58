"""Train a small network on the handwritten digits that scikit-learn ships, and log the training.

python examples/digits.py             # as fast as it goes: about two seconds
python examples/digits.py 45          # spread over 45 seconds, to watch the curves grow
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import rundial as rd

Array = NDArray[np.float64]

CONFIG = {"hidden": 64, "batch_size": 64, "epochs": 30, "lr": 0.3, "momentum": 0.9, "weight_decay": 1e-4, "seed": 7}


@dataclass
class Network:
    """One hidden layer with ReLU and a softmax over the ten digits, trained by momentum descent."""

    weights: list[Array]
    velocity: list[Array]

    @classmethod
    def create(cls, hidden: int, rng: np.random.Generator) -> Network:
        """A network with He initialisation (https://arxiv.org/abs/1502.01852)."""
        weights = [
            rng.normal(0, math.sqrt(2 / 64), (64, hidden)),
            np.zeros(hidden),
            rng.normal(0, math.sqrt(2 / hidden), (hidden, 10)),
            np.zeros(10),
        ]
        return cls(weights, [np.zeros_like(w) for w in weights])

    def forward(self, images: Array) -> tuple[Array, Array]:
        """The hidden activations and the probability of each digit."""
        w1, b1, w2, b2 = self.weights
        hidden = np.maximum(images @ w1 + b1, 0)
        logits = hidden @ w2 + b2
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        return hidden, scores / scores.sum(axis=1, keepdims=True)

    def gradients(self, images: Array, digits: NDArray[np.int64]) -> tuple[list[Array], Array]:
        """The gradient of the mean cross-entropy for each weight, and the probabilities it was taken at."""
        hidden, probabilities = self.forward(images)
        error = probabilities.copy()
        error[np.arange(len(digits)), digits] -= 1
        error /= len(digits)
        back = (error @ self.weights[2].T) * (hidden > 0)
        return [images.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)], probabilities

    def descend(self, gradients: list[Array], lr: float, momentum: float, weight_decay: float) -> None:
        for weight, velocity, gradient in zip(self.weights, self.velocity, gradients):
            velocity *= momentum
            velocity -= lr * (gradient + weight_decay * weight)
            weight += velocity


def loss_of(probabilities: Array, digits: NDArray[np.int64]) -> float:
    """Mean cross-entropy."""
    return float(-np.log(probabilities[np.arange(len(digits)), digits] + 1e-12).mean())


def accuracy_of(probabilities: Array, digits: NDArray[np.int64]) -> float:
    return float((probabilities.argmax(axis=1) == digits).mean())


def train(run: rd.Run, seconds: float = 0.0) -> float:
    """Train with ``CONFIG`` and log every step; spread over ``seconds`` if that is longer than it takes.

    Returns the accuracy on the digits held back.
    """
    rng = np.random.default_rng(int(CONFIG["seed"]))
    digits = load_digits()
    images, held_images, labels, held_labels = train_test_split(
        digits.data / 16.0, digits.target, test_size=0.25, random_state=int(CONFIG["seed"])
    )
    network = Network.create(int(CONFIG["hidden"]), rng)
    batch_size, epochs = int(CONFIG["batch_size"]), int(CONFIG["epochs"])
    batches = len(images) // batch_size
    began, step, accuracy = time.monotonic(), 0, 0.0
    for epoch in range(epochs):
        order = rng.permutation(len(images))
        for batch in range(batches):
            chosen = order[batch * batch_size : (batch + 1) * batch_size]
            lr = CONFIG["lr"] * 0.5 * (1 + math.cos(math.pi * step / (epochs * batches)))
            gradients, probabilities = network.gradients(images[chosen], labels[chosen])
            network.descend(gradients, lr, CONFIG["momentum"], CONFIG["weight_decay"])
            run.log(
                {
                    "train/loss": loss_of(probabilities, labels[chosen]),
                    "train/accuracy": accuracy_of(probabilities, labels[chosen]),
                    "train/grad_norm": math.sqrt(sum(float((g * g).sum()) for g in gradients)),
                    "lr": lr,
                },
                step=step,
            )
            step += 1
            due = began + seconds * step / (epochs * batches)
            time.sleep(max(0.0, due - time.monotonic()))
        _, probabilities = network.forward(held_images)
        accuracy = accuracy_of(probabilities, held_labels)
        # the same step as the epoch's last batch, so that both curves line up
        run.log(
            {"eval/loss": loss_of(probabilities, held_labels), "eval/accuracy": accuracy, "epoch": epoch}, step=step - 1
        )
    run.summary["final_accuracy"] = accuracy
    return accuracy


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    with rd.init(project="digits", config=CONFIG, tags=["numpy"]) as run:
        accuracy = train(run, seconds)
    print(f"accuracy on the digits held back: {accuracy:.1%}")


if __name__ == "__main__":
    main()
