"""Bases in 4 bit: what is stored, what may train, that training is right, and that memory is what the arithmetic says."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from finetunelab.errors import UserError
from finetunelab.heads import Classifier, accuracy, fit, padded, predict, tokenized
from finetunelab.lora import METHODS, add_lora, memory, packed_bytes, sizes
from finetunelab.models import count_parameters, load_model, load_tokenizer, quiet, stored_bytes
from finetunelab.training import TrainConfig

QWEN3_8B = Qwen3Config(
    num_hidden_layers=36, hidden_size=4096, num_attention_heads=32, num_key_value_heads=8, head_dim=128, intermediate_size=12288,
    vocab_size=151936, tie_word_embeddings=False,
)
LLAMA2_7B = LlamaConfig(
    num_hidden_layers=32, hidden_size=4096, num_attention_heads=32, num_key_value_heads=32, intermediate_size=11008, vocab_size=32000,
    tie_word_embeddings=False,
)
# Named architectures at sizes that load in a second: 17, 29 and 52 million parameters, embeddings tied and untied.
LLAMA_17M = LlamaConfig(
    vocab_size=4096, hidden_size=384, num_hidden_layers=8, num_attention_heads=6, num_key_value_heads=2, intermediate_size=1280,
    tie_word_embeddings=True,
)
LLAMA_29M = LlamaConfig(
    vocab_size=8192, hidden_size=512, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=8, intermediate_size=1365,
    tie_word_embeddings=True,
)
QWEN_52M = Qwen3Config(
    vocab_size=16000, hidden_size=640, num_hidden_layers=6, num_attention_heads=8, num_key_value_heads=4, head_dim=128,
    intermediate_size=1728, tie_word_embeddings=False,
)
MAKERS = {"llama": LlamaForCausalLM, "qwen3": Qwen3ForCausalLM}
TEXTS, LABELS = [f"{word} {i}" for i in range(20) for word in ("bread", "rain")], [0, 1] * 20
CONFIG = TrainConfig(steps=20, batch_size=8, learning_rate=1e-2, warmup=2)


@pytest.fixture
def four_bit():
    pytest.importorskip("bitsandbytes", reason="4-bit weights need bitsandbytes: pip install 'finetunelab[qlora]'")


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("nano")


def changed_to(config, **changes):
    return type(config)(**{**config.to_dict(), **changes})


def saved(config, path) -> str:
    """Save a model with random weights in 16 bit, as models on the hub are."""
    torch.manual_seed(0)
    with quiet():
        MAKERS[config.model_type](config).to(torch.bfloat16).save_pretrained(path)
    return str(path)


def adapted(name: str = "nano", **options) -> Classifier:
    """What a learner writes."""
    classifier = Classifier(load_model(name, four_bit=True, **options), 2)
    classifier.decoder = add_lora(classifier.decoder, rank=4)
    return classifier


def contents(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copy every parameter and, of 4-bit weights, every constant. (The library's ``state_dict`` may repack the weights.)"""
    found = {}
    for name, parameter in model.named_parameters():
        found[name] = parameter.data.clone()
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            constants = {"constants": state.absmax, "nested": state.state2.absmax, "mean": state.offset}
            found |= {f"{name}.{kind}": value.clone() for kind, value in constants.items()}
    return found


def logits(classifier, tokenizer) -> torch.Tensor:
    with torch.no_grad():
        return classifier.eval()(**padded(tokenized(tokenizer, TEXTS[:8]), tokenizer.pad_token_id))["logits"]


def test_published_sizes_come_out_of_the_shapes_alone():
    count = sizes(QWEN3_8B, rank=16)
    assert count.parameters == 8_190_735_360 and count.embeddings == 2 * 151936 * 4096
    assert count.corrections == 36 * 16 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 12288))
    assert sizes(LLAMA2_7B).parameters == 6_738_415_616
    assert sizes(changed_to(QWEN3_8B, tie_word_embeddings=True)).embeddings == 151936 * 4096


