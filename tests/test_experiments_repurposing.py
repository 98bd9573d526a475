"""The experiments of chapter 2, at a scale that takes seconds: what they compare, and that it is what they say."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from finetunelab.adaptation import features, features_of_layers
from finetunelab.evidence.store import load_rows
from finetunelab.experiments import Measurement, find, seed_of_data
from finetunelab.experiments import repurposing as chapter
from finetunelab.experiments import repurposing_unfreezing as unfreezing
from finetunelab.heads import Classifier
from finetunelab.models import count_parameters, load_model, load_tokenizer
from finetunelab.repurposing import HeadConfig, calibration_error, fit_head
from finetunelab.worlds.baseline import tfidf

SMALL = "nano-small"
EVIDENCE = Path(__file__).resolve().parents[1] / "book" / "evidence"
HEAD = {"head.weight", "head.bias"}


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """What is drawn while a test runs: (label, n, split, data seed, task)."""
    seen, draw = [], chapter.draw

    def look(label, n, split, data_seed, task="easy"):
        seen.append((label, n, split, data_seed, task))
        return draw(label, n, split, data_seed, task)

    for module in (chapter, unfreezing):
        monkeypatch.setattr(module, "draw", look)
    chapter.embedded.cache_clear()
    unfreezing.hard_score.cache_clear()
    return seen


@pytest.fixture
def heads(monkeypatch):
    """The heads that were trained while a test runs, in 60 steps each: (vectors, labels, classes, config)."""
    seen = []

    def look(vectors, labels, classes, config):
        seen.append((vectors, list(labels), classes, config))
        return fit_head(vectors, labels, classes, replace(config, steps=60))

    for module in (chapter, unfreezing):
        monkeypatch.setattr(module, "fit_head", look)
    return seen


@pytest.fixture
def fitted(monkeypatch):
    """The models that were trained while a test runs, for two steps each: (names of what is trained, texts, labels, config)."""
    seen, fit = [], chapter.fit

    def look(classifier, tokenizer, texts, labels, config):
        names = {name for name, parameter in classifier.named_parameters() if parameter.requires_grad}
        seen.append((names, list(texts), list(labels), config))
        return fit(classifier, tokenizer, texts, labels, replace(config, steps=2))

    for module in (chapter, unfreezing):
        monkeypatch.setattr(module, "fit", look)
    return seen


def rates(experiment: str) -> list[dict]:
    return load_rows(EVIDENCE / f"{experiment}-rates.csv")


def vectors(n: int, split: str, data_seed: int, layer: int, base: str = "nano", task: str = "easy") -> np.ndarray:
    texts, _ = chapter.draw("topic", n, split, data_seed, task)
    return features_of_layers(load_model(base), load_tokenizer(base), texts, [layer])[0]


def arms_of(experiment: str, found: Measurement) -> bool:
    """Tell whether every arm that a claim sets beside another was measured."""
    claims = [claim for claim in find([experiment])[0].claims if claim.id in found.arms]
    assert {claim.id for claim in claims} == set(found.arms)
    return all({claim.treatment, claim.control or claim.treatment} <= set(found.arms[claim.id]) for claim in claims)


def names_of(classifier: Classifier) -> set[str]:
    return {name for name, parameter in classifier.named_parameters() if parameter.requires_grad}


# Frozen models -------------------------------------------------------------------------------------------------------------------


def test_topic_and_sentiment_of_the_same_reviews_are_one_joint_label():
    (texts, topics), (same, moods), (again, joint) = (chapter.draw(label, 200, "train", 1000) for label in ("topic", "sentiment", "joint"))
    assert texts == same == again
    assert len({*zip(topics, moods, joint, strict=True)}) == len(set(joint)) == 12
    assert [len(set(labels)) for labels in (topics, moods, joint)] == [chapter.CLASSES[label] for label in ("topic", "sentiment", "joint")]


def test_a_model_is_trained_for_four_passes_but_at_least_forty_steps():
    long, short = chapter.settings(2_000, 1e-3, 7), chapter.settings(64, 1e-3, 7)
    assert (long.steps, long.warmup, long.batch_size) == (250, 25, 32) and (short.steps, short.warmup) == (40, 4)
    assert long.learning_rate == 1e-3 and long.seed == 7 and long.group_by_length


def test_frozen_and_full_and_embeddings_classify_the_same_test_reviews(drawn, heads, fitted):
    found = chapter.frozen_or_full(3, 0, labels=24, few=(16,), n_test=30, tasks=("sentiment",))
    assert arms_of("B1", found)
    data_seed = seed_of_data(3, 0)
    assert {(n, split, seed, task) for _, n, split, seed, task in drawn} == {(24, "train", data_seed, "easy"), (30, "test", data_seed, "easy")}
    scores = found.arms["B1.close.sentiment"]
    assert scores == found.arms["B1.attention.sentiment"] and set(found.arms) == {"B1.close.sentiment", "B1.attention.sentiment"}
    assert [row["labels"] for row in found.rows] == 5 * [16] + 5 * [24]
    assert {row["arm"]: row["accuracy"] for row in found.rows[5:]} == scores

    train, test = chapter.draw("sentiment", 24, "train", data_seed), chapter.draw("sentiment", 30, "test", data_seed)
    assert tuple(scores[arm] for arm in ("majority class", "TF-IDF")) == tfidf(train)(test)
    for arm, (layer, width, penalty) in {"frozen": chapter.FROZEN["sentiment"], "embeddings": chapter.EMBEDDINGS["sentiment"]}.items():
        head = fit_head(
            vectors(24, "train", data_seed, layer), train[1], 2, HeadConfig(width=width, penalty=penalty, seed=3, steps=60)
        ).head
        assert scores[arm] == head.accuracy(vectors(30, "test", data_seed, layer), test[1])
    assert len(heads) == 4 and [len(labels) for _, labels, _, _ in heads] == [16, 16, 24, 24]
    everything = set(dict(Classifier(load_model(), 2).named_parameters()))
    assert [(names, texts, labels) for names, texts, labels, _ in fitted] == [(everything, train[0][:n], train[1][:n]) for n in (16, 24)]
    assert {config.learning_rate for *_, config in fitted} == {chapter.FULL_RATES["sentiment"]} and {c.seed for *_, c in fitted} == {3}


def test_what_is_tuned_is_the_best_of_the_recorded_sweeps():
    rows = rates("B1")
    assert {row["seed"] for row in rows} == {str(chapter.SWEEP_SEED)} and chapter.SWEEP_SEED < seed_of_data(0, 0)
    for task in ("topic", "sentiment"):
        full = {float(row["rate"]): float(row["accuracy"]) for row in rows if (row["task"], row["arm"]) == (task, "full")}
        assert tuple(full) == chapter.RATES and max(full, key=full.get) == chapter.FULL_RATES[task]
        grid = {
            (int(row["layer"]), int(row["width"]), float(row["penalty"])): float(row["accuracy"])
            for row in rows if (row["task"], row["arm"]) == (task, "head")
        }
        assert set(grid) == {(layer, width, penalty) for layer in range(7) for width in chapter.WIDTHS for penalty in chapter.PENALTIES}
        embeddings = {place: score for place, score in grid.items() if not place[0]}
        states = {place: score for place, score in grid.items() if place[0]}
        assert max(embeddings, key=embeddings.get) == chapter.EMBEDDINGS[task] and max(states, key=states.get) == chapter.FROZEN[task]
    assert len(rows) == 2 * (7 * 6 + 3)


def test_the_sweep_of_heads_reads_every_layer_and_no_test_review(drawn, heads):
    rows = chapter.sweep_heads(n=30, base=SMALL)
    tried = [(row["task"], row["layer"], row["width"], row["penalty"]) for row in rows]
    assert tried == [
        (task, layer, width, penalty)
        for task in ("topic", "sentiment") for layer in range(4) for width in chapter.WIDTHS for penalty in chapter.PENALTIES
    ]
    assert [(config.width, config.penalty) for *_, config in heads] == [place[2:] for place in tried]
    assert {(split, seed) for _, _, split, seed, _ in drawn} == {("train", 900), ("validation", 900)}
    known = {layer: vectors(30, "train", 900, layer, SMALL) for layer in range(4)}
    assert all(np.array_equal(given[0], known[layer]) for given, (_, layer, _, _) in zip(heads, tried, strict=True))


def test_the_sweep_of_full_fine_tuning_tries_each_rate_and_sees_no_test_review(drawn, fitted):
    rows = chapter.sweep_full(rates=(1e-5, 3e-3), n=32, base=SMALL)
    tried = [(row["task"], row["rate"]) for row in rows]
    assert tried == [(task, rate) for task in ("topic", "sentiment") for rate in (1e-5, 3e-3)]
    assert [config.learning_rate for *_, config in fitted] == [rate for _, rate in tried]
    assert {(split, seed) for _, _, split, seed, _ in drawn} == {("train", 900), ("validation", 900)}


def test_another_base_is_read_at_its_last_layer_and_trained_at_a_usual_rate(monkeypatch, fitted):
    assert chapter.reading("nano", (4, 64, 0.1)) == (4, 64, 0.1)
    assert chapter.reading("some/other", (4, 64, 0.1)) == (-1, 64, 0.1) and chapter.reading("some/other", (0, 64, 0.1)) == (0, 64, 0.1)
    monkeypatch.setattr(chapter, "load_model", lambda name: load_model(SMALL))
    monkeypatch.setattr(chapter, "load_tokenizer", lambda name: load_tokenizer(SMALL))
    chapter.tuned("some/other", (["bread", "rain"], [0, 1]), 2, 3e-3, 0)
    assert fitted[0][3].learning_rate == chapter.LARGER_RATE
    assert unfreezing.rate_of("full", "some/other") == chapter.LARGER_RATE


def test_kept_features_are_computed_once_and_the_others_for_every_batch(drawn, monkeypatch):
    asked = []
    monkeypatch.setattr(chapter, "features", lambda model, tokenizer, texts: asked.append(list(texts)) or features(model, tokenizer, texts))
    found = chapter.cached_or_not(2, 0, labels=80, n_test=30, base=SMALL)
    assert arms_of("B3", found)
    texts, unseen = chapter.draw("topic", 80, "train", 1002)[0], chapter.draw("topic", 30, "test", 1002)[0]
    assert asked[:2] == [texts, unseen] and [len(some) for some in asked[2:]] == [64, 16] * (1 + chapter.PASSES)
    assert all(sorted(asked[i] + asked[i + 1]) == sorted(texts) for i in range(2, len(asked), 2))
    assert found.arms["B3.speed"]["recomputed"] > 5 * found.arms["B3.speed"]["cached"] > 0
    scores = found.arms["B3.accuracy"]
    assert scores["apart"] == abs(scores["cached"] - scores["recomputed"]) <= 0.04
    assert {given[2:4] for given in drawn} == {("train", 1002), ("test", 1002)}


def test_labels_grow_in_number_and_then_go_wrong(drawn, heads):
    found = chapter.labels_and_noise(1, 0, sizes=(16, 64), noises=(0.0, 0.4), noisy=40, n_test=30)
    assert {(n, split, seed) for _, n, split, seed, _ in drawn} == {(64, "train", 1001), (30, "test", 1001)}
    pool, truth = chapter.draw("topic", 64, "train", 1001)[1], chapter.draw("topic", 30, "test", 1001)[1]
    layer, width, penalty = chapter.FROZEN["topic"]
    known, seen = vectors(64, "train", 1001, layer), vectors(30, "test", 1001, layer)
    assert [given[1] for given in heads[:3]] == [pool[:16], pool, pool[:40]] and all(np.array_equal(g[0], known[: len(g[1])]) for g in heads)
    assert sum(wrong != right for wrong, right in zip(heads[3][1], pool, strict=False)) == 16
    assert {(config.width, config.penalty, config.seed) for *_, config in heads} == {(width, penalty, 1)}
    assert list(found.arms["B4.labels"]) == ["16 labels", "64 labels"] and list(found.arms["B4.noise"]) == ["0 % wrong", "40 % wrong"]
    for row, (_, targets, _, config) in zip(found.rows, heads, strict=True):
        head = fit_head(known[: len(targets)], targets, 6, replace(config, steps=60)).head
        assert row["accuracy"] == head.accuracy(seen, truth)
        assert row["calibration error"] == pytest.approx(calibration_error(head.probabilities(seen), truth))
    assert [row["accuracy"] for row in found.rows] == [*found.arms["B4.labels"].values(), *found.arms["B4.noise"].values()]
    texts = chapter.draw("topic", 40, "train", 1001)[0]
    assert found.rows[3]["TF-IDF"] == tfidf((texts, heads[3][1]))(chapter.draw("topic", 30, "test", 1001))[1], "of the same wrong labels"


def test_width_is_compared_with_many_labels_and_few_and_on_a_simple_task_and_a_complex_one(drawn, heads):
    found = chapter.width_and_labels(0, 0, widths=(2, 4, 8), sizes=(24, 48), n_test=40)
    assert arms_of("B5", found)
    assert {(n, split, seed) for _, n, split, seed, _ in drawn} == {(48, "train", 1000), (40, "test", 1000)}
    scores = {(row["task"], row["labels"], row["width"]): row["accuracy"] for row in found.rows}
    assert list(scores) == [(task, n, width) for task in chapter.TASKS for n in (24, 48) for width in (2, 4, 8)]
    assert [(len(labels), classes, config.width) for _, labels, classes, config in heads] == [(n, chapter.TASKS[t], w) for t, n, w in scores]

    def added(task: str, n: int) -> float:
        return scores[task, n, 8] - scores[task, n, 2]

    assert found.arms["B5.labels"] == {"many labels": added("six topics", 48), "few labels": added("six topics", 24)}
    assert found.arms["B5.task"] == {"complex task": added("topic and sentiment", 48), "simple task": added("two groups", 48)}


def test_the_three_tasks_are_of_the_same_reviews():
    topics, joint = [0, 2, 3, 5], [1, 4, 7, 11]
    assert [chapter.relabelled(task, topics, joint) for task in chapter.TASKS] == [[0, 0, 1, 1], topics, joint]
    drawn = [chapter.draw(label, 300, "train", 1000)[1] for label in ("topic", "joint")]
    assert [len(set(chapter.relabelled(task, *drawn))) for task in chapter.TASKS] == list(chapter.TASKS.values())


def test_labels_and_noise_are_claimed_to_rise_over_all_that_is_measured(monkeypatch, heads):
    """At the scale that is reported, but with random vectors, without TF-IDF, and with short trainings."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(chapter, "embedded", lambda base, n, *_, layers: {layer: rng.normal(size=(n, 4)).astype(np.float32) for layer in layers})
    monkeypatch.setattr(chapter, "tfidf", lambda train: lambda test: (0.1, 0.2))
    found = chapter.labels_and_noise(0, 0)
    labels, noise = find(["B4"])[0].claims
    assert arms_of("B4", found) and all(set(claim.trend) == set(found.arms[claim.id]) for claim in (labels, noise))
    assert labels.trend == tuple(f"{n} labels" for n in sorted(chapter.SIZES))
    assert noise.trend == ("40 % wrong", "30 % wrong", "20 % wrong", "10 % wrong", "0 % wrong")


