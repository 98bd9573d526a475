"""The honest novice: TF-IDF and logistic regression, which stand beside every classifier of the course."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from . import generator

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Labelled = tuple[Sequence[str], Sequence]


def words_regression(penalty: float = 10) -> Pipeline:
    """Return TF-IDF of words and pairs with logistic regression, unfitted. ``penalty`` is the regression's C: the larger, the less it is held back."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=penalty, max_iter=1_000))


def tfidf(train: Labelled, penalty: float = 10) -> Callable[[Labelled], tuple[float, float]]:
    """Fit ``words_regression`` and return what tests it.

    That takes (texts, labels) and returns the accuracies of the training data's majority class and of TF-IDF. Labels are classes,
    whatever their type.
    """
    pipeline = words_regression(penalty)
    known = [str(label) for label in train[1]]
    pipeline.fit(train[0], known)
    majority = Counter(known).most_common(1)[0][0]

    def accuracies(test: Labelled) -> tuple[float, float]:
        truth = [str(label) for label in test[1]]
        return truth.count(majority) / len(truth), float(pipeline.score(test[0], truth))

    return accuracies


def tfidf_accuracy(train: Labelled, test: Labelled) -> tuple[float, float]:
    """Return the test accuracies of the training data's majority class and of TF-IDF, see ``tfidf``."""
    return tfidf(train)(test)


def labelled(name: str, label: str, n: int, split: str, data_seed: int, **knobs) -> Labelled:
    """Draw ``n`` texts of a world with their labels, as (texts, labels)."""
    rows = generator(name).rows(n, split, data_seed, **knobs)
    return [row["text"] for row in rows], [row[label] for row in rows]


def world_task(name: str, label: str, train: int = 2_000, test: int = 1_000, data_seed: int = 0, **knobs) -> tuple[Labelled, Labelled]:
    """Draw a labelled task of a world: its (texts, labels) for training and for testing."""
    return labelled(name, label, train, "train", data_seed, **knobs), labelled(name, label, test, "test", data_seed, **knobs)
