"""The real corpora: spam, film reviews, news, recipes, abstracts, preferences; cleaned of copies, drawn into parts that share no text.

They are read from ``../shared/data`` beside the repository, or from the folder that ``FINETUNELAB_DATA`` names, in the layout of the public
data sets that they follow. Their texts are never committed.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from .data import load_data
from .errors import UserError, unknown
from .retrieval.chunks import chunks, read_document
from .tables import read_table

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .worlds.baseline import Labelled

VARIABLE, WEIGHTS_VARIABLE = "FINETUNELAB_DATA", "FINETUNELAB_WEIGHTS"
SHARED = Path(__file__).resolve().parents[3] / "shared"


@dataclass(frozen=True)
class Kind:
    """Where a corpus lies: its folder's files, the columns of its texts and labels, and what the labels 0, 1, ... stand for."""

    splits: tuple[str, ...]
    text: str
    label: str
    classes: tuple[str, ...] = ("honest", "spam")


CORPORA = {
    "enron_spam": Kind(("train", "test"), "text", "label"),
    "youtube_spam": Kind(("psy", "katyperry", "lmfao"), "CONTENT", "CLASS"),
    "sms_spam": Kind(("train",), "sms", "label"),
    "sst2": Kind(("train", "validation", "test"), "sentence", "label", ("negative", "positive")),
    "ag_news": Kind(("test",), "text", "label", ("world", "sports", "business", "technology")),
}
SWEEP, REPORT = "sweep", "report"  # the two sides of a corpus
SIDES = 5  # one text in so many is on the side of the sweeps
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
        """How many texts there are when all classes are cut to the number of the rarest one."""
        return len(set(self.labels)) * min(map(self.labels.count, set(self.labels)))


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


def side_of(text: str) -> str:
    """Return the side of a corpus that a text is on, "sweep" or "report": a matter of the text alone, so that copies share it."""
    return SWEEP if zlib.crc32(normalized(text).encode()) % SIDES == 0 else REPORT


@lru_cache(maxsize=16)
def corpus(name: str, side: str | None = None) -> Corpus:
    """Return a corpus of ``CORPORA`` without its copies: of texts that are alike when ``normalized``, the first is kept.

    ``side`` "sweep" leaves a fixed fifth of the texts and "report" the others, so that what is tuned is never chosen on a text that a
    reported score is measured on. What was read and dropped is counted for the whole corpus.
    """
    if name not in CORPORA:
        raise unknown("corpus", name, CORPORA)
    if side not in (None, SWEEP, REPORT):
        raise unknown("side", side, (SWEEP, REPORT))
    kind, kept, seen, rows, exact = CORPORA[name], {}, set(), 0, 0
    for split in kind.splits:
        found = load_data(folder(name), split, columns={"text": kind.text, "label": kind.label})
        for text, label in zip(found["text"], found["label"], strict=True):
            rows, exact = rows + 1, exact + (text in seen)
            seen.add(text)
            kept.setdefault(normalized(text), (text, int(label)))
    texts, labels = zip(*((text, label) for text, label in kept.values() if side in (None, side_of(text))), strict=True)
    return Corpus(texts, labels, rows, exact, rows - exact - len(kept))


