"""Evaluate two ways of reading handwritten digits on the same examples, and say what changed.

python examples/evals.py
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import rundial as rd

Image = NDArray[np.float64]
Reader = Callable[[Image], NDArray[np.float64]]
"""From an image to how far it is from each of the ten digits."""


def nearest_mean(images: Image, labels: NDArray[np.int64]) -> Reader:
    """The digit whose mean image is nearest."""
    means = np.stack([images[labels == digit].mean(axis=0) for digit in range(10)])
    return lambda image: np.asarray(np.linalg.norm(means - image, axis=1))


def nearest_image(images: Image, labels: NDArray[np.int64]) -> Reader:
    """The digit of the nearest image."""
    groups = [images[labels == digit] for digit in range(10)]
    return lambda image: np.array([np.linalg.norm(group - image, axis=1).min() for group in groups])


def evaluate(suite: rd.EvalSuite, name: str, read: Reader, images: Image, labels: NDArray[np.int64]) -> rd.EvalRun:
    """Log for every image whether it was read right, and how clearly."""
    with suite.run(name=name, config={"reader": name}) as eval_run:
        for number, (image, label) in enumerate(zip(images, labels)):
            with eval_run.run.trace("read", attrs={"label": int(label)}):
                distances = read(image)
                answer = int(distances.argmin())
                first, second = np.sort(distances)[:2]
                eval_run.log_result(
                    f"digit-{number:03}",
                    scores={"exact": answer == label, "margin": (second - first) / second},
                    meta={"label": int(label), "answer": answer},
                )
    return eval_run


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(images, labels, test_size=300, random_state=7)
    suite = rd.eval.suite("digits", project="digits", dataset="digits:v1", scorers=["exact", "margin"], quiet=True)
    for make in (nearest_mean, nearest_image):
        done = evaluate(suite, make.__name__, make(train, train_labels), test, test_labels)
        exact, margin = done.summary["exact"], done.summary["margin"]
        print(f"{make.__name__}: {exact['pass_rate']:.1%} of {exact['count']} right, mean margin {margin['mean']:.3f}")


if __name__ == "__main__":
    main()
