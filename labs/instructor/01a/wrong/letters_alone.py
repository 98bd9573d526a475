"""Learns from letters alone: the detector of the lab before it was adapted."""

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression


def detect_spam(letters, letter_labels, posts, post_labels, unlabeled):
    words = TfidfVectorizer()
    classifier = LogisticRegression(C=10, max_iter=500).fit(words.fit_transform(letters), letter_labels)
    return [int(label) for label in classifier.predict(words.transform(unlabeled))]
