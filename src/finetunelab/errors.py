"""Mistakes a user can mend: one line, the cause first and the mend after it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher


class UserError(ValueError):
    """Bad input. The command line prints its one line and leaves with exit code 2."""

    def __init__(self, cause: str, mend: str):
        super().__init__(" ".join(f"{cause}; {mend}".split()))


def near(name: str, options: Iterable[str], most: int = 3) -> list[str]:
    """Return the options that resemble ``name``, best first; none if nothing does."""

    def likeness(option: str) -> float:
        # The matcher is greedy from the left ("nono" is half like "nano", and backward three quarters): look both ways.
        one, other = name.lower(), option.lower()
        return max(SequenceMatcher(None, one, other).ratio(), SequenceMatcher(None, one[::-1], other[::-1]).ratio())

    return sorted((option for option in options if likeness(option) >= 0.6), key=likeness, reverse=True)[:most]


def unknown(kind: str, name: str, options: Iterable[str]) -> UserError:
    """Return the error for a name that is not among ``options``: the near ones are named, or else all."""
    options = list(options)
    close = near(name, options)
    if close:
        mend = f"did you mean {' or '.join(close)}?"
    else:
        mend = f"choose one of {', '.join(options)}" if options else "there is none yet"
    return UserError(f"unknown {kind} {name!r}", mend)
