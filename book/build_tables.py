"""Measure what the page on the offline world shows, and write book/tables.json.

    python book/build_tables.py

Three tables: the surface of the worlds beside real corpora, the usual cues of spam in both, and how far TF-IDF with logistic
regression gets on each labeled task. The real corpora are read from ../shared/data or from where FINETUNELAB_DATA says; their texts
stay there, only the numbers are kept.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import zlib
from pathlib import Path
from typing import Any

from finetunelab import worlds
from finetunelab.errors import UserError
from finetunelab.files import write_text
from finetunelab.worlds.baseline import tfidf_accuracy, world_task
from finetunelab.worlds.core import fingerprint

BOOK = Path(__file__).resolve().parent
REAL = Path(os.environ.get("FINETUNELAB_DATA", BOOK.parents[1] / "shared" / "data"))
DOCUMENTS = 1_000
TRAIN, TEST = 2_000, 1_000
WORDS = 5_000
CHARACTERS = 60_000
# A world beside the real corpus that is most like it: folder, files, column of the text.
BESIDE = {
    "mail": ("enron_spam", "train.parquet", "text"),
    "posts": ("youtube_spam", "*.parquet", "CONTENT"),
    "french_recipes": ("recipes", "french*", "directions"),
    "thai_recipes": ("recipes", "thai*", "directions"),
    "reviews": ("sst2", "train.parquet", "sentence"),
    "clinic": ("pubmed_qa", "*.parquet", "long_answer"),
    "handbook": ("xquad_en", "*.parquet", "context"),
    "instructions": ("instruction_1100", "*", "output"),
    "responses": ("ultrafeedback_binarized", "train.parquet", "chosen"),
}
CUES = {
    "link": re.compile(r"http|www\.|\b\w+\.(?:com|net|org|example)\b", re.IGNORECASE),
    "digit": re.compile(r"\d"),
    "money": re.compile(r"[$\u00a3\u20ac]|\b(?:dollars?|pounds?|cash|money)\b", re.IGNORECASE),
    "exclamation": re.compile("!"),
    "capitals": re.compile(r"\b[A-Z]{3,}\b"),
}
# Task: world, column of the label, knobs; then the real corpora of like tasks: folder, text and label columns, training and test files.
TASKS = {
    "spam in mail": ("mail", "spam", {}),
    "spam in posts": ("posts", "spam", {}),
    "sentiment, easy": ("reviews", "sentiment", {"task": "easy"}),
    "sentiment, hard": ("reviews", "sentiment", {"task": "hard"}),
    "topic of a review": ("reviews", "topic", {}),
    "topic and sentiment": ("reviews", "joint", {}),
    "appropriateness of a response": ("responses", "appropriateness", {}),
}
REAL_TASKS = {
    "spam in mail, Enron": ("enron_spam", "text", "label", "train.parquet", "test.parquet"),
    "spam in text messages": ("sms_spam", "sms", "label", "*.parquet", None),
    "spam in video comments": ("youtube_spam", "CONTENT", "CLASS", "*.parquet", None),
    "sentiment, SST-2": ("sst2", "sentence", "label", "train.parquet", "test.parquet"),
    "topic, AG News": ("ag_news", "text", "label", "test.parquet", None),
}


def real_rows(folder: str, pattern: str) -> list[dict[str, Any]]:
    """Return the rows of a real corpus. UserError if it is not there."""
    import pyarrow.parquet

    files = sorted(file for file in (REAL / folder).glob(pattern) if file.suffix in (".parquet", ".json", ".jsonl"))
    if not files:
        raise UserError(f"there is no {folder}/{pattern} in {REAL}", "set FINETUNELAB_DATA to the folder of the real corpora")
    rows: list[dict[str, Any]] = []
    for file in files:
        rows += pyarrow.parquet.read_table(file).to_pylist() if file.suffix == ".parquet" else json.loads(file.read_text(encoding="utf-8"))
    return rows


def plain(value: Any) -> str:
    """Return the text of a cell: of a list its parts, of a conversation what the assistant says last."""
    if isinstance(value, list):
        return plain(value[-1]["content"]) if value and isinstance(value[-1], dict) else " ".join(map(str, value))
    return str(value or "")


def words(text: str) -> list[str]:
    """Split a text into lower-case words."""
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower())


def surface(name: str, texts: list[str], real: bool) -> dict[str, Any]:
    """Return lengths, vocabulary and redundancy of a corpus, each at the same size of sample."""
    lengths = sorted(len(text.split()) for text in texts)
    stream = [word for text in texts for word in words(text)][:WORDS]
    joined = "\n".join(texts).encode()[:CHARACTERS]
    tenth = len(lengths) // 10
    return {
        "name": name, "real": real, "median": lengths[len(lengths) // 2], "low": lengths[tenth], "high": lengths[-tenth - 1],
        "types": len(set(stream)), "bits": round(8 * len(zlib.compress(joined, 9)) / len(joined), 3),
    }


def cues(name: str, texts: list[str], labels: list[int]) -> list[dict[str, Any]]:
    """Return the share of spam and of honest messages that carry each cue."""
    found = []
    for side, label in (("spam", 1), ("honest", 0)):
        mine = [text for text, value in zip(texts, labels, strict=True) if value == label]
        shares = {cue: round(sum(bool(pattern.search(text)) for text in mine) / len(mine), 3) for cue, pattern in CUES.items()}
        found.append({"name": name, "side": side, **shares})
    return found


def baseline(name: str, train: tuple[list[str], list], test: tuple[list[str], list], real: bool) -> dict[str, Any]:
    """Return the accuracy of the majority class and of TF-IDF with logistic regression."""
    majority, accuracy = tfidf_accuracy(train, test)
    return {
        "name": name, "real": real, "classes": len(set(train[1])), "train": len(train[1]), "test": len(test[1]),
        "majority": round(majority, 3), "accuracy": round(accuracy, 3),
    }


def world_baseline(name: str) -> dict[str, Any]:
    """Return the baseline of a world's task."""
    world, label, knobs = TASKS[name]
    return baseline(name, *world_task(world, label, TRAIN, TEST, **knobs), real=False)


