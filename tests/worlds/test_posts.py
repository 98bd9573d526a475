"""Posts: another distribution than mail, of the same task; each knob moves what it names."""

import random
import re
from statistics import median

import pytest

from finetunelab.worlds.mail import GENERATORS as MAILS
from finetunelab.worlds.posts import GENERATORS, cast
from finetunelab.worlds.slang import slangify

POSTS, MAIL = GENERATORS[0], MAILS[0]
MAIL_LIKE = {"slang": 0.0, "length": 0.0, "format": 0.0, "topic": 0.0}


@pytest.fixture(scope="module")
def rows():
    return POSTS.rows(1500)


@pytest.fixture(scope="module")
def detector():
    return fit(MAIL.rows(1200))


def texts(some):
    return [row["text"] for row in some]


def fit(train):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, solver="liblinear"))
    return model.fit(texts(train), [row["spam"] for row in train])


def error(model, some):
    return 1 - model.score(texts(some), [row["spam"] for row in some])


def test_columns_and_clean_text(rows):
    for row in rows:
        assert set(row) == set(POSTS.columns) and row["spam"] in (0, 1)
        text = row["text"]
        assert text.isascii() and not re.search(r"[{}\[\]|]", text) and len(text) < 900 and "  " not in text
        assert "Subject:" not in text and "\n" not in text


def test_distinct_balanced_deterministic(rows):
    assert len(set(texts(rows))) >= 0.98 * len(rows)
    assert 0.45 < sum(row["spam"] for row in rows) / len(rows) < 0.55
    assert POSTS.rows(20) == rows[:20]


def test_facts_follow_the_data_seed():
    assert cast(0) == cast(0) != cast(1)
    assert not set(cast(0)["handle"]) & set(cast(0)["channel"])


def test_baseline_is_neither_trivial_nor_hopeless(rows):
    assert 0.02 < error(fit(rows), POSTS.rows(500, "test")) < 0.16


def test_at_the_mail_end_of_the_knobs_posts_are_mail(detector):
    # How far a detector falls at the other end is claim A1, which its experiment decides, not a test of the world.
    home = error(detector, MAIL.rows(500, "test"))
    assert abs(error(detector, POSTS.rows(500, "test", **MAIL_LIKE)) - home) < 0.03


def test_harmless_shift_is_visible_but_harmless(detector):
    plain, shifted = (POSTS.rows(500, "test", harmless=h, **MAIL_LIKE) for h in (0.0, 1.0))
    assert abs(error(detector, plain) - error(detector, shifted)) < 0.03
    told_apart = fit([row | {"spam": label} for label, some in enumerate((plain[:300], shifted[:300])) for row in some])
    assert error(told_apart, [row | {"spam": label} for label, some in enumerate((plain[300:], shifted[300:])) for row in some]) < 0.1


def test_each_severity_moves_what_it_names():
    def share(pattern, **knobs):
        return sum(bool(re.search(pattern, t)) for t in texts(POSTS.rows(150, **(MAIL_LIKE | knobs)))) / 150

    assert share(r"^Subject: ") == 1 and share(r"^Subject: ", format=1.0) == 0 and 0.3 < share(r"^Subject: ", format=0.5) < 0.7
    slang = r"\b(u|ur|pls|plz|thx|ty|gonna|cuz|ppl|dont|im|rly|n|r|4|2|lol|omg|ngl)\b"
    assert share(slang) < 0.02 and share(slang, slang=1.0) > 0.4
    long, short = (median(len(text.split()) for text in texts(POSTS.rows(150, **(MAIL_LIKE | {"length": v})))) for v in (0.0, 1.0))
    assert short < long - 12
    topics = {row["topic"] for row in POSTS.rows(150, **MAIL_LIKE)}
    assert topics <= {row["topic"] for row in MAIL.rows(600)}
    assert not topics & {row["topic"] for row in POSTS.rows(150, **(MAIL_LIKE | {"topic": 1.0}))}


def test_label_shift_knob():
    assert 0.05 < sum(row["spam"] for row in POSTS.rows(400, spam_share=0.1)) / 400 < 0.16


def test_slang_keeps_links_handles_and_tags():
    text = "You are great, please look at www.you-are.example with @the_you. Thanks! #you"
    for seed in range(50):
        changed = slangify(text, random.Random(seed), 1.0)
        assert "www.you-are.example" in changed and "@the_you" in changed and changed.endswith("#you")
    assert any(slangify(text, random.Random(seed), 1.0).count("You are") == 0 for seed in range(9))
    assert slangify(text, random.Random(0), 0.0) == text
