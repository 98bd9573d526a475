"""The methods that are compared, from the cheapest to the dearest. What each does is written elsewhere; here it is fitted into its time."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property, partial

import numpy as np

from ..adaptation import features_of_layers
from ..errors import UserError
from ..heads import Classifier, fit
from ..incontext import demonstrate
from ..models import load_model, shipped
from ..repurposing import HeadConfig, fit_head, with_lora
from ..training import TrainConfig
from ..worlds.baseline import words_regression
from .learned import Base, Constant, Counted, Headed, Shown, Trained
from .task import Part, Task
from .tuning import SETTINGS, Fitted, LeftOut, Method, Plan, Setting

MAJORITY, WORDS, FROZEN, PROMPTED, LORA, FULL = (
    "majority class", "TF-IDF + logistic regression", "frozen features + head", "few-shot prompting", "LoRA", "full fine-tuning")
REGULARIZATION = (1.0, 10.0, 100.0)
PENALTIES = (1e-1, 1e-2, 1e-3)
# The shipped models are small and take high rates. For others these are usual ones, LoRA's ten times as high; see the settings of a run.
RATES = {True: (1e-3, 3e-3, 1e-2), False: (1e-5, 3e-5, 1e-4)}
BATCH = 16
PASSES = 10  # over the training texts, at most
LEAST_STEPS = 20  # fewer are no test of a method
LEAST_TOKENS = 24  # of a demonstration: what is shorter says little
LEAST_JUDGES = 20  # validation texts that a number of demonstrations is chosen on


def all_methods(model: str, seed: int) -> list[Method]:
    """Return all methods. UserError for a model that cannot be loaded."""
    base = Base(model)
    return [build(base, seed) for build in METHODS.values()]


def method(key: str, model: str, seed: int) -> Method:
    """Return the method with this key of ``METHODS``. UserError as for ``all_methods``, where the method uses a model."""
    return METHODS[key](None if key in ("majority", "tfidf") else Base(model), seed)


class Majority:
    """Always answer the class that most training texts have."""

    name, needs_time, has_curve = MAJORITY, False, False

    def plan(self, task: Task, seconds: float) -> Plan:
        return Plan([{}])

    def fit(self, task: Task, part: Part, setting: Setting) -> Fitted:
        began = time.perf_counter()
        most = Counter(part.labels).most_common(1)[0][0]
        return Fitted(Constant(most), time.perf_counter() - began)


class Words:
    """Count words and pairs of words: the course's novice."""

    name, needs_time, has_curve = WORDS, False, True

    def plan(self, task: Task, seconds: float) -> Plan:
        return Plan([{"C": value} for value in REGULARIZATION])

    def fit(self, task: Task, part: Part, setting: Setting) -> Fitted:
        began, pipeline = time.perf_counter(), words_regression(setting["C"])
        try:
            pipeline.fit(part.texts, part.labels)
        except ValueError as problem:  # the library's way to say that no text has a word
            raise UserError(f"no words could be counted ({problem})", "give texts of words") from None
        return Fitted(Counted(pipeline), time.perf_counter() - began)


