"""LoRA: leave a weight matrix as it is, and learn a small correction of low rank beside it.

``LoRALinear`` is the method written out; ``add_lora`` does the same through peft, which is what the experiments train. A test holds
that the two agree. Source: Hu et al., "LoRA: Low-rank adaptation of large language models" (2021), arXiv:2106.09685.

``memory`` says what a method needs for a model of any size, without loading it. Source for the 4-bit weights: Dettmers et al., "QLoRA:
Efficient finetuning of quantized LLMs" (2023), arXiv:2305.14314, sections 2 and 3.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .errors import UserError, unknown

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedConfig, PreTrainedModel

RANK = 4
SCALE = 2.0  # alpha over rank: kept the same for all ranks, so that a higher one is not also a louder one
METHODS = ("full", "full in 16 bit", "LoRA", "QLoRA", "frozen")
BLOCK, SUPERBLOCK = 64, 256  # weights that share a constant, and constants that share one


class LoRALinear(torch.nn.Module):
    """A frozen linear layer W and a learned correction beside it: W x + b + scale * B A x (Hu et al. 2021, section 4.1).

    A of shape (rank, inputs) starts at random, B of shape (outputs, rank) at zero, so that the layer starts as the frozen one.

    Args:
        base: the layer to adapt; it is frozen in place.
        rank: the rank of the correction, from 1 to the smaller side of the matrix. UserError outside.
        scale: what the correction is multiplied by, alpha / rank in the paper.
        seed: draws A.
    """

    def __init__(self, base: torch.nn.Linear, rank: int = RANK, scale: float = SCALE, seed: int = 0):
        super().__init__()
        check_rank(rank, min(base.in_features, base.out_features))
        self.base, self.scale = base.requires_grad_(False), scale
        bound = 1 / math.sqrt(base.in_features)
        noise = torch.rand(rank, base.in_features, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        self.A = torch.nn.Parameter((noise * bound).to(base.weight))
        self.B = torch.nn.Parameter(torch.zeros(base.out_features, rank).to(base.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x of shape (..., inputs) to (..., outputs)."""
        return self.base(x) + self.scale * (x @ self.A.T @ self.B.T)

    @torch.no_grad()
    def merged(self) -> torch.nn.Linear:
        """Return one linear layer that does the same: in use, a merged correction costs nothing."""
        layer = torch.nn.Linear(self.base.in_features, self.base.out_features, self.base.bias is not None).to(self.base.weight)
        layer.weight.copy_(self.base.weight + self.scale * self.B @ self.A)
        if self.base.bias is not None:
            layer.bias.copy_(self.base.bias)
        return layer


def check_rank(rank: int, most: int) -> None:
    """Raise UserError unless ``rank`` is a whole number from 1 to ``most``."""
    if rank not in range(1, most + 1):
        raise UserError(f"rank {rank} is no rank of these matrices", f"choose one from 1 to {most}; 4 to 16 are usual")


def add_lora(
    model: PreTrainedModel, rank: int = RANK, scale: float = SCALE, seed: int = 0, targets: str | Sequence[str] = "all-linear"
) -> PeftModel:
    """Freeze a model and set a correction beside every linear layer of its blocks, through peft. Only the corrections are trainable.

    ``targets`` names some of the layers instead, such as ["q_proj", "v_proj"].

    The model is changed in place; what is returned is a wrapper around it, whose ``save_pretrained`` writes the corrections alone, and
    whose ``merge_and_unload`` returns a plain model again. With a model loaded in 4 bit this is QLoRA; do not merge there, for the sum
    would be rounded to 4 bit. UserError for a rank that the matrices cannot have, and for a target that is no linear layer.
    """
    from peft import LoraConfig, get_peft_model

    # The shape of a 4-bit weight is that of its packed bytes.
    check_rank(rank, min(min(m.in_features, m.out_features) for m in model.modules() if isinstance(m, torch.nn.Linear)))
    if targets != "all-linear":
        outside = (model.get_input_embeddings(), model.get_output_embeddings())
        linear = {name.rpartition(".")[2] for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m not in outside}
        for target in targets:
            if target not in linear:
                raise unknown("linear layer", target, sorted(linear))
    with torch.random.fork_rng(), warnings.catch_warnings():
        # peft asks transformers for checkpointing by the name of earlier releases, which late 5.x ones warn of.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        torch.manual_seed(seed)
        return get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank * scale, target_modules=targets if isinstance(targets, str) else list(targets), lora_dropout=0.0))


