"""Shift, continued training, replay, and the amounts that a score takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finetunelab import adaptation, worlds
from finetunelab.adaptation import amount_to_reach, continue_training, new_words, novice, two_sample_test, with_replay
from finetunelab.errors import UserError
from finetunelab.models import load_model, load_tokenizer
from finetunelab.skills import perplexity
from finetunelab.training import TrainConfig


def sample(n: int, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (n, 8))


def test_new_words_counts_running_words():
    assert new_words(["The cat sat."], ["the CAT ran, ran!"]) == 0.5
    assert new_words(["don't"], ["Don't"]) == 0.0
    assert new_words(["one"], ["2 3"]) == 0.0


def test_the_two_sample_test_finds_a_shift_and_orders_shifts_by_size():
    near, far = two_sample_test(sample(80), sample(80, 0.5, 1)), two_sample_test(sample(80), sample(80, 1.5, 1))
    assert near.p == far.p == 1 / (adaptation.PERMUTATIONS + 1)
    assert 0 < near.distance < far.distance


def test_the_two_sample_test_is_seldom_wrong_where_nothing_shifted():
    ps = [two_sample_test(sample(30, seed=2 * i), sample(30, seed=2 * i + 1), seed=i, permutations=49).p for i in range(100)]
    assert np.mean(np.array(ps) <= 0.05) <= 0.11
    assert 0.35 < np.mean(ps) < 0.65


def test_the_distance_is_unbiased_and_that_of_the_definition():
    source, target = sample(12), sample(9, 1.0, 1)
    both = np.concatenate([source, target])
    both = (both - both.mean(0)) / both.std(0)
    squared = ((both[:, None] - both[None]) ** 2).sum(-1)
    kernel = np.exp(-squared / np.median(squared[np.triu_indices(21, 1)]))
    x, y = kernel[:12, :12], kernel[12:, 12:]
    expected = (x.sum() - 12) / (12 * 11) + (y.sum() - 9) / (9 * 8) - 2 * kernel[:12, 12:].mean()
    assert two_sample_test(source, target).distance == pytest.approx(expected)


def test_samples_that_cannot_be_tested_are_refused():
    with pytest.raises(UserError, match="fewer than two"):
        two_sample_test(sample(1), sample(5))
    broken = sample(5)
    broken[2, 3] = np.nan
    with pytest.raises(UserError, match="not a number"):
        two_sample_test(broken, sample(5))


def test_the_perplexity_gap_is_how_much_more_the_target_surprises():
    model, tokenizer = load_model("nano-small"), load_tokenizer("nano-small")
    french, thai = ([row["text"] for row in worlds.generator(f"{cuisine}_recipes").rows(8, "test", 7)] for cuisine in ("french", "thai"))
    gap = adaptation.perplexity_gap(model, tokenizer, french, thai)
    assert gap == pytest.approx(perplexity(model, tokenizer, thai) / perplexity(model, tokenizer, french)) and gap > 10
    assert adaptation.perplexity_gap(model, tokenizer, thai, french) == pytest.approx(1 / gap)


def test_features_of_a_text_do_not_hang_on_its_neighbors():
    model, tokenizer = load_model("nano-small"), load_tokenizer("nano-small")
    texts = ["We baked bread.", "No.", "The rain came late that year, and the river rose."]
    together = adaptation.features(model, tokenizer, texts)
    assert together.shape == (3, model.config.hidden_size)
    np.testing.assert_allclose(together[1], adaptation.features(model, tokenizer, texts[1:2])[0], atol=1e-5)
    ids = torch.tensor([[*tokenizer(texts[0])["input_ids"], tokenizer.eos_token_id]])
    with torch.no_grad():
        last = model(ids, output_hidden_states=True).hidden_states[-1]
    np.testing.assert_allclose(together[0], last[0].mean(0), atol=1e-5)


def test_features_of_layers_begin_at_the_input_embeddings_and_end_at_the_features():
    model, tokenizer = load_model("nano-small"), load_tokenizer("nano-small")
    texts = ["The rain came late that year, and the river rose.", "No.", "We baked bread."]
    found = adaptation.features_of_layers(model, tokenizer, texts, [3, 0, -1, 1])
    assert found.shape == (4, 3, model.config.hidden_size) and found.dtype == np.float32
    np.testing.assert_array_equal(found[2], adaptation.features(model, tokenizer, texts))
    np.testing.assert_array_equal(found[0], found[2])
    embeddings = model.get_input_embeddings().weight.detach()
    for place, text in enumerate(texts):
        ids = torch.tensor([*tokenizer(text)["input_ids"], tokenizer.eos_token_id])
        np.testing.assert_allclose(found[1, place], embeddings[ids].mean(0), atol=1e-5)
        with torch.no_grad():
            block = model(ids[None], output_hidden_states=True).hidden_states[1][0]
        np.testing.assert_allclose(found[3, place], block.mean(0), atol=1e-5)
    last = adaptation.features_of_layers(model, tokenizer, texts, [0], pooling="last")
    np.testing.assert_allclose(last[0], embeddings[tokenizer.eos_token_id].expand(3, -1), atol=1e-6)


@pytest.mark.parametrize("layer", [4, -5])
def test_a_layer_that_a_model_has_not_is_named(layer):
    with pytest.raises(UserError, match=f"there is no layer {layer}; this model has 0, its input embeddings, to 3"):
        adaptation.features_of_layers(load_model("nano-small"), load_tokenizer("nano-small"), ["No."], [0, layer])


def test_a_novice_has_the_shape_and_none_of_the_weights():
    model = load_model("nano-small")
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first, again, other = novice(model, 0), novice(model, 0), novice(model, 1)
    assert torch.equal(torch.get_rng_state(), state) and first.config is not model.config
    for (name, value), (_, twin), (_, stranger) in zip(
        model.named_parameters(), first.named_parameters(), other.named_parameters(), strict=True
    ):
        assert value.shape == twin.shape
        if value.dim() == 2:
            assert not torch.equal(value, twin) and not torch.equal(twin, stranger), name
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_continued_training_makes_the_new_texts_less_surprising():
    model, tokenizer = load_model("nano-small"), load_tokenizer("nano-small")
    texts = {split: [row["text"] for row in worlds.generator("thai_recipes").rows(60, split, 7)] for split in ("train", "test")}
    before = perplexity(model, tokenizer, texts["test"])
    result = continue_training(model, tokenizer, texts["train"], TrainConfig(steps=12, batch_size=2, learning_rate=2e-3, warmup=2))
    assert result.cost.tokens == 12 * 2 * 256
    assert perplexity(model, tokenizer, texts["test"]) < 0.7 * before


def test_continued_training_wants_texts_and_a_number_of_steps():
    model, tokenizer = load_model("nano-small"), load_tokenizer("nano-small")
    with pytest.raises(UserError, match="no texts"):
        continue_training(model, tokenizer, [], TrainConfig(steps=1))
    with pytest.raises(UserError, match="how long"):
        continue_training(model, tokenizer, ["one"], TrainConfig())
    with pytest.raises(UserError, match="a row 8; give length="):
        continue_training(model, tokenizer, ["one " * 20], TrainConfig(steps=1), length=8)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_replay_mixes_in_the_share_that_was_asked_for(share):
    new, old = [f"new {i}" for i in range(90)], [f"old {i}" for i in range(200)]
    mixed = with_replay(new, old, share)
    kept = [item for item in mixed if item.startswith("old")]
    assert len(kept) / len(mixed) == pytest.approx(share)
    assert len(set(mixed)) == len(mixed) and set(new) <= set(mixed)
    assert mixed == with_replay(new, old, share) != with_replay(new, old, share, seed=1)


def test_replay_refuses_what_it_cannot_do():
    with pytest.raises(UserError, match="out of range"):
        with_replay([1], [2], 1.0)
    with pytest.raises(UserError, match="no old example"):
        with_replay([1, 2, 3, 4], [5], 0.1)
    with pytest.raises(UserError, match="needs 100 old examples and got 3"):
        with_replay(list(range(100)), [1, 2, 3], 0.5)


def test_the_amount_is_interpolated_in_logarithms_and_bounded_where_the_curve_does_not_cross():
    amounts = [8, 32, 128]
    halfway = amount_to_reach(amounts, [0.5, 0.7, 0.9], 0.8)
    assert (round(halfway.amount), halfway.bound, str(halfway)) == (64, "=", "64")
    assert str(amount_to_reach(amounts, [0.8, 0.85, 0.9], 0.7)) == "<= 8"
    assert str(amount_to_reach(amounts, [0.5, 0.6, 0.7], 0.8)) == "> 128"


def test_a_lucky_point_early_on_does_not_count_as_reaching():
    lucky = amount_to_reach([8, 16, 32, 64], [0.82, 0.5, 0.7, 0.9], 0.8)
    assert lucky.bound == "=" and 32 < lucky.amount < 64


@pytest.mark.parametrize(("amounts", "scores"), [([], []), ([0, 8], [0.1, 0.2]), ([8, 4], [0.1, 0.2]), ([4, 8], [0.1, float("nan")]), ([4, 8], [0.1])])
def test_a_curve_that_is_none_is_refused(amounts, scores):
    with pytest.raises(UserError, match="rising amounts"):
        amount_to_reach(amounts, scores, 0.15)
