"""Surface statistics of a corpus: what a text looks like before anyone reads it. Used to set the worlds beside real corpora."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence

_WORD = re.compile(r"[a-z']+")
_SHARES = {
    "exclamation": re.compile(r"!"),
    "digits": re.compile(r"\d"),
    "links": re.compile(r"https?\s?[:/]|www\b|\.example\b", re.IGNORECASE),
    "capitals": re.compile(r"\b[A-Z]{3,}\b"),
}


def surface(texts: Sequence[str], sample_words: int = 10_000) -> dict[str, float]:
    """Return surface statistics of ``texts``.

    ``words``: median length in words. ``types``: different words per 1,000 words, over the first ``sample_words`` words of the corpus
    (the ratio falls as a corpus grows, so corpora are compared at equal size). ``exclamation``, ``digits``, ``links``, ``capitals``:
    shares of texts, 0 to 1, with at least one exclamation mark, digit, link, or word of three or more capitals.
    ValueError if there is no text.
    """
    if not texts:
        raise ValueError("no texts to measure: pass at least one")
    words = [word for text in texts for word in _WORD.findall(text.lower())][:sample_words]
    result = {"words": float(statistics.median(len(text.split()) for text in texts))}
    result["types"] = 1000 * len(set(words)) / max(len(words), 1)
    return result | {name: sum(bool(p.search(text)) for text in texts) / len(texts) for name, p in _SHARES.items()}
