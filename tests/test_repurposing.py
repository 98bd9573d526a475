"""Heads on frozen features, wrong labels, calibration, and what of a model is trained along."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from finetunelab.errors import UserError
from finetunelab.heads import Classifier, fit, padded, tokenized
from finetunelab.models import count_parameters, load_model, load_tokenizer
from finetunelab.repurposing import (
    FeatureHead,
    HeadConfig,
    calibration,
    calibration_error,
    fit_head,
    freeze_but_last,
    mislabel,
    temperature,
    with_lora,
)
from finetunelab.training import TrainConfig

SMALL = "nano-small"


def clusters(n: int = 300, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    """Overlapping clouds of eight numbers that are far from standardized."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    vectors = (rng.normal(0, 1, (classes, 8))[labels] + rng.normal(0, 1, (n, 8))) * 10.0 ** np.arange(-3, 5) + 7
    return vectors.astype(np.float32), labels.tolist()


def trainable(module: torch.nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def copied(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


# Heads ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [0.3, 0.01])
def test_a_linear_head_is_the_logistic_regression_of_a_library(penalty):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    vectors, labels = clusters()
    head = fit_head(vectors, labels, 3, HeadConfig(steps=1500, rate=1e-2, penalty=penalty, batch_size=len(labels))).head
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (len(labels) * penalty), max_iter=1_000)).fit(vectors, labels)
    unseen, truth = clusters(seed=1)
    for texts in (vectors, unseen):
        np.testing.assert_allclose(head.probabilities(texts), theirs.predict_proba(texts), atol=0.02)
    assert head.accuracy(unseen, truth) == pytest.approx(theirs.score(unseen, truth), abs=0.01)


def test_a_hidden_layer_learns_what_no_linear_head_can():
    rng = np.random.default_rng(0)
    sides = rng.integers(2, size=(400, 2))
    vectors, labels = (sides + rng.normal(0, 0.1, (400, 2))).astype(np.float32), (sides[:, 0] ^ sides[:, 1]).tolist()
    flat, deep = (fit_head(vectors, labels, 2, HeadConfig(width=width, rate=1e-2, penalty=0)).head for width in (0, 16))
    assert flat.accuracy(vectors, labels) < 0.8 and deep.accuracy(vectors, labels) > 0.98
    assert count_parameters(flat) == 2 * 2 + 2 and count_parameters(deep) == 2 * 16 + 16 + 2 * 16 + 2


def test_the_penalty_holds_back_weights_and_not_biases():
    vectors, labels = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32), [0] * 180 + [1] * 20
    head = fit_head(vectors, labels, 2, HeadConfig(penalty=100.0, steps=1500, rate=1e-2, batch_size=200)).head
    assert head.layers[0].weight.abs().max() < 0.01
    assert head.probabilities(vectors)[:, 1].mean() == pytest.approx(0.1, abs=0.01)


def test_vectors_that_are_computed_each_time_give_the_same_head_as_kept_ones():
    vectors, labels = clusters(100)
    config, asked = HeadConfig(steps=9, batch_size=32, width=5), []
    kept = fit_head(vectors, labels, 3, config).head
    anew = fit_head(lambda places: asked.append(list(places)) or torch.as_tensor(vectors[places]), labels, 3, config).head
    assert all(torch.equal(value, anew.state_dict()[name]) for name, value in kept.state_dict().items())
    # One pass finds center and spread, then two whole passes of four batches, and a batch of a third.
    assert [len(places) for places in asked] == 3 * [32, 32, 32, 4] + [32]
    assert all(sorted(sum(asked[start : start + 4], [])) == list(range(100)) for start in (0, 4, 8)) and asked[4:8] != asked[8:12]


def test_the_seconds_of_each_whole_pass_are_counted():
    vectors, labels = clusters(64)

    def slow(places):
        time.sleep(0.02)
        return torch.as_tensor(vectors[places])

    seconds = {steps: fit_head(slow, labels, 3, HeadConfig(steps=steps, batch_size=16)).seconds for steps in (4, 7, 8)}
    assert [len(passes) for passes in seconds.values()] == [2, 2, 3]
    assert all(pass_ >= 4 * 0.02 for passes in seconds.values() for pass_ in passes)


