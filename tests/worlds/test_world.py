"""What holds of all worlds together: distinct documents, a rich vocabulary, splits and held-out texts that do not leak."""

from __future__ import annotations

import re
from functools import lru_cache

import pytest

from finetunelab import worlds
from finetunelab.worlds.core import SPLITS

NAMES = sorted(worlds.generators())
LABELLED = [(name, worlds.generator(name).label, {}) for name in NAMES if worlds.generator(name).label]
LABELLED += [("reviews", "topic", {}), ("reviews", "joint", {}), ("reviews", "sentiment", {"task": "hard"})]


@lru_cache(maxsize=None)
def texts(name: str, n: int, split: str = "train", data_seed: int = 0) -> tuple[str, ...]:
    return tuple(row["text"] for row in worlds.generator(name).rows(n, split, data_seed))


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def grams(text: str, n: int = 8) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + n]) for i in range(len(found) - n + 1)}


@pytest.mark.parametrize("name", NAMES)
def test_ten_thousand_documents_are_distinct(name):
    drawn = texts(name, 10_000)
    assert len(set(drawn)) >= 0.98 * len(drawn)


@pytest.mark.parametrize("name", NAMES)
def test_splits_share_no_document_whatever_the_seed(name):
    seen: dict[str, str] = {}
    for split in SPLITS:
        for seed in (0, 1):
            for text in texts(name, 300, split, seed):
                assert seen.setdefault(text, split) == split


@pytest.mark.parametrize("name", NAMES)
def test_documents_are_finished_text(name):
    for text in texts(name, 300):
        assert not re.search(r"[{}\[\]]|  | ,| \.(?!\w)", text), text
        assert text == text.strip() and text.isascii() and len(text) <= 1500


def test_the_same_seeds_give_the_same_rows_and_others_do_not():
    for name in NAMES:
        generator = worlds.generator(name)
        assert generator.rows(20, "test", 3) == generator.rows(20, "test", 3)
        assert generator.rows(20, "test", 3) != generator.rows(20, "test", 4)


def test_vocabulary_is_rich():
    assert len({word for name in NAMES if name != "language" for text in texts(name, 300) for word in words(text)}) >= 2_000


def test_held_out_documents_are_not_in_pretraining():
    pretrained = [name for name in NAMES if worlds.generator(name).pretrained]
    known = set().union(*(grams(text) for name in pretrained for text in texts(name, 10_000)[:4_000]))  # those that are drawn already
    assert len(known) > 50_000
    for name in NAMES:
        if not worlds.generator(name).pretrained:
            for text in texts(name, 400, "test"):
                found = grams(text)
                assert len(found & known) <= len(found) / 2, (name, text)


@pytest.mark.parametrize("name, label, knobs", LABELLED)
def test_labelled_tasks_are_neither_trivial_nor_hopeless(name, label, knobs):
    from finetunelab.worlds.baseline import tfidf_accuracy, world_task

    majority, accuracy = tfidf_accuracy(*world_task(name, label, **knobs))
    assert majority + 0.05 <= accuracy < 0.99


def test_rows_have_the_documented_columns():
    for name in NAMES:
        generator = worlds.generator(name)
        dataset = generator.load(5)
        assert dataset.column_names == list(generator.columns)
        assert all(generator.columns.values())


def test_frozen_hash_is_the_worlds_own():
    assert worlds.fingerprint(list(worlds.generators().values())) == worlds.frozen_hash()


def test_bad_arguments_name_the_choices():
    with pytest.raises(ValueError, match="mail"):
        worlds.generator("mial")
    with pytest.raises(ValueError, match="train"):
        worlds.load("mail", 1, split="dev")
    with pytest.raises(ValueError, match="no knob 'colour'"):
        worlds.load("mail", 1, colour=1)
