"""The loss of supervised fine-tuning: by definition, against TRL, packed, and in parts; and models that learn to answer and to stop."""

from __future__ import annotations

import copy
import dataclasses
import math
from functools import partial

import pytest
import torch
from test_sft import STOCK, from_worlds, some_talk, stock, talk, without_template
from transformers import LlamaConfig, LlamaForCausalLM

from finetunelab.corpus import counted_losses, stack
from finetunelab.models import load_model, load_tokenizer
from finetunelab.sft import IGNORED, completion_loss, fine_tune, pack, prepare, reply, sft_loss, tokenize, use_training_template
from finetunelab.skills import generate
from finetunelab.training import TrainConfig, train

LONGEST = 96


@pytest.fixture(autouse=True)
def no_progress_bars(monkeypatch):
    monkeypatch.setenv("CI", "1")


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


@pytest.fixture(scope="module")
def conversations(tokenizer):
    """Those alone of which some answer is within the row: what to do with others is another question. Some are cut."""
    drawn = [some_talk(seed, 6) for seed in range(24)] + from_worlds(8)
    return [messages for messages in drawn if any(tokenize(tokenizer, messages)[1][1:LONGEST])]


def tiny(vocabulary: int, attention: str = "sdpa", width: int = 32) -> LlamaForCausalLM:
    """Return a random Llama of two layers whose weights are large enough that attention matters to what it says."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, num_hidden_layers=2, num_attention_heads=2, intermediate_size=2 * width,
        initializer_range=0.2, max_position_embeddings=512, pad_token_id=0, bos_token_id=1, eos_token_id=2, attn_implementation=attention,
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="module")
def model(tokenizer):
    return tiny(len(tokenizer))


def padded(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Collate rows of any length, with padding on the right."""
    width = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": 0, "labels": IGNORED}
    batch = {name: torch.tensor([row[name] + [value] * (width - len(row[name])) for row in rows]) for name, value in fill.items()}
    return batch | {"attention_mask": torch.tensor([[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows])}


def gradients(loss: torch.Tensor, model) -> torch.Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])


def check_same_gradients(one: torch.Tensor, other: torch.Tensor) -> None:
    assert float((one - other).norm() / other.norm()) < 1e-5 and float(other.norm()) > 0.1


# The definition -----------------------------------------------------------------------------------------------------------------


def test_the_loss_is_its_definition():
    """Written with loops over what is predicted: each labelled token but the first, from the logits one position earlier."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 7, generator=generator)
    labels = torch.tensor([[4, 1, IGNORED, 2, 6], [IGNORED, IGNORED, IGNORED, IGNORED, 3], [5] + [IGNORED] * 4])
    said = []
    for row, positions in enumerate(([1, 3, 4], [4], [])):
        for position in positions:
            scores = logits[row, position - 1].tolist()
            said.append(math.log(sum(math.exp(score) for score in scores)) - scores[labels[row, position]])
    assert sft_loss(logits, labels).item() == pytest.approx(sum(said) / 4, rel=1e-6)
    # Long answers weigh more: the mean is over tokens, not over conversations.
    assert sum(said) / 4 != pytest.approx((sum(said[:3]) / 3 + said[3]) / 2, rel=1e-3)
    assert math.isnan(sft_loss(logits[2:], labels[2:])), "why what is fully masked must be dropped"


@pytest.mark.parametrize("masked", [True, False])
def test_both_losses_and_their_gradients_agree(tokenizer, model, conversations, masked):
    batch = padded(prepare(tokenizer, conversations, LONGEST, masked).rows)
    whole = sft_loss(model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits, batch["labels"])
    part = completion_loss(model, batch)
    assert part.item() == pytest.approx(whole.item(), rel=1e-5)
    check_same_gradients(gradients(part, model), gradients(whole, model))
    labelled = int((batch["labels"][:, 1:] != IGNORED).sum())
    assert completion_loss(model, batch, 2 * labelled).item() == pytest.approx(whole.item() / 2, rel=1e-5)


def test_logits_are_computed_only_where_there_is_a_label(tokenizer, model, conversations):
    batch, seen = padded(prepare(tokenizer, conversations, LONGEST).rows), []
    hook = model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[:-1].numel()))
    completion_loss(model, batch)
    hook.remove()
    assert seen == [int((batch["labels"] != IGNORED).sum())] and seen[0] < 0.5 * batch["input_ids"].numel()


# TRL ----------------------------------------------------------------------------------------------------------------------------


def trls(model, tokenizer, conversations, folder, **options):
    """Let TRL prepare the conversations; return one batch of all rows, and its loss of that batch."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(
        output_dir=str(folder), max_length=LONGEST, per_device_train_batch_size=len(conversations), use_cpu=True, bf16=False,
        gradient_checkpointing=False, report_to="none", disable_tqdm=True, **options,
    )
    data = Dataset.from_list([{"messages": messages} for messages in conversations])
    # Copies, because it changes the forward of the one and the end token of the other.
    trainer = SFTTrainer(copy.deepcopy(model), config, train_dataset=data, processing_class=copy.deepcopy(tokenizer))
    (batch,) = trainer.get_train_dataloader()
    return batch, trainer.compute_loss(trainer.model, dict(batch)).item()