# Models that are trained along ---------------------------------------------------------------------------------------------------


def test_each_arm_trains_what_its_name_says():
    made = {arm: prepare(Classifier(load_model("nano"), 2)) for arm, prepare in unfreezing.arms().items()}
    everything = set(dict(Classifier(load_model("nano"), 2).named_parameters()))
    assert names_of(made["full"]) == everything
    for blocks in unfreezing.BLOCKS:
        arm = "last block" if blocks == 1 else f"last {blocks} blocks"
        prefixes = ("head.", "decoder.norm.", *(f"decoder.layers.{layer}." for layer in range(6 - blocks, 6)))
        assert names_of(made[arm]) == {name for name in everything if name.startswith(prefixes)}
    ranks = {rank: made[f"LoRA, rank {rank}"] for rank in unfreezing.RANKS}
    for rank, classifier in ranks.items():
        corrections = {name for name in names_of(classifier) if "lora_" in name}
        assert names_of(classifier) == corrections | HEAD
        assert {min(p.shape) for name, p in classifier.named_parameters() if name in corrections} == {rank}
    assert count_parameters(ranks[unfreezing.RANK], trainable=True) <= 0.05 * count_parameters(load_model("nano"))


def test_ranks_share_a_learning_rate_and_so_do_blocks():
    found = {arm: unfreezing.rate_of(arm, "nano") for arm in unfreezing.arms()}
    expected = {"full": "full"} | {arm: "last block" if arm.startswith("last") else "LoRA" for arm in found if arm != "full"}
    assert found == {arm: unfreezing.RATE[kind] for arm, kind in expected.items()}
    assert {arm: unfreezing.rate_of(arm, "some/other") for arm in found} == {arm: unfreezing.LARGER[kind] for arm, kind in expected.items()}
    assert all(unfreezing.RATE[kind] in unfreezing.RATES[kind] for kind in unfreezing.RATES)


