"""Labels changed at random are suspected and named; labels of clean data are not, be the task easy, hard, or lopsided."""

import random

import numpy as np
import pytest

from finetunelab.comparison import label_noise
from finetunelab.comparison.data_warnings import warnings_of
from finetunelab.comparison.label_noise import judge_labels, suspects_among
from finetunelab.comparison.task import Part, Task
from finetunelab.repurposing import mislabel
from finetunelab.worlds import generator


def world(name, label, n, split="train", **knobs):
    rows = generator(name).rows(n, split, 0, **knobs)
    return Part(tuple(row["text"] for row in rows), tuple(row[label] for row in rows))


@pytest.fixture(scope="module")
def topics():
    return world("reviews", "topic", 300)


def noisy(part, share, seed, classes=6):
    changed = Part(part.texts, tuple(mislabel(part.labels, share, classes, seed)))
    return changed, {i for i, (old, new) in enumerate(zip(part.labels, changed.labels, strict=True)) if old != new}


@pytest.mark.parametrize("seed", range(2))
def test_changed_labels_are_suspected_and_what_they_were_is_told(topics, seed):
    part, wrong = noisy(topics, 0.1, seed)
    found = suspects_among(part)
    hits = [(place, taken) for place, taken in zip(found.places, found.taken_for, strict=True) if place in wrong]
    # By chance one suspect in ten would be wrong, and a tenth of the wrong labels among as many suspects as there are wrong ones.
    assert len(hits) >= 0.5 * len(wrong) and len(hits) >= 0.7 * len(found.places)
    assert sum(topics.labels[place] == taken for place, taken in hits) >= 0.9 * len(hits)
    assert set(found.places[:5]) <= wrong and found.share.low <= 0.1 <= found.share.high
    assert all(part.labels[place] != taken for place, taken in zip(found.places, found.taken_for, strict=True))


def test_clean_labels_are_not_suspected_whatever_the_task(topics):
    hard = world("reviews", "sentiment", 300, task="hard")
    rare = [i for i, label in enumerate(hard.labels) if label][:25]
    for part in (
        topics, world("posts", "spam", 300), world("reviews", "sentiment", 300, task="easy"), hard, world("reviews", "joint", 300, task="easy"),
        # Hardly anything is of the second class, and no words tell which: a model is surest of the first where it errs as often as anywhere.
        hard.at([*(i for i, label in enumerate(hard.labels) if not label), *rare]),
        # Labels that have nothing to do with the texts.
        Part(topics.texts, tuple(random.Random(0).choices(range(2), k=len(topics)))),
    ):
        assert suspects_among(part) is None


def test_changed_labels_of_the_test_file_are_found_with_what_was_learned_from_the_other(topics):
    test = world("reviews", "topic", 200, "test")
    assert suspects_among(test, learned_from=topics) is None
    part, wrong = noisy(test, 0.1, 0)
    found = suspects_among(part, learned_from=topics)
    assert len(wrong & set(found.places)) >= 0.5 * len(wrong) and set(found.places[:3]) <= wrong


def test_copies_do_not_vouch_for_each_other():
    """Texts without a common word: whoever has seen the copy knows the label, whoever has not can only guess."""
    part = Part(tuple(f"word{i // 2}" for i in range(120)), tuple(i // 2 % 2 for i in range(120)))
    assert (label_noise._crossed(part, 2, 0).argmax(1) == part.labels).mean() < 0.7


def test_places_are_those_of_the_whole_part_where_only_some_texts_are_looked_at(topics, monkeypatch):
    part, wrong = noisy(topics, 0.15, 0)
    truth = dict(zip(topics.texts, topics.labels, strict=True))

    def knows(some, classes, seed):
        assert len(some) == 240
        return np.array([[0.9 if label == truth[text] else 0.02 for label in range(classes)] for text in some.texts])

    monkeypatch.setattr(label_noise, "MOST", 240)
    monkeypatch.setattr(label_noise, "_crossed", knows)
    found = suspects_among(part)
    assert 20 < len(found.places) < len(wrong) and set(found.places) < wrong and max(found.places) > 240


def test_the_surest_third_is_what_counts():
    """Two models err on a tenth of the texts: one everywhere, and one only where it is unsure."""
    rng = np.random.default_rng(0)
    truth, sure = np.arange(600) % 2, rng.uniform(0.55, 0.99, 600)
    probabilities = np.where(np.arange(2) == truth[:, None], sure[:, None], 1 - sure[:, None])
    anywhere, unsure = truth.copy(), truth.copy()
    places = rng.choice(600, 60, replace=False)
    anywhere[places] = 1 - anywhere[places]
    unsure[np.argsort(sure)[:60]] = 1 - unsure[np.argsort(sure)[:60]]
    assert set(judge_labels(probabilities, anywhere).places[:20]) <= set(places.tolist())
    assert judge_labels(probabilities, unsure) is None
    few = truth.copy()
    few[np.argsort(-sure)[:2]] = 1 - few[np.argsort(-sure)[:2]]  # two slips are no pattern
    assert judge_labels(probabilities, few) is None


def test_the_warning_names_rows_as_the_file_has_them(topics):
    part, wrong = noisy(topics, 0.1, 0)
    classes = tuple("food lodging repair transport clothing books".split())
    (warning,) = [line for line in warnings_of(Task(classes, part, part, part, world("reviews", "topic", 100, "test"))) if "may be wrong" in line]
    rows = [int(line.split()[1]) - 1 for line in warning.split("\n")[1:]]
    assert len(rows) == 5 and set(rows) <= wrong and "in the training file" in warning
    first = rows[0]
    assert f"labeled “{classes[part.labels[first]]}” and reads like “{classes[topics.labels[first]]}”: “{part.texts[first][:20]}" in warning
