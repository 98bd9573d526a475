"""How an embedder is trained: the loss beside a hand-worked case and torch's own, what is no wrong answer, and that training finds more."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from finetunelab.embedding import Pair, also_right, collator, contrastive_loss, fit, recall_at, vectors
from finetunelab.encoders import load_encoder
from finetunelab.errors import UserError
from finetunelab.training import TrainConfig


def pair(question: str, passage: str, asks: str, *more: str) -> Pair:
    return Pair(question, passage, asks, frozenset([asks, *more]))


def units(n: int, width: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_the_loss_of_two_pairs_worked_by_hand():
    questions, passages = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.6, 0.8], [0.0, 1.0]])
    # Cosines: the first question .6 with its own passage and 0 with the other; the second 1 with its own and .8 with the other. Doubled at 0.5.
    of_questions = [-math.log(math.exp(1.2) / (math.exp(1.2) + 1)), -math.log(math.exp(2) / (math.exp(2) + math.exp(1.6)))]
    of_passages = [-math.log(math.exp(1.2) / (math.exp(1.2) + math.exp(1.6))), -math.log(math.exp(2) / (math.exp(2) + 1))]
    assert float(contrastive_loss(questions, passages, temperature=0.5)) == pytest.approx(sum(of_questions + of_passages) / 4, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_the_loss_is_the_mean_of_two_cross_entropies(temperature):
    questions, passages = units(7, 5, 0).requires_grad_(), units(7, 5, 1).requires_grad_()
    logits, own = questions @ passages.T / temperature, torch.arange(7)
    expected, found = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2, contrastive_loss(questions, passages, temperature=temperature)
    assert torch.allclose(found, expected)
    for mine, theirs in zip(*(torch.autograd.grad(loss, (questions, passages)) for loss in (found, expected)), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_a_passage_that_answers_too_is_no_wrong_answer():
    questions, passages = units(4, 6, 0), units(4, 6, 1)
    table = torch.eye(4, dtype=torch.bool)
    table[1, 2] = True  # passage 2 answers question 1; passage 1 does not answer question 2
    logits, losses = questions @ passages.T / 0.05, []
    for of, which, out in [("q", 1, 2), ("p", 2, 1)]:
        row = logits[which] if of == "q" else logits[:, which]
        keep = [place for place in range(4) if place != out]
        losses.append(cross_entropy(row[keep], torch.tensor(keep.index(which))))
    losses += [cross_entropy(logits[i], torch.tensor(i)) for i in (0, 2, 3)] + [cross_entropy(logits[:, i], torch.tensor(i)) for i in (0, 1, 3)]
    assert torch.allclose(contrastive_loss(questions, passages, table), torch.stack(losses).mean())
    everything = torch.ones(4, 4, dtype=torch.bool)
    assert float(contrastive_loss(questions, passages, everything)) == 0, "a question's own passage is never left out"


def test_who_answers_whom_goes_by_the_facts():
    pairs = [pair("who leads?", "Ann leads. It rains.", "leader", "weather"), pair("does it rain?", "It rains.", "weather"),
             pair("who leads now?", "Ann leads.", "leader")]
    assert also_right(pairs).tolist() == [[True, False, True], [True, True, False], [True, False, True]]


def test_a_vector_is_the_one_that_an_encoder_gives(tiny_encoder):
    encoder, rows = load_encoder(tiny_encoder), [pair("a prize", "we won a free prize and a letter, you see", "0"), pair("see you now!", "at home", "1")]
    batch = collator(encoder.tokenizer)([rows])
    assert batch["question_input_ids"].shape[1] < batch["input_ids"].shape[1] and batch["also_right"].tolist() == [[True, False], [False, True]]
    for name, texts in (("", [row.passage for row in rows]), ("question_", [row.question for row in rows])):
        found = vectors(encoder.model, batch[f"{name}input_ids"], batch[f"{name}attention_mask"])
        assert np.allclose(found.detach().numpy(), encoder.embed(texts), atol=1e-5)


def test_training_finds_the_passages_of_new_questions_and_is_the_same_each_time(tiny_encoder):
    # What is asked for stands in the passage by another word, as in a paraphrase.
    words = {"call": "video", "check": "letter", "home": "we", "prize": "win", "out": "now", "free": "see"}
    said = ["you {} a", "please {}!", "{} and your"]
    batches = [[pair(f"click {asked}", said[(place + step) % 3].format(told), asked) for place, (asked, told) in enumerate(words.items())] for step in range(30)]
    asked, told, right = [f"{word}, at http" for word in words], [f"won {word} won" for word in words.values()], np.eye(6, dtype=bool)
    config, found = TrainConfig(steps=30, batch_size=1, learning_rate=1e-2, warmup=2), []
    for _ in range(2):
        encoder = load_encoder(tiny_encoder)
        result = fit(encoder.model, encoder.tokenizer, batches, config)
        found.append(encoder.embed(told))
    before = load_encoder(tiny_encoder)
    assert recall_at(encoder.embed(asked), found[0], right, 1) > recall_at(before.embed(asked), before.embed(told), right, 1) + 0.3
    assert np.array_equal(*found)
    mask = [collator(encoder.tokenizer)([batch]) for batch in batches]
    assert result.cost.tokens == sum(int(batch["attention_mask"].sum() + batch["question_attention_mask"].sum()) for batch in mask)


def test_batches_that_teach_nothing_or_the_wrong_thing_are_refused(tiny_encoder):
    encoder, good = load_encoder(tiny_encoder), [pair("a", "b", "0"), pair("c", "d", "1")]
    for batches, size, told in [
        ([good[:1]], 1, "no wrong answer; give at least two"),
        ([[*good, Pair("win?", "video", "2", frozenset(["3"]))]], 1, "the passage of 'win\\?' does not state '2'"),
        ([good], 2, "2 batches were asked for in one step"),
    ]:
        with pytest.raises(UserError, match=told):
            fit(encoder.model, encoder.tokenizer, batches, TrainConfig(steps=1, batch_size=size))


def test_recall_counts_the_questions_with_a_right_passage_among_the_nearest():
    questions, passages = np.eye(3, dtype=np.float32), np.array([[0.9, 0.3, 0.1], [0.2, 0.8, 0.7], [0.4, 0.5, 0.6]], dtype=np.float32)
    right = np.array([[True, False, False], [False, False, True], [False, False, True]])  # ranks of the right ones: 1, 2, 2
    assert [recall_at(questions, passages, right, k) for k in (1, 2, 3)] == pytest.approx([1 / 3, 1, 1])
    right[1] = [True, False, True]
    assert recall_at(questions, passages, right, 1) == pytest.approx(1 / 3) and recall_at(questions, passages, right[:, [1, 0, 2]], 1) == 1 / 3
