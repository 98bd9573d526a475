"""LoRA written out is LoRA as the library does it: outputs, gradients, merged weights, and a whole model."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from finetunelab.errors import UserError
from finetunelab.lora import LoRALinear, add_lora, check_rank
from finetunelab.models import load_model, load_tokenizer

SMALL = "nano-small"


def linear(bias: bool = True) -> torch.nn.Linear:
    torch.manual_seed(3)
    return torch.nn.Linear(12, 7, bias)


def shaken(layer: LoRALinear) -> LoRALinear:
    """The layer with a correction that does something."""
    torch.nn.init.normal_(layer.B, generator=torch.Generator().manual_seed(5))
    return layer


def of_peft(ours: LoRALinear, rank: int, scale: float):
    """Return peft's layer with the same weights."""
    model = get_peft_model(torch.nn.Sequential(linear(ours.base.bias is not None)), LoraConfig(r=rank, lora_alpha=rank * scale, target_modules=["0"]))
    layer = model.base_model.model[0]
    with torch.no_grad():
        layer.lora_A["default"].weight.copy_(ours.A)
        layer.lora_B["default"].weight.copy_(ours.B)
    return layer


@pytest.mark.parametrize(("rank", "scale", "bias"), [(4, 2.0, True), (1, 0.5, False), (7, 1.0, True)])
def test_a_layer_gives_the_outputs_and_gradients_of_the_librarys(rank, scale, bias):
    ours = shaken(LoRALinear(linear(bias), rank, scale))
    theirs = of_peft(ours, rank, scale)
    inputs = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    one, other = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    for layer, x in ((ours, one), (theirs, other)):
        layer(x).square().sum().backward()
    torch.testing.assert_close(ours(inputs), theirs(inputs), atol=1e-5, rtol=1e-5)
    pairs = [(one, other), (ours.A, theirs.lora_A["default"].weight), (ours.B, theirs.lora_B["default"].weight)]
    for mine, its in pairs:
        assert mine.grad.abs().max() > 0.1
        torch.testing.assert_close(mine.grad, its.grad, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_the_merged_layer_does_the_same(bias):
    layer = shaken(LoRALinear(linear(bias)))
    x = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
    merged = layer.merged()
    assert type(merged) is torch.nn.Linear and (merged.bias is not None) == bias
    torch.testing.assert_close(merged(x), layer(x), atol=1e-5, rtol=0)
    assert not torch.allclose(merged(x), layer.base(x), atol=0.1)
    assert torch.equal(layer.base.weight, linear(bias).weight)


def test_a_layer_starts_as_the_frozen_one_and_only_its_correction_can_learn():
    layer = LoRALinear(linear())
    x = torch.randn(3, 12)
    assert torch.equal(layer(x), linear()(x))
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {"A", "B"}
    assert layer.A.shape == (4, 12) and layer.B.shape == (7, 4) and layer.A.abs().min() > 0
    layer(x).sum().backward()
    assert layer.base.weight.grad is None and layer.B.grad.abs().max() > 0 and not layer.A.grad.any(), "B is zero at first, so A waits a step"


def test_the_correction_is_drawn_by_the_seed_alone():
    torch.manual_seed(1)
    first = LoRALinear(linear(), seed=0).A
    torch.manual_seed(2)
    assert torch.equal(first, LoRALinear(linear(), seed=0).A) and not torch.equal(first, LoRALinear(linear(), seed=1).A)


@pytest.mark.parametrize("rank", [0, -1, 8, 2.5])
def test_a_rank_is_a_whole_number_up_to_the_smaller_side(rank):
    with pytest.raises(UserError, match=f"rank {rank} is no rank of these matrices; choose one from 1 to 7"):
        LoRALinear(linear(), rank)
    check_rank(7, 7)


@pytest.fixture(scope="module")
def ids():
    return load_tokenizer(SMALL)(["The baker sold bread and the"], return_tensors="pt")["input_ids"]


def drawn(model) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters() if "lora_" in name}


def test_a_model_with_every_matrix_of_its_blocks_replaced_is_the_one_that_the_library_makes(ids):
    torch.manual_seed(0)
    theirs, ours = add_lora(load_model(SMALL), rank=3, scale=1.5), load_model(SMALL)
    with torch.no_grad():
        plain = ours(ids).logits
        torch.testing.assert_close(theirs(ids).logits, plain, atol=1e-6, rtol=0)
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    corrections = drawn(theirs)
    matrices = [name for name, module in ours.model.layers.named_modules() if isinstance(module, torch.nn.Linear)]
    assert len(corrections) == 2 * len(matrices)
    for name in matrices:
        layer = LoRALinear(ours.model.layers.get_submodule(name), 3, 1.5)
        with torch.no_grad():
            for side in "AB":
                getattr(layer, side).copy_(corrections[f"base_model.model.model.layers.{name}.lora_{side}.default.weight"])
        parent, _, child = name.rpartition(".")
        setattr(ours.model.layers.get_submodule(parent), child, layer)
    with torch.no_grad():
        found = ours(ids).logits
        torch.testing.assert_close(found, theirs(ids).logits, atol=1e-5, rtol=1e-5)
        assert (found - plain).abs().max() > 0.1
        for name in matrices:
            parent, _, child = name.rpartition(".")
            setattr(ours.model.layers.get_submodule(parent), child, ours.model.layers.get_submodule(name).merged())
        torch.testing.assert_close(ours(ids).logits, theirs.merge_and_unload()(ids).logits, atol=1e-4, rtol=1e-4)


def test_the_seed_draws_the_corrections_of_a_model_and_touches_no_other_random_state():
    torch.manual_seed(4)
    state = torch.get_rng_state()
    one, same, other = (drawn(add_lora(load_model(SMALL), seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in one.items():
        assert torch.equal(value, same[name])
        assert torch.equal(value, other[name]) == ("lora_B" in name), "B is zero whatever the seed"


def test_the_scale_is_the_same_for_every_rank():
    found = {rank: add_lora(load_model(SMALL), rank).base_model.model.model.layers[0].self_attn.q_proj.scaling["default"] for rank in (1, 8)}
    assert found == {1: 2.0, 8: 2.0}
