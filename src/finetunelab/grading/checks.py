"""Hidden checks: a file of functions, each of which asks a hand-in something and compares the answer.

```python
@check("mmd2", "Equal samples may give a value below zero.", hint="Leave out the diagonal.")
def mmd2_may_be_negative(call):
    return call("mmd2", X, X, 1.0) < 0
```

A check passes if it returns True. ``tests`` and ``hint`` are shown to students: they name neither inputs nor answers.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import UserError

if TYPE_CHECKING:
    from .examiner import Session


@dataclass(frozen=True)
class Check:
    """A hidden check of one exercise: what it tests, a hint for those who fail it, its points, and the function that decides."""

    exercise: str
    tests: str
    hint: str
    points: int
    run: Callable[[Session], Any]


def check(exercise: str, tests: str, *, hint: str, points: int = 1) -> Callable[[Callable[[Session], Any]], Check]:
    """Turn a function of ``call``, the session with a hand-in, into a check of ``exercise``."""
    return lambda run: Check(exercise, tests, hint, points, run)


def load(folder: Path) -> list[Check]:
    """Return the checks in ``hidden.py`` of an assignment's folder, in their order. UserError if there is none."""
    path = folder / "hidden.py"
    if not path.is_file():
        raise UserError(f"there are no hidden checks at {path}", "hidden checks are not handed out: ask the teacher for them")
    return [value for value in runpy.run_path(str(path)).values() if isinstance(value, Check)]


def number(value: Any) -> float:
    """Return the number that a hand-in returned: a plain one, or an array or tensor that holds just one. An error for anything else."""
    if type(value) in (np.ndarray, torch.Tensor):
        value = value.item()  # ValueError or RuntimeError unless it holds one number
    if type(value) not in (int, float):
        raise TypeError("no number")
    return float(value)


def close(value: Any, expected: float, within: float = 1e-6) -> bool:
    """Whether a hand-in's number is the expected one, give or take ``within`` of it (or of one, for small numbers)."""
    return abs(number(value) - expected) <= within * max(1.0, abs(expected))
