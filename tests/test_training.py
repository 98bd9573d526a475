"""The trainer: resume after a kill, the meter, seeds, accumulation, early stops, number formats, bad input."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from finetunelab import cost as cost_module
from finetunelab import training
from finetunelab.cost import measure_step
from finetunelab.errors import UserError
from finetunelab.profiles import Hardware
from finetunelab.training import TrainConfig, last_checkpoint, train


@pytest.fixture(autouse=True)
def no_progress_bars(monkeypatch):
    monkeypatch.setenv("CI", "1")


VOCABULARY, WIDTH, LAYERS, FEED, HEADS = 64, 32, 2, 64, 2


def tiny(seed: int = 0, dropout: float = 0.0) -> LlamaForCausalLM:
    """Return a random Llama of width 32 with two layers; dropout makes a run depend on the random state."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=FEED,
            max_position_embeddings=256, tie_word_embeddings=False, attention_dropout=dropout,
        )
    )


def some_rows(n: int = 64, length: int = 12) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(VOCABULARY, (length,), generator=generator) for _ in range(n)]


def collate(rows: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    ids = torch.stack(rows)
    return {"input_ids": ids, "labels": ids}


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


RESUMED = TrainConfig(steps=23, batch_size=4, warmup=4, seed=3, save_every=5)


class SlowRows(list):
    """Rows that are read slowly, so that a run can be killed between two checkpoints."""

    def __getitem__(self, index):
        time.sleep(0.02)
        return super().__getitem__(index)


def _run_slowly(output: str) -> None:
    """Run in the subprocess that is killed."""
    train(tiny(dropout=0.1), SlowRows(some_rows()), RESUMED, collate=collate, output=output)


def _kill_midway(output: Path) -> None:
    """Start the run in a process of its own and kill it some steps after its second checkpoint."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_training as t; t._run_slowly({str(output)!r})"
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "CI": "1", "OMP_NUM_THREADS": "1"})
    deadline = time.time() + 300
    while not (output / "checkpoint-10" / training.COST_FILE).exists():
        assert process.poll() is None and time.time() < deadline, "the run ended before it could be killed"
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (output / "checkpoint-23").exists()


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    _kill_midway(tmp_path / "killed")
    whole, resumed = tiny(dropout=0.1), tiny(dropout=0.1)
    expected = train(whole, some_rows(), RESUMED, collate=collate, output=tmp_path / "whole")
    counted = 0

    def counting(rows):
        nonlocal counted
        counted += 1
        return collate(rows)

    result = train(resumed, some_rows(), RESUMED, collate=counting, output=tmp_path / "killed")
    assert counted < 23  # it did go on, and did not begin anew
    assert same(weights(whole), weights(resumed))
    for field in ("flops", "tokens", "steps", "trained_parameters"):
        assert getattr(result.cost, field) == getattr(expected.cost, field), field
    assert [entry["loss"] for entry in result.history] == [entry["loss"] for entry in expected.history]


def test_a_checkpoint_that_was_cut_short_is_passed_over(tmp_path):
    config = TrainConfig(steps=8, batch_size=4, save_every=3)
    whole, resumed = tiny(), tiny()
    train(whole, some_rows(), config, collate=collate, output=tmp_path)
    for file in (tmp_path / "checkpoint-8").iterdir():
        if file.suffix != ".safetensors":
            file.unlink()
    (tmp_path / "checkpoint-8" / "model.safetensors").write_bytes(b"half a file")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-6")
    result = train(resumed, some_rows(), config, collate=collate, output=tmp_path)
    assert same(weights(whole), weights(resumed)) and result.cost.steps == 8


def test_last_checkpoint_counts_numbers_and_not_letters(tmp_path):
    assert last_checkpoint(tmp_path / "missing") is None
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / training.COST_FILE).write_text("{}")
    assert last_checkpoint(tmp_path).endswith("checkpoint-10")


@pytest.mark.parametrize("config", [
    TrainConfig(steps=6, batch_size=4, save_every=3),
    TrainConfig(epochs=1, batch_size=16, save_every=3),
    TrainConfig(steps=40, batch_size=4, save_every=30, stop_below=100.0),
], ids=["steps", "epochs", "stopped early"])
def test_a_finished_run_takes_no_further_step(tmp_path, config):
    first, again = tiny(), tiny()
    expected = train(first, some_rows(), config, collate=collate, output=tmp_path)
    result = train(again, some_rows(), config, collate=collate, output=tmp_path)
    assert same(weights(first), weights(again))
    assert result == expected


def test_more_steps_go_on_from_a_finished_run(tmp_path):
    config = TrainConfig(steps=6, batch_size=4, save_every=3)
    train(tiny(), some_rows(), config, collate=collate, output=tmp_path)
    assert train(tiny(), some_rows(), dataclasses.replace(config, steps=9), collate=collate, output=tmp_path).cost.steps == 9


def test_without_save_every_nothing_is_kept_and_nothing_resumed(tmp_path):
    config = TrainConfig(steps=3, batch_size=4)
    for _ in range(2):
        assert train(tiny(), some_rows(), config, collate=collate, output=tmp_path).cost.steps == 3
    assert last_checkpoint(tmp_path) is None


def test_stopping_early_without_an_output_saves_no_checkpoint(monkeypatch):
    saved = []
    monkeypatch.setattr(training._Trainer, "_save_checkpoint", lambda self, *args, **kwargs: saved.append(1))
    train(tiny(), some_rows(), TrainConfig(steps=20, batch_size=4, stop_below=100.0), collate=collate)
    assert not saved


def test_measuring_changes_nothing(monkeypatch):
    config = TrainConfig(steps=6, batch_size=4)
    measured, plain = tiny(dropout=0.2), tiny(dropout=0.2)
    cost = train(measured, some_rows(), config, collate=collate).cost
    assert cost.flops > 0
    monkeypatch.setattr(cost_module, "_measured", {})
    monkeypatch.setattr(cost_module, "measure_step", lambda loss_of, parameters: (0.0, 0))
    assert train(plain, some_rows(), config, collate=collate).cost.flops == 0
    assert same(weights(measured), weights(plain))


def test_measure_step_leaves_weights_gradients_and_random_state():
    model = tiny(dropout=0.5).train()
    batch = collate(some_rows(4))
    model(**batch).loss.backward()
    before, gradients = weights(model), [p.grad.clone() for p in model.parameters()]
    state = torch.get_rng_state()
    measure_step(lambda: model(**batch).loss, list(model.parameters()))
    assert torch.equal(torch.get_rng_state(), state)
    assert same(before, weights(model))
    assert all(torch.equal(p.grad, old) for p, old in zip(model.parameters(), gradients, strict=True))


def test_flops_and_bytes_of_a_linear_layer_by_hand():
    layer, x = torch.nn.Linear(64, 32, bias=False), torch.randn(8, 64)
    flops, peak = measure_step(lambda: layer(x).sum(), [layer.weight])
    product = 2 * 8 * 64 * 32
    assert flops == 2 * product  # forward, and the gradient of the weight; that of the input is not needed
    # The gradient is alive (8 KiB), and at most the output (1 KiB) beside it. The weight itself was there before.
    assert 64 * 32 * 4 <= peak <= 64 * 32 * 4 + 2 * 8 * 32 * 4


def test_bytes_that_were_freed_do_not_count():
    x = torch.zeros(1000, requires_grad=True)

    def loss():
        with torch.no_grad():
            for _ in range(20):
                _ = x + 1
        return x.sum()

    assert measure_step(loss, [x])[1] < 3 * 4000 + 100


def hand_count(batch: int, length: int) -> float:
    """FLOPs of one full training step of the tiny Llama: two a multiply-add, backward twice the forward, attention without causality."""
    tokens = batch * length
    matrices = LAYERS * (4 * WIDTH * WIDTH + 3 * WIDTH * FEED) + WIDTH * VOCABULARY
    scores = LAYERS * 2 * batch * length * length * WIDTH  # queries with keys, weights with values
    return 3 * 2 * (tokens * matrices + scores)


def test_flops_of_a_transformer_by_hand():
    """Within 6 %: the fused attention computes its scores once more on the way back, and rotary angles are a small product too."""
    result = train(tiny(), some_rows(64, 32), TrainConfig(steps=3, batch_size=4), collate=collate)
    assert result.cost.flops == pytest.approx(3 * hand_count(4, 32), rel=0.06)
    assert result.cost.tokens == 3 * 4 * 32 and result.cost.steps == 3
    assert result.cost.trained_parameters == sum(p.numel() for p in tiny().parameters())


def test_attention_is_counted_on_a_cpu():
    """Four times the length, a quarter of the batch: the same tokens, so only attention can grow."""
    short, long = (
        train(tiny(), some_rows(16, length), TrainConfig(steps=1, batch_size=batch), collate=collate).cost.flops
        for batch, length in ((8, 32), (2, 128))
    )
    assert long / short == pytest.approx(hand_count(2, 128) / hand_count(8, 32), rel=0.06)
    assert long > 1.3 * short


def test_only_attended_tokens_are_counted():
    def padded(rows):
        batch = collate(rows)
        mask = torch.ones_like(batch["input_ids"])
        mask[:, 9:] = 0
        return {**batch, "attention_mask": mask}

    assert train(tiny(), some_rows(), TrainConfig(steps=2, batch_size=4), collate=padded).cost.tokens == 2 * 4 * 9


def frozen_below(model: LlamaForCausalLM) -> LlamaForCausalLM:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("model.layers.1", "lm_head")))
    return model


def test_freezing_saves_flops_and_bytes_and_leaves_the_frozen_weights():
    config, model = TrainConfig(steps=2, batch_size=4, learning_rate=1e-2, warmup=0), frozen_below(tiny())
    full = train(tiny(), some_rows(), config, collate=collate).cost
    before = weights(model)
    part = train(model, some_rows(), config, collate=collate).cost
    assert part.trained_parameters < 0.7 * full.trained_parameters
    # The first layer's backward pass, a third of the whole step, falls away.
    assert 0.6 < part.flops / full.flops < 0.85
    assert part.peak_bytes < 0.9 * full.peak_bytes
    after = weights(model)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {name for name in after if name.startswith(("model.layers.1", "lm_head"))}


def test_checkpointing_trades_flops_for_bytes_without_a_warning():
    rows, config = some_rows(8, 128), TrainConfig(steps=2, batch_size=8)
    plain, saving = tiny(), tiny()
    expected = train(plain, rows, config, collate=collate).cost
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cost = train(saving, rows, dataclasses.replace(config, checkpointing=True), collate=collate).cost
    assert cost.peak_bytes < 0.8 * expected.peak_bytes
    assert 1.1 < cost.flops / expected.flops < 1.4  # up to one more forward pass, a third of a step
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_checkpointed_block_costs_little_more_than_its_input():
    """What a step needs at its peak, by the growth from 4 blocks to 12: without checkpointing some twenty states of each block are kept."""
    batch, state, peaks = collate(some_rows(8, 64)), 8 * 64 * WIDTH * 4, {}
    for checkpointing in (False, True):
        for blocks in (4, 12):
            model = LlamaForCausalLM(LlamaConfig(**{**tiny().config.to_dict(), "num_hidden_layers": blocks, "use_cache": False})).train()
            if checkpointing:
                getattr(model, f"{training.CHECKPOINTING}_enable")()
            peaks[checkpointing, blocks] = measure_step(lambda model=model: model(**batch).loss, list(model.parameters()))[1]
    gradients = 4 * (4 * WIDTH * WIDTH + 3 * WIDTH * FEED + 2 * WIDTH)
    plain, saving = ((peaks[checkpointing, 12] - peaks[checkpointing, 4]) / 8 for checkpointing in (False, True))
    assert plain > 10 * state and state <= saving <= state + gradients + state / 2


def test_training_prints_and_warns_nothing(tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(tiny(), some_rows(), TrainConfig(steps=12, batch_size=4, save_every=4), collate=collate, output=tmp_path)
    assert capfd.readouterr() == ("", "")


def mean_loss(model, batch):
    """A mean over the tokens of this batch alone, as our losses are."""
    logits = model(input_ids=batch["input_ids"]).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["input_ids"][:, 1:].flatten())


@pytest.mark.parametrize("loss", [mean_loss, None], ids=["our loss", "the model's loss"])
def test_accumulating_two_batches_equals_one_of_twice_the_size(loss):
    accumulated, whole = tiny(), tiny()
    config = TrainConfig(steps=4, batch_size=16, warmup=0, learning_rate=1e-3, clip=1e6)
    expected = train(whole, some_rows(), config, collate=collate, loss=loss)
    result = train(accumulated, some_rows(), dataclasses.replace(config, batch_size=8, accumulate=2), collate=collate, loss=loss)
    for one, other in zip(accumulated.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    assert result.cost.steps == expected.cost.steps and result.cost.tokens == expected.cost.tokens
    assert result.cost.flops == pytest.approx(expected.cost.flops, rel=1e-6)


@pytest.mark.parametrize("loss", [mean_loss, None], ids=["our loss", "the model's loss"])
def test_accumulated_gradients_are_averaged(loss, monkeypatch):
    """AdamW hides a wrong scale of the gradients, so their norm is compared too."""
    norms = []

    def keep(parameters, *args, **kwargs):
        norms.append(float(torch.stack([p.grad.norm() for p in parameters]).norm()))
        return torch.tensor(norms[-1])

    import accelerate

    monkeypatch.setattr(accelerate.Accelerator, "clip_grad_norm_", lambda self, parameters, *a, **k: keep(list(parameters)))
    config = TrainConfig(steps=1, batch_size=16)
    train(tiny(), some_rows(), config, collate=collate, loss=loss)
    train(tiny(), some_rows(), dataclasses.replace(config, batch_size=8, accumulate=2), collate=collate, loss=loss)
    assert len(norms) == 2 and norms[1] == pytest.approx(norms[0], rel=1e-4)


def test_seeds_decide_the_run():
    def run(seed):
        model = tiny()
        train(model, some_rows(), TrainConfig(steps=4, batch_size=4, seed=seed), collate=collate)
        return weights(model)

    random.seed(1)
    torch.manual_seed(1)
    one = run(0)
    torch.manual_seed(2)
    assert same(one, run(0))
    assert not same(one, run(1))


def test_epochs_pass_over_every_row_once():
    seen = []

    def looking(rows):
        seen.extend(tuple(row.tolist()) for row in rows)
        return collate(rows)

    rows = some_rows(20)
    assert train(tiny(), rows, TrainConfig(epochs=2, batch_size=8), collate=looking).cost.steps == 6
    assert sorted(seen) == sorted(2 * [tuple(row.tolist()) for row in rows])


def test_grouping_by_length_saves_padding_and_still_sees_every_row_once():
    lengths = [4 + 6 * (7 * i % 20) for i in range(160)]
    rows = [{"input_ids": [i % VOCABULARY] * length, "id": i} for i, length in enumerate(lengths)]
    positions, orders, tokens = {}, {}, {}
    for grouped in (False, True):
        batches = []

        def looking(batch, batches=batches):
            batches.append([row["id"] for row in batch])
            width = max(len(row["input_ids"]) for row in batch)
            ids = torch.tensor([row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in batch])
            mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in batch])
            return {"input_ids": ids, "attention_mask": mask, "labels": ids}

        config = TrainConfig(epochs=2, batch_size=8, group_by_length=grouped)
        tokens[grouped] = train(tiny(), rows, config, collate=looking).cost.tokens
        positions[grouped], orders[grouped] = sum(8 * max(lengths[i] for i in batch) for batch in batches), sum(batches, [])
    assert tokens[False] == tokens[True] == 2 * sum(lengths)
    assert positions[True] < 1.25 * tokens[True] < 1.5 * tokens[True] < positions[False]
    for order in orders.values():
        assert sorted(order[:160]) == sorted(order[160:]) == list(range(160)) and order[:160] != order[160:]


@pytest.mark.parametrize("freeze", [False, True], ids=["all", "part"])
def test_the_optimizer_keeps_two_moments_of_what_is_trained(freeze):
    model = frozen_below(tiny()) if freeze else tiny()
    trained = [p for p in model.parameters() if p.requires_grad]
    cost = train(model, some_rows(), TrainConfig(steps=2, batch_size=4), collate=collate).cost
    moments = 2 * 4 * sum(p.numel() for p in trained)
    assert moments <= cost.optimizer_bytes <= moments + 8 * len(trained)  # and a count of steps for each tensor


def test_stop_below_ends_a_run_that_has_learned():
    rows = [torch.arange(12)] * 64
    config = TrainConfig(steps=400, batch_size=4, learning_rate=1e-2, warmup=0, stop_below=0.5)
    result = train(tiny(), rows, config, collate=collate)
    assert 10 <= result.cost.steps < 200 and result.cost.steps % 10 == 0
    assert result.history[-1]["loss"] < 0.5
    assert all(entry["loss"] >= 0.5 for entry in result.history[:-1])


def test_learning_rate_warms_up_and_falls():
    history = train(tiny(), some_rows(), TrainConfig(steps=40, batch_size=4, warmup=10, learning_rate=1e-3), collate=collate).history
    rates = [entry["learning_rate"] for entry in history]
    assert rates[0] == pytest.approx(9e-4) and rates == sorted(rates, reverse=True) and rates[-1] < 1e-4


def test_the_model_is_left_ready_for_use():
    model = tiny(dropout=0.5)
    train(model, some_rows(), TrainConfig(steps=1, batch_size=4), collate=collate)
    assert not model.training and model.config.use_cache


def test_our_loss_is_used_where_one_is_given():
    """A loss of nothing but the sum of squares shrinks the weights; the model's own loss is not consulted."""
    model = tiny()
    head = model.lm_head.weight.abs().sum().item()

    def squares(module, batch):
        return sum((p**2).sum() for p in module.parameters())

    config = TrainConfig(steps=5, batch_size=4, warmup=0, weight_decay=0.0)
    train(model, some_rows(), config, collate=lambda rows: {"input_ids": torch.stack(rows)}, loss=squares)
    assert model.lm_head.weight.abs().sum().item() < 0.9 * head


def test_announce_names_device_format_and_reason(monkeypatch, capsys):
    monkeypatch.setattr(training, "device_and_dtype", lambda: Hardware("cpu", "float32", "Because this test says so."))
    config = TrainConfig(steps=1, batch_size=4)
    train(tiny(), some_rows(), config, collate=collate)
    assert capsys.readouterr().out == ""
    train(tiny(), some_rows(), config, collate=collate, announce=True)
    assert capsys.readouterr().out == "Training on cpu in float32: Because this test says so.\n"


@pytest.mark.parametrize("dtype, bf16, fp16", [("float32", False, False), ("bfloat16", True, False), ("float16", False, True)])
def test_the_hardware_chooses_the_number_format(monkeypatch, dtype, bf16, fp16):
    class Stop(Exception):
        pass

    def look(**arguments):
        assert (arguments["bf16"], arguments["fp16"], arguments["use_cpu"]) == (bf16, fp16, False)
        raise Stop

    monkeypatch.setattr(training, "device_and_dtype", lambda: Hardware("cuda", dtype, "."))
    monkeypatch.setattr(training, "TrainingArguments", look)
    with pytest.raises(Stop):
        train(tiny(), some_rows(), TrainConfig(), collate=collate)


def test_bfloat16_is_used_when_chosen(monkeypatch):
    """A CPU can compute in bfloat16 too: the products come out in that format, the weights stay in float32."""
    seen, model = set(), tiny()
    model.lm_head.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    monkeypatch.setattr(training, "device_and_dtype", lambda: Hardware("cpu", "bfloat16", "."))
    train(model, some_rows(), TrainConfig(steps=2, batch_size=4), collate=collate)
    assert seen == {torch.bfloat16}
    assert model.lm_head.weight.dtype == torch.float32


def test_a_format_that_is_asked_for_is_used_in_our_own_losses_too(monkeypatch, capsys):
    seen, model = set(), tiny()

    def loss(module, batch):
        scores = module.lm_head(module.get_decoder()(batch["input_ids"]).last_hidden_state)  # past the forward that the library wraps
        seen.add(scores.dtype)
        return scores.float().logsumexp(-1).mean()

    monkeypatch.setattr(training, "device_and_dtype", lambda: Hardware("cpu", "float32", "."))
    train(model, some_rows(), TrainConfig(steps=1, batch_size=4, dtype="bfloat16"), collate=collate, loss=loss, announce=True)
    assert seen == {torch.bfloat16}
    assert "in bfloat16: it was asked for" in capsys.readouterr().out


@pytest.mark.parametrize("environment, terminal, wanted", [({"CI": "1"}, True, False), ({}, True, True), ({}, False, False)])
def test_progress_bars_are_for_people(monkeypatch, environment, terminal, wanted):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", type("Stream", (), {"isatty": lambda self: terminal, "write": lambda self, text: None})())
    assert training.show_progress() is wanted


def fails(call) -> str:
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and ";" in message
    return message


def test_bad_input_is_one_line():
    def without_labels(rows):
        return {"input_ids": torch.stack(rows)}

    frozen = tiny().requires_grad_(False)
    assert "no training examples" in fails(lambda: train(tiny(), [], TrainConfig(), collate=collate))
    assert "frozen" in fails(lambda: train(frozen, some_rows(), TrainConfig(), collate=collate))
    assert "no loss" in fails(lambda: train(tiny(), some_rows(), TrainConfig(steps=1), collate=without_labels))


def test_cost_is_told_in_one_line_and_kept_as_json(tmp_path):
    config = TrainConfig(steps=2, batch_size=4, save_every=2)
    cost = train(tiny(), some_rows(), config, collate=collate, output=tmp_path).cost
    assert json.loads((tmp_path / "checkpoint-2" / training.COST_FILE).read_text()) == dataclasses.asdict(cost)
    assert cost.seconds > 0
    assert cost.describe().startswith("2 steps, 96 tokens, ") and f"{cost.trained_parameters:,} parameters trained" in cost.describe()


def test_a_step_is_measured_once_for_all_runs_of_its_kind(monkeypatch):
    measured = []
    monkeypatch.setattr(cost_module, "_measured", {})
    monkeypatch.setattr(cost_module, "measure_step", lambda *given: measured.append(1) or measure_step(*given))
    config = TrainConfig(steps=2, batch_size=4)
    costs = [train(tiny(), some_rows(16, 24), config, collate=collate).cost for _ in range(2)]
    assert len(measured) == 1 and costs[0].flops == costs[1].flops > 0 and costs[0].peak_bytes == costs[1].peak_bytes
    frozen = tiny()
    for parameter in list(frozen.parameters())[:-1]:
        parameter.requires_grad_(False)
    others = [train(frozen, some_rows(16, 24), config, collate=collate).cost, train(tiny(), some_rows(16, 16), config, collate=collate).cost]
    assert len(measured) == 3 and all(other.flops < costs[0].flops for other in others)


def test_on_a_gpu_the_peak_is_the_allocators_alone(monkeypatch):
    class Asked:
        compute_loss_context_manager = contextlib.nullcontext

        def compute_loss(self, model, inputs):
            return model(**inputs).loss

    peaks = []
    for cuda in (False, True):
        model = tiny()
        meter = training.Meter(model)
        meter._began = 0.0
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        meter.see(Asked(), model, collate(list(some_rows(4))))
        assert meter.cost.flops > 0
        peaks.append(meter.cost.peak_bytes)
    assert peaks[0] > 0 and peaks[1] == 0, "what is asked at the end of the step"
