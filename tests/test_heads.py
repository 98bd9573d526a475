"""The classification head: pooling, agreement with the library's own classifier, training, and bad input."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import LlamaForSequenceClassification

from finetunelab.cost import measure_step
from finetunelab.errors import UserError
from finetunelab.heads import LONGEST, Classifier, accuracy, fit, padded, pool, predict, tokenized
from finetunelab.models import freeze, load_model, load_tokenizer
from finetunelab.training import CHECKPOINTING, TrainConfig

TEXTS = ["We baked bread all day.", "No.", "The letter came late, and nobody read it before the evening was over."]
LONG = "bread " * 200


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("nano-small")


def test_pooling_reads_tokens_and_never_padding():
    states = torch.arange(24.0).reshape(2, 4, 3)
    right, left = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    assert torch.equal(pool(states, right, "mean")[0], states[0, :2].mean(0))
    assert torch.equal(pool(states, right, "last"), torch.stack([states[0, 1], states[1, 3]]))
    assert torch.equal(pool(states, left, "last")[0], states[0, 3])
    with pytest.raises(UserError, match="did you mean mean"):
        pool(states, right, "meen")


def test_last_pooling_gives_the_logits_of_the_librarys_classifier(tokenizer):
    ours = Classifier(load_model("nano-small"), 3, "last", seed=1)
    config = load_model("nano-small").config
    config.num_labels, config.pad_token_id = 3, tokenizer.pad_token_id
    theirs = LlamaForSequenceClassification(config).eval()
    theirs.model.load_state_dict(ours.decoder.state_dict())
    with torch.no_grad():
        theirs.score.weight.copy_(ours.head.weight)
        batch = padded(tokenized(tokenizer, TEXTS), tokenizer.pad_token_id)
        assert torch.allclose(ours(**batch)["logits"], theirs(**batch).logits, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_text_is_classified_alike_alone_and_beside_longer_ones(tokenizer, pooling):
    classifier = Classifier(load_model("nano-small"), 2, pooling)
    together = predict(classifier, tokenizer, TEXTS)
    alone = torch.cat([predict(classifier, tokenizer, [text]) for text in TEXTS])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(together.sum(1), torch.ones(3))


def test_training_learns_the_labels_and_a_frozen_decoder_stays_as_it_was(tokenizer):
    texts = [f"{word} {i}" for i in range(20) for word in ("bread", "rain")]
    config = TrainConfig(steps=30, batch_size=8, learning_rate=1e-2, warmup=2)
    classifier = Classifier(load_model("nano-small"), 2)
    freeze(classifier.decoder.parameters())
    before = {name: value.clone() for name, value in classifier.decoder.state_dict().items()}
    # The labels that the untrained head gets wrong in most cases.
    labels = [0, 1] * 20 if accuracy(classifier, tokenizer, texts, [0, 1] * 20) < 0.5 else [1, 0] * 20
    result = fit(classifier, tokenizer, texts, labels, config)
    assert accuracy(classifier, tokenizer, texts, labels) == 1.0
    assert all(torch.equal(value, before[name]) for name, value in classifier.decoder.state_dict().items())
    assert result.cost.trained_parameters == 2 * classifier.config.hidden_size + 2


def test_an_unfrozen_decoder_is_trained_along(tokenizer):
    classifier = Classifier(load_model("nano-small"), 2)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    result = fit(classifier, tokenizer, TEXTS, [0, 1, 0], TrainConfig(steps=2, batch_size=3, warmup=0))
    assert not any(torch.equal(value, before[name]) for name, value in classifier.state_dict().items() if value.dim() == 2)
    assert result.cost.trained_parameters == sum(value.numel() for value in before.values())


def test_checkpointing_changes_no_gradient_and_lowers_the_peak(tokenizer):
    batch = padded(tokenized(tokenizer, 6 * [LONG]), tokenizer.pad_token_id) | {"labels": torch.tensor(3 * [0, 1])}
    losses, gradients, peaks, flops = [], [], [], []
    for checkpointing in (False, True):
        classifier = Classifier(load_model("nano-small"), 2).train()
        if checkpointing:
            getattr(classifier, f"{CHECKPOINTING}_enable")()
        loss = classifier(**batch)["loss"]
        loss.backward()
        losses.append(loss.item())
        gradients.append([p.grad.clone() for p in classifier.parameters()])
        counted, peak = measure_step(lambda classifier=classifier: classifier(**batch)["loss"], list(classifier.parameters()))
        flops.append(counted)
        peaks.append(peak)
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    assert peaks[1] < 0.7 * peaks[0] and 1.2 < flops[1] / flops[0] < 1.4


def test_the_trainer_can_checkpoint_a_classifier(tokenizer):
    config = TrainConfig(steps=2, batch_size=6, warmup=0)
    costs, weights = [], []
    for checkpointing in (False, True):
        classifier = Classifier(load_model("nano-small"), 2)
        costs.append(fit(classifier, tokenizer, 6 * [LONG], 3 * [0, 1], replace(config, checkpointing=checkpointing)).cost)
        weights.append(list(classifier.parameters()))
    assert costs[1].peak_bytes < 0.8 * costs[0].peak_bytes and costs[1].flops > 1.2 * costs[0].flops
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_predictions_come_back_in_the_order_of_the_texts(tokenizer):
    classifier = Classifier(load_model("nano-small"), 2)
    texts = [f"{'bread ' * (70 - i)}{i}" for i in range(70)]  # more than a batch, longest first
    forwards, backwards = predict(classifier, tokenizer, texts), predict(classifier, tokenizer, texts[::-1])
    assert torch.allclose(forwards, backwards.flip(0), atol=1e-5) and len({round(float(p), 5) for p in forwards[:, 0]}) > 10


def test_texts_are_cut_at_the_limit_and_end_with_the_end_token(tokenizer):
    short, long = tokenized(tokenizer, ["bread", "bread " * 1000])
    assert short[-1] == long[-1] == tokenizer.eos_token_id
    assert len(long) == LONGEST


def test_the_seed_draws_the_head():
    heads = [Classifier(load_model("nano-small"), 2, seed=seed).head.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_bad_labels_are_named(tokenizer):
    classifier = Classifier(load_model("nano-small"), 2)
    for call in (lambda *given: fit(classifier, tokenizer, *given, TrainConfig(steps=1)), lambda *given: accuracy(classifier, tokenizer, *given)):
        with pytest.raises(UserError, match="3 texts and 2 labels"):
            call(TEXTS, [0, 1])
        with pytest.raises(UserError, match="0 texts and 0 labels"):
            call([], [])
        with pytest.raises(UserError, match=r"from 0 to 1, found \[0.5, 2\]"):
            call(TEXTS, [0.5, 1, 2])


def test_batches_are_padded_to_few_widths():
    batch = padded([[5] * 9, [6] * 3], 0)
    assert batch["input_ids"].shape == (2, 16) and batch["attention_mask"].sum(1).tolist() == [9, 3]
    assert padded([[5] * 8], 0)["input_ids"].shape == (1, 8)
