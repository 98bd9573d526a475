"""What the methods are compared on: the user's labeled texts, and the validation part that is split off them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data import MIN_PER_CLASS, check_rows, resolve_columns
from ..errors import UserError
from ..settings import ClassifierSettings, CompareSettings
from ..tables import read_table

VALIDATION = 0.2  # of the training texts
SHOWN = 3  # labels that a message names


@dataclass(frozen=True)
class Part:
    """Texts, and for each its place in the list of classes."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def at(self, places: Iterable[int]) -> Part:
        """Return the part that has the texts at these places, in this order."""
        places = list(places)
        return Part(tuple(self.texts[i] for i in places), tuple(self.labels[i] for i in places))

    def first(self, n: int | None) -> Part:
        """Return the part that has the first n texts, or with None all."""
        return Part(self.texts[:n], self.labels[:n])

    def accuracy(self, answers: Sequence[int]) -> float:
        """Return the share of answers, one for each text, that are its label."""
        return sum(answer == label for answer, label in zip(answers, self.labels, strict=True)) / len(self)


@dataclass(frozen=True)
class Task:
    """A task of classification. ``train`` is ``fit`` and ``validation`` together; settings are chosen on the two, never on ``test``.

    ``test`` has no texts where nobody named any.
    """

    classes: tuple[str, ...]
    train: Part
    fit: Part
    validation: Part
    test: Part


def read_task(asked: CompareSettings | ClassifierSettings) -> Task:
    """Return the task of two files. UserError, before anything is trained, for files that cannot be used or do not belong together."""
    if asked.test is not None and Path(asked.train).exists() and Path(asked.test).exists() and Path(asked.train).samefile(asked.test):
        raise UserError(f"{asked.train} is given for training and for testing", "hold some labeled texts out in a file of their own")
    texts, labels = _read(asked, asked.train, MIN_PER_CLASS)
    test_texts, test_labels = _read(asked, asked.test, 1) if asked.test is not None else ([], [])
    classes = tuple(sorted(set(labels)))
    strange = [label for label in dict.fromkeys(test_labels) if label not in classes]
    if strange:
        named = ", ".join(map(repr, strange[:SHOWN])) + (", ..." if len(strange) > SHOWN else "")
        raise UserError(f"{asked.test} has labels that no text in {asked.train} has: {named}", "add training texts of them, or mend their spelling")
    place = {name: i for i, name in enumerate(classes)}
    train = Part(tuple(texts), tuple(place[label] for label in labels))
    held = set(hold_out(train.texts, train.labels, asked.seed))
    fit = train.at(i for i in range(len(train)) if i not in held)
    test = Part(tuple(test_texts), tuple(place[label] for label in test_labels))
    return Task(classes, train, fit, train.at(sorted(held)), test)


def _read(asked: CompareSettings | ClassifierSettings, file: str, least: int) -> tuple[list[str], list[str]]:
    table = read_table(Path(file).expanduser())
    wanted = resolve_columns(table, {"text": asked.text_column, "label": asked.label_column}, file)
    found = {ours: table.column(theirs).to_pylist() for ours, theirs in wanted.items()}
    check_rows(found, file, least)
    return found["text"], [_name(label) for label in found["label"]]


def _name(label: Any) -> str:
    """Return a label as text. A whole number that Parquet or JSON kept as 1.0 is the class 1 of a CSV file."""
    return str(int(label) if isinstance(label, float) else label).strip()


def plain(text: str) -> str:
    """Return a text as it is compared with others: without regard to case and to the width of gaps."""
    return " ".join(text.casefold().split())


def copies(texts: Sequence[str]) -> dict[str, list[int]]:
    """Return the places of each text, all its copies together."""
    groups: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        groups.setdefault(plain(text), []).append(i)
    return groups


def hold_out(texts: Sequence[str], labels: Sequence[int], seed: int, share: float = VALIDATION) -> list[int]:
    """Return the places of texts to hold out, about this share of every class; copies of a text stay on one side.

    A class keeps at least one text to learn from, and gives at least one if it has two different ones.
    """
    of_class: dict[int, list[list[int]]] = {}
    for group in copies(texts).values():
        of_class.setdefault(Counter(labels[i] for i in group).most_common(1)[0][0], []).append(group)
    held: list[int] = []
    for label, found in sorted(of_class.items()):
        random.Random(f"{seed}/{label}").shuffle(found)
        wanted, taken = share * sum(map(len, found)), 0
        for group in found[:-1]:
            if taken and taken + len(group) / 2 > wanted:
                break
            held, taken = [*held, *group], taken + len(group)
    return held