class Frozen:
    """A head on the states of the frozen model, which are computed once."""

    name, needs_time, has_curve = FROZEN, True, True

    def __init__(self, base: Base, seed: int):
        self.base, self.seed, self.kept, self.seconds_a_text = base, seed, {}, 0.0
        most = base.model.config.num_hidden_layers
        self.layers = sorted({1, (most + 1) // 2, most})
        full = len(self.layers) == SETTINGS
        self.settings = [{"layer": layer, "penalty": PENALTIES[1]} for layer in self.layers] if full else [
            {"layer": most, "penalty": penalty} for penalty in PENALTIES]

    def plan(self, task: Task, seconds: float) -> Plan:
        probe = task.fit.texts[:32]
        began = time.perf_counter()
        self._vectors(probe, self.layers[-1])
        self.seconds_a_text = (time.perf_counter() - began) / len(probe)
        needed = self.seconds_a_text * len({*task.train.texts, *task.test.texts})
        if needed > seconds:
            raise LeftOut(f"reading all texts would take about {needed:.0f} s, and it had {seconds:.0f} s")
        # All at once, as where this method alone is fitted: the last digits of a state hang on the texts that share its batch.
        self.kept.clear()
        self._vectors(task.train.texts, self.layers[-1])
        return Plan(self.settings)

    def fit(self, task: Task, part: Part, setting: Setting) -> Fitted:
        layer = setting["layer"]
        if layer not in self.layers:
            self.kept, self.layers = {}, [layer]
        vectors = self._vectors(part.texts, layer)
        began = time.perf_counter()
        head = fit_head(vectors, part.labels, len(task.classes), HeadConfig(penalty=setting["penalty"], seed=self.seed)).head
        # With the reading, which earlier settings may have paid for.
        seconds = time.perf_counter() - began + self.seconds_a_text * len(part)
        return Fitted(Headed(self.base, head, layer, lambda texts: self._vectors(texts, layer)), seconds)

    def _vectors(self, texts: Sequence[str], layer: int) -> np.ndarray:
        """Return the states of some texts, of shape (texts, width), and keep them."""
        new = [text for text in dict.fromkeys(texts) if text not in self.kept]
        if new:
            found = features_of_layers(self.base.model, self.base.tokenizer, new, self.layers, self.base.longest)
            self.kept |= {text: found[:, i] for i, text in enumerate(new)}
        row = self.layers.index(layer)
        return np.stack([self.kept[text][row] for text in texts])


class Prompted:
    """Labeled texts in the prompt, and no weight changes. The classes are compared by the likelihood of their names."""

    name, needs_time, has_curve = PROMPTED, True, False

    def __init__(self, base: Base, seed: int):
        self.base, self.seed = base, seed

    @cached_property
    def room(self) -> int:
        return self.base.model.config.max_position_embeddings

    def plan(self, task: Task, seconds: float) -> Plan:
        most = min(len(task.fit), self.room // (LEAST_TOKENS + self._around(task)) - 1)
        if most < 1:
            raise LeftOut(f"no demonstration fits into a context of {self.room} tokens")
        classes = len(task.classes)
        shots = sorted({min(times * classes, most) for times in (1, 2, 4)})
        notes = [] if len(shots) == SETTINGS else [f"no more than {most} demonstrations fit into the context, so {len(shots)} numbers of them were tried"]
        while True:
            each = self._seconds(task, shots[-1])
            # With one number there is nothing to choose, and no validation text has to be answered.
            judges = int((seconds / each - len(task.test)) / len(shots)) if len(shots) > 1 else len(task.validation)
            if judges >= min(LEAST_JUDGES, len(task.validation)) and each * len(task.test) <= seconds:
                break
            if len(shots) == 1:
                raise LeftOut(f"to answer the test would take about {each * len(task.test):.0f} s, and it had {seconds:.0f} s")
            notes.append(f"there was no time to try {shots.pop()} demonstrations")
        judges = min(judges, len(task.validation))
        if judges < len(task.validation):
            notes.append(f"the number of demonstrations was chosen on {judges} of {len(task.validation)} validation texts, for want of time")
        if self._cut(task, shots[-1], task.train.texts) or self._cut(task, shots[-1], task.test.texts):
            notes.append(f"long texts were cut, at {shots[-1]} demonstrations to {self._tokens(task, shots[-1])} tokens, to fit into the context")
        return Plan([{"demonstrations": k} for k in shots], judges, tuple(notes))

    def _seconds(self, task: Task, k: int) -> float:
        """Return the seconds that a prediction takes with so many demonstrations."""
        probe, demonstrating = task.validation.texts[:4], self.fit(task, task.fit, {"demonstrations": k})
        began = time.perf_counter()
        demonstrating.predict(probe)
        return (time.perf_counter() - began) / len(probe)

    def fit(self, task: Task, part: Part, setting: Setting) -> Fitted:
        k, names = setting["demonstrations"], task.classes
        pool = list(zip(part.texts, (names[label] for label in part.labels), strict=True))
        return Fitted(Shown(self.base, names, demonstrate(pool, k, random.Random(self.seed)), self._tokens(task, k)), 0.0)

    def _around(self, task: Task) -> int:
        """Return the most tokens that stand around a text: the words before it, its label, and a few to spare."""
        return max(len(self.base.tokenizer(f"\nText: Label: {name}")["input_ids"]) for name in task.classes) + 4

    def _tokens(self, task: Task, k: int) -> int:
        return self.room // (k + 1) - self._around(task)

    def _cut(self, task: Task, k: int, texts: Sequence[str]) -> bool:
        return any(len(ids) > self._tokens(task, k) for ids in self.base.tokenizer(list(texts), verbose=False)["input_ids"])


class Tuned:
    """A new head on the model's pooled states, and the model trained along: all of it, or LoRA's corrections."""

    needs_time = has_curve = True

    def __init__(self, name: str, base: Base, seed: int):
        self.name, self.base, self.seed, self.steps = name, base, seed, LEAST_STEPS

    def plan(self, task: Task, seconds: float) -> Plan:
        rates = [rate * (10 if self.name == LORA and self.base.name not in shipped() else 1) for rate in RATES[self.base.name in shipped()]]
        step, once, answering = self._speed(task, rates[0])
        each = (seconds - answering * (len(rates) * len(task.validation) + len(task.test))) / (len(rates) + 1) - once
        most = max(LEAST_STEPS, math.ceil(PASSES * len(task.train) / BATCH))
        self.steps = min(most, int(each / step))
        if self.steps < LEAST_STEPS:
            needed = seconds + (LEAST_STEPS * step - each) * (len(rates) + 1)
            raise LeftOut(f"{LEAST_STEPS} steps for each of {len(rates)} settings would take about {needed:.0f} s, and it had {seconds:.0f} s")
        passes = self.steps * BATCH / len(task.train)
        notes = [f"the time was enough for {self.steps} steps, {passes:.2g} passes over the training texts, not for {PASSES}"] if self.steps < most else []
        return Plan([{"learning rate": rate, "steps": self.steps} for rate in rates], notes=tuple(notes))

    def _speed(self, task: Task, rate: float) -> tuple[float, float, float]:
        """Return seconds a step, seconds that a run takes beside its steps, and seconds a prediction."""
        began, few = time.perf_counter(), task.fit.first(8 * BATCH)
        classifier, cost = self._train(task, few, rate, steps=6)
        whole, sample = time.perf_counter() - began, task.validation.texts[:BATCH]
        started = time.perf_counter()
        Trained(classifier, self.base)(sample)
        return cost.seconds / cost.steps, whole - cost.seconds, (time.perf_counter() - started) / len(sample)

    def _train(self, task: Task, part: Part, rate: float, steps: int):
        classifier = Classifier(load_model(self.base.name), len(task.classes), seed=self.seed)
        if self.name == LORA:
            classifier = with_lora(classifier, seed=self.seed)
        config = TrainConfig(steps=steps, batch_size=BATCH, learning_rate=rate, warmup=steps // 10, seed=self.seed, group_by_length=True, bar=False)
        return classifier, fit(classifier, self.base.tokenizer, part.texts, part.labels, config, self.base.longest).cost

    def fit(self, task: Task, part: Part, setting: Setting) -> Fitted:
        classifier, cost = self._train(task, part, setting["learning rate"], setting["steps"])
        return Fitted(Trained(classifier, self.base), cost.seconds, cost.peak_bytes)


# By the keys that commands call them by; see settings.METHODS.
METHODS: dict[str, Callable[[Base | None, int], Method]] = {
    "majority": lambda base, seed: Majority(), "tfidf": lambda base, seed: Words(), "frozen": Frozen, "few-shot": Prompted,
    "lora": partial(Tuned, LORA), "full": partial(Tuned, FULL)}
KEYS = {MAJORITY: "majority", WORDS: "tfidf", FROZEN: "frozen", PROMPTED: "few-shot", LORA: "lora", FULL: "full"}
