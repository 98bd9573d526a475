"""Graded responses: the oracle agrees with the construction, cannot be gamed cheaply, and does not pay for length."""

from collections import Counter
from statistics import correlation

import pytest

from finetunelab.worlds.grammar import load_grammar
from finetunelab.worlds.responses import GENERATORS, STAGES, TOPICS, Grades, grade, lexicons, reward, topic_of

WORLD, PAIRS = GENERATORS
SOUP = "How do I make a good soup?"
GOOD = "Of course, I am happy to help. First, chop the onions small. Then, stir the pot for a while. I hope this helps."


def given(r):
    return Grades(r["relevance"], r["coherence"], r["appropriateness"])


@pytest.fixture(scope="module")
def rows():
    return WORLD.rows(2000)


def test_oracle_agrees_with_the_construction(rows):
    for name in Grades._fields:
        agreed = sum(getattr(grade(r, r["response"]), name) == r[name] for r in rows) / len(rows)
        assert agreed >= 0.95, name
    assert sum(grade(r["prompt"], r["response"]) == grade(r, r["response"]) for r in rows) == len(rows)


def test_grades_and_length_are_independent(rows):
    for name in Grades._fields:
        assert set(Counter(r[name] for r in rows)) == {0.0, 0.5, 1.0}
        assert min(Counter(r[name] for r in rows).values()) > 0.28 * len(rows)
        assert abs(correlation([r["length"] for r in rows], [r[name] for r in rows])) < 0.13
        for other in set(Grades._fields) - {name}:
            assert abs(correlation([r[other] for r in rows], [r[name] for r in rows])) < 0.1
    assert all(8 <= r["length"] <= 40 for r in rows)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, (1, 1, 1)),
        (GOOD.replace("First", "Finally"), (1, 0.5, 1)),
        (GOOD[:-1] + " and the", (1, 0.5, 1)),
        (GOOD + " Do not chop the onions small.", (1, 0.5, 1)),
        (GOOD + " Chop the onions small.", (1, 0.5, 1)),
        (GOOD + " Now go away, you fool.", (1, 1, 0)),
        (GOOD.replace("Of course, I am happy to help. ", "").replace("I hope this helps.", "That is about it."), (1, 1, 0.5)),
        (GOOD.replace("stir the pot", "ride your bike"), (0.5, 1, 1)),
        ("Chess is a game of war. Move a pawn first. I hope this helps.", (0, 1, 1)),
        ("", (0, 0, 0.5)),
    ],
)
def test_each_rule(text, expected):
    assert grade(SOUP, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "soup soup soup soup soup soup soup soup.",
        "Thank you please thanks gladly please thank you all the best.",
        "soup pot onion broth spoon carrots bowl salt simmer stir thanks please.",
        "Stir the soup. Stir the soup. Stir the soup. Stir the soup. Thank you. Thank you. Thank you.",
        "the of soup and to pot the stir onion a broth in please.",
        "I hope you enjoy the soup.",
    ],
)
def test_cheap_tricks_do_not_pay(text):
    assert reward(grade(SOUP, text)) <= reward(grade(SOUP, GOOD)) - 0.2


def test_word_lists_tell_the_subjects_apart():
    grammar = load_grammar("responses")
    for topic in TOPICS:
        assert all(topic_of(prompt) == topic for prompt in grammar.frames(f"{topic}_ask"))
        for stage in STAGES:
            for frame in grammar.frames(f"{topic}_{stage}"):
                words = set("".join(c if c.isalpha() else " " for c in frame.lower()).split())
                assert [t for t in TOPICS if lexicons()[t] & words] == [topic], frame
    with pytest.raises(ValueError, match="no known subject"):
        grade("Who won the race?", GOOD)


def test_reward():
    assert reward(Grades(1, 1, 1)) == pytest.approx(1) and reward(Grades(0, 0, 0)) == 0
    assert reward(Grades(1, 0, 0)) > reward(Grades(0, 1, 0)) > reward(Grades(0, 0, 1))


def test_comparisons():
    pairs = PAIRS.rows(400)
    for r in pairs:
        a, b = (reward(grade(r, r[f"response_{side}"])) for side in "ab")
        assert r["better"] == ("a" if a > b else "b") and a != b and (a, b) == (r["reward_a"], r["reward_b"])
        assert set(r) == set(PAIRS.columns)
    assert 0.4 < sum(r["better"] == "a" for r in pairs) / len(pairs) < 0.6
    longer = [(len(r["response_a"]) > len(r["response_b"])) == (r["better"] == "a") for r in pairs]
    assert 0.4 < sum(longer) / len(longer) < 0.6


def test_shape_and_knobs(rows):
    assert len({r["text"] for r in rows}) > 0.98 * len(rows)
    assert all(set(r) == set(WORLD.columns) and not set("{}[]") & set(r["text"]) for r in rows)
    assert WORLD.rows(20, "test", 5) == WORLD.rows(20, "test", 5)
    assert all(min(given(r)) >= 0.5 for r in WORLD.rows(200, quality="good"))
    with pytest.raises(ValueError, match="unknown quality"):
        WORLD.rows(1, quality="best")


def test_baseline_is_neither_trivial_nor_hopeless():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    train, test = WORLD.rows(1500), WORLD.rows(500, "test")
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    x, z = (f([r["text"] for r in rs]) for f, rs in ((vectorizer.fit_transform, train), (vectorizer.transform, test)))
    y, truth = ([str(r["appropriateness"]) for r in rs] for rs in (train, test))
    assert 0.65 < LogisticRegression(C=10, max_iter=500).fit(x, y).score(z, truth) < 0.99
