"""Repurposing: make a classifier of a model that was trained to go on with texts.

The states of the model are routed into a new head. How much of the model is trained along is a choice of its own: nothing (its features
are then computed once, and heads are trained on them in seconds), its last blocks, small corrections beside its matrices (``lora``), or all.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from .errors import UserError
from .heads import Classifier, check_labels
from .lora import RANK, add_lora
from .models import freeze, unfreeze

BATCH = 64
BINS = 10

FeaturesOf = Callable[[Sequence[int]], torch.Tensor]  # from the places of texts to their vectors, of shape (places, width)


# A head on frozen features -----------------------------------------------------------------------------------------------------


class FeatureHead(torch.nn.Module):
    """A fully connected head: vectors of a frozen model in, the logits of the classes out.

    Args:
        inputs: width of the vectors.
        classes: number of classes.
        width: units of a hidden layer with ReLU; 0 for none, which makes the head a logistic regression.
        seed: draws the weights.
    """

    def __init__(self, inputs: int, classes: int, width: int = 0, seed: int = 0):
        super().__init__()
        self.register_buffer("center", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            hidden = [torch.nn.Linear(inputs, width), torch.nn.ReLU()] if width else []
            self.layers = torch.nn.Sequential(*hidden, torch.nn.Linear(width or inputs, classes))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Map vectors of shape (texts, inputs) to logits of shape (texts, classes)."""
        return self.layers((vectors - self.center) / self.spread)

    @torch.inference_mode()
    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """Return the probability of every class, of shape (texts, classes)."""
        return self(torch.as_tensor(vectors)).softmax(-1).numpy()

    def accuracy(self, vectors: np.ndarray, labels: Sequence[int]) -> float:
        """Return the share of texts whose likeliest class is their label."""
        return float((self.probabilities(vectors).argmax(1) == np.asarray(labels)).mean())


@dataclass(frozen=True)
class HeadConfig:
    """How a head is trained: Adam steps of ``batch_size`` vectors, the rate falling to zero, ``penalty`` / 2 times the squared weights."""

    width: int = 0
    steps: int = 600
    rate: float = 3e-3
    penalty: float = 1e-3
    batch_size: int = BATCH
    seed: int = 0


@dataclass
class HeadResult:
    """A trained head, and the seconds of each pass over the texts: the first, which finds center and spread, then those of training."""

    head: FeatureHead
    seconds: list[float] = field(default_factory=list)


def fit_head(vectors: np.ndarray | FeaturesOf, labels: Sequence[int], classes: int, config: HeadConfig | None = None) -> HeadResult:
    """Train a head on vectors of frozen texts by the cross-entropy of their labels.

    ``vectors`` has the shape (texts, inputs), or is a function that computes the vectors of the texts at some places each time it is asked:
    the same training, without the cache.

    Raises UserError for labels that are no classes, or as many as there are vectors.
    """
    config = config or HeadConfig()
    check_labels(labels, classes)
    targets = torch.tensor([int(label) for label in labels])
    if isinstance(vectors, np.ndarray):
        if len(vectors) != len(targets):
            raise UserError(f"there are {len(vectors)} vectors and {len(targets)} labels", "give one label for each")
        cached = torch.as_tensor(vectors)
        features_of: FeaturesOf = lambda places: cached[places]  # noqa: E731 - one of two ways to the same
    else:
        features_of = vectors
    began, passes = time.perf_counter(), []
    chunks = torch.arange(len(targets)).split(config.batch_size)
    every = torch.cat([features_of(chunk.tolist()) for chunk in chunks])
    head = FeatureHead(every.shape[1], classes, config.width, config.seed)
    head.center, head.spread = every.mean(0), every.std(0, correction=0).clamp(min=1e-6)
    passes.append(time.perf_counter() - began)
    biases = [p for name, p in head.named_parameters() if name.endswith("bias")]
    weights = [p for name, p in head.named_parameters() if name.endswith("weight")]
    optimizer = torch.optim.Adam([{"params": weights, "weight_decay": config.penalty}, {"params": biases}], lr=config.rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, config.steps)
    generator, step = torch.Generator().manual_seed(config.seed), 0
    while step < config.steps:
        began = time.perf_counter()
        for places in torch.randperm(len(targets), generator=generator).split(config.batch_size):
            if step == config.steps:
                break
            loss = torch.nn.functional.cross_entropy(head(features_of(places.tolist())), targets[places])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
        else:
            passes.append(time.perf_counter() - began)  # a pass that was cut short is not timed
    return HeadResult(head, passes)


