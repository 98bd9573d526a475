"""The real corpora: three kinds of spam and recipes, cleaned of copies and drawn into parts that share no text.

They are read from ``../shared/data`` beside the repository, or from the folder that ``FINETUNELAB_DATA`` names, in the layout of the public
data sets that they follow. Their texts are never committed.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from .data import load_data
from .errors import UserError, unknown
from .tables import read_table

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .worlds.baseline import Labelled

VARIABLE, WEIGHTS_VARIABLE = "FINETUNELAB_DATA", "FINETUNELAB_WEIGHTS"
SHARED = Path(__file__).resolve().parents[3] / "shared"


@dataclass(frozen=True)
class Kind:
    """Where a corpus of spam lies: its folder's files, and the columns of its texts and labels (1 for spam)."""

    splits: tuple[str, ...]
    text: str
    label: str


SPAM = {
    "enron_spam": Kind(("train", "test"), "text", "label"),
    "youtube_spam": Kind(("psy", "katyperry", "lmfao"), "CONTENT", "CLASS"),
    "sms_spam": Kind(("train",), "sms", "label"),
}
CUISINES = ("french", "thai")


@dataclass(frozen=True)
class Corpus:
    """Texts with labels, no two of them copies. ``rows`` were read; ``exact`` of them were copies to the letter, ``near`` others too."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]
    rows: int
    exact: int
    near: int

    @property
    def balanced(self) -> int:
        """How many texts there are when both classes are cut to the number of the rarer one."""
        return 2 * min(self.labels.count(label) for label in (0, 1))


def folder(name: str, variable: str = VARIABLE, place: str = "data") -> Path:
    """Return the folder of a real corpus. UserError, with the mend, where it is absent."""
    path = Path(os.environ.get(variable) or SHARED / place) / name
    if not path.is_dir():
        raise UserError(f"there is no {path}", f"set {variable} to the folder that holds {name}")
    return path


def weights(name: str) -> Path:
    """Return the folder of real weights, ``../shared/weights/NAME`` or NAME in ``FINETUNELAB_WEIGHTS``. UserError where it is absent."""
    return folder(name, WEIGHTS_VARIABLE, "weights")


def normalized(text: str) -> str:
    """Return what two copies have in common: words and numbers in lower case. Of a text without any, the text itself."""
    return " ".join(re.findall(r"\w+", text.casefold())) or text.strip()


@lru_cache(maxsize=8)
def spam(name: str) -> Corpus:
    """Return a corpus of spam without its copies: of texts that are alike when ``normalized``, the first is kept."""
    if name not in SPAM:
        raise unknown("corpus", name, SPAM)
    kind, kept, seen, rows, exact = SPAM[name], {}, set(), 0, 0
    for split in kind.splits:
        found = load_data(folder(name), split, columns={"text": kind.text, "label": kind.label})
        for text, label in zip(found["text"], found["label"], strict=True):
            rows, exact = rows + 1, exact + (text in seen)
            seen.add(text)
            kept.setdefault(normalized(text), (text, int(label)))
    texts, labels = zip(*kept.values(), strict=True)
    return Corpus(texts, labels, rows, exact, rows - exact - len(texts))


def parts(name: str, sizes: Sequence[int], seed: int) -> list[Labelled]:
    """Draw parts of a corpus of spam that share no text, half spam each.

    In each part the classes alternate, so the first n texts of it are balanced too. UserError for an odd size, or for more than there is.
    """
    corpus = spam(name)
    if any(size < 2 or size % 2 for size in sizes):
        raise UserError(f"parts of {list(sizes)} texts cannot be half spam", "ask for even numbers")
    if sum(sizes) > corpus.balanced:
        cause = f"{sum(sizes):,} texts were asked for and {name} has {corpus.balanced:,}, balanced and without copies"
        raise UserError(cause, "ask for fewer")
    rng, by_class = random.Random(f"{name}/{seed}"), []
    for label in (0, 1):
        texts = [text for text, found in zip(corpus.texts, corpus.labels, strict=True) if found == label]
        by_class.append(rng.sample(texts, sum(sizes) // 2))
    drawn, start = [], 0
    for size in sizes:
        pairs = zip(*(texts[start : start + size // 2] for texts in by_class), strict=True)
        drawn.append(([text for pair in pairs for text in pair], [0, 1] * (size // 2)))
        start += size // 2
    return drawn


@lru_cache(maxsize=4)
def recipes(cuisine: str) -> tuple[str, ...]:
    """Return the recipes of a cuisine, "french" or "thai": title, ingredients and directions, a line each.

    Of recipes with one title the first is kept: most are copies. French recipes whose title is a Thai one's are left out.
    """
    if cuisine not in CUISINES:
        raise unknown("cuisine", cuisine, CUISINES)
    found: dict[str, str] = {}
    for row in read_table(folder("recipes") / f"{cuisine}.parquet").to_pylist():
        lines = [row["title"], *row["ingredients"], *row["directions"]]
        found.setdefault(normalized(row["title"]), "\n".join(" ".join(line.split()) for line in lines))
    if cuisine == "french":
        thai = {normalized(text.split("\n")[0]) for text in recipes("thai")}
        found = {title: text for title, text in found.items() if title not in thai}
    return tuple(found.values())


def cut(text: str, tokenizer: PreTrainedTokenizerBase, tokens: int) -> str:
    """Return as much of a text, in whole words, as fits into ``tokens`` tokens."""
    while True:
        read = tokenizer(text, return_offsets_mapping=True, truncation=True, max_length=tokens + 1)
        if len(read["input_ids"]) <= tokens:
            return text
        # A shorter text may fall into other tokens, so it is counted again.
        text = re.sub(r"\s*\S*$", "", text[: read["offset_mapping"][tokens - 1][1]])
