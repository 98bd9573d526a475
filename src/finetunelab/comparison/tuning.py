"""The comparison itself: every method gets as many settings and its share of the time, and is then judged on the test texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from ..errors import UserError
from ..stats import Interval, clopper_pearson
from .task import Part, Task

SETTINGS = 3  # tried for each method that has any
Setting = Mapping[str, Any]
Say = Callable[[str], object]


class LeftOut(Exception):
    """A method that does not fit into its share of the time, or into the model; the message says why."""


@dataclass(frozen=True)
class Fitted:
    """A method that has learned: what answers, the seconds that learning took, and the peak of its memory in bytes where it was measured.

    What answers is one of the kinds in ``learned``, which can be kept.
    """

    predict: Callable[[Sequence[str]], list[int]]
    seconds: float
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Plan:
    """What a method will do with its time: settings to try, on how many validation texts (None: all), and what to say about it."""

    settings: Sequence[Setting]
    validation: int | None = None
    notes: tuple[str, ...] = ()


class Method(Protocol):
    """A way to classify; ``plan`` may raise LeftOut.

    ``needs_time`` says whether the budget is divided over it, ``has_curve`` whether more training texts can change what it answers.
    """

    name: str
    needs_time: bool
    has_curve: bool

    def plan(self, task: Task, seconds: float) -> Plan: ...

    def fit(self, task: Task, part: Part, setting: Setting) -> Fitted: ...


@dataclass(frozen=True)
class Result:
    """A finished method: the setting that did best on the validation texts, learned anew from all training texts, and its answers to the test."""

    name: str
    setting: Setting
    tried: tuple[tuple[Setting, float], ...]  # with the accuracy on the validation texts
    answers: tuple[int, ...]
    truth: tuple[int, ...]
    learning_seconds: float
    answering_seconds: float
    peak_bytes: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def right(self) -> list[bool]:
        """For each test text whether the answer is its label."""
        return [answer == label for answer, label in zip(self.answers, self.truth, strict=True)]

    @property
    def accuracy(self) -> Interval:
        """The share of right answers, with its exact 95 % interval."""
        return clopper_pearson(sum(self.right), len(self.truth))

    @property
    def macro_f1(self) -> float:
        """The mean over the classes of the harmonic mean of precision and recall."""
        from sklearn.metrics import f1_score

        return float(f1_score(self.truth, self.answers, average="macro", zero_division=0))

    @property
    def per_thousand(self) -> float:
        """Seconds for 1,000 predictions."""
        return 1_000 * self.answering_seconds / len(self.truth)

    @property
    def cost(self) -> float:
        """Seconds to learn once and to answer 10,000 texts: by this, methods are cheap or dear."""
        return self.learning_seconds + 10 * self.per_thousand


@dataclass
class Comparison:
    """What is finished, what is missing and why, and whether it was stopped from the keyboard."""

    results: list[Result] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    stopped: bool = False
    seconds: float = 0.0


def compare(task: Task, methods: Sequence[Method], seconds: float, say: Say) -> Comparison:
    """Try the methods in their order, the cheap ones first: what a method leaves of its share goes to those behind it.

    One share is kept back, for learning curves.

    A method that does not fit, or fails for a reason that its message tells, is missing from the results, and the others go on. After an
    interrupt the rest is missing.
    """
    found, began = Comparison(), time.perf_counter()
    for place, method in enumerate(methods):
        try:
            left = max(0.0, seconds - (time.perf_counter() - began))
            share = left / (1 + sum(other.needs_time for other in methods[place:]))
            say(f"[{place + 1}/{len(methods)}] {method.name}" + (f": has {share:.0f} s" if method.needs_time else ""))
            found.results.append(_tuned(task, method, share, say))
            say(f"    {100 * found.results[-1].accuracy.estimate:.3g} % of the test texts")
        except (LeftOut, UserError) as reason:
            found.missing[method.name] = str(reason)
            say(f"    left out: {reason}")
        except (torch.OutOfMemoryError, MemoryError):
            found.missing[method.name] = "the memory of this machine did not suffice"
            say("    left out: out of memory")
        except KeyboardInterrupt:
            found.stopped = True
            found.missing |= dict.fromkeys((other.name for other in methods[place:]), "it was stopped from the keyboard before this was finished")
            break
    found.seconds = time.perf_counter() - began
    return found


def _tuned(task: Task, method: Method, share: float, say: Say) -> Result:
    """Choose a setting on the validation texts, learn from all training texts with it, and answer the test."""
    began = time.perf_counter()
    plan = method.plan(task, share)
    judging = task.validation.first(plan.validation)
    tried: list[tuple[Setting, float]] = []
    notes, settled = list(plan.notes), plan.settings
    for place, setting in enumerate(settled if len(settled) > 1 else ()):
        slowest = (time.perf_counter() - began) / max(1, place)
        # As long as the rest, one more setting and what follows, stays within the share, give or take what any forecast misses by.
        if place and method.needs_time and time.perf_counter() - began + 2 * slowest > 1.2 * share:
            notes.append(f"only {place} of {len(settled)} settings were tried: learning was slower than it was forecast to be")
            break
        score = judging.accuracy(method.fit(task, task.fit, setting).predict(judging.texts))
        tried.append((setting, score))
        say(f"    {shown(setting)}: {100 * score:.3g} % of {len(judging)} validation texts")
    setting = max(tried, key=lambda pair: pair[1])[0] if tried else settled[0]
    fitted = method.fit(task, task.train, setting)
    started = time.perf_counter()
    answers = fitted.predict(task.test.texts)
    taken = time.perf_counter() - started
    return Result(
        method.name, setting, tuple(tried), tuple(answers), task.test.labels, fitted.seconds, taken, fitted.peak_bytes, tuple(notes))


def shown(setting: Setting) -> str:
    """Return a setting as words."""
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in setting.items()) or "no setting"