def test_a_packed_weight_takes_four_bits_and_what_the_paper_says_for_constants():
    """8/64 + 32/(64 * 256) = 0.127 bit, Dettmers et al. 2023, section 3."""
    assert packed_bytes(2**30) * 8 / 2**30 == 4 + 8 / 64 + 32 / (64 * 256)
    assert packed_bytes(65) == 33 + 2 + 4  # a begun byte, block, and block of blocks count whole


def test_what_each_method_keeps_for_8_billion_parameters():
    need = {method: memory(QWEN3_8B, method, rank=16) for method in METHODS}
    count = sizes(QWEN3_8B, rank=16)
    assert need["full"].total == 16 * count.parameters and need["full in 16 bit"].total == 8 * count.parameters
    assert need["frozen"].total == need["frozen"].weights == 2 * count.parameters
    assert need["LoRA"].total == 2 * count.parameters + 16 * count.corrections
    assert need["LoRA"].weights - need["QLoRA"].weights == pytest.approx((2 - 4.127 / 8) * sum(count.matrices), rel=1e-3)
    assert need["QLoRA"].optimizer == 2 * need["QLoRA"].gradients == need["LoRA"].optimizer == 8 * count.corrections


def test_a_wrong_method_or_rank_is_one_line():
    with pytest.raises(UserError, match="unknown method 'qlora'; did you mean QLoRA"):
        memory(LLAMA_17M, "qlora")
    with pytest.raises(UserError, match="choose one from 1 to 128"):
        memory(LLAMA_17M, "LoRA", rank=200)


@pytest.mark.parametrize("config", [LLAMA_17M, LLAMA_29M, QWEN_52M], ids=lambda config: f"{config.model_type}-{config.hidden_size}")
def test_measured_bytes_are_those_of_the_arithmetic(config, tmp_path, four_bit):
    name = saved(config, tmp_path)
    arms = {"QLoRA": load_model(name, four_bit=True, dtype=torch.bfloat16), "LoRA": load_model(name, dtype=torch.bfloat16)}
    for method, model in arms.items():
        model = add_lora(model, rank=16)
        need = memory(config, method, rank=16)
        assert stored_bytes(model) == pytest.approx(need.weights, rel=0.02), method
        tables = 1100 * len(sizes(config).matrices) if method == "QLoRA" else 0  # the 16 values of NF4 and 256 of 8 bit, for each matrix
        assert 0 <= stored_bytes(model) - need.weights <= tables + 1000
        assert need.gradients == 4 * count_parameters(model, trainable=True), "corrections are float32"
    assert stored_bytes(load_model(name)) == pytest.approx(memory(config, "full").weights, rel=0.001)


def test_weights_are_rounded_to_sixteen_values_a_block_and_embeddings_are_not(tmp_path, four_bit):
    from bitsandbytes.functional import dequantize_4bit

    name = saved(LLAMA_17M, tmp_path)
    plain, packed = load_model(name), load_model(name, four_bit=True)
    assert torch.equal(plain.get_input_embeddings().weight, packed.get_input_embeddings().weight)
    for matrix in ("q_proj", "k_proj", "o_proj"):
        one = getattr(plain.model.layers[1].self_attn, matrix).weight.detach()
        weight = getattr(packed.model.layers[1].self_attn, matrix).weight
        other = dequantize_4bit(weight.data, weight.quant_state)
        assert max(len(set(block)) for block in other.reshape(-1, 64).tolist()) <= 16
        # Random weights are normal: 16 levels at their quantiles leave an error of about a tenth.
        assert 0.05 < float((one - other).norm() / one.norm()) < 0.12


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16], ids=str)
def test_a_base_in_four_bit_predicts_what_its_rounded_weights_do(dtype, tokenizer, four_bit):
    from bitsandbytes.functional import dequantize_4bit

    ids = tokenizer("The baker sold bread and the", return_tensors="pt")["input_ids"]
    plain, packed = load_model(), load_model(four_bit=True, dtype=dtype)
    assert not packed.training and count_parameters(packed, trainable=True) == 0
    kinds = {p.dtype for name, p in packed.named_parameters() if "norm" in name}, packed.get_input_embeddings().weight.dtype
    assert kinds == ({torch.float32}, dtype or torch.float32)
    with torch.no_grad():
        for name, module in packed.named_modules():
            if name.endswith("_proj"):
                rounded = dequantize_4bit(module.weight.data, module.weight.quant_state)
                plain.get_submodule(name).weight.copy_(rounded)
        torch.testing.assert_close(packed(ids).logits.float(), plain(ids).logits, atol=1e-4 if dtype is None else 0.2, rtol=0)


