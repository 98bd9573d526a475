"""A frame grammar: the sentences of the worlds live in plain text files, and this module fills them.

A file in ``worlds/text/`` holds sections, one frame a line::

    == greeting
    Dear {person},
    [Hello|Hi] {person|first},

    == offer *
    You have won {prize|a}.

``{key}`` is taken from the context given by the generator, else from the section of that name, drawn at random.
``{key|filter}`` passes it through a filter: ``a`` (indefinite article), ``cap``, ``plural``, ``lower``, ``first`` (first word).
``[x|y|z]`` draws one of the alternatives; they may be empty and may nest. ``#`` starts a comment line.
A section marked ``*`` is divided among the splits: a frame of it serves train, validation, or test, never two, so that a
model tested on it meets sentences that it has never seen.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

from . import english

FILTERS = {
    "a": english.article,
    "cap": english.capital,
    "plural": english.plural,
    "lower": str.lower,
    "first": lambda text: text.split()[0],
}
_INNERMOST = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{([a-z_0-9]+)((?:\|[a-z]+)*)\}")


def split_of(text: str) -> str:
    """Return the split that a text belongs to, decided by its content alone (three fifths train)."""
    bucket = int(hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:8], 16) % 5
    return ("train", "train", "train", "validation", "test")[bucket]


class Grammar:
    """Sections of sentence frames, and the expansion of a frame into text."""

    def __init__(self, text: str, name: str = "grammar"):
        self.name = name
        self.sections: dict[str, list[str]] = {}
        self.divided: set[str] = set()
        self._by_split: dict[tuple[str, str], list[str]] = {}
        current: list[str] | None = None
        for line in text.splitlines():
            line = line.strip()
            if line.startswith("=="):
                title = line.strip("= ").strip()
                if title.endswith("*"):
                    title = title.rstrip("* ")
                    self.divided.add(title)
                if title in self.sections:
                    raise ValueError(f"{name}: section {title!r} stands twice")
                current = self.sections.setdefault(title, [])
            elif line and not line.startswith("#"):
                if current is None:
                    raise ValueError(f"{name}: a frame stands before the first section: {line!r}")
                current.append(line)
        for title in self.divided:
            for split in ("train", "validation", "test"):
                mine = [f for f in self.sections[title] if split_of(f) == split]
                if not mine:
                    raise ValueError(f"{name}: section {title!r} is divided but has no frame for {split}")
                self._by_split[title, split] = mine

    def frames(self, section: str, split: str = "train") -> list[str]:
        """Return the frames of a section that ``split`` may use."""
        if section not in self.sections:
            raise KeyError(f"{self.name}: no section {section!r}")
        return self._by_split.get((section, split)) or self.sections[section]

    def draw(self, section: str, rng: random.Random, context: Mapping[str, str] | None = None, split: str = "train") -> str:
        """Draw one frame of ``section`` and fill it."""
        return self.fill(rng.choice(self.frames(section, split)), rng, context, split)

    def fill(self, frame: str, rng: random.Random, context: Mapping[str, str] | None = None, split: str = "train") -> str:
        """Fill a frame: alternatives first, then slots, until neither is left."""
        context = context or {}

        def slot(match: re.Match) -> str:
            key, filters = match.group(1), match.group(2)
            value = str(context[key]) if key in context else self.draw(key, rng, context, split)
            for name in filters.split("|")[1:]:
                value = FILTERS[name](value)
            return value

        def alternative(match: re.Match) -> str:
            # A pipe inside {key|filter} belongs to the slot, not to the alternatives.
            options = re.split(r"\|(?![^{}]*\})", match.group(1))
            return rng.choice(options)

        while _INNERMOST.search(frame):
            frame = _INNERMOST.sub(alternative, frame, count=1)
        return re.sub(r" {2,}", " ", _SLOT.sub(slot, frame)).strip()


@lru_cache(maxsize=None)
def load_grammar(name: str) -> Grammar:
    """Load ``worlds/text/<name>.txt``."""
    path = resources.files(__package__) / "text" / f"{name}.txt"
    return Grammar(path.read_text(encoding="utf-8"), name)
