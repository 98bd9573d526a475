"""What a generator is, and how a dataset is drawn from it.

Two seeds, never mixed up. ``world_seed`` fixes the town: its people, places, facts. ``data_seed`` draws the documents about
it, and the facts of the domains held out of pretraining. A document's split is decided by a hash of its content,
so two splits can never share a document, whatever the seeds.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .grammar import Grammar, split_of
from .town import Town, town

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Draw:
    """Everything one document is drawn from: randomness, town, split, and the seed of held-out facts."""

    rng: random.Random
    town: Town
    split: str
    data_seed: int

    def pick(self, options):
        """Draw one option."""
        return self.rng.choice(options)

    def some(self, options, k: int) -> list:
        """Draw ``k`` different options."""
        return self.rng.sample(list(options), k)

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.rng.random() < probability

    def write(self, grammar: Grammar, section: str, **context: str) -> str:
        """Fill a random frame of ``section``, drawing only frames that this split may use."""
        return grammar.draw(section, self.rng, context, self.split)


@dataclass(frozen=True)
class Generator:
    """A seeded source of documents.

    ``make(draw, **knobs)`` returns one row: a dict with the documented columns. ``content(row)`` names the text whose hash decides
    the split. ``label`` is the column of the labelled task, if there is one.
    """

    name: str
    summary: str
    columns: dict[str, str]
    make: Callable[..., dict[str, Any]]
    pretrained: bool
    label: str | None = None
    knobs: dict[str, str] = field(default_factory=dict)
    content: Callable[[dict[str, Any]], str] = lambda row: row["text"]

    def rows(self, n: int, split: str = "train", data_seed: int = 0, world_seed: int = 0, **knobs: Any) -> list[dict[str, Any]]:
        """Draw ``n`` rows of a split. The same arguments give the same rows on every machine."""
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
        unknown = set(knobs) - set(self.knobs)
        if unknown:
            raise ValueError(f"{self.name} has no knob {sorted(unknown)[0]!r}: it has {', '.join(self.knobs) or 'none'}")
        rows, attempt, place = [], 0, town(world_seed)
        while len(rows) < n:
            # Integer seeds would tie neighboring documents together; a string is hashed by Random itself.
            rng = random.Random(f"{self.name}/{world_seed}/{data_seed}/{split}/{attempt}")
            attempt += 1
            row = self.make(Draw(rng, place, split, data_seed), **knobs)
            if split_of(self.content(row)) == split:
                rows.append(row)
        return rows

    def load(self, n: int, split: str = "train", data_seed: int = 0, world_seed: int = 0, **knobs: Any) -> Dataset:
        """Draw ``n`` rows as a ``datasets.Dataset`` with the documented columns, in their order."""
        from datasets import Dataset

        rows = self.rows(n, split, data_seed, world_seed, **knobs)
        return Dataset.from_dict({column: [row[column] for row in rows] for column in self.columns})


def fingerprint(generators: list[Generator], n: int = 40) -> str:
    """Hash the first rows of every generator and split: the world's fingerprint, which the repository keeps."""
    digest = hashlib.sha256()
    for generator in sorted(generators, key=lambda g: g.name):
        for split in SPLITS:
            rows = generator.rows(n, split)
            digest.update(json.dumps([generator.name, split, rows], sort_keys=True).encode())
    return digest.hexdigest()[:16]
