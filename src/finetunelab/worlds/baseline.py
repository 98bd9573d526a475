"""The honest novice: TF-IDF and logistic regression on a labelled world."""

from __future__ import annotations

from . import generator


def tfidf_accuracy(name: str, label: str, train: int = 2_000, test: int = 1_000, data_seed: int = 0, **knobs) -> tuple[float, float]:
    """Return the test accuracies of the majority class and of TF-IDF (words and pairs) with logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    source = generator(name)
    train_rows, test_rows = source.rows(train, "train", data_seed, **knobs), source.rows(test, "test", data_seed, **knobs)
    labels, truth = [row[label] for row in train_rows], [row[label] for row in test_rows]
    majority = max(set(labels), key=labels.count)
    pipeline = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000))
    pipeline.fit([row["text"] for row in train_rows], labels)
    accuracy = pipeline.score([row["text"] for row in test_rows], truth)
    return sum(value == majority for value in truth) / len(truth), float(accuracy)