TRLS_OWN = pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated")


@TRLS_OWN
@pytest.mark.parametrize("masked", [True, False])
def test_labels_and_loss_are_trls(tokenizer, model, conversations, tmp_path, masked):
    batch, loss = trls(model, tokenizer, conversations, tmp_path, assistant_only_loss=masked)
    prepared = prepare(tokenizer, conversations, LONGEST, masked)
    ours = padded(prepared.rows)
    assert prepared.cut > 3 and prepared.dropped == 0 and len(prepared.rows) == len(conversations) > 20
    # The order is drawn, so rows are compared sorted.
    for name in ("input_ids", "labels", "attention_mask"):
        theirs, mine = (sorted(zip(each["input_ids"].tolist(), each[name].tolist(), strict=True)) for each in (batch, ours))
        assert theirs == mine
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert sft_loss(logits, batch["labels"]).item() == pytest.approx(loss, abs=1e-5)
    assert completion_loss(model, ours).item() == pytest.approx(loss, abs=1e-5)


@TRLS_OWN
@pytest.mark.parametrize("masked", [True, False])
def test_the_packed_loss_is_trls(tokenizer, model, conversations, tmp_path, masked):
    batch, loss = trls(model, tokenizer, conversations, tmp_path, assistant_only_loss=masked, packing=True)
    packed = pack(prepare(tokenizer, conversations, LONGEST, masked).rows, LONGEST, tokenizer.pad_token_id)
    assert len(batch["input_ids"]) == 1 and len(packed) < len(conversations)
    assert int((batch["labels"] != IGNORED).sum()) == sum(int((row["labels"] != IGNORED).sum()) for row in packed)
    assert completion_loss(model, stack(packed)).item() == pytest.approx(loss, abs=1e-5)


# Packed rows --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_loss_and_gradients_are_those_of_conversations_alone(tokenizer, conversations, attention):
    model, rows = tiny(len(tokenizer), attention), prepare(tokenizer, conversations, LONGEST).rows
    count = sum(label != IGNORED for row in rows for label in row["labels"])
    alone = sum(completion_loss(model, {name: torch.tensor([values]) for name, values in row.items()}, count) for row in rows)
    packed = stack(pack(rows, LONGEST, tokenizer.pad_token_id))
    assert len(packed["input_ids"]) < 0.8 * len(rows)
    together = completion_loss(model, packed)
    assert together.item() == pytest.approx(alone.item(), rel=1e-5)
    check_same_gradients(gradients(together, model), gradients(alone, model))
    inputs = {name: packed[name] for name in ("input_ids", "position_ids")}
    logits = model(**inputs, use_cache=False).logits
    assert sft_loss(logits, packed["labels"]).item() == pytest.approx(alone.item(), rel=1e-5)
    # With a cache the library does not ask where conversations begin.
    assert (model(**inputs, use_cache=True).logits - logits)[packed["labels"] != IGNORED].abs().max() > 0.1


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_neighbors_in_a_row_do_not_see_each_other(tokenizer, attention):
    """One conversation of a row is changed; the losses of the others stay as they are, and do not where positions run on."""
    model = tiny(len(tokenizer), attention)
    row = pack(prepare(tokenizer, from_worlds(8)[:5], 256).rows, 256, tokenizer.pad_token_id)[0]
    starts = (row["position_ids"] == 0).nonzero().flatten().tolist()
    second = slice(starts[1], starts[2])
    assert second.stop - second.start > 10 and (row["labels"][second.stop :] != IGNORED).sum() > 10
    changed = {**row, "input_ids": row["input_ids"].clone()}
    generator = torch.Generator().manual_seed(0)
    changed["input_ids"][second.start + 1 : second.stop] = torch.randint(7, 4000, (second.stop - second.start - 1,), generator=generator)
    counted = row["labels"][None, 1:] != IGNORED
    place = counted[0].nonzero().flatten() + 1
    others = (place < second.start) | (place >= second.stop)
    before, after = (counted_losses(model, stack([each]), counted) for each in (row, changed))
    assert torch.allclose(before[others], after[others], atol=1e-5) and not torch.allclose(before[~others], after[~others], atol=0.1)
    for each in (row, changed):
        del each["position_ids"]
    before, after = (counted_losses(model, stack([each]), counted) for each in (row, changed))
    assert (before - after)[place >= second.stop].abs().max() > 0.01