@dataclass(frozen=True)
class Sizes:
    """The parameters of a language model by kind: those of its blocks' matrices, one count a matrix; of embeddings and next-token layer,
    tied ones once; of norms and biases; and how many LoRA adds beside the matrices."""

    matrices: tuple[int, ...]
    embeddings: int
    vectors: int
    corrections: int

    @property
    def parameters(self) -> int:
        """The parameters of the model itself."""
        return sum(self.matrices) + self.embeddings + self.vectors


def sizes(config: PreTrainedConfig, rank: int = RANK) -> Sizes:
    """Count the parameters of the causal language model that a config describes. No weights are made."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    outside = {id(layer.weight) for layer in (model.get_input_embeddings(), model.get_output_embeddings())}
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and id(m.weight) not in outside]
    check_rank(rank, min(min(m.in_features, m.out_features) for m in linear))
    matrices = {id(m.weight): m.weight.numel() for m in linear}
    rest = [p for p in model.parameters() if id(p) not in matrices]
    embeddings = sum(p.numel() for p in rest if id(p) in outside)
    return Sizes(
        tuple(matrices.values()), embeddings, sum(p.numel() for p in rest) - embeddings,
        sum(rank * (m.in_features + m.out_features) for m in linear),
    )


def packed_bytes(weights: int) -> int:
    """Return the bytes of a matrix of so many weights in NF4 with double quantization: 4 bit a weight and 0.127 bit of constants.

    Each block of 64 weights has a constant of 8 bit, and each 256 of these a constant of 32 bit (Dettmers et al. 2023, section 3).
    """
    blocks = -(-weights // BLOCK)
    return -(-weights // 2) + blocks + 4 * -(-blocks // SUPERBLOCK)


@dataclass(frozen=True)
class Memory:
    """Bytes that stay from one training step to the next."""

    weights: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer


def memory(config: PreTrainedConfig, method: str, rank: int = RANK) -> Memory:
    """Return what training a causal language model by a method keeps in memory, counted from its config.

    - "full": as our trainer does it, in mixed precision. Weights 4 B, gradients 4 B, and AdamW's two moments 8 B a parameter.
    - "full in 16 bit": weights, gradients, and both moments in bfloat16, 2 B each. It is often quoted, and loses small updates to rounding.
    - "LoRA": the model in 16 bit, 2 B a parameter, without gradients; the corrections as in "full", 16 B a parameter.
    - "QLoRA": the same, with the blocks' matrices in 4 bit (``packed_bytes``) and the norms in float32.
    - "frozen": the model in 16 bit and nothing else. A classification head, some thousand parameters, is left out in all rows.

    Activations are left out: they come and go within a step, grow with batch and length, and differ by attention kernel and checkpointing.
    So are the 16-bit copies that mixed precision makes of float32 weights, up to 2 B a parameter in "full", tables of 1.1 kB a 4-bit
    matrix, and what the allocator keeps unused. ``Cost.peak_bytes`` measures all of it on a GPU, but for the last.

    Raises:
        UserError: an unknown method, or a rank that the matrices cannot have.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    count = sizes(config, rank)
    if method.startswith("full"):
        size = 4 if method == "full" else 2
        return Memory(size * count.parameters, size * count.parameters, 2 * size * count.parameters)
    trained = 0 if method == "frozen" else 4 * count.corrections
    if method == "QLoRA":
        base = sum(map(packed_bytes, count.matrices)) + 2 * count.embeddings + 4 * count.vectors
    else:
        base = 2 * count.parameters
    return Memory(base + trained, trained, 2 * trained)
