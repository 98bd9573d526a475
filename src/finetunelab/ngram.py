"""An n-gram model of bytes: what counting can learn from a text, beside what a network learns.

Interpolated Kneser-Ney smoothing (Kneser and Ney, "Improved backing-off for m-gram language modeling", ICASSP 1995), as Chen and Goodman
write it ("An empirical study of smoothing techniques for language modeling", Computer Speech and Language 13, 1999). Simplified: one
discount for each length of context, from how many counts are one and two, with one pseudo-count each so that it is never 0 or 1.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from .errors import UserError

BEGIN, END = "\u0100", "\u0101"  # of a text; every other symbol is one byte
SYMBOLS = 257  # what can follow a context: a byte, or the end


def symbols(text: str) -> str:
    """Return the UTF-8 bytes of a text, one character each, between its begin and its end."""
    return BEGIN + text.encode().decode("latin-1") + END


class NGram:
    """A model that predicts a byte from the ``order`` - 1 bytes before it.

    ``counts[k]`` holds, for each context of k symbols, how often what followed it. Of the longest contexts, and of those at the begin of a
    text, these are plain counts. Of shorter ones they count *after how many different symbols* context and successor were seen.
    """

    def __init__(self, texts: Sequence[str], order: int):
        if not texts or order < 1:
            raise UserError(f"an n-gram model got {len(texts)} texts and order {order}", "give one text and order 1 at least")
        self.order = order
        self.counts: list[dict[str, Counter[str]]] = [defaultdict(Counter) for _ in range(order)]
        for text in map(symbols, texts):
            for i in range(1, len(text)):
                context = text[max(0, i - order + 1) : i]
                self.counts[len(context)][context][text[i]] += 1
        for k in range(order - 1, 0, -1):
            for context, followers in self.counts[k].items():
                for symbol in followers:
                    self.counts[k - 1][context[1:]][symbol] += 1
        self.discounts = [self._discount(level) for level in self.counts]
        self.totals = [{context: sum(followers.values()) for context, followers in level.items()} for level in self.counts]

    @staticmethod
    def _discount(level: dict[str, Counter[str]]) -> float:
        """Return what is taken off every count of a level: n1 / (n1 + 2 n2), of how many counts are one and two."""
        seen = Counter(count for followers in level.values() for count in followers.values())
        return (seen[1] + 1) / (seen[1] + 1 + 2 * (seen[2] + 1))

    def probability(self, context: str, symbol: str) -> float:
        """Return p(symbol | context), from the shortest context to the longest seen: each gives what it discounts to the one before."""
        found = 1 / SYMBOLS
        for k in range(min(len(context), self.order - 1) + 1):
            suffix = context[len(context) - k :]
            followers = self.counts[k].get(suffix)
            if not followers:
                break
            discount, total = self.discounts[k], self.totals[k][suffix]
            found = (max(followers[symbol] - discount, 0) + discount * len(followers) * found) / total
        return found

    def bits_per_byte(self, texts: Sequence[str]) -> float:
        """Return the cross-entropy of texts in bits, ends included, divided by their UTF-8 bytes, see ``skills.bits_per_byte``."""
        bits = 0.0
        for text in map(symbols, texts):
            bits -= sum(math.log2(self.probability(text[max(0, i - self.order + 1) : i], text[i])) for i in range(1, len(text)))
        return bits / sum(len(text.encode()) for text in texts)
