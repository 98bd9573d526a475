"""How every lab begins and ends: profile and seed set, libraries quiet; this run's numbers beside the recorded ones."""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError
from .profiles import VARIABLE, Profile, describe, profile

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EVIDENCE = Path("..") / "book" / "evidence"  # seen from a lab


def begin(name: str | None = None, seed: int = 0) -> Profile:
    """Fix profile and seeds for a notebook, print what it will run on and why, and return the profile.

    ``FINETUNELAB_PROFILE`` goes before ``name``, so that a whole course can be moved to another machine without touching its notebooks.
    UserError if there is no such profile.
    """
    chosen = profile(os.environ.get(VARIABLE) or name)
    os.environ[VARIABLE] = chosen.name
    from transformers import set_seed
    from transformers.utils import logging

    from .plots import style

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    set_seed(seed)
    style()
    # The trainer collects garbage at the start of every run. What was imported is none, and need not be looked at each time.
    importlib.import_module("transformers.trainer")
    gc.collect()
    gc.freeze()
    print(describe(chosen.name))
    return chosen


def recorded(claim: str) -> dict[str, Any]:
    """Return what the course has recorded of a claim. UserError if there is nothing."""
    from .evidence import load

    found = [entry for entry in load(EVIDENCE / "nano.json") if entry["id"] == claim]
    if not found:
        raise UserError(f"nothing is recorded of {claim}", f"measure it with: finetunelab evidence run --claim {claim}")
    return found[0]


def recorded_curve(experiment: str, x: str, y: str, **where: Any) -> tuple[list[float], list[float]]:
    """Return the values of column ``x`` in the recorded table of an experiment, and the mean of column ``y`` over the seeds at each.

    ``where`` picks rows by the values of other columns; rows without a value of ``y`` are left out.
    """
    from .evidence.store import load_rows

    found: dict[float, list[float]] = {}
    for row in load_rows(EVIDENCE / f"{experiment}.csv"):
        if row[y] and all(row[name] == str(value) for name, value in where.items()):
            found.setdefault(float(row[x]), []).append(float(row[y]))
    return sorted(found), [sum(found[value]) / len(found[value]) for value in sorted(found)]


def chat(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, lines: Sequence[str], tokens: int = 48) -> list[dict[str, str]]:
    """Talk with a model until an empty line, and return the messages. Where nobody can type, and under ``CI``, ``lines`` are what the user says.

    The oldest exchanges are dropped, with a word about it, once the talk no longer fits into the model's context.
    """
    from .sft import reply, tokenize

    messages: list[dict[str, str]] = []
    script = iter(lines)
    for said in iter(lambda: _line(script), ""):
        messages.append({"role": "user", "content": said})
        while len(tokenize(tokenizer, messages)[0]) + tokens > model.config.max_position_embeddings and len(messages) > 1:
            messages = messages[2:]
            print("(the oldest exchange no longer fits)")
        messages.append({"role": "assistant", "content": reply(model, tokenizer, [messages], tokens=tokens)[0]})
        print(f"Assistant: {messages[-1]['content']}")
    return messages


def _line(script: Iterator[str]) -> str:
    """Return what the user types, or the next line of the script where nobody can; an empty line at its end."""
    if not os.environ.get("CI"):
        try:
            return input("You: ").strip()
        except (EOFError, NotImplementedError):  # a kernel without somebody to ask raises the second kind
            pass
    said = next(script, "")
    if said:
        print(f"You: {said}")
    return said


def compare(claim: str, here: float, expected: Sequence[float]) -> None:
    """Print a claim, its recorded effect and verdict, and what this run found; check that this lies in the range expected of one run.

    The range is wider than the recorded interval: a lab is one seed and a smaller scale. A claim that does not hold has a range too.
    Raises AssertionError outside it.
    """
    from .evidence.render import OPS, effect

    entry, (low, high) = recorded(claim), expected
    sign = "×" if entry["effect_kind"] == "log_ratio" else ""
    print(f"{claim}: {entry['claim']}")
    if entry.get("op"):
        print(f"    asks for {OPS[entry['op']]} {entry['threshold']:g}{sign}")
    print(f"    recorded {effect(entry)}: {entry['verdict']}")
    print(f"    this run {here:.2g}{sign}, where one run should give {low:g} to {high:g}")
    assert low <= here <= high, f"{claim}: {here:.3g} is outside what one run should give; look for what was changed"