# In parts -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def norms(monkeypatch):
    """The norm of the gradient of each step: AdamW would hide that its scale is wrong."""
    import accelerate

    found, clip = [], accelerate.Accelerator.clip_grad_norm_

    def keep(*given, **named):
        norm = clip(*given, **named)
        found.append(float(norm))
        return norm

    monkeypatch.setattr(accelerate.Accelerator, "clip_grad_norm_", keep)
    return found


def test_two_batches_of_a_step_weigh_their_tokens_alike(tokenizer, norms):
    """Rows with one label and rows with dozens: accumulated in two batches they make the step that one batch makes."""
    short, long = talk("word " * 25, ""), talk("Hi", "word " * 25)
    rows = [row for pair in zip(*(prepare(tokenizer, [each] * 8, 64).rows for each in (short, long)), strict=True) for row in pair]
    few, many = sorted({sum(label != IGNORED for label in row["labels"]) for row in rows})
    assert few == 1 and many > 25
    packed = pack(rows, 64, tokenizer.pad_token_id)
    whole = TrainConfig(steps=10, batch_size=4, warmup=0, learning_rate=1e-3, clip=1e6, schedule="constant")
    parts = dataclasses.replace(whole, batch_size=1, accumulate=4)

    def run(config, loss):
        norms.clear()
        model = tiny(len(tokenizer))
        history = train(model, packed, config, collate=stack, loss=loss).history
        return torch.cat([p.flatten() for p in model.parameters()]).detach(), history[-1]["loss"], list(norms)

    def alone(model, batch):  # the mean of a batch, whatever else is in its step
        return completion_loss(model, batch)

    expected, given = run(whole, alone), run(parts, completion_loss)
    assert torch.allclose(given[0], expected[0], rtol=0, atol=2e-5) and given[1] == pytest.approx(expected[1], rel=1e-5)
    assert given[2] == pytest.approx(expected[2], rel=1e-3) and len(given[2]) == 10
    # A mean of means gives the lone token of a short answer the weight of a whole long one.
    without = run(parts, alone)
    assert without[1] != pytest.approx(expected[1], rel=1e-3) and without[2] != pytest.approx(expected[2], rel=1e-2)


# A model that answers -----------------------------------------------------------------------------------------------------------

TALKS = [
    talk("What is your name?", "I am called Plum."),
    talk("Say hi.", "Hi there!", "Where do you live?", "In a box."),
    talk("Say hi.", "Bonjour, l'ami !", system="Speak French."),
]
PROMPTS = [TALKS[0][:1], TALKS[1][:1], TALKS[1][:3], TALKS[2][:2]]
ANSWERS = ["I am called Plum.", "Hi there!", "In a box.", "Bonjour, l'ami !"]


@pytest.fixture(scope="module")
def tuned():
    """The shipped base after two seconds on three conversations, and one that has none of the assistant's."""
    model, tokenizer = load_model(), load_tokenizer()
    config = TrainConfig(steps=30, batch_size=2, learning_rate=2e-3, warmup=3)
    before = reply(model, tokenizer, PROMPTS, tokens=8)
    return model, tokenizer, before, fine_tune(model, tokenizer, [*TALKS, talk("Hello?")], config, longest=64)