# The data that a head learns from ----------------------------------------------------------------------------------------------


def mislabel(labels: Sequence[int], share: float, classes: int, seed: int = 0) -> list[int]:
    """Return the labels with ``share`` of them, drawn at random, replaced by one of the other classes, each as likely.

    Raises UserError for a share outside [0, 1], or fewer than two classes.
    """
    if not 0 <= share <= 1 or classes < 2:
        raise UserError(f"a share of {share} wrong labels among {classes} classes cannot be made", "choose a share from 0 to 1, and two classes")
    rng, found = random.Random(seed), list(labels)
    for place in rng.sample(range(len(found)), round(share * len(found))):
        found[place] = (found[place] + rng.randrange(1, classes)) % classes
    return found


# How far its probabilities can be trusted --------------------------------------------------------------------------------------


def calibration(probabilities: np.ndarray, labels: Sequence[int], bins: int = BINS) -> list[tuple[float, float, int]]:
    """Return, for each bin of confidence that is not empty, the mean confidence, the share that was right, and the number of texts.

    The confidence is the probability of the likeliest class; ``probabilities`` has the shape (texts, classes). The bins are equally wide.
    """
    sure, right = probabilities.max(1), probabilities.argmax(1) == np.asarray(labels)
    place = np.minimum((sure * bins).astype(int), bins - 1)
    return [(float(sure[place == i].mean()), float(right[place == i].mean()), int((place == i).sum())) for i in np.unique(place)]


def calibration_error(probabilities: np.ndarray, labels: Sequence[int], bins: int = BINS) -> float:
    """Return the expected calibration error: how far confidence and accuracy lie apart, a mean over the bins by their texts.

    Source: Guo et al., "On calibration of modern neural networks" (2017), arXiv:1706.04599, eq. 3.
    """
    return sum(abs(sure - right) * n for sure, right, n in calibration(probabilities, labels, bins)) / len(labels)


def temperature(logits: torch.Tensor, labels: Sequence[int]) -> float:
    """Return the temperature that makes held-out labels likeliest when logits of shape (texts, classes) are divided by it.

    One number for all classes: it changes how sure the head is, never which class it names (Guo et al. 2017, section 4.2).
    """
    # A copy: what was computed in inference mode takes part in no gradient.
    scores, targets, log_t = logits.detach().clone(), torch.tensor(labels), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_t], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found = torch.nn.functional.cross_entropy(scores / log_t.exp(), targets)
        found.backward()
        return found

    optimizer.step(loss)
    return math.exp(log_t.item())


# How much of the model is trained along ----------------------------------------------------------------------------------------


def freeze_but_last(classifier: Classifier, blocks: int) -> Classifier:
    """Freeze a classifier's model but for its last blocks and the normalization above them; the head stays trainable. Returns it.

    With 0 blocks all of the model is frozen. Raises UserError for more blocks than there are.
    """
    decoder = classifier.decoder
    if blocks not in range(len(decoder.layers) + 1):
        raise UserError(f"{blocks} blocks cannot be left unfrozen", f"this model has {len(decoder.layers)}")
    freeze(decoder.parameters())
    if blocks:
        for part in (*decoder.layers[-blocks:], decoder.norm):
            unfreeze(part.parameters())
    return classifier


def with_lora(classifier: Classifier, rank: int = RANK, seed: int = 0) -> Classifier:
    """Freeze a classifier's model and set LoRA corrections beside all linear layers of its blocks; the head stays trainable. Returns it."""
    classifier.decoder = add_lora(classifier.decoder, rank, seed=seed)
    return classifier