def parts(name: str, sizes: Sequence[int], seed: int, side: str | None = None) -> list[Labelled]:
    """Draw parts of a corpus, or of one side of it, that share no text and have every class equally often.

    In each part the classes alternate, so the first n texts of it are balanced too. UserError for a size that the number of classes does
    not divide, or for more than there is.
    """
    found, classes = corpus(name, side), len(CORPORA[name].classes)
    if any(size < classes or size % classes for size in sizes):
        cause = f"parts of {list(sizes)} texts cannot have the {classes} classes of {name} equally often"
        raise UserError(cause, f"ask for multiples of {classes}")
    if sum(sizes) > found.balanced:
        cause = f"{sum(sizes):,} texts were asked for and {name} has {found.balanced:,}, balanced and without copies"
        raise UserError(cause, "ask for fewer")
    rng, by_class = random.Random(f"{name}/{seed}"), []
    for wanted in range(classes):
        texts = [text for text, label in zip(found.texts, found.labels, strict=True) if label == wanted]
        by_class.append(rng.sample(texts, sum(sizes) // classes))
    drawn, start = [], 0
    for each in (size // classes for size in sizes):
        groups = zip(*(texts[start : start + each] for texts in by_class), strict=True)
        drawn.append(([text for group in groups for text in group], list(range(classes)) * each))
        start += each
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


@lru_cache(maxsize=4)
def abstracts(side: str) -> tuple[str, ...]:
    """Return the contexts of PubMedQA on one side of it: abstracts of medical papers without their conclusions, a section a line.

    Of contexts that are alike when ``normalized`` the first is kept.
    """
    if side not in (SWEEP, REPORT):
        raise unknown("side", side, (SWEEP, REPORT))
    found: dict[str, str] = {}
    for row in read_table(folder("pubmed_qa") / "train.parquet").to_pylist():
        text = "\n".join(" ".join(section.split()) for section in row["context"]["contexts"])
        found.setdefault(normalized(text), text)
    return tuple(text for text in found.values() if side_of(text) == side)


@lru_cache(maxsize=4)
def preference_pairs(side: str) -> tuple[dict[str, str], ...]:
    """Return the pairs of UltraFeedback on one side of it, as texts: "prompt", "chosen" and "rejected".

    Of prompts that are alike when ``normalized`` the first is kept. Pairs that got one score, or whose responses are alike, state no
    preference and are left out.
    """
    if side not in (SWEEP, REPORT):
        raise unknown("side", side, (SWEEP, REPORT))
    found: dict[str, dict[str, str]] = {}
    for split in ("train", "test"):
        for row in read_table(folder("ultrafeedback_binarized") / f"{split}.parquet").to_pylist():
            prompt, chosen = (message["content"] for message in row["chosen"])
            pair = {"prompt": prompt, "chosen": chosen, "rejected": row["rejected"][-1]["content"]}
            if row["score_chosen"] != row["score_rejected"] and normalized(pair["chosen"]) != normalized(pair["rejected"]):
                found.setdefault(normalized(pair["prompt"]), pair)
    return tuple(pair for pair in found.values() if side_of(pair["prompt"]) == side)


@dataclass(frozen=True)
class Asked:
    """A question about a text: which of the texts answers it, by its place, and the answers that people gave, as they stand in that text."""

    question: str
    place: int
    answers: tuple[str, ...]


@lru_cache(maxsize=1)
def paragraphs() -> tuple[tuple[str, ...], tuple[Asked, ...]]:
    """Return the paragraphs of the English part of XQuAD, each once, and the questions about them."""
    places: dict[str, int] = {}
    asked = []
    for row in read_table(folder("xquad_en") / "validation.parquet").to_pylist():
        place = places.setdefault(row["context"], len(places))
        asked.append(Asked(row["question"], place, tuple(dict.fromkeys(row["answers"]["text"]))))
    return tuple(places), tuple(asked)


@lru_cache(maxsize=1)
def pages() -> dict[str, tuple[str, ...]]:
    """Return the pages of 18F's handbook by title: the chunks of each page's text, which does not hold the title.

    Pages without a title or without a text are left out, and so are those that share their title.
    """
    titles, found = [], {}
    for path in sorted(folder("handbook_18f").rglob("*.md")):
        title = re.search(r"^title:\s*(.+?)\s*$", path.read_text(encoding="utf-8").partition("\n---")[0], re.MULTILINE)
        if title:
            titles.append(title[1].strip("\"'"))
            with contextlib.suppress(UserError):  # nothing below its title
                found[titles[-1]] = tuple(chunk.text for chunk in chunks(read_document(path)))
    return {title: texts for title, texts in found.items() if titles.count(title) == 1}


def cut(text: str, tokenizer: PreTrainedTokenizerBase, tokens: int) -> str:
    """Return as much of a text, in whole words, as fits into ``tokens`` tokens."""
    while True:
        read = tokenizer(text, return_offsets_mapping=True, truncation=True, max_length=tokens + 1)
        if len(read["input_ids"]) <= tokens:
            return text
        # A shorter text may fall into other tokens, so it is counted again.
        text = re.sub(r"\s*\S*$", "", text[: read["offset_mapping"][tokens - 1][1]])