def test_a_model_learns_to_answer_and_to_end_its_turn(tuned):
    model, tokenizer, before, result = tuned
    assert not set(before) & set(ANSWERS)
    assert reply(model, tokenizer, PROMPTS, tokens=60) == ANSWERS
    assert reply(model, tokenizer, PROMPTS[:1], tokens=60) == ANSWERS[:1] and reply(model, tokenizer, [], tokens=60) == []
    begun = tokenizer(ANSWERS[0], add_special_tokens=False)["input_ids"][:2]
    assert reply(model, tokenizer, PROMPTS[:1], tokens=2) == [tokenizer.decode(begun)]


def test_what_cannot_be_learned_from_is_counted_and_harms_nothing(tuned):
    result = tuned[3]
    assert len(result.prepared.rows) == 3 and result.prepared.dropped == 1 and result.rows == 2
    losses = [entry["loss"] for entry in result.result.history]
    assert len(losses) == 3 and all(map(math.isfinite, losses)) and losses[-1] < 0.05 < 1 < losses[0]
    assert all(parameter.isfinite().all() for parameter in tuned[0].parameters())


def test_announcing_says_what_became_of_the_data(tokenizer, capfd):
    config = TrainConfig(steps=1, batch_size=2)
    fine_tune(tiny(len(tokenizer)), tokenizer, [*TALKS, talk("Hello?")], config, longest=64)
    assert capfd.readouterr() == ("", "")
    fine_tune(tiny(len(tokenizer)), tokenizer, [*TALKS, talk("Hello?")], config, longest=64, announce=True)
    out, err = capfd.readouterr()
    assert out.startswith("3 conversations; 0 cut") and ", 1 dropped" in out and "Packed into 2 rows of 64 tokens." in out and err == ""


@pytest.mark.parametrize("masked", [True, False])
def test_the_mask_decides_what_is_learned(tokenizer, masked):
    """With it a model learns what the assistant says and nothing of what the user does; without it, both."""
    model, question = load_model(), "Grumble plinth vexed quota?"
    messages = talk(question, "Yes.")
    fine_tune(model, tokenizer, [messages], TrainConfig(steps=15, batch_size=1, learning_rate=2e-3, warmup=0), longest=32, masked=masked)
    batch = padded(prepare(tokenizer, [messages], 32, masked=False).rows)
    answer = torch.tensor(tokenize(tokenizer, messages)[1])[None, 1:] == 1
    said, asked = (counted_losses(model, batch, part).mean().item() for part in (answer, ~answer))
    assert said < 0.1 and (asked > 2 if masked else asked < 0.5)


@pytest.mark.parametrize("name", [None, *STOCK])
def test_models_with_other_templates_learn_to_answer(name):
    tokenizer = use_training_template(without_template() if name is None else stock(name))
    model = tiny(len(tokenizer), width=64)
    fine_tune(model, tokenizer, TALKS[:1], TrainConfig(steps=40, batch_size=1, learning_rate=1e-2, warmup=0), longest=128)
    assert reply(model, tokenizer, PROMPTS[:1], tokens=60) == ANSWERS[:1]


# Generation from token ids ------------------------------------------------------------------------------------------------------


def test_generation_takes_token_ids_and_ends_at_a_token(tokenizer, model):
    texts = ["The cat", "Anna went to the market and", "x", "On the far side of the river there is a mill, and", "Once"]
    continue_ = partial(generate, model, tokenizer, tokens=12, batch_size=2)
    free, ids = continue_(texts), tokenizer(texts)["input_ids"]
    assert len(set(free)) > 3 and continue_(ids) == free
    said = [model.generate(torch.tensor([each]), max_new_tokens=12, do_sample=False)[0, len(each) :].tolist() for each in ids]
    end = said[0][5]
    cut = [row[: row.index(end) + 1] if end in row else row for row in said]
    assert continue_(ids, end=end) == continue_(texts, end=end) == tokenizer.batch_decode(cut, skip_special_tokens=True)
    assert len(cut[0]) <= 6 < max(map(len, cut)), "one ends and the others go on"
