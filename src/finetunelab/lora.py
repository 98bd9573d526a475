"""LoRA: leave a weight matrix as it is, and learn a small correction of low rank beside it.

``LoRALinear`` is the method written out; ``add_lora`` does the same through peft, which is what the experiments train. A test holds
that the two agree. Source: Hu et al., "LoRA: Low-rank adaptation of large language models" (2021), arXiv:2106.09685.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from .errors import UserError

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

RANK = 4
SCALE = 2.0  # alpha over rank: kept the same for all ranks, so that a higher one is not also a louder one


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


def add_lora(model: PreTrainedModel, rank: int = RANK, scale: float = SCALE, seed: int = 0) -> PeftModel:
    """Freeze a model and set a correction beside every linear layer of its blocks, through peft. Only the corrections are trainable.

    The model is changed in place; what is returned is a wrapper around it, whose ``save_pretrained`` writes the corrections alone, and whose
    ``merge_and_unload`` returns a plain model again. UserError for a rank that the matrices cannot have.
    """
    from peft import LoraConfig, get_peft_model

    check_rank(rank, min(min(m.weight.shape) for m in model.modules() if isinstance(m, torch.nn.Linear)))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank * scale, target_modules="all-linear", lora_dropout=0.0))