def real_baseline(name: str) -> dict[str, Any]:
    """Return the baseline of a real task; where there is no test file, a random third is held out."""
    folder, text, label, train_file, test_file = REAL_TASKS[name]
    rows = sampled(real_rows(folder, train_file), TRAIN + TEST)
    if test_file:
        train, test = rows[:TRAIN], sampled(real_rows(folder, test_file), TEST)
    else:
        cut = len(rows) * 2 // 3
        train, test = rows[:cut], rows[cut:]
    parts = [([plain(row[text]) for row in part], [row[label] for row in part]) for part in (train, test)]
    return baseline(name, parts[0], parts[1], real=True)


def sampled(rows: list[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    """Shuffle rows with a fixed seed and keep ``n``."""
    return random.Random(0).sample(rows, min(n, len(rows)))


def measure() -> dict[str, Any]:
    """Return all three tables, and the fingerprint of the worlds that they were measured on."""
    surfaces = []
    for name, generator in sorted(worlds.generators().items(), key=lambda item: (not item[1].pretrained, item[0])):
        surfaces.append(surface(name, [row["text"] for row in generator.rows(DOCUMENTS)], real=False))
        if name in BESIDE:
            folder, files, column = BESIDE[name]
            rows = sampled(real_rows(folder, files), DOCUMENTS)
            title = folder if folder != "recipes" else f"recipes, {name.split('_')[0].title()}"
            surfaces.append(surface(title, [plain(row[column]) for row in rows], real=True))
    spam = []
    for name in ("mail", "posts"):
        rows = worlds.generator(name).rows(DOCUMENTS)
        spam += cues(name, [row["text"] for row in rows], [row["spam"] for row in rows])
    for folder, text, label in (("enron_spam", "text", "label"), ("youtube_spam", "CONTENT", "CLASS"), ("sms_spam", "sms", "label")):
        rows = sampled(real_rows(folder, "*.parquet"), DOCUMENTS)
        spam += cues(folder, [row[text] for row in rows], [int(row[label]) for row in rows])
    return {
        "world_hash": fingerprint(list(worlds.generators().values())),
        "surface": surfaces,
        "cues": spam,
        "baselines": [*map(world_baseline, TASKS), *map(real_baseline, REAL_TASKS)],
    }


if __name__ == "__main__":
    try:
        write_text(BOOK / "tables.json", json.dumps(measure(), indent=1) + "\n")
    except UserError as problem:
        sys.exit(str(problem))
