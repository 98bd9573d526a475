"""Chapter 1 on real texts: a detector of spam, trained on the Enron mail, meets comments on videos and text messages.

The detector is a real sentence encoder, all-MiniLM-L6-v2, frozen with a logistic regression on its vectors. What is tuned is chosen on
validation texts of seeds below 1,000, which no reported seed draws; ``book/evidence/A1.real-rates.csv`` holds what was measured. Each
seed draws its parts anew from one corpus, so its texts are not new, but within a seed no text is in two parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from ..encoders import MINILM, Encoder, load_encoder
from ..real_data import parts
from ..worlds.baseline import Labelled, tfidf
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import SWEEP_SEED, error

LETTERS = 1_000  # labelled letters that the detector is trained on
N_TEST = 400  # of each kind
LONGEST = 128  # tokens of a text that are read: all of nearly every comment and message, the beginning of a letter
PENALTIES = (1.0, 10.0, 100.0)  # C of the logistic regression: the larger, the less it is held back
LETTER_PENALTY = 10.0

Tested = Callable[[Labelled], float]

encoder = lru_cache(maxsize=1)(load_encoder)


def frozen(model: Encoder, train: Labelled, penalty: float) -> Tested:
    """Fit a logistic regression on the vectors of a frozen encoder and return what tests it: of texts with labels, the accuracy."""
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(C=penalty, max_iter=2_000).fit(model.embed(train[0], LONGEST), train[1])
    return lambda test: float(head.score(model.embed(test[0], LONGEST), test[1]))


def sweep_frozen(penalties: Sequence[float] = PENALTIES, letters: int = LETTERS, n: int = N_TEST, name: str = MINILM) -> list[dict[str, Any]]:
    """Return the accuracy on validation letters for each penalty. Comments and messages play no part in the choice."""
    train, valid = parts("enron_spam", (letters, n), SWEEP_SEED)
    return [
        {"seed": SWEEP_SEED, "arm": "frozen", "penalty": penalty, "accuracy": frozen(encoder(name), train, penalty)(valid)}
        for penalty in penalties
    ]


@measures(
    Claim(
        "A1.real", "A detector trained on real mail fails on comments", metric="error rate", unit="ratio", treatment="comments",
        control="mail", effect_kind="log_ratio", op=">=", threshold=3, dataset="enron_spam, youtube_spam, sms_spam", beside="A1.ratio",
    ),
    id="A1.real", seeds=10,
)
def detector_meets_comments(
    seed: int, data_seed: int, letters: int = LETTERS, n_test: int = N_TEST, name: str = MINILM
) -> Measurement:
    """Train a head on letters, and test it on other letters, on comments and on text messages. All parts are half spam."""
    drawn = seed_of_data(seed, data_seed)
    train, mail = parts("enron_spam", (letters, n_test), drawn)
    (comments,), (messages,) = parts("youtube_spam", (n_test,), drawn), parts("sms_spam", (n_test,), drawn)
    detector, baselines = frozen(encoder(name), train, LETTER_PENALTY), tfidf(train)
    rows, arms = [], {}
    for kind, test in {"mail": mail, "comments": comments, "messages": messages}.items():
        majority, bag_of_words = baselines(test)
        scores = {"frozen encoder": detector(test), "TF-IDF": bag_of_words, "majority class": majority}
        arms[kind] = error(1 - scores["frozen encoder"], n_test)
        rows += [{"texts": kind, "model": model, "error": error(1 - score, n_test)} for model, score in scores.items()]
    return Measurement({"A1.real": arms}, rows)