def test_what_the_hard_task_is_trained_with_is_the_best_of_the_recorded_sweep():
    rows = rates("B6")
    assert {row["seed"] for row in rows} == {str(chapter.SWEEP_SEED)}
    for kind, tried in unfreezing.RATES.items():
        scores = {float(row["rate"]): float(row["accuracy"]) for row in rows if row["arm"] == kind}
        assert tuple(scores) == tuple(tried) and max(scores, key=scores.get) == unfreezing.RATE[kind], kind
    grid = {
        (int(row["layer"]), int(row["width"]), float(row["penalty"])): float(row["accuracy"]) for row in rows if row["arm"] == "frozen"
    }
    assert set(grid) == {(layer, width, penalty) for layer in range(1, 7) for width in chapter.WIDTHS for penalty in chapter.PENALTIES}
    assert max(grid, key=grid.get) == unfreezing.FROZEN


def test_the_sweep_tries_each_rate_of_each_arm_and_each_head_and_sees_no_test_review(drawn, heads, fitted):
    tried = {"full": (1e-3,), "last block": (1e-3, 1e-2), "LoRA": (3e-3,)}
    rows = unfreezing.sweep_unfreezing(tried, labels=32, n=20, base=SMALL)
    assert [(row["arm"], row["rate"]) for row in rows[:4]] == [(kind, rate) for kind, some in tried.items() for rate in some]
    assert [config.learning_rate for *_, config in fitted] == [1e-3, 1e-3, 1e-2, 3e-3]
    models = {kind: unfreezing.arms()[arm](Classifier(load_model(SMALL), 2)) for kind, arm in (
        ("full", "full"), ("last block", "last block"), ("LoRA", "LoRA, rank 4"),
    )}
    assert [names for names, *_ in fitted] == [names_of(models[kind]) for kind in ("full", "last block", "last block", "LoRA")]
    grid = [(layer, width, penalty) for layer in (1, 2, 3) for width in chapter.WIDTHS for penalty in chapter.PENALTIES]
    assert [(row["layer"], row["width"], row["penalty"]) for row in rows[4:]] == grid and {row["arm"] for row in rows[4:]} == {"frozen"}
    assert [(config.width, config.penalty) for *_, config in heads] == [place[1:] for place in grid]
    assert {given[2:] for given in drawn} == {("train", 900, "hard"), ("validation", 900, "hard")}
    assert {row["seed"] for row in rows} == {900}


