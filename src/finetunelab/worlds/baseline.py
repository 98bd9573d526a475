"""The honest novice: TF-IDF and logistic regression, which stand beside every classifier of the course."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from . import generator

Labelled = tuple[Sequence[str], Sequence]


def tfidf_accuracy(train: Labelled, test: Labelled) -> tuple[float, float]:
    """Return the test accuracies of the training data's majority class and of TF-IDF (words and pairs) with logistic regression.

    ``train`` and ``test`` are (texts, labels); labels are classes, whatever their type.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1_000))
    known, truth = [str(label) for label in train[1]], [str(label) for label in test[1]]
    pipeline.fit(train[0], known)
    majority = Counter(known).most_common(1)[0][0]
    return truth.count(majority) / len(truth), float(pipeline.score(test[0], truth))


def world_task(name: str, label: str, train: int = 2_000, test: int = 1_000, data_seed: int = 0, **knobs) -> tuple[Labelled, Labelled]:
    """Draw a labelled task of a world: its (texts, labels) for training and for testing."""
    parts = (generator(name).rows(n, split, data_seed, **knobs) for n, split in ((train, "train"), (test, "test")))
    train_part, test_part = (([row["text"] for row in rows], [row[label] for row in rows]) for rows in parts)
    return train_part, test_part
