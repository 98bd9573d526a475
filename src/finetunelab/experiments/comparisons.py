"""Chapter 4, the number of comparisons: how much better a reward model becomes with more clicks, and nothing but clicks.

There are two places to start from, and a claim for each. Ouyang et al. 2022 start from the model after supervised fine-tuning, here the assistant.
The reward models of this chapter start from ``nano-reward``, which has been taught on pairs that nobody judged whether a response belongs to
its request: so it knows something before the first click, and has less to gain.

Learning rates, by start and by number of comparisons, are the best of ``sweep_comparisons`` on validation comparisons of a data seed below 1,000,
which no reported seed draws; ``book/evidence/D3-rates.csv`` holds what it measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..models import load_tokenizer
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import SWEEP_SEED
from .reviewers import BASE, BEST, N_TEST, STEPS, WORDS, clicked, exam, reward_leads, rewarder, words_leads

SIZES = (300, 600, 1_200, 2_400, 4_800, 9_600)  # each holds the smaller ones
STARTS = {"sft": "nano-chat", "pretrained": BASE}
NAMES = {"sft": "from the assistant", "pretrained": "after preference model pretraining"}
SWEEP_SIZES = (300, 1_200, 4_800)  # the rate of each is that of the next size, too
RATE_SWEEP = {"sft": (1e-4, 3e-4, 1e-3, 3e-3), "pretrained": (3e-5, 1e-4, 3e-4, 1e-3)}
RATES = {"sft": {300: 3e-4, 1_200: 3e-4, 4_800: 3e-4}, "pretrained": {300: 1e-4, 1_200: 3e-5, 4_800: 3e-4}}


def name_of(size: int) -> str:
    """Return the name of a size's arm."""
    return f"{size:,} comparisons"


def rate_of(start: str, size: int) -> float:
    """Return the learning rate of a start for so many comparisons: that of the largest size swept that is not larger, or of the smallest."""
    return RATES[start][max((swept for swept in SWEEP_SIZES if swept <= size), default=SWEEP_SIZES[0])]


def sweep_comparisons(
    rates: Mapping[str, Sequence[float]] = RATE_SWEEP, sizes: Sequence[int] = SWEEP_SIZES, steps: int = STEPS, n: int = 500,
    starts: Mapping[str, str] = STARTS,
) -> list[dict[str, Any]]:
    """Return the accuracy against clicks on validation comparisons for each start, size and learning rate."""
    valid, found = exam(n, "validation", SWEEP_SEED), []
    for start, base in starts.items():
        tokenizer = load_tokenizer(base)
        for size in sizes:
            for rate in rates[start]:
                model, _ = rewarder(0, SWEEP_SEED, size, steps, base, rate=rate)
                reached = valid.accuracy(reward_leads(model, tokenizer, valid.rows))["clicks"]
                found.append({"seed": SWEEP_SEED, "start": start, "size": size, "rate": rate, "accuracy": reached})
    return found


@measures(
    *(
        Claim(
            f"D3.{start}", f"More comparisons make a better reward model ({name})", metric="accuracy against held-out clicks", unit="share",
            treatment=name_of(SIZES[-1]), control=name_of(SIZES[0]), effect_kind="difference", op=">=", threshold=0.10,
            trend=tuple(map(name_of, SIZES)),
        )
        for start, name in NAMES.items()
    ),
    id="D3", seeds=5,
)
def more_comparisons(
    seed: int, data_seed: int, sizes: Sequence[int] = SIZES, steps: int = STEPS, n_test: int = N_TEST, starts: Mapping[str, str] = STARTS
) -> Measurement:
    """Train reward models on more and more comparisons; the rows have a bag of words on the same ones, and the best possible guess, too."""
    drawn = seed_of_data(seed, data_seed)
    test, rows = exam(n_test, "test", drawn), []
    texts, clicks = clicked(max(sizes), drawn)
    for size in sizes:
        for start, base in starts.items():
            model, cost = rewarder(seed, drawn, size, steps, base, rate=rate_of(start, size))
            ahead = reward_leads(model, load_tokenizer(base), test.rows)
            rows.append({"arm": NAMES[start], "comparisons": size, **test.accuracy(ahead), "flops": cost.flops})
        rows.append({"arm": WORDS, "comparisons": size, **test.accuracy(words_leads(texts[:size], clicks[:size])(test.rows))})
    rows.append({"arm": BEST, "comparisons": "", **test.accuracy(test.chances - 0.5)})
    found = {(row["arm"], row["comparisons"]): row["clicks"] for row in rows}
    return Measurement({f"D3.{start}": {name_of(size): found[NAMES[start], size] for size in sizes} for start in starts}, rows)