def test_the_hard_task_sets_a_head_on_the_frozen_base_beside_all_of_it(drawn, heads, fitted):
    found = unfreezing.hard_task(2, 0, labels=32, n_test=30, base=SMALL)
    assert arms_of("B6", found)
    assert {given[1:] for given in drawn} == {(32, "train", 1002, "hard"), (30, "test", 1002, "hard")}
    train, test = chapter.draw("sentiment", 32, "train", 1002, "hard"), chapter.draw("sentiment", 30, "test", 1002, "hard")
    layer, width, penalty = unfreezing.FROZEN
    known, seen = (vectors(n, split, 1002, layer, SMALL, "hard") for n, split in ((32, "train"), (30, "test")))
    head = fit_head(known, train[1], 2, HeadConfig(width=width, penalty=penalty, seed=2, steps=60)).head
    scores = found.arms["B6"]
    assert scores["frozen"] == head.accuracy(seen, test[1])
    assert (scores["majority class"], scores["TF-IDF"]) == tfidf(train)(test)
    (names, texts, labels, config), = fitted
    assert names == names_of(Classifier(load_model(SMALL), 2)) and (texts, labels) == train and config.learning_rate == unfreezing.RATE["full"]
    frozen, full = found.rows[:2]
    assert frozen["trained"] == count_parameters(head) and full["trained"] == count_parameters(Classifier(load_model(SMALL), 2))
    assert full["FLOPs"] > 0 and full["peak bytes"] > 0 and full["share"] == pytest.approx(1, abs=0.001)
    assert {row["arm"]: row["accuracy"] for row in found.rows} == scores


