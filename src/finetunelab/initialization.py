"""The weights that a base starts from: ready to learn to copy, and to see what a text is about.

Random weights find both in the end, but late: a base this small would spend most of its training on them. What stands here is
computed from the shape of the model and from the raw text of the corpus, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .corpus import SPECIAL, Pool

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Shape:
    """The size of a Llama-architecture model."""

    width: int
    layers: int
    heads: int
    feed_forward: int


EMBEDDING_STD = 0.3
# How far back the heads of the first layer look before training; None spreads over the last dozen tokens. A model of two heads has the
# last two.
DISTANCES = (3, 2, 1, None)
# Two tokens keep company when at most this many tokens lie between them.
WINDOW = 25
# Share of an embedding's variance that the company of its token decides. The rest is random, so that no two tokens look alike.
COMPANY_SHARE = 0.7
# Correlation between the query and key weights of the layers after the first.
LIKENESS = 0.5


def new_model(shape: Shape, vocabulary: int, context: int) -> PreTrainedModel:
    """Initialize a Llama-architecture causal language model (Touvron et al. 2023) with tied embeddings, ready to learn to copy.

    To copy what followed an earlier occurrence takes two layers (Olsson et al. 2022): one that looks back, one that finds and copies.
    Neither is of use without the other, so from random weights they are found by chance, and late. Here both are at hand: each head's
    value and output weights start as transposes, so that their product is near the identity, and query and key weights are correlated,
    so that like attends to like (mimetic initialization, Trockman and Kolter 2023, arXiv:2305.09828). The heads of the first layer
    look a few tokens back.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary, hidden_size=shape.width, num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads, intermediate_size=shape.feed_forward, max_position_embeddings=context,
            tie_word_embeddings=True, attention_bias=True, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "embed" in name:
                torch.nn.init.normal_(weight, std=EMBEDDING_STD)
            elif weight.dim() == 2:
                # What a layer adds stays small beside the embeddings, so that later layers still see which token stands where.
                torch.nn.init.normal_(weight, std=0.02 if "o_proj" in name or "down_proj" in name else shape.width**-0.5)
        # Logits of about one standard deviation, although the output embeddings are the input embeddings.
        model.model.norm.weight.fill_(1 / (EMBEDDING_STD * shape.width**0.5))
        first, *later = (layer.self_attn for layer in model.model.layers)
        for attention in later:
            attention.o_proj.weight.copy_(0.5 * attention.v_proj.weight.T)
            attention.k_proj.weight.copy_((1 - LIKENESS) ** 0.5 * attention.k_proj.weight + LIKENESS**0.5 * attention.q_proj.weight)
        for head, distance in enumerate(DISTANCES[-shape.heads :]):
            _look_back(first, head, distance)
    return model


def _look_back(attention: torch.nn.Module, head: int, distance: int | None) -> None:
    """Point a head at the token ``distance`` before, or with None at the last dozen, through its biases alone.

    The rotary embedding turns the biases of query and key into a score that depends on the distance only: a sum of cosines, one for
    each frequency, that peaks where the query's bias is the key's, turned by that distance (Su et al. 2021, arXiv:2104.09864, eq. 16).
    """
    half = attention.head_dim // 2
    angles = 10_000.0 ** (-torch.arange(half) / half)
    if distance is None:
        heights = torch.where((angles > 0.09) & (angles < 0.4), 2.5, 0.0)
    else:
        heights = torch.where(angles > 0.05, 4.0, 0.0)
    turn = -(distance or 0) * angles
    rows = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
    attention.q_proj.bias[rows] = torch.cat([heights * turn.cos(), heights * turn.sin()])
    attention.k_proj.bias[rows] = torch.cat([heights, torch.zeros(half)])
    # Content plays a small part at first, or it would drown the distance.
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight[rows] *= 0.1 if distance is not None else 0.3


def company(pools: Iterable[Pool], vocabulary: int, width: int, seed: int = 0) -> torch.Tensor:
    """Return a vector for each token, of shape (vocabulary, width), that lies near those of tokens found in the same company.

    Counts how often two tokens of a document stand within ``WINDOW`` of each other, turns the counts into positive pointwise mutual
    information with smoothed contexts, and keeps the leading singular vectors (Levy, Goldberg, and Dagan 2015, sections 2 and 3).
    Rows have length sqrt(width), or zero for tokens that hardly occur.
    """
    from sklearn.utils.extmath import randomized_svd

    counts = np.zeros(vocabulary * vocabulary)
    for pool in pools:
        tokens, document = pool.tokens.astype(np.int64), np.repeat(np.arange(len(pool)), np.diff(pool.starts))
        for distance in range(1, WINDOW + 1):
            same = document[:-distance] == document[distance:]
            counts += np.bincount(tokens[:-distance][same] * vocabulary + tokens[distance:][same], minlength=len(counts))
    counts = counts.reshape(vocabulary, vocabulary)
    counts += counts.T
    counts[: len(SPECIAL)] = counts[:, : len(SPECIAL)] = 0.0
    seen = counts.sum(1)
    smoothed = seen**0.75 / (seen**0.75).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(counts) - np.log(np.outer(seen, smoothed))
    left, values, _ = randomized_svd(np.nan_to_num(information).clip(min=0).astype(np.float32), width, random_state=seed)
    vectors = left * np.sqrt(values)
    vectors -= vectors[seen > 0].mean(0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.where((lengths > 0) & (seen[:, None] >= 5), vectors / np.maximum(lengths, 1e-9) * width**0.5, 0.0)
    return torch.tensor(vectors, dtype=torch.float32)


def keep_company(model: PreTrainedModel, vectors: torch.Tensor) -> None:
    """Move the embeddings of a new model towards ``vectors``, as ``company`` returns them, and leave those of zero rows as they are."""
    embeddings = model.get_input_embeddings().weight
    with torch.no_grad():
        moved = EMBEDDING_STD * COMPANY_SHARE**0.5 * vectors + (1 - COMPANY_SHARE) ** 0.5 * embeddings
        embeddings.copy_(torch.where(vectors.norm(dim=1, keepdim=True) > 0, moved, embeddings))