def test_the_seed_alone_decides_a_head():
    vectors, labels = clusters(100)

    def weights(seed: int) -> torch.Tensor:
        return fit_head(vectors, labels, 3, HeadConfig(steps=10, width=4, seed=seed)).head.layers[0].weight

    torch.manual_seed(1)
    state, first = torch.get_rng_state(), weights(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(first, weights(0)) and not torch.equal(first, weights(1))


def test_the_seed_draws_the_weights_and_the_order_of_the_texts():
    vectors, labels = clusters(100)
    weights, orders = [], []
    for seed in (0, 1):
        asked = []
        config = HeadConfig(steps=2, rate=0.0, batch_size=50, seed=seed)
        head = fit_head(lambda places, asked=asked: asked.extend(places) or torch.as_tensor(vectors[places]), labels, 3, config).head
        assert torch.equal(head.layers[0].weight, FeatureHead(8, 3, seed=seed).layers[0].weight)
        weights.append(head.layers[0].weight)
        orders.append(asked[100:])
    assert not torch.equal(*weights) and orders[0] != orders[1] and sorted(orders[0]) == list(range(100))


def test_an_input_that_never_varies_does_no_harm():
    vectors, labels = clusters()
    vectors[:, 3] = 5.0
    found = fit_head(vectors, labels, 3).head.probabilities(vectors)
    assert np.isfinite(found).all() and np.allclose(found.sum(1), 1, atol=1e-5)


def test_labels_that_do_not_fit_are_named():
    vectors, labels = clusters(10)
    with pytest.raises(UserError, match=r"from 0 to 2, found \[-1, 0.5, 3\]"):
        fit_head(vectors, [3, -1, 0.5, *labels[3:]], 3)
    with pytest.raises(UserError, match="found none"):
        fit_head(vectors[:0], [], 3)
    with pytest.raises(UserError, match="10 vectors and 9 labels"):
        fit_head(vectors, labels[:9], 3)


# Labels --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.25, 0.4, 1.0])
def test_exactly_the_share_of_labels_that_was_asked_for_is_wrong(share):
    labels = [i % 4 for i in range(200)]
    found = mislabel(labels, share, 4)
    assert labels == [i % 4 for i in range(200)]
    assert sum(new != old for new, old in zip(found, labels, strict=True)) == 200 * share


def test_a_wrong_label_is_any_of_the_other_classes_as_likely():
    found = mislabel([1] * 3000, 1.0, 4)
    assert 1 not in found and all(abs(found.count(label) - 1000) < 120 for label in (0, 2, 3))
    assert mislabel([0, 1] * 5, 1.0, 2) == [1, 0] * 5


def test_the_seed_draws_which_labels_are_wrong():
    labels = [0] * 50
    assert mislabel(labels, 0.3, 3, 1) == mislabel(labels, 0.3, 3, 1) != mislabel(labels, 0.3, 3, 2)


@pytest.mark.parametrize(("share", "classes"), [(-0.1, 2), (1.1, 2), (0.5, 1)])
def test_a_share_that_cannot_be_made_is_refused(share, classes):
    with pytest.raises(UserError, match="cannot be made"):
        mislabel([0, 0], share, classes)


# Trust ---------------------------------------------------------------------------------------------------------------------------


def test_calibration_worked_by_hand():
    sure, right = [0.95, 0.91, 1.0, 0.65, 0.61], [True, False, True, True, True]
    probabilities = np.array([[1 - p, p] for p in sure])
    labels = [int(hit) for hit in right]
    low, high = calibration(probabilities, labels)
    assert low == pytest.approx((0.63, 1.0, 2)) and high == pytest.approx((2.86 / 3, 2 / 3, 3))
    assert calibration_error(probabilities, labels) == pytest.approx((2 * 0.37 + 3 * (2.86 - 2) / 3) / 5)
    assert calibration_error(probabilities, labels, bins=1) == pytest.approx(abs(sum(sure) / 5 - 4 / 5))


def test_the_confidence_is_that_of_the_likeliest_of_many_classes():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    assert calibration(probabilities, [0, 1]) == [pytest.approx((0.5, 1.0, 1)), pytest.approx((0.7, 0.0, 1))]


def test_the_temperature_recovers_a_factor_and_calibrates():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(3000, 4, generator=generator)
    labels = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0].tolist()
    own, loud = temperature(logits, labels), temperature(3 * logits, labels)
    assert own == pytest.approx(1.0, abs=0.06) and loud == pytest.approx(3 * own, rel=1e-3)
    before, after = ((3 * logits / t).softmax(-1).numpy() for t in (1.0, loud))
    assert (before.argmax(1) == after.argmax(1)).all()
    assert calibration_error(before, labels) > 0.1 and calibration_error(after, labels) < 0.03