def test_runs_are_shared_between_the_claims_about_the_hard_task(fitted, heads):
    whole = unfreezing.hard_task(0, 0, labels=32, n_test=20, base=SMALL).arms["B6"]
    part = unfreezing.part_of_it(0, 0, labels=32, n_test=20, base=SMALL, chosen=("full", "last block", "LoRA, rank 4"))
    assert len(fitted) == 3 and len(heads) == 1
    scores = {row["arm"]: row["accuracy"] for row in part.rows}
    assert {arm: scores[arm] for arm in whole} == whole
    share = {row["arm"]: row["share"] for row in part.rows[:4]}
    assert share["frozen"] < share["LoRA, rank 4"] < share["last block"] < share["full"]


def test_what_is_recovered_is_a_share_of_the_gain(monkeypatch):
    scores = {"frozen": 0.6, "full": 0.9, "LoRA, rank 4": 0.87, "last block": 0.75}
    monkeypatch.setattr(unfreezing, "hard_score", lambda arm, *_: (scores[arm], 100, 1.0, 1.0, 1))
    chosen = ("full", "last block", "LoRA, rank 4")
    found = unfreezing.part_of_it(0, 0, labels=16, n_test=10, chosen=chosen)
    for name in ("B7.lora", "B7.block"):
        assert found.arms[name] == pytest.approx({"full": 1.0, "last block": 0.5, "LoRA, rank 4": 0.9})
    assert arms_of("B7", found)
    scores["full"] = 0.6
    assert all(math.isnan(value) for value in unfreezing.part_of_it(0, 0, labels=16, n_test=10, chosen=chosen).arms["B7.lora"].values())


