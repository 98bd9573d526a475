"""Conversations from a user's data: the layouts that people keep them in, brought into one form and checked.

Three layouts are known, told apart by their columns: conversations (``messages``), prompts with completions, and Alpaca's
instructions with an input and an output (Taori et al. 2023, "Stanford Alpaca: An instruction-following LLaMA model").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .data import load_data
from .errors import UserError, near
from .tables import SUFFIXES

ROLES = ("system", "user", "assistant")
# Ours, and which of them a source may lack.
LAYOUTS = (("messages",), ("prompt", "completion"), ("instruction", "output", "input"))
OPTIONAL = ("input",)

Messages = list[dict[str, str]]
Row = TypeVar("Row")


def load_conversations(
    source: str, split: str | None = None, n: int | None = None, *, columns: Mapping[str, str] | None = None, config: str | None = None,
    seed: int = 0, system: str | None = None, other: str = "train",
) -> list[Messages]:
    """Return the conversations of a file, a folder, a world or a hub data set.

    ``columns`` maps names of ``LAYOUTS`` to the source's, where they differ. Without a ``split`` all of a file is taken, and the part named
    ``other`` of anything else. ``system`` is put before conversations that have no system message.

    Raises UserError as ``load_data`` does, for a source without usable columns, and for a conversation that is none, with its row.
    """
    renamed = {ours: theirs for ours, theirs in (columns or {}).items() if theirs != ours}
    chosen: dict[str, str] = {}

    def choose(names: Sequence[str]) -> dict[str, str]:
        # A column that was named is meant: its layout comes first, and where it is missing, that is the mistake to tell of.
        for layout in sorted(LAYOUTS, key=lambda layout: not any(ours in renamed for ours in layout)):
            mapped = {ours: renamed.get(ours, ours) for ours in layout}
            chosen.clear()
            chosen.update({ours: theirs for ours, theirs in mapped.items() if theirs in names or ours not in OPTIONAL or ours in renamed})
            if any(ours in renamed for ours in layout) or all(theirs in names for theirs in chosen.values()):
                return chosen
        close = near("messages", names, most=1) or ["NAME"]
        raise UserError(
            f"{source} has no column messages, nor prompt and completion, nor instruction and output",
            f"name yours, such as --messages-column {close[0]}: it has {', '.join(names)}",
        )

    table = load_data(source, part(source, split, other), n, columns=choose, config=config, data_seed=seed)
    found = []
    for number, row in enumerate(table.select_columns(list(chosen)), start=1):
        where = f"conversation {number} of {source}"
        messages = _messages(row, where)
        if system is not None and messages[:1] and messages[0].get("role") != "system":
            messages = [{"role": "system", "content": system}, *messages]
        check(messages, where)
        found.append(messages)
    return found


def part(source: str, split: str | None, other: str = "train") -> str:
    """Return the split to read: the one asked for, or else all of a single file and the one named ``other`` of anything else."""
    single = Path(source).suffix.lower() in SUFFIXES and not Path(source).expanduser().is_dir()
    return split or ("all" if single else other)


def _messages(row: Mapping[str, Any], where: str) -> Messages:
    """Bring one row of any layout into messages."""
    if "messages" in row:
        return _listed(row["messages"], where)
    if "prompt" in row:
        prompt, completion = row["prompt"], row["completion"]
        if isinstance(prompt, list) and isinstance(completion, list):  # trl's conversational form
            return _listed(prompt, where) + _listed(completion, where)
    else:
        prompt, completion = row["instruction"], row["output"]
        if isinstance(prompt, str) and isinstance(row.get("input"), str) and row["input"].strip():
            prompt = f"{prompt}\n\n{row['input']}"
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]


def _listed(value: Any, where: str) -> Messages:
    if isinstance(value, str):  # a CSV file has no lists: they are written as JSON there
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            raise UserError(f"{where} is a text, not a list of messages", 'write it as [{"role": "user", "content": "..."}, ...]') from None
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise UserError(f"{where} is no list of messages", 'write it as [{"role": "user", "content": "..."}, ...]')
    # What else a message has, such as a name, is no part of the text that a model reads.
    return [{key: message.get(key) for key in ("role", "content")} for message in value]


def check(messages: Messages, where: str) -> None:
    """Raise UserError unless user and assistant speak in turn, the user first, the assistant at least once, and each message holds text."""
    if not messages:
        raise UserError(f"{where} has no messages", "fill it in or remove it")
    for number, message in enumerate(messages, start=1):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            close = near(str(role), ROLES, most=1)
            raise UserError(f"message {number} of {where} has the role {role!r}", f"use {close[0] if close else 'system, user or assistant'}")
        if not isinstance(content, str) or not content.strip():
            held = "no text" if content is None or isinstance(content, str) else f"{type(content).__name__} instead of text"
            raise UserError(f"message {number} of {where}, the {role}'s, holds {held}", "fill it in or remove the conversation")
    turns = [message["role"] for message in messages]
    first = 1 if turns[0] == "system" else 0
    for number, role in enumerate(turns[first:], start=first):
        wanted = ROLES[1 + (number - first) % 2]
        if role != wanted:
            raise UserError(
                f"message {number + 1} of {where} is the {role}'s, where the {wanted}'s should be",
                "user and assistant speak in turn, the user first, after a system message if there is one",
            )
    if "assistant" not in turns:
        raise UserError(f"{where} has no assistant's turn", "add the answer or remove the conversation")


def hold_out(rows: Sequence[Row], share: float, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """Divide texts or conversations into those to learn from and about ``share`` of them to hold out.

    A hash of the text, of a conversation all that comes before its first answer, decides, so that copies never stand on both sides.
    UserError if nothing is left on one side.
    """
    kept, held = [], []
    for row in rows:
        text = row if isinstance(row, str) else json.dumps([m["content"] for m in row[: [m["role"] for m in row].index("assistant")]])
        drawn = int.from_bytes(hashlib.sha256(f"{seed}/{text}".encode()).digest()[:8], "big") / 2**64
        (held if drawn < share else kept).append(row)
    if share and not (kept and held):
        raise UserError(
            f"a share of {share} of {len(rows)} examples leaves {len(kept)} to learn from and {len(held)} to test on",
            "give more examples, another share, or a file of its own for the test",
        )
    return kept, held
