"""Reviews: columns, balance, minimal pairs of the hard task, and how far bags of words get."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from finetunelab.worlds import reviews
from finetunelab.worlds.grammar import load_grammar

REVIEWS = reviews.GENERATORS[0]


@pytest.fixture(scope="module")
def drawn():
    return {task: (REVIEWS.rows(1200, task=task), REVIEWS.rows(400, "test", task=task)) for task in reviews.TASKS}


def baseline(train, test, label: str) -> float:
    """Accuracy of TF-IDF and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    features = vectorizer.fit_transform([row["text"] for row in train])
    model = LogisticRegression(C=10, max_iter=1000).fit(features, [row[label] for row in train])
    return model.score(vectorizer.transform([row["text"] for row in test]), [row[label] for row in test])


@pytest.mark.parametrize("task", reviews.TASKS)
def test_rows_are_well_formed(drawn, task):
    for row in drawn[task][0]:
        assert set(row) == set(REVIEWS.columns)
        assert not re.search(r"[{}\[\]|]", row["text"]) and len(row["text"]) <= 900
        assert row["topic_name"] == reviews.TOPICS[row["topic"]] and row["joint"] == 2 * row["topic"] + row["sentiment"]
        assert not re.search(r"\ba [aeio]|\bwe (am|was)\b|\bI (are|were)\b|[.!?] [a-z]", row["text"]), row["text"]


@pytest.mark.parametrize("task", reviews.TASKS)
def test_distinct_balanced_and_reproducible(drawn, task):
    train, test = drawn[task]
    texts = {row["text"] for row in train}
    assert len(texts) >= 0.98 * len(train)
    assert not texts & {row["text"] for row in test}
    assert 0.45 <= sum(row["sentiment"] for row in train) / len(train) <= 0.55
    assert min(Counter(row["joint"] for row in train).values()) >= len(train) / 12 / 2
    assert REVIEWS.rows(20, task=task) == train[:20]
    assert REVIEWS.rows(20, data_seed=1, task=task) != train[:20]


def test_unknown_task_is_refused_in_one_line():
    with pytest.raises(ValueError, match="unknown task 'tricky' of reviews: choose one of easy, hard"):
        REVIEWS.rows(1, task="tricky")


def test_hard_frames_are_minimal_pairs():
    grammar = load_grammar("reviews")
    both = grammar.sections["hard_both"] + grammar.sections["hard_both_thing"]
    assert len(both) >= 40 and all("{t}" in frame and "{f}" in frame for frame in both)
    negated, plain = grammar.sections["hard_not"], grammar.sections["hard_so"]
    assert len(negated) == len(plain)
    assert all("{f}" in frame and "{t}" not in frame for frame in negated)
    assert all("{t}" in frame and "{f}" not in frame for frame in plain)


def test_flipping_the_verdict_of_a_hard_frame_keeps_its_words():
    grammar = load_grammar("reviews")
    fixed = reviews.PRONOUNS["it"] | reviews.WRITERS[0] | {"x": "soup", "owner": "Ada", "she": "she", "somebody": "a friend", "kind": "inn"}
    for frame in grammar.sections["hard_both"]:
        if frame.count("{t}") == frame.count("{f}"):
            praise = grammar.fill(frame, random.Random(0), fixed | {"t": "hot", "f": "cold"})
            blame = grammar.fill(frame, random.Random(0), fixed | {"t": "cold", "f": "hot"})
            assert praise != blame and Counter(re.findall(r"\w+", praise)) == Counter(re.findall(r"\w+", blame))


def test_label_carrying_frames_are_divided_among_the_splits():
    grammar = load_grammar("reviews")
    carrying = {f"{tone}_{topic}" for tone in ("good", "bad") for topic in reviews.TOPICS}
    carrying |= {"aspect_one", "aspect_two", "mixed", "denial", "verdict", "closing_good", "closing_bad"}
    assert carrying | {"hard_both", "hard_both_thing", "hard_not", "hard_so"} <= grammar.divided


def test_praise_and_blame_are_never_the_same_word():
    for topic in reviews.TOPICS:
        for aspect in reviews.aspects(topic):
            assert len(aspect.words[0]) >= 3 and len(aspect.words[1]) >= 3 and not set(aspect.words[0]) & set(aspect.words[1])


def test_bags_of_words_do_well_on_easy_and_badly_on_hard(drawn):
    assert 0.84 <= baseline(*drawn["easy"], "sentiment") < 0.98
    assert 0.90 <= baseline(*drawn["easy"], "topic") < 0.99
    assert 0.55 <= baseline(*drawn["hard"], "sentiment") <= 0.80