def test_freezing_saves_seconds_memory_and_optimizer_state_on_the_same_batches(drawn, fitted):
    found = unfreezing.cost_of_freezing(1, 0, steps=2, base=SMALL)
    assert arms_of("B2", found)
    frozen, full = fitted
    assert frozen[0] == HEAD and full[0] == names_of(Classifier(load_model(SMALL), 2)) and frozen[1:] == full[1:]
    assert len(full[1]) == 2 * full[3].batch_size and full[3].steps == 2
    assert {given[2:4] for given in drawn} == {("train", 1001)}
    most = {"seconds": 0.8, "peak": 0.5, "optimizer": 0.01}
    assert all(found.arms[f"B2.{name}"]["frozen"] < share * found.arms[f"B2.{name}"]["full"] for name, share in most.items())
    assert 0.3 < found.rows[0]["FLOPs"] / found.rows[1]["FLOPs"] < 0.4, "a backward pass is twice a forward one"


def test_costs_grow_with_size_and_checkpointing_lowers_the_peak(monkeypatch):
    configs, train = [], unfreezing.train
    monkeypatch.setattr(unfreezing, "train", lambda model, rows, config, **how: configs.append((rows, config)) or train(model, rows, config, **how))
    found = unfreezing.cost_of_size(0, 0, shapes=((32, 1), (64, 4)), rows=8, length=128, steps=1)
    assert arms_of("B8", found)
    arms = ["frozen", "LoRA", "LoRA, checkpointing", "full", "full, checkpointing"]
    assert [row["arm"] for row in found.rows] == 2 * arms
    small, large = found.rows[:5], found.rows[5:]
    for less, more in zip(small, large, strict=True):
        assert all(less[name] < more[name] for name in ("parameters", "peak bytes", "FLOPs", "trained")), less["arm"]
    peak = {row["arm"]: row["peak bytes"] for row in large}
    assert found.arms["B8.lora"] == found.arms["B8.checkpointing"] == peak
    for arm in ("LoRA", "full"):
        assert peak[f"{arm}, checkpointing"] < 0.7 * peak[arm]
    assert peak["frozen"] < peak["LoRA"] < peak["full"]
    parameters, (frozen, lora, _, full, _) = large[0]["parameters"], large
    assert frozen["trained"] < lora["trained"] < full["trained"] == parameters and frozen["trained"] == 2 * 64 + 2
    assert found.arms["B8.bytes"] == pytest.approx({arm: value / parameters for arm, value in peak.items()})
    assert found.arms["B8.seconds"]["full"] == pytest.approx(1e9 * full["seconds"] / parameters / (8 * 128))
    assert found.arms["B8.ratio"] == {row["arm"]: row["seconds"] for row in large}
    assert all(rows == configs[0][0] and len(rows) == 8 for rows, _ in configs)
    assert [config.checkpointing for _, config in configs] == 2 * [False, False, True, False, True]


def test_the_models_of_growing_size_are_drawn_by_the_seed():
    one, same, other = (unfreezing.shaped(32, 1, seed).decoder.layers[0].mlp.up_proj.weight for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    sizes = [count_parameters(unfreezing.shaped(width, blocks, 0)) for width, blocks in unfreezing.SHAPES[:3]]
    assert sizes == sorted(sizes) and len(set(sizes)) == 3
