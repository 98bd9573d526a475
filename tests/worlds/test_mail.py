"""Mail: readable, balanced, honest about its label, and neither trivial nor hopeless."""

import re

import pytest

from finetunelab.worlds.mail import CUES, GENERATORS, cues

MAIL = GENERATORS[0]


@pytest.fixture(scope="module")
def rows():
    return MAIL.rows(1500)


@pytest.fixture(scope="module")
def held_out():
    return MAIL.rows(500, "test")


def accuracy(train, test):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = LogisticRegression(C=10, solver="liblinear").fit(vectors.fit_transform([r["text"] for r in train]), [r["spam"] for r in train])
    return model.score(vectors.transform([r["text"] for r in test]), [r["spam"] for r in test])


def test_columns_and_layout(rows):
    for row in rows[:300]:
        assert set(row) == set(MAIL.columns) and row["spam"] in (0, 1)
        first, blank, greeting, body, *bye = row["text"].split("\n")
        assert first == f"Subject: {row['subject']}" and blank == "" and greeting and body and 1 <= len(bye) <= 3


def test_text_is_clean(rows):
    for row in rows:
        text = row["text"]
        assert text.isascii() and not re.search(r"[{}\[\]|]", text) and len(text) < 900
        assert "  " not in text and not re.search(r"\ba [aeio]\w+", text), text
        assert all(link.endswith(".example") for link in re.findall(r"www\.[\w.-]*\w", text)), text


def test_distinct_and_deterministic(rows):
    assert len({row["text"] for row in rows}) >= 0.98 * len(rows)
    assert MAIL.rows(20) == rows[:20] and MAIL.rows(20, data_seed=1) != rows[:20]


def test_label_is_balanced_and_its_share_is_a_knob(rows):
    assert 0.45 < sum(row["spam"] for row in rows) / len(rows) < 0.55
    assert 0.05 < sum(row["spam"] for row in MAIL.rows(400, spam_share=0.1)) / 400 < 0.16
    assert {row["spam"] for row in MAIL.rows(30, spam_share=1.0)} == {1}


def test_topic_fixes_the_label(rows):
    kinds: dict[str, set[int]] = {}
    for row in rows:
        kinds.setdefault(row["topic"], set()).add(row["spam"])
    assert all(len(labels) == 1 for labels in kinds.values()) and len(kinds) == 29


def test_baseline_is_neither_trivial_nor_hopeless(rows, held_out):
    assert 0.92 < accuracy(rows, held_out) < 0.985


def test_label_frames_of_the_test_split_are_never_seen_in_training(rows, held_out):
    # Digits and names vary within one frame, so sentences are compared without them.
    def frames(some):
        sentences = (s for row in some for s in re.split(r"(?<=[.!?]) ", row["text"].split("\n")[3]))
        return {re.sub(r"[A-Z]\w+|\S*\d\S*", "*", s) for s in sentences if len(s.split()) > 8}

    seen, new = frames(rows), frames(held_out)
    assert len(new - seen) / len(new) > 0.9


def test_cues():
    assert cues("WIN a FREE prize! Reply, or your account...") == ["win", "free", "prize", "reply", "account"]
    assert cues("We walked along the river.") == [] and len(set(CUES)) == len(CUES)


def test_honest_mail_shows_cues_too_but_fewer(rows):
    honest, spam = ([bool(cues(row["text"])) for row in rows if row["spam"] == label] for label in (0, 1))
    assert 0.08 < sum(honest) / len(honest) < sum(spam) / len(spam) - 0.2
