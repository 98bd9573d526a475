"""The reward model: its loss by hand and beside trl's, the token it reads, the pairs it drops, what it learns, and that it is kept whole."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from finetunelab import reward
from finetunelab.errors import UserError
from finetunelab.models import load_tokenizer, save_model
from finetunelab.repurposing import calibration, calibration_error
from finetunelab.sft import end_of_turn, use_training_template
from finetunelab.training import TrainConfig


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("nano")


@pytest.fixture
def model(tiny_causal):
    return reward.reward_model(tiny_causal, seed=1)


def request(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def pair(prompt: str, chosen: str, rejected: str, **more) -> dict:
    said = {name: [{"role": "assistant", "content": text}] for name, text in (("chosen", chosen), ("rejected", rejected))}
    return {"prompt": request(prompt)} | said | more


PAIRS = [
    pair("How do I cook soup?", "First, cut the onions. Then, boil the water. I hope this helps.", "No."),
    pair("Where is the museum?", "It is by the river.", "Go away, and do not come back to ask me such a thing again."),
    pair("Is it cold?", "Please take a coat.", "Take a coat please."),
]


# The loss -----------------------------------------------------------------------------------------------------------------------


def test_the_loss_worked_by_hand():
    # Odds of 3 to 1 and of 1 to 1: -log(3/4) and -log(1/2).
    chosen, rejected = torch.tensor([math.log(3), 5.0]), torch.tensor([0.0, 5.0])
    assert reward.bradley_terry_loss(chosen, rejected).item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    margin = torch.tensor([math.log(3), 0.0])
    assert reward.bradley_terry_loss(chosen, rejected, margin).item() == pytest.approx(math.log(2))
    assert reward.bradley_terry_loss(torch.tensor([-500.0]), torch.tensor([500.0])).item() == pytest.approx(1_000)


def test_gradients_pull_the_chosen_up_and_the_rejected_down_and_most_where_it_is_wrong():
    chosen, rejected = torch.tensor([2.0, -2.0], requires_grad=True), torch.zeros(2, requires_grad=True)
    reward.bradley_terry_loss(chosen, rejected).backward()
    assert torch.all(chosen.grad < 0) and torch.equal(rejected.grad, -chosen.grad)
    assert chosen.grad.tolist() == pytest.approx([-(1 - 1 / (1 + math.exp(-lead))) / 2 for lead in (2, -2)])


def test_only_differences_count():
    chosen, rejected = torch.tensor([0.3, -1.0]), torch.tensor([0.1, 0.5])
    loss = reward.bradley_terry_loss(chosen, rejected).item()
    assert reward.bradley_terry_loss(chosen + 7, rejected + 7).item() == pytest.approx(loss, abs=1e-6)
    assert reward.bradley_terry_loss(rejected, chosen).item() != pytest.approx(loss, abs=1e-2)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated")
@pytest.mark.parametrize("margin", [False, True])
def test_rows_and_loss_are_trls(model, tokenizer, tmp_path, margin):
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    config = RewardConfig(
        output_dir=str(tmp_path), max_length=reward.LONGEST, per_device_train_batch_size=len(PAIRS), use_cpu=True, bf16=False,
        gradient_checkpointing=False, report_to="none", disable_tqdm=True,
    )
    pairs = [row | ({"margin": 0.5 * i} if margin else {}) for i, row in enumerate(PAIRS)]
    trainer = RewardTrainer(copy.deepcopy(model), config, train_dataset=Dataset.from_list(pairs), processing_class=copy.deepcopy(tokenizer))
    (batch,) = trainer.get_train_dataloader()
    assert ("margin" in batch) == margin
    theirs = trainer.compute_loss(trainer.model, dict(batch)).item()
    rows = reward.prepare_pairs(tokenizer, pairs).rows
    ours = reward.pair_collator(tokenizer.pad_token_id)(rows)
    texts = [[ids[:n].tolist() for ids, n in zip(each["input_ids"], each["attention_mask"].sum(1), strict=True)] for each in (batch, ours)]
    # The order is drawn, so pairs are compared sorted.
    assert sorted(zip(texts[0][:3], texts[0][3:], strict=True)) == sorted(zip(texts[1][:3], texts[1][3:], strict=True))
    assert reward.pair_loss(model, ours).item() == pytest.approx(theirs, abs=1e-5)
    assert reward.pair_loss(model, ours).item() != pytest.approx(math.log(2), abs=1e-3)


# The token that is read ---------------------------------------------------------------------------------------------------------


def test_the_score_is_read_at_the_end_of_the_turn_on_either_side_of_the_padding(model, tokenizer):
    end = end_of_turn(tokenizer)
    rows = [reward.encode(tokenizer, [*row["prompt"], *row["chosen"]], end) for row in PAIRS]
    assert all(ids[-1] == end and tokenizer.pad_token_id not in ids for ids in rows)
    with torch.no_grad():
        states = [model.get_decoder()(input_ids=torch.tensor([ids])).last_hidden_state[0, -1] for ids in rows]
        by_hand = torch.stack([model.score.weight[0] @ state for state in states])
        assert by_hand.std() > 0.01
        width, pad = max(map(len, rows)) + 3, tokenizer.pad_token_id
        for side in ("right", "left"):
            fill = [[pad] * (width - len(ids)) for ids in rows]
            ids = torch.tensor([row + more if side == "right" else more + row for row, more in zip(rows, fill, strict=True)])
            found = reward.outputs(model, ids, (ids != pad).long()).squeeze(-1)
            assert torch.allclose(found, by_hand, atol=1e-5), side
        assert torch.allclose(model(input_ids=ids, attention_mask=(ids != pad).long()).logits.squeeze(-1), by_hand, atol=1e-5)
    scores = reward.score(model, tokenizer, [row["prompt"] for row in PAIRS], [row["chosen"][0]["content"] for row in PAIRS])
    assert torch.allclose(scores, by_hand, atol=1e-5)


def test_a_tokenizer_that_pads_with_its_end_of_turn_is_read_at_that_end(model, tokenizer):
    same = copy.deepcopy(tokenizer)
    same.pad_token_id = end_of_turn(tokenizer)
    prompts, responses = [row["prompt"] for row in PAIRS], [row["chosen"][0]["content"] for row in PAIRS]
    assert torch.allclose(reward.score(model, same, prompts, responses), reward.score(model, tokenizer, prompts, responses), atol=1e-5)


def test_what_a_template_writes_behind_the_end_of_the_turn_is_left_out(tokenizer):
    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    use_training_template(plain)
    messages = [*PAIRS[0]["prompt"], *PAIRS[0]["chosen"]]
    ids = reward.encode(plain, messages, end_of_turn(plain))
    assert plain.apply_chat_template(messages, tokenize=False).endswith(f"{plain.eos_token}\n")
    assert ids[-1] == plain.eos_token_id
    with pytest.raises(UserError, match="nothing to score"):
        reward.encode(plain, PAIRS[0]["prompt"], end_of_turn(plain))


def test_a_score_does_not_depend_on_its_neighbors(model, tokenizer):
    prompts = [row["prompt"] for row in PAIRS] * 30
    responses = [f"{row['chosen'][0]['content']} {'Thank you. ' * (i % 7)}" for i, row in enumerate(PAIRS * 30)]
    together = reward.score(model, tokenizer, prompts, responses)
    alone = torch.cat([reward.score(model, tokenizer, prompts[i : i + 1], responses[i : i + 1]) for i in range(20)])
    assert torch.allclose(together[:20], alone, atol=1e-5) and together.std() > 0.01


# Pairs that are dropped ---------------------------------------------------------------------------------------------------------


def test_no_pair_is_cut_and_none_has_two_equal_sides(tokenizer):
    start = "Cut the onions and boil them. " * 4
    pairs = [pair("How?", start + "Good luck.", start + "Go away."), *PAIRS, pair("How?", "Well.", "Well.")]
    lengths = [len(ids) for row in reward.prepare_pairs(tokenizer, pairs).rows[:1] for ids in (row["chosen_ids"], row["rejected_ids"])]
    for longest in (min(lengths) - 1, max(lengths) - 1):
        prepared = reward.prepare_pairs(tokenizer, pairs, longest)
        assert prepared.long >= 1 and prepared.equal == 1 and len(prepared.rows) == 4 - prepared.long
        assert all(row["chosen_ids"] != row["rejected_ids"] for row in prepared.rows)
        assert all(ids[-1] == end_of_turn(tokenizer) for row in prepared.rows for ids in (row["chosen_ids"], row["rejected_ids"]))
    prepared = reward.prepare_pairs(tokenizer, pairs)
    assert prepared.describe() == "4 pairs; dropped: 0 too long, 1 of two equal responses"


def test_nothing_to_learn_from_is_one_line(model, tokenizer):
    with pytest.raises(UserError, match="none of 2 pairs can be learned from: 1 are longer than 20 tokens, in 1 both responses are equal"):
        reward.fit(model, tokenizer, [PAIRS[0], pair("How?", "Well.", "Well.")], TrainConfig(steps=1), longest=20)
    with pytest.raises(UserError, match="the model reads 128"):
        reward.score(model, tokenizer, [request("How?")], ["Well. " * 100])


# What it learns, and what becomes of it -----------------------------------------------------------------------------------------


def test_it_learns_what_was_chosen_and_can_be_told_the_opposite(tiny_causal, tokenizer):
    words = ("onions", "water", "bread", "soup", "tea", "milk", "salt", "rice")
    pairs = [pair(f"How about {a}?", f"Please try {b}.", f"Nonsense, {b}.") for a in words for b in words]
    unseen = [pair("What about wine?", "Please drink it.", "Nonsense, drink it.")]
    config = TrainConfig(steps=40, batch_size=8, learning_rate=1e-2, warmup=4)
    leads = {}
    for name, order in {"as chosen": ("chosen", "rejected"), "the opposite": ("rejected", "chosen")}.items():
        model = reward.reward_model(tiny_causal)
        fitted = reward.fit(model, tokenizer, [row | {"chosen": row[order[0]], "rejected": row[order[1]]} for row in pairs], config)
        leads[name] = reward.margins(model, tokenizer, unseen).item()
        assert fitted.result.cost.steps == 40 and len(fitted.pairs.rows) == 64
    assert leads["as chosen"] > 1 and leads["the opposite"] < -1


def test_grades_are_learned_by_regression(tiny_causal, tokenizer):
    words = ("onions", "water", "bread", "soup", "tea", "milk", "salt", "rice")
    texts = [f"{manner}, {b}." for b in words for manner in ("Please", "Nonsense")]
    grades = [(float("Please" in text), 0.5, float("Please" not in text)) for text in texts]
    model = reward.reward_model(tiny_causal, outputs=3)
    prompts = [request("How?")] * len(texts)
    reward.fit_grades(model, tokenizer, prompts, texts, grades, TrainConfig(steps=60, batch_size=8, learning_rate=1e-2, warmup=4))
    found = reward.predict(model, tokenizer, [request("How?")] * 2, ["Please, wine.", "Nonsense, wine."])
    assert found.shape == (2, 3) and (found - torch.tensor([[1, 0.5, 0], [0, 0.5, 1]])).abs().max() < 0.3
    with pytest.raises(UserError, match="gives no single reward"):
        reward.score(model, tokenizer, prompts, texts)
    with pytest.raises(UserError, match="do not fit a model of 3 outputs"):
        reward.fit_grades(model, tokenizer, prompts, texts, [row[:2] for row in grades], TrainConfig(steps=1))


def test_the_seed_draws_the_new_layer_alone(tiny_causal):
    one, again, other = (reward.reward_model(tiny_causal, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert [name for name in one if not torch.equal(one[name], other[name])] == ["score.weight"]


def test_a_new_layer_leaves_the_rest_and_is_the_one_that_a_fresh_model_has(tiny_causal, tokenizer, tmp_path):
    grades = reward.reward_model(tiny_causal, outputs=3, seed=4)
    with torch.no_grad():
        grades.get_decoder().norm.weight.fill_(0.5)
    model = reward.with_new_layer(copy.deepcopy(grades), seed=1)
    state, before, fresh = model.state_dict(), grades.state_dict(), reward.reward_model(tiny_causal, seed=1).state_dict()
    assert state["score.weight"].shape == (1, 16) and torch.equal(state["score.weight"], fresh["score.weight"])
    assert all(torch.equal(state[name], before[name]) for name in state if name != "score.weight")
    assert not torch.equal(state["model.norm.weight"], fresh["model.norm.weight"])
    for number, each in enumerate((grades, model)):
        save_model(each, tokenizer, tmp_path / str(number))
        kept, again = reward.load_reward_model(str(tmp_path / str(number))), reward.reward_model(str(tmp_path / str(number)), seed=1)
        assert kept.config.num_labels == kept.score.out_features == each.config.num_labels == 3 - 2 * number
        assert torch.equal(again.score.weight, fresh["score.weight"]), "a base's own layer is not kept"
        assert torch.equal(again.get_decoder().norm.weight, grades.get_decoder().norm.weight)


def test_a_saved_reward_model_gives_the_same_scores_here_and_in_the_library(model, tiny_causal, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path / "kept")
    ids = reward.pair_collator(tokenizer.pad_token_id)(reward.prepare_pairs(tokenizer, PAIRS).rows)
    with torch.no_grad():
        before = reward.outputs(model, **ids)
        assert torch.equal(reward.outputs(reward.load_reward_model(str(tmp_path / "kept")), **ids), before)
        theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "kept", num_labels=1)
        assert torch.allclose(theirs(**ids).logits, before, atol=1e-5)
    with pytest.raises(UserError, match="is no reward model, but LlamaForCausalLM"):
        reward.load_reward_model(tiny_causal)


# How good it is -----------------------------------------------------------------------------------------------------------------


def test_accuracy_counts_leads_and_ties_half():
    assert reward.accuracy([0.1, -2.0, 0.0, 3.0]) == 0.625


def test_margins_are_those_of_the_pairs(model, tokenizer):
    leads = reward.margins(model, tokenizer, PAIRS)
    swapped = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in PAIRS]
    assert torch.allclose(reward.margins(model, tokenizer, swapped), -leads, atol=1e-5) and leads.abs().min() > 1e-3
    one = [reward.score(model, tokenizer, [PAIRS[1]["prompt"]], [PAIRS[1][name][0]["content"]]) for name in ("chosen", "rejected")]
    assert leads[1].item() == pytest.approx((one[0] - one[1]).item(), abs=1e-5)


def test_calibration_of_choices_by_hand():
    # Sure to 3/4 of ten choices, of which half were right.
    leads = torch.tensor([math.log(3)] * 5 + [-math.log(3)] * 5)
    chances = reward.choice_probabilities(leads)
    assert chances.shape == (10, 2)
    assert chances[0].tolist() == pytest.approx([0.75, 0.25]) and chances[9].tolist() == pytest.approx([0.25, 0.75])
    ((sure, right, n),) = calibration(chances, [0] * 10)
    assert (round(sure, 6), right, n) == (0.75, 0.5, 10)
    assert calibration_error(chances, [0] * 10) == pytest.approx(0.25)
