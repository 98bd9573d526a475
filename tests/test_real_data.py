"""The real corpora: copies are dropped and counted, parts share no text, recipes fit into a row, and an absent folder is one line."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from finetunelab import real_data
from finetunelab.errors import UserError
from finetunelab.models import load_tokenizer

PARTS_OF_SEED_1 = [
    (["See you at 26", "Win prize 5 now", "See you at 38", "Win prize 17 now"], [0, 1, 0, 1]), (["See you at 1", "Win prize 6 now"], [0, 1]),
]


@pytest.fixture(autouse=True)
def nothing_kept():
    """Corpora are kept in memory: forget them, so that each test reads the folder that it names."""
    for kept in (real_data.corpus, real_data.recipes, real_data.abstracts):
        kept.cache_clear()
    yield
    for kept in (real_data.corpus, real_data.recipes, real_data.abstracts):
        kept.cache_clear()


@pytest.fixture
def made(tmp_path, monkeypatch) -> Path:
    """A folder with a corpus of messages, a few of them copies, news of four classes, and recipes."""
    spam = [f"Win prize {i} now" for i in range(20)]
    honest = [f"See you at {i}" for i in range(40)]
    copies = ["WIN prize 3, now!!", "Win prize 3 now", "see you   at 4"]
    write(tmp_path / "sms_spam" / "train.parquet", sms=spam + honest + copies, label=[1] * 20 + [0] * 40 + [1, 1, 0])
    write(tmp_path / "ag_news" / "test.parquet", text=[f"News {i}" for i in range(80)], label=[0, 1, 2, 3] * 20)
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
    corpus = real_data.corpus("sms_spam")
    assert (corpus.rows, corpus.exact, corpus.near, len(corpus.texts)) == (63, 1, 2, 60)
    assert corpus.texts[3] == "Win prize 3 now" and corpus.labels.count(1) == 20 and corpus.balanced == 40


def test_abstracts_are_sections_a_line_and_copies_are_dropped(made):
    contexts = [[f"Paper {i}  begins.", "It\ngoes on."] for i in range(40)] + [["PAPER 3 begins", "it goes on"]]
    write(made / "pubmed_qa" / "train.parquet", context=[{"contexts": sections} for sections in contexts])
    sweep, report = (real_data.abstracts(side) for side in (real_data.SWEEP, real_data.REPORT))
    assert sorted(sweep + report) == sorted(f"Paper {i} begins.\nIt goes on." for i in range(40))
    assert sweep and all(real_data.side_of(text) == real_data.SWEEP for text in sweep) and len(sweep) < len(report)
    with pytest.raises(UserError, match="side"):
        real_data.abstracts("all")


def test_texts_without_words_are_copies_of_themselves_only():
    assert real_data.normalized("Hi,  YOU 2!") == "hi you 2" == real_data.normalized("hi you 2")
    assert real_data.normalized(" :-) ") == ":-)" != real_data.normalized(":-(")


def test_parts_are_half_spam_from_their_first_texts_on_and_share_none(made):
    parts = real_data.parts("sms_spam", (20, 10), seed=1)
    assert [len(texts) for texts, _ in parts] == [20, 10] and not set(parts[0][0]) & set(parts[1][0])
    known = dict(zip(*(lambda c: (c.texts, c.labels))(real_data.corpus("sms_spam")), strict=True))
    for texts, labels in parts:
        assert [known[text] for text in texts] == labels and sum(labels[:4]) == 2 and sum(labels) * 2 == len(labels)
    assert parts == real_data.parts("sms_spam", (20, 10), seed=1) != real_data.parts("sms_spam", (20, 10), seed=2)


@pytest.mark.parametrize(("sizes", "words"), [
    ((3,), "2 classes of sms_spam equally often; ask for multiples of 2"), ((0,), "equally often"),
    ((30, 12), "42 texts were asked for and sms_spam has 40"),
])
def test_parts_that_cannot_be_had_are_refused(made, sizes, words):
    with pytest.raises(UserError, match=words):
        real_data.parts("sms_spam", sizes, 0)


def test_parts_of_a_seed_stay_what_they_were(made):
    # Recorded results name their texts by the seed alone.
    assert real_data.parts("sms_spam", (4, 2), seed=1) == PARTS_OF_SEED_1


def test_parts_of_four_classes_hold_each_equally_often(made):
    train, test = real_data.parts("ag_news", (12, 8), seed=0)
    assert train[1] == [0, 1, 2, 3] * 3 and test[1] == [0, 1, 2, 3] * 2 and not set(train[0]) & set(test[0])
    assert all(int(text.split()[1]) % 4 == label for text, label in zip(*train, strict=True))
    with pytest.raises(UserError, match="the 4 classes of ag_news equally often; ask for multiples of 4"):
        real_data.parts("ag_news", (6,), 0)


def test_sweeps_and_reports_draw_from_two_sides_that_share_no_text(made):
    whole, sweep, report = (real_data.corpus("sms_spam", side) for side in (None, "sweep", "report"))
    assert sorted(sweep.texts + report.texts) == sorted(whole.texts) and 0 < len(sweep.texts) < len(report.texts)
    assert (sweep.rows, sweep.exact, sweep.near) == (63, 1, 2)
    for side, found in (("sweep", sweep), ("report", report)):
        for seed in range(5):
            ((texts, _),) = real_data.parts("sms_spam", (4,), seed, side)
            assert set(texts) <= set(found.texts)
    assert real_data.side_of("WIN prize 3, now!!") == real_data.side_of("Win prize 3 now")
    assert 150 < sum(real_data.side_of(f"text {i}") == "sweep" for i in range(1_000)) < 250
    with pytest.raises(UserError, match="did you mean sweep"):
        real_data.corpus("sms_spam", "sweeps")


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
        real_data.corpus("sms_spam")
    with pytest.raises(UserError, match="set FINETUNELAB_WEIGHTS to the folder that holds stories260K"):
        real_data.weights("stories260K")
    with pytest.raises(UserError, match="did you mean sms_spam"):
        real_data.corpus("sms_spamm")
    with pytest.raises(UserError, match="choose one of french, thai"):
        real_data.recipes("greek")


@pytest.mark.real
def test_the_real_corpora_hold_these_copies(real_folder):
    found = {name: real_data.corpus(name) for name in real_data.CORPORA}
    assert {name: (corpus.rows, corpus.exact, corpus.near) for name, corpus in found.items()} == {
        "enron_spam": (8_000, 0, 23), "youtube_spam": (1_138, 103, 24), "sms_spam": (5_574, 403, 40),
        "sst2": (9_613, 11, 1), "ag_news": (7_600, 0, 1),
    }
    # Every class that the table names is there, and no other.
    assert all(set(corpus.labels) == set(range(len(real_data.CORPORA[name].classes))) for name, corpus in found.items())
    assert (len(real_data.recipes("thai")), len(real_data.recipes("french"))) == (452, 1_910)