# Parts of a model ----------------------------------------------------------------------------------------------------------------


HEAD = {"head.weight", "head.bias"}


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_the_last_blocks_and_the_head_are_trained_and_nothing_else(blocks):
    texts = [f"{word} {i}" for i in range(8) for word in ("bread", "rain")]
    classifier = Classifier(load_model(SMALL), 2)
    assert freeze_but_last(classifier, blocks) is classifier
    names = set(dict(classifier.named_parameters()))
    expected = HEAD | {name for layer in range(3 - blocks, 3) for name in names if name.startswith(f"decoder.layers.{layer}.")}
    expected |= {"decoder.norm.weight"} if blocks else set()
    assert trainable(classifier) == expected
    before = copied(classifier)
    fit(classifier, load_tokenizer(SMALL), texts, [0, 1] * 8, TrainConfig(steps=3, batch_size=8, warmup=0, learning_rate=1e-2))
    assert {name for name, value in classifier.named_parameters() if not torch.equal(value, before[name])} == expected


def test_blocks_can_be_frozen_again():
    classifier = freeze_but_last(Classifier(load_model(SMALL), 2), 3)
    assert trainable(freeze_but_last(classifier, 0)) == HEAD


@pytest.mark.parametrize("blocks", [-1, 4])
def test_a_model_has_only_so_many_blocks(blocks):
    with pytest.raises(UserError, match=f"{blocks} blocks cannot be left unfrozen; this model has 3"):
        freeze_but_last(Classifier(load_model(SMALL), 2), blocks)


def test_lora_starts_as_the_frozen_model_and_trains_few_corrections_beside_every_matrix():
    tokenizer = load_tokenizer("nano")
    batch = padded(tokenized(tokenizer, ["We baked bread.", "No."]), tokenizer.pad_token_id)
    classifier = Classifier(load_model("nano"), 2)
    matrices = sum(isinstance(m, torch.nn.Linear) for m in classifier.decoder.modules())
    whole = count_parameters(classifier)
    with torch.no_grad():
        expected = classifier(**batch)["logits"]
        assert with_lora(classifier, 4) is classifier
        torch.testing.assert_close(classifier(**batch)["logits"], expected, atol=1e-6, rtol=0)
    assert HEAD < trainable(classifier) and all("lora_" in name for name in trainable(classifier) - HEAD)
    assert len(trainable(classifier) - HEAD) == 2 * matrices == 2 * 7 * 6
    assert count_parameters(classifier, trainable=True) <= 0.05 * whole
    doubled = with_lora(Classifier(load_model("nano"), 2), 8)
    head = count_parameters(classifier.head)
    assert count_parameters(doubled, trainable=True) - head == 2 * (count_parameters(classifier, trainable=True) - head)


def test_lora_changes_its_corrections_and_the_head_alone():
    texts = [f"{word} {i}" for i in range(8) for word in ("bread", "rain")]
    classifier = with_lora(Classifier(load_model(SMALL), 2))
    before, expected = copied(classifier), trainable(classifier)
    fit(classifier, load_tokenizer(SMALL), texts, [0, 1] * 8, TrainConfig(steps=3, batch_size=8, warmup=0, learning_rate=1e-2))
    assert {name for name, value in classifier.named_parameters() if not torch.equal(value, before[name])} == expected


def test_the_seed_draws_the_corrections():
    one, same, other = ([p for name, p in with_lora(Classifier(load_model(SMALL), 2), seed=s).named_parameters() if "lora_A" in name] for s in (0, 0, 1))
    assert all(torch.equal(a, b) and not torch.equal(a, c) for a, b, c in zip(one, same, other, strict=True))
