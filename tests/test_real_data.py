"""The real corpora: copies are dropped and counted, parts share no text, recipes fit into a row, and an absent folder is one line."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from finetunelab import real_data
from finetunelab.errors import UserError
from finetunelab.models import load_tokenizer


@pytest.fixture(autouse=True)
def nothing_kept():
    """Corpora are kept in memory: forget them, so that each test reads the folder that it names."""
    for kept in (real_data.spam, real_data.recipes):
        kept.cache_clear()
    yield
    for kept in (real_data.spam, real_data.recipes):
        kept.cache_clear()


@pytest.fixture
def made(tmp_path, monkeypatch) -> Path:
    """A folder with a corpus of messages, a third of them copies, and recipes."""
    spam = [f"Win prize {i} now" for i in range(20)]
    honest = [f"See you at {i}" for i in range(40)]
    copies = ["WIN prize 3, now!!", "Win prize 3 now", "see you   at 4"]
    write(tmp_path / "sms_spam" / "train.parquet", sms=spam + honest + copies, label=[1] * 20 + [0] * 40 + [1, 1, 0])
    title = ["Green Curry", "green  curry", "Noodles"]
    steps = [["Fry the paste.", "Add  milk."], ["Copied."], ["Boil."]]
    for cuisine in ("thai", "french"):
        names = title if cuisine == "thai" else ["Noodles", "Omelet", "Crêpes"]
        write(tmp_path / "recipes" / f"{cuisine}.parquet", title=names, ingredients=[["1 egg"]] * 3, directions=steps)
    monkeypatch.setenv("FINETUNELAB_DATA", str(tmp_path))
    return tmp_path


def write(path: Path, **columns) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(pa.table(columns), path)


def test_copies_are_dropped_and_counted(made):
    corpus = real_data.spam("sms_spam")
    assert (corpus.rows, corpus.exact, corpus.near, len(corpus.texts)) == (63, 1, 2, 60)
    assert corpus.texts[3] == "Win prize 3 now" and corpus.labels.count(1) == 20 and corpus.balanced == 40


def test_texts_without_words_are_copies_of_themselves_only():
    assert real_data.normalized("Hi,  YOU 2!") == "hi you 2" == real_data.normalized("hi you 2")
    assert real_data.normalized(" :-) ") == ":-)" != real_data.normalized(":-(")


def test_parts_are_half_spam_from_their_first_texts_on_and_share_none(made):
    parts = real_data.parts("sms_spam", (20, 10), seed=1)
    assert [len(texts) for texts, _ in parts] == [20, 10] and not set(parts[0][0]) & set(parts[1][0])
    known = dict(zip(*(lambda c: (c.texts, c.labels))(real_data.spam("sms_spam")), strict=True))
    for texts, labels in parts:
        assert [known[text] for text in texts] == labels and sum(labels[:4]) == 2 and sum(labels) * 2 == len(labels)
    assert parts == real_data.parts("sms_spam", (20, 10), seed=1) != real_data.parts("sms_spam", (20, 10), seed=2)


@pytest.mark.parametrize(("sizes", "words"), [
    ((3,), "half spam"), ((0,), "half spam"), ((30, 12), "42 texts were asked for and sms_spam has 40"),
])
def test_parts_that_cannot_be_had_are_refused(made, sizes, words):
    with pytest.raises(UserError, match=words):
        real_data.parts("sms_spam", sizes, 0)


def test_recipes_of_one_title_or_both_cuisines_are_kept_once(made):
    assert real_data.recipes("thai") == ("Green Curry\n1 egg\nFry the paste.\nAdd milk.", "Noodles\n1 egg\nBoil.")
    assert [text.split("\n")[0] for text in real_data.recipes("french")] == ["Omelet", "Crêpes"]


def test_a_long_text_is_cut_at_a_word_and_a_short_one_is_not():
    tokenizer = load_tokenizer("nano-small")
    text = "Fry the paste in oil until it smells good, then add the coconut milk and simmer for twenty minutes."
    cut = real_data.cut(text, tokenizer, 12)
    assert text.startswith(cut + " ") and 6 < len(tokenizer(cut)["input_ids"]) <= 12
    assert real_data.cut(text, tokenizer, 200) == text


def test_an_absent_corpus_is_one_line_with_the_mend(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNELAB_DATA", str(tmp_path))
    monkeypatch.setenv("FINETUNELAB_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match="there is no .*sms_spam; set FINETUNELAB_DATA to the folder that holds sms_spam"):
        real_data.spam("sms_spam")
    with pytest.raises(UserError, match="set FINETUNELAB_WEIGHTS to the folder that holds stories260K"):
        real_data.weights("stories260K")
    with pytest.raises(UserError, match="did you mean sms_spam"):
        real_data.spam("sms_spamm")
    with pytest.raises(UserError, match="choose one of french, thai"):
        real_data.recipes("greek")


@pytest.mark.real
def test_the_real_corpora_hold_these_copies(real_folder):
    found = {name: real_data.spam(name) for name in real_data.SPAM}
    assert {name: (corpus.rows, corpus.exact, corpus.near) for name, corpus in found.items()} == {
        "enron_spam": (8_000, 0, 23), "youtube_spam": (1_138, 103, 24), "sms_spam": (5_574, 403, 40),
    }
    assert (len(real_data.recipes("thai")), len(real_data.recipes("french"))) == (452, 1_910)
