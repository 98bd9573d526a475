"""Chapter 4 on real preferences: how far a thousand pairs of UltraFeedback go.

A reward head is fitted on vectors of a real sentence encoder, all-MiniLM-L6-v2, which stays as it is: Bradley and Terry's model, linear in
the vector of the response and in its product with the vector of the prompt. Beside it stand a bag of words, and the guess that the longer
response was chosen. How much the two that are fitted are held back is the best of ``sweep``, which measured what
``book/evidence/D2.real-rates.csv`` holds. It sees a fixed fifth of the prompts alone, and reported seeds the others, of which each draws its
parts anew.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..encoders import MINILM, Encoder
from ..preferences.panel import Judgment
from ..real_data import REPORT, SWEEP, preference_pairs
from ..reward import accuracy
from . import Claim, Measurement, measures, seed_of_data
from .adaptation_real import encoder
from .reviewers import Leads, length_leads, words_leads

DATA = "ultrafeedback_binarized"
N_TRAIN, N_TEST = 600, 200
SWEEP_SIZES, SWEEP_SEEDS = (130, 60), (900, 901, 902)
LONGEST = 256  # tokens that are read of a prompt, and of a response
HEAD, WORDS, LENGTH = "reward head", "bag of words", "length alone"
TRIED = {HEAD: (0.1, 1.0, 10.0), WORDS: (0.001, 0.01, 0.1)}  # C of a logistic regression: the larger, the less it is held back
CHOSEN = {HEAD: 1.0, WORDS: 0.01}

Judged = tuple[list[dict[str, str]], list[Judgment]]  # comparisons and a choice each


def drawn(sizes: Sequence[int], seed: int, side: str) -> list[Judged]:
    """Draw parts of the pairs on one side that share no prompt; whether a pair's chosen response is a or b is drawn too."""
    rng, parts = random.Random(f"{DATA}/{seed}"), []
    pairs = rng.sample(preference_pairs(side), sum(sizes))
    for size in sizes:
        part, pairs = pairs[:size], pairs[size:]
        sides = [rng.choice(("ab", "ba")) for _ in part]
        rows = [
            {"prompt": pair["prompt"], f"response_{chosen}": pair["chosen"], f"response_{other}": pair["rejected"]}
            for pair, (chosen, other) in zip(part, sides, strict=True)
        ]
        parts.append((rows, [Judgment(place, "UltraFeedback", chosen) for place, (chosen, _) in enumerate(sides)]))
    return parts


def vectors(model: Encoder, prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
    """Return what the head sees of each response: its vector, and its product with that of the prompt; of shape (responses, 2 x width)."""
    asked, said = model.embed(prompts, LONGEST), model.embed(responses, LONGEST)
    return np.hstack([said, asked * said])


def head_leads(model: Encoder, train: Judged, penalty: float) -> Leads:
    """Fit a linear reward on vectors of a frozen encoder by Bradley and Terry's model: a logistic regression on differences."""
    from sklearn.linear_model import LogisticRegression

    def difference(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        a, b = (vectors(model, [row["prompt"] for row in rows], [row[f"response_{side}"] for row in rows]) for side in "ab")
        return a - b

    rows, clicks = train
    fitted = LogisticRegression(C=penalty, fit_intercept=False, max_iter=2_000)
    fitted.fit(difference(rows), [click.choice == "a" for click in clicks])
    return lambda rows: fitted.decision_function(difference(rows))


def learn(arm: str, train: Judged, penalty: float, name: str = MINILM) -> Leads:
    """Fit an arm of ``TRIED``."""
    return head_leads(encoder(name), train, penalty) if arm == HEAD else words_leads(*train, penalty)


def right(leads: np.ndarray, clicks: Sequence[Judgment]) -> float:
    """Return the share of choices that the leads agree with; ``leads`` says how far a is ahead of b, and a tie counts half."""
    return accuracy(leads * np.array([1 if click.choice == "a" else -1 for click in clicks]))


def sweep(name: str = MINILM) -> list[dict[str, Any]]:
    """Return the accuracy on validation pairs for each arm and each of the three values that are tried for it, for three draws."""
    found = []
    for seed in SWEEP_SEEDS:
        train, (rows, clicks) = drawn(SWEEP_SIZES, seed, SWEEP)
        for arm, tried in TRIED.items():
            for penalty in tried:
                leads = learn(arm, train, penalty, name)(rows)
                found.append({"seed": seed, "arm": arm, "choice": penalty, "accuracy": right(leads, clicks)})
    return found


@measures(
    Claim(
        "D2.real", "A reward head on a real encoder and some hundred real pairs, against length alone", metric="accuracy on held-out pairs",
        unit="share", treatment=HEAD, control=LENGTH, effect_kind="difference", words=("reward head ahead", "length ahead", "equal"),
        test_to_train=N_TEST / N_TRAIN, dataset=DATA, beside="D2",
        note=f"{N_TRAIN} pairs for training and {N_TEST} for testing. Pairs of one score, or of responses that are alike, are left out. The "
        "preferences are a large model's, not people's. What was tuned was chosen on a fifth of the prompts that takes no part here.",
    ),
    id="D2.real", seeds=10,
)
def real_preferences(seed: int, data_seed: int, sizes: tuple[int, int] = (N_TRAIN, N_TEST), name: str = MINILM) -> Measurement:
    """Fit both arms on the same real pairs, and test them and length alone on others."""
    train, (rows, clicks) = drawn(sizes, seed_of_data(seed, data_seed), REPORT)
    leads = {arm: learn(arm, train, CHOSEN[arm], name)(rows) for arm in TRIED} | {LENGTH: length_leads(rows)}
    found = {arm: right(ahead, clicks) for arm, ahead in leads.items()}
    return Measurement({"D2.real": found}, [{"arm": arm, "accuracy": value} for arm, value in found.items()])
