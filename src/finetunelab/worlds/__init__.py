"""The offline world: seeded generators of every corpus the labs use. ``load("mail", 1000)`` draws one."""

from __future__ import annotations

import importlib
import json
from functools import lru_cache
from importlib import resources

from .core import Draw, Generator, fingerprint

MODULES = (
    "mail", "posts", "recipes", "encyclopedia", "notes", "patterns", "sorting", "reviews", "clinic", "language", "instructions", "dialogues",
    "responses", "news", "handbook", "memories",
)


@lru_cache(maxsize=1)
def generators() -> dict[str, Generator]:
    """Return every generator by name. Each module lists its own in ``GENERATORS``."""
    found = [g for name in MODULES for g in importlib.import_module(f"{__name__}.{name}").GENERATORS]
    return {g.name: g for g in found}


def generator(name: str) -> Generator:
    """Return one generator; ValueError if there is none of that name."""
    if name not in generators():
        raise ValueError(f"unknown world {name!r}: choose one of {', '.join(sorted(generators()))}")
    return generators()[name]


def load(name: str, n: int, split: str = "train", data_seed: int = 0, world_seed: int = 0, **knobs):
    """Draw ``n`` documents of the world ``name`` as a ``datasets.Dataset``. See ``Generator.load``."""
    return generator(name).load(n, split, data_seed, world_seed, **knobs)


def frozen_hash() -> str:
    """Return the fingerprint of the worlds that the repository's results were measured on."""
    return json.loads((resources.files(__name__) / "frozen.json").read_text(encoding="utf-8"))["world_hash"]


__all__ = ["Draw", "Generator", "fingerprint", "frozen_hash", "generator", "generators", "load"]
