"""In-context learning: what stands in a prompt, how label words are compared, and that nothing is trained unless it is asked for."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
import torch

from finetunelab import incontext, skills
from finetunelab.errors import UserError
from finetunelab.incontext import (
    CONTENT_FREE,
    FewShot,
    Layout,
    accuracy,
    demonstrate,
    label_priors,
    label_scores,
    predict,
    teach,
    unchanged,
)
from finetunelab.models import load_model, load_tokenizer, weights_checksum
from finetunelab.training import TrainConfig

SMALL = "nano-small"
FISH, MUSIC = ("He cast his line.", "dax"), ("She tuned the harp.", "lilac")
QUESTION = FewShot("The hook was rusty.", (FISH, MUSIC), ("dax", "lilac"), "dax")


@pytest.fixture(scope="module")
def small():
    return load_model(SMALL), load_tokenizer(SMALL)


# Prompts --------------------------------------------------------------------------------------------------------------------------


def test_a_prompt_shows_the_demonstrations_and_ends_where_the_label_is_due():
    assert QUESTION.prompt == "Text: He cast his line. Label: dax\nText: She tuned the harp. Label: lilac\nText: The hook was rusty. Label:"
    told = replace(QUESTION, demonstrations=(MUSIC,), layout=Layout("", " ->", "Say dax for fishing."))
    assert told.prompt == "Say dax for fishing.\nShe tuned the harp. -> lilac\nThe hook was rusty. ->"
    assert replace(QUESTION, demonstrations=()).prompt == "Text: The hook was rusty. Label:"


def test_another_order_has_the_same_demonstrations():
    question = replace(QUESTION, demonstrations=tuple((f"text {i}", "dax") for i in range(6)))
    orders = [question.reordered(seed) for seed in range(5)]
    assert all(sorted(order.demonstrations) == sorted(question.demonstrations) for order in orders)
    assert len({order.demonstrations for order in orders}) == 5 and question.reordered(3) == orders[3]
    assert all(replace(order, demonstrations=question.demonstrations) == question for order in orders)


def test_every_class_is_shown_where_there_is_room_and_in_any_place():
    pool = [(f"common {i}", 0) for i in range(50)] + [("rare", 1), ("rarer", 2)]
    drawn = [demonstrate(pool, 3, random.Random(seed)) for seed in range(60)]
    assert all({label for _, label in shown} == {0, 1, 2} for shown in drawn)
    assert {place for shown in drawn for place, example in enumerate(shown) if example == ("rare", 1)} == {0, 1, 2}
    assert len({shown[i] for shown in drawn for i in range(3)}) > 20
    for k in (0, 1, 2, 52):
        shown = demonstrate(pool, k, random.Random(k))
        assert len(set(shown)) == k and set(shown) <= set(pool)


def test_more_demonstrations_than_there_are_is_said():
    with pytest.raises(UserError, match="3 demonstrations cannot be drawn from 2"):
        demonstrate([FISH, MUSIC], 3, random.Random(0))


# Answers --------------------------------------------------------------------------------------------------------------------------


def log_probability(model, tokenizer, prompt: str, continuation: str) -> float:
    """log p(continuation | prompt), one token after the other."""
    ids, total = tokenizer(prompt)["input_ids"], 0.0
    for token in tokenizer(continuation, add_special_tokens=False)["input_ids"]:
        with torch.inference_mode():
            total += float(model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[token])
        ids = [*ids, token]
    return total


def test_the_likeliest_label_word_is_the_answer(small):
    model, tokenizer = small
    questions = [
        QUESTION, replace(QUESTION, demonstrations=(MUSIC, FISH)), FewShot("The rain fell.", (), ("a", "fishing and music", "."), "a"),
        replace(QUESTION, layout=Layout("", " ->")),
    ]
    scores = label_scores(model, tokenizer, questions, batch_size=3)
    for question, row in zip(questions, scores, strict=True):
        assert row == pytest.approx([log_probability(model, tokenizer, question.prompt, f" {word}") for word in question.labels], abs=1e-3)
    answers = predict(model, tokenizer, questions)
    assert answers == [question.labels[row.index(max(row))] for question, row in zip(questions, scores, strict=True)]
    assert predict(model, tokenizer, []) == []
    assert accuracy(questions, [questions[0].answer, "other", "other", "other"]) == 0.25


def test_demonstrations_that_all_prompts_share_are_read_once_and_the_scores_stay(small, monkeypatch):
    model, tokenizer = small
    shown = tuple((f"He saw number {i} of the old boats in the harbor.", ("dax", "lilac and music")[i % 2]) for i in range(6))
    queries = ("Rain.", "The hook was rusty, and nobody had looked at it for a year.", "The", "She tuned the harp.", "Number 0")
    questions = [FewShot(query, shown, ("dax", "lilac and music", "."), "dax") for query in queries]
    read = []
    hook = model.register_forward_pre_hook(lambda layer, args, given: read.append(given["input_ids"].shape), with_kwargs=True)
    try:
        once = label_scores(model, tokenizer, questions, batch_size=4)
        few = sum(rows * width for rows, width in read)
        read.clear()
        monkeypatch.setattr(skills, "WORTH_SHARING", 10**6)
        anew = label_scores(model, tokenizer, questions, batch_size=4)
        many = sum(rows * width for rows, width in read)
    finally:
        hook.remove()
    assert many > 4 * few
    for row, other in zip(once, anew, strict=True):
        assert row == pytest.approx(other, abs=1e-4)
    assert len({tuple(row) for row in once}) == len(queries)


def test_prompts_that_are_the_same_or_one_in_the_other_share_all_but_their_last_token(small):
    model, tokenizer = small
    long = "Text: " + "the old boats in the harbor " * 8
    for prompts in ([long, long], [long, long + "and the rain"], [long + "and", long]):
        words = [" dax", " lilac and music"]
        expected = [log_probability(model, tokenizer, prompt, word) for prompt, word in zip(prompts, words, strict=True)]
        assert skills.log_likelihoods(model, tokenizer, prompts, words) == pytest.approx(expected, abs=1e-4)


def test_a_model_that_forgets_what_it_has_read_reads_it_anew(small, monkeypatch):
    """One with a window keeps no keys and values from before it: what is shared cannot be taken from what it kept."""
    from transformers import MistralConfig, MistralForCausalLM

    tokenizer = small[1]
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        sliding_window=8, max_position_embeddings=256, initializer_range=0.3)).eval()
    prompts = ["Text: " + "the old boats in the harbor " * 8 + end for end in ("and", "of the rain", "to")]
    words = [" dax", " lilac", " dax"]
    kept = skills.log_likelihoods(model, tokenizer, prompts, words)
    monkeypatch.setattr(skills, "WORTH_SHARING", 10**6)
    assert kept == pytest.approx(skills.log_likelihoods(model, tokenizer, prompts, words), abs=1e-4)
    assert skills._shared(model, tokenizer(prompts)["input_ids"]) == (0, None)


def test_calibration_divides_by_what_any_query_would_be_answered(small):
    model, tokenizer = small
    (prior,) = label_priors(model, tokenizer, [QUESTION])
    empty = [[log_probability(model, tokenizer, replace(QUESTION, query=q).prompt, f" {w}") for w in QUESTION.labels] for q in CONTENT_FREE]
    assert prior == pytest.approx(torch.tensor(empty).softmax(-1).mean(0).log().tolist(), abs=1e-3)


def test_calibration_undoes_a_leaning_to_one_word(monkeypatch):
    """A model that adds 5 nats to one word, whatever is asked, and 1 to the word that fits."""
    def leaning(model, tokenizer, prompts, words, batch_size):
        pairs = zip(prompts, words, strict=True)
        return [5.0 * (word == " dax") + ("harp" in prompt.split("\n")[-1] and word == " lilac") for prompt, word in pairs]

    monkeypatch.setattr(incontext, "log_likelihoods", leaning)
    monkeypatch.setattr(incontext, "_check_room", lambda *_: None)
    questions = [QUESTION, replace(QUESTION, query="He sold the harp.", answer="lilac")]
    assert predict(None, None, questions) == ["dax", "dax"]
    # The other query says nothing for or against a word, which is a tie: the first word.
    assert predict(None, None, questions, calibrated=True)[1] == "lilac"


def test_written_labels_are_the_rest_of_the_line(small, monkeypatch):
    model, tokenizer = small
    seen = {}

    def write(model, tokenizer, prompts, *, tokens, stop):
        seen.update(prompts=prompts, tokens=tokens, stop=stop)
        return [" dax", "  lilac "]

    questions = [QUESTION, replace(QUESTION, query="She sang.")]
    plain = incontext.write_labels(model, tokenizer, questions, tokens=12)
    assert all("\n" not in text and text == text.strip() for text in plain) and any(plain)
    monkeypatch.setattr(incontext, "generate", write)
    assert incontext.write_labels(model, tokenizer, questions, tokens=3) == ["dax", "lilac"]
    assert seen == {"prompts": [question.prompt for question in questions], "tokens": 3, "stop": "\n"}


def test_a_prompt_beyond_the_context_is_refused(small):
    model, tokenizer = small
    long = replace(QUESTION, demonstrations=(FISH,) * 200)
    for ask in (predict, incontext.write_labels):
        with pytest.raises(UserError, match="does not fit into a context of 1,024; give fewer"):
            ask(model, tokenizer, [QUESTION, long])


# Weights --------------------------------------------------------------------------------------------------------------------------


def test_the_checksum_is_that_of_the_weights_and_of_nothing_else():
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    checksum = weights_checksum(layer)
    layer.eval().requires_grad_(False)
    assert weights_checksum(layer) == checksum
    alike = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    assert weights_checksum(alike) != checksum
    alike.load_state_dict(layer.state_dict())
    assert weights_checksum(alike) == checksum
    alike[1].running_mean[0] += 1e-6  # a buffer
    assert weights_checksum(alike) != checksum
    assert weights_checksum(layer.to(torch.bfloat16)) not in (checksum, weights_checksum(alike))
    # The same bytes in another shape, or under another name, are other weights.
    flat, named = torch.nn.Module(), torch.nn.Module()
    flat.a, named.b = torch.nn.Parameter(torch.ones(4)), torch.nn.Parameter(torch.ones(4))
    square = torch.nn.Module()
    square.a = torch.nn.Parameter(torch.ones(2, 2))
    assert len({weights_checksum(module) for module in (flat, named, square)}) == 3


def test_answering_leaves_the_weights_and_a_change_is_noticed(small):
    model, tokenizer = small
    with unchanged(model) as checksum:
        predict(model, tokenizer, [QUESTION], calibrated=True)
        incontext.write_labels(model, tokenizer, [QUESTION])
    assert checksum == weights_checksum(model)
    layer = torch.nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="weights have changed"), unchanged(layer):
        layer.bias.data[0] += 1e-3


# Training on the labels in place of showing them ------------------------------------------------------------------------------------


def test_only_the_answer_is_trained_on(small, monkeypatch):
    model, tokenizer = small
    questions = [QUESTION, FewShot("The rain fell.", (), ("lilac", "a longer answer"), "a longer answer")]
    seen = {}
    look = lambda model, rows, config, *, collate, loss: seen.update(loss=loss(model, collate(rows)).item())  # noqa: E731
    monkeypatch.setattr(incontext, "train", look)
    teach(model, tokenizer, questions, TrainConfig(steps=1))
    tokens = [len(tokenizer(f" {question.answer}", add_special_tokens=False)["input_ids"]) for question in questions]
    total = sum(log_probability(model, tokenizer, question.prompt, f" {question.answer}") for question in questions)
    assert seen["loss"] == pytest.approx(-total / sum(tokens), abs=1e-3) and Counter(tokens) != {1: 2}


def test_a_taught_model_writes_the_labels_without_demonstrations():
    model, tokenizer = load_model(SMALL), load_tokenizer(SMALL)
    questions = [FewShot(text, (), ("dax", "lilac"), label) for text, label in (FISH, MUSIC)]
    teach(model, tokenizer, questions, TrainConfig(steps=25, batch_size=2, learning_rate=3e-3, warmup=2))
    assert predict(model, tokenizer, questions) == ["dax", "lilac"]
    longest = max(len(tokenizer(f" {label}", add_special_tokens=False)["input_ids"]) for label in ("dax", "lilac"))
    written = incontext.write_labels(model, tokenizer, questions, tokens=longest)
    assert [text.startswith(label) for text, label in zip(written, ("dax", "lilac"), strict=True)] == [True, True]