@pytest.mark.parametrize("source", ["nano", "qwen"])
def test_qlora_learns_in_its_corrections_alone_and_they_can_be_saved(source, tmp_path, tokenizer, four_bit):
    from peft import PeftModel

    name = "nano"
    if source == "qwen":
        small = changed_to(QWEN_52M, vocab_size=len(tokenizer), hidden_size=128, head_dim=32, intermediate_size=352)
        name = saved(small, tmp_path / "base")
    classifier = adapted(name)
    kinds = {type(module).__name__ for module in classifier.decoder.modules() if hasattr(module, "lora_A")}
    assert kinds == {"Linear4bit"}, "peft's own layer for 4-bit weights"
    before = contents(classifier)
    result = fit(classifier, tokenizer, TEXTS, LABELS, CONFIG)
    after = contents(classifier)
    changed = {key for key in after if not torch.equal(before[key], after[key])}
    assert changed == {key for key in after if "lora_" in key or key.startswith("head.")}
    assert result.history[-1]["loss"] < 0.3 * result.history[0]["loss"] and accuracy(classifier, tokenizer, TEXTS, LABELS) == 1.0

    with quiet():
        classifier.decoder.save_pretrained(tmp_path / "adapter")
    files = {file.name: file.stat().st_size for file in (tmp_path / "adapter").iterdir()}
    assert files["adapter_model.safetensors"] < 1.2 * 4 * result.cost.trained_parameters
    assert not any(file.endswith(".bin") for file in files)
    fresh = Classifier(load_model(name, four_bit=True), 2)
    fresh.head = classifier.head
    untrained = logits(fresh, tokenizer)
    fresh.decoder = PeftModel.from_pretrained(fresh.decoder, str(tmp_path / "adapter"))
    assert torch.equal(logits(fresh, tokenizer), logits(classifier, tokenizer))
    assert not torch.allclose(untrained, logits(classifier, tokenizer), atol=0.1)


def test_predicting_first_changes_nothing(tokenizer, four_bit):
    """On CPUs with AVX512-BF16 the layer repacks itself in evaluation mode, and trains wrongly after, unless it is told not to."""
    plain, asked = adapted(), adapted()
    predict(asked, tokenizer, TEXTS)
    for classifier in (plain, asked):
        fit(classifier, tokenizer, TEXTS, LABELS, dataclasses.replace(CONFIG, steps=5))
    one, other = contents(plain), contents(asked)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_qlora_learns_in_sixteen_bit(dtype, tokenizer, four_bit):
    """float16 with loss scaling is what a T4 gets."""
    classifier = adapted(dtype=getattr(torch, dtype))
    fit(classifier, tokenizer, TEXTS, LABELS, dataclasses.replace(CONFIG, dtype=dtype))
    assert accuracy(classifier, tokenizer, TEXTS, LABELS) == 1.0
    assert all(p.dtype == torch.float32 for p in classifier.parameters() if p.requires_grad)


def test_without_corrections_the_head_alone_learns(tokenizer, four_bit):
    classifier = Classifier(load_model(four_bit=True), 2)
    before = contents(classifier.decoder)
    cost = fit(classifier, tokenizer, TEXTS, LABELS, dataclasses.replace(CONFIG, steps=2)).cost
    assert cost.trained_parameters == count_parameters(classifier.head)
    assert all(torch.equal(value, before[name]) for name, value in contents(classifier.decoder).items())


