"""Learning curves: how a method fares with fewer training texts, as far as the time goes."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import UserError
from .task import Part, Task
from .tuning import Comparison, Method, Say

SHARES = (1 / 8, 1 / 4, 1 / 2)
FEWEST = 16  # texts
SLACK = 1.2  # by which a run may take longer than the one with all texts forecasts


@dataclass
class Curves:
    """For each method the accuracy on the test texts by the number of training texts, and the methods that there was no time for."""

    points: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    seconds: float = 0.0


def sizes(task: Task) -> list[int]:
    """Return the numbers of training texts, from few to all."""
    whole, fewest = len(task.train), max(FEWEST, 2 * len(task.classes))
    return [*sorted({n for n in (round(share * whole) for share in SHARES) if n >= fewest}), whole]


def first(part: Part, n: int, seed: int) -> Part:
    """Return ``n`` texts of a part, in an order drawn by ``seed`` that has each class all along at its share; more texts hold the fewer."""
    order, rng = [], random.Random(f"curve/{seed}")
    for label in sorted(set(part.labels)):
        places = [i for i, found in enumerate(part.labels) if found == label]
        rng.shuffle(places)
        order += [((rank + 0.5) / len(places), i) for rank, i in enumerate(places)]
    return part.at(i for _, i in sorted(order)[:n])


def learning_curves(task: Task, methods: Sequence[Method], found: Comparison, seconds: float, seed: int, say: Say) -> Curves:
    """Let each finished method learn from fewer texts, with the setting that was chosen for all of them.

    A method that would take longer than what is left of the seconds has no curve. An interrupt ends it, marks the comparison as stopped, and
    keeps the curves that are finished.
    """
    drawn, began, numbers = Curves(), time.perf_counter(), sizes(task)
    results = {result.name: result for result in found.results}
    for method in methods:
        if method.name not in results or not method.has_curve:
            continue
        result, fewer = results[method.name], numbers[:-1]
        forecast = SLACK * len(fewer) * (result.learning_seconds + result.answering_seconds)
        if not fewer or found.stopped or forecast > seconds - (time.perf_counter() - began):
            drawn.missing.append(method.name)
            continue
        try:
            say(f"learning curve of {method.name}")
            points = [
                (n, task.test.accuracy(method.fit(task, first(task.train, n, seed), result.setting).predict(task.test.texts))) for n in fewer
            ]
            drawn.points[method.name] = [*points, (numbers[-1], result.accuracy.estimate)]
        except UserError:  # too few texts for it to learn anything
            drawn.missing.append(method.name)
        except KeyboardInterrupt:
            found.stopped = True
            drawn.missing.append(method.name)
    drawn.seconds = time.perf_counter() - began
    return drawn
