"""Tables of the page of common failures, from what G1 to G7 measured: each function returns one, in Markdown, samples of models included."""

from __future__ import annotations

import re

from measured import _mean, _over_seeds, table


def quoted(text: str) -> str:
    """Return what a model wrote as it stands, for a cell of a table; nothing is said to be nothing."""
    line = " ".join(text.split())
    return "“" + re.sub(r"([\\`*_\[\]<>{}$~#])", r"\\\1", line) + "”" if line else "(nothing)"


def samples(asked: str, heads: list[str], rows: list[list[str]]) -> str:
    """Return a table whose last column has what a model said when it was asked; prose wraps, so that it never has to scroll."""
    found = table([*heads, "response"], rows).removeprefix(":::{div} wide\n\n").removesuffix("\n\n:::")
    return f"Asked: {quoted(asked)}\n\n{found}" if rows else found


def asked_wrongly() -> str:
    """G1 as a table: instructions followed by the template they were asked with, and the response to the first of seed 0."""
    found = {arm: rows for (arm,), rows in _over_seeds("G1", ("arm",)).items()}
    return samples(_first(found, "request"), ["template", "followed"], [
        [arm, f"{_mean(rows, 'followed'):.2f}", quoted(rows[0]["response"])] for arm, rows in found.items()
    ])


def read_at_padding() -> str:
    """G2 as a table: how often a reward model sides with the better response, in batches and alone, and how often the two differ."""
    found = {arm: [row for row in rows if row["right"]] for (arm,), rows in _over_seeds("G2", ("arm",)).items()}
    return table(["Score read at", "right, in batches", "right, one at a time", "decided otherwise"], [
        [f"the {arm}", *(f"{_mean(rows, column):.2f}" for column in ("right", "right alone", "changed"))] for arm, rows in found.items()
    ])


def no_end() -> str:
    """G3 as a table: words of a response and the training loss with the end of turn counted and masked, and a response of seed 0."""
    found = {arm: rows for (arm,), rows in _over_seeds("G3", ("arm",)).items()}
    return samples(_first(found, "request"), ["", "words", "loss"], [
        [arm, f"{_mean(rows, 'words'):.1f}", f"{_mean(rows, 'loss'):.2f}", quoted(rows[0]["response"])] for arm, rows in found.items()
    ])


def lost_answers() -> str:
    """G5 as a table: conversations that have no target left, by the length they were cut to."""
    found = {longest: rows for (longest,), rows in _over_seeds("G5", ("longest",)).items() if longest}
    return table(["Cut to, tokens", *found], [["no target left", *(f"{_mean(rows, 'lost'):.2f}" for rows in found.values())]] if found else [])


def what_the_log_shows() -> str:
    """G5 as a table: the loss and the norm of the gradient that seed 0 logged every ten steps, with rows without a target kept and dropped."""
    found = {key: rows[0] for key, rows in _over_seeds("G5", ("arm", "step")).items() if key[1] and rows[0]["seed"] == "0"}
    arms, steps = (list(dict.fromkeys(names)) for names in zip(*found, strict=True)) if found else ([], [])

    def cell(arm: str, step: str) -> str:
        return ", ".join(f"{float(found[arm, step][column]):.1f}" for column in ("loss", "gradient"))

    heads = [arm.removeprefix("kept, the ") for arm in arms]
    return table(["Step", *heads], [[step, *(cell(arm, step) for arm in arms)] for step in steps[:5]])  # by then it has happened


def old_answers() -> str:
    """G7 as a table: right and outdated answers with the index as it was and renewed, and the answer to a question of seed 0."""
    found = {arm: rows for (arm,), rows in _over_seeds("G7", ("arm",)).items()}
    return samples(_first(found, "question"), ["", "right", "outdated"], [
        [arm, *(f"{_mean(rows, column):.2f}" for column in ("right", "stale")), quoted(rows[0]["answer"])] for arm, rows in found.items()
    ])


def _first(found: dict[str, list[dict[str, str]]], column: str) -> str:
    return next(iter(found.values()))[0][column] if found else ""


TABLES = (asked_wrongly, read_at_padding, no_end, lost_answers, what_the_log_shows, old_answers)