def test_cost_counts_products_with_packed_weights_and_their_constants(tokenizer, four_bit):
    plain = Classifier(load_model(), 2)
    plain.decoder = add_lora(plain.decoder, rank=4)
    packed = adapted()
    costs = [fit(c, tokenizer, TEXTS, LABELS, dataclasses.replace(CONFIG, steps=2)).cost for c in (plain, packed)]
    assert costs[1].flops == pytest.approx(costs[0].flops, rel=1e-3)
    saving = stored_bytes(plain) - stored_bytes(packed)
    assert costs[0].peak_bytes - costs[1].peak_bytes == pytest.approx(saving, rel=0.25)
    parameters = sum(p.numel() * p.element_size() for p in packed.parameters())
    constants = sum(packed_bytes(n) - n // 2 for n in sizes(load_model().config).matrices)
    assert stored_bytes(packed) - parameters > constants


def test_a_classifier_can_be_checkpointed(tokenizer, four_bit):
    texts, config = ["bread and rain " * 40, "rain and bread " * 40], dataclasses.replace(CONFIG, steps=2, batch_size=2)
    plain, saving = adapted(), adapted()
    expected = fit(plain, tokenizer, texts, [0, 1], config).cost
    cost = fit(saving, tokenizer, texts, [0, 1], dataclasses.replace(config, checkpointing=True)).cost
    assert cost.peak_bytes < 0.9 * expected.peak_bytes and cost.flops > 1.3 * expected.flops
    one, other = contents(plain), contents(saving)
    assert all(torch.allclose(value.float(), other[name].float(), atol=1e-6) for name, value in one.items())


def test_a_rank_is_measured_by_the_matrix_and_not_by_its_bytes(four_bit):
    with pytest.raises(UserError, match=r"rank 129 is no rank of these matrices; choose one from 1 to 128"):
        add_lora(load_model(four_bit=True), rank=129)


def test_without_bitsandbytes_there_is_one_line(monkeypatch):
    monkeypatch.setattr("transformers.utils.is_bitsandbytes_available", lambda: False)
    with pytest.raises(UserError) as caught:
        load_model(four_bit=True)
    assert str(caught.value) == '4-bit weights need the package bitsandbytes 0.46.1 or newer; pip install "finetunelab[qlora]"'


def test_a_checkpoint_that_was_saved_in_four_bit_needs_it_too(tmp_path, monkeypatch):
    name = saved(LLAMA_17M, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("transformers.quantizers.quantizer_bnb_4bit.is_bitsandbytes_available", lambda: False)
    with pytest.raises(UserError, match="requires bitsandbytes") as caught:
        load_model(name)
    assert "\n" not in str(caught.value)


def test_a_four_bit_base_is_checked_as_any_other(tmp_path):
    with pytest.raises(UserError, match="is not a directory"):
        load_model(str(tmp_path / "nowhere"), four_bit=True)
    name = saved(LLAMA_17M, tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").rename(tmp_path / "base" / "pytorch_model.bin")
    with pytest.raises(UserError, match="no \\*.safetensors"):
        load_model(name, four_bit=True)


def test_the_package_is_imported_without_a_word(four_bit):
    """The trainer imports bitsandbytes where it is installed, and on some CPUs that one speaks of a missing package."""
    command = [sys.executable, "-c", "import finetunelab, bitsandbytes"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert (run.stdout, run.stderr) == ("", "")


def test_the_memory_tables_of_the_book_add_up(monkeypatch):
    import importlib
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
    rendered = importlib.import_module("rendered")

    def cells(table: str) -> list[list[str]]:
        return [[cell.strip(" *") for cell in line.strip("|").split(" | ")] for line in table.splitlines() if line.startswith("|")][2:]

    methods = cells(rendered.memory())
    assert [row[1] for row in methods] == 2 * list(METHODS)
    assert all(sum(map(float, row[2:5])) == pytest.approx(float(row[5]), abs=0.02) for row in methods)
    assert methods[0][0] == "Qwen3-8B (8.19 billion parameters)" and methods[0][2:] == ["32.76", "32.76", "65.53", "131.05"]
    steps = cells(rendered.memory_steps())
    assert sum(float(row[3]) for row in steps[:-1]) == pytest.approx(float(steps[-1][3]), abs=0.02)
    assert steps[-1][3] == next(row[5] for row in methods if row[1] == "QLoRA")
    for what, parameters, each, gigabytes in steps[:-1]:
        over, _, under = each.replace(",", "").partition("/")
        product = int(parameters.replace(",", "")) * int(over) / int(under or 1)
        assert float(gigabytes) == pytest.approx(product / 1e9, abs=0.006), what
