"""The text that a model is pretrained on: drawn from the worlds, tokenized once, packed into rows.

A row is a run of whole documents, each between a begin and an end token, cut at the row's length. Every token has a weight in
the loss: answers, label words, and facts weigh more than other text, because they are what the curriculum teaches.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from . import worlds

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<bos>", "<eos>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message.role + '|>' }}{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message.content + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: list[str], vocab_size: int, context: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer (Sennrich et al. 2016; Radford et al. 2019) with single digits and chat tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", model_max_length=context,
        additional_special_tokens=list(SPECIAL[3:]), chat_template=CHAT_TEMPLATE, clean_up_tokenization_spaces=False,
    )


# What a token is in its document. What stands around answers counts less than prose: it is there to be read, not to be learned.
AROUND, PROSE, ANSWER = 0, 1, 2


@dataclass
class Pool:
    """Tokenized documents of one world: flat token ids, what each token is (AROUND, PROSE, ANSWER), where each document begins."""

    tokens: np.ndarray
    kinds: np.ndarray
    starts: np.ndarray

    def document(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the token ids of one document and their kinds."""
        part = slice(self.starts[index], self.starts[index + 1])
        return self.tokens[part], self.kinds[part]

    def __len__(self) -> int:
        return len(self.starts) - 1


def encode(rows: list[dict], tokenizer: PreTrainedTokenizerFast) -> Pool:
    """Tokenize rows as begin token, text, end token, and tell answers from what stands around them, and from prose.

    ``spans`` of a row are the characters of answers that its text gives away: only those that stand earlier in the text are flagged,
    because a label word that is new to a document cannot be known and would add nothing but noise to the loss. ``known`` are the
    characters of what can be known without the text, the facts of the town, or what prose takes up again, a recipe's ingredients.
    """
    encoded = tokenizer([row["text"] for row in rows], return_offsets_mapping=True)
    tokens, kinds, starts = [], [], [0]
    id_type = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    for row, ids, offsets in zip(rows, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        spans, text = row.get("spans", ()), row["text"]
        answers = [(start, end) for start, end in spans if text.find(text[start:end]) < start] + list(row.get("known", ()))
        mine = np.full(len(ids) + 1, AROUND if len(spans) else PROSE, dtype=np.uint8)
        for start, end in answers:
            mine[: len(ids)][[a < end and b > start for a, b in offsets]] = ANSWER
        tokens.append(np.array(ids + [tokenizer.eos_token_id], dtype=id_type))
        kinds.append(mine)
        starts.append(starts[-1] + len(mine))
    return Pool(np.concatenate(tokens), np.concatenate(kinds), np.array(starts))


def build_pools(
    sizes: dict[str, int], tokenizer: PreTrainedTokenizerFast, cache: Path | None = None, data_seed: int = 0,
    drawn_with: dict[str, tuple[str, dict]] | None = None,
) -> dict[str, Pool]:
    """Draw and tokenize ``sizes[pool]`` training documents for each pool; keep them in ``cache`` so that a resumed run need not.

    A pool is named after its world, unless ``drawn_with`` gives its world and the knobs that it is drawn with.
    """
    pools = {}
    for name, size in sizes.items():
        file = cache / f"{name}-{size}-{data_seed}.npz" if cache else None
        if file is not None and file.exists():
            with np.load(file) as saved:
                pools[name] = Pool(saved["tokens"], saved["kinds"], saved["starts"])
            continue
        world, knobs = (drawn_with or {}).get(name, (name, {}))
        pools[name] = encode(worlds.generator(world).rows(size, "train", data_seed, **knobs), tokenizer)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary = file.with_suffix(".partial.npz")
            np.savez(temporary, tokens=pools[name].tokens, kinds=pools[name].kinds, starts=pools[name].starts)
            temporary.replace(file)
    return pools


def data_hash(pools: dict[str, Pool]) -> str:
    """Hash all token ids: two corpora with one hash are the same corpus."""
    digest = hashlib.sha256()
    for world in sorted(pools):
        digest.update(world.encode())
        tokens = pools[world].tokens
        digest.update(tokens.astype(tokens.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()[:16]


class PackedRows(torch.utils.data.Dataset):
    """Rows of ``length`` tokens packed from pools according to a mixture; row ``i`` is the same whenever it is asked for.

    Args:
        mixture: share of documents drawn from each pool; the name "repeats" stands for random strings of tokens that come back.
        answer_weight: loss weight of answers; all other tokens that count weigh one.
        around_share: share of the tokens around answers that count, drawn anew for each row. The rest weigh nothing, which spares
            the step their logits.
    """

    def __init__(
        self, pools: dict[str, Pool], mixture: dict[str, float], *, rows: int, length: int, vocab: int, seed: int,
        answer_weight: float = 1.0, around_share: float = 0.1,
    ):
        self.pools, self.rows, self.length, self.seed, self.vocab = pools, rows, length, seed, vocab
        self.names, self.shares = list(mixture), list(mixture.values())
        self.answer_weight, self.around_share = answer_weight, around_share

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = random.Random(f"{self.seed}/{index}")
        tokens, weights, filled = [], [], 0
        while filled < self.length:
            ids, weight = self._document(rng.choices(self.names, self.shares)[0], rng)
            tokens.append(ids)
            weights.append(weight)
            filled += len(ids)
        ids = torch.from_numpy(np.concatenate(tokens)[: self.length].astype(np.int64))
        return {"input_ids": ids, "weights": torch.from_numpy(np.concatenate(weights)[: self.length].astype(np.float32))}

    def _document(self, name: str, rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
        if name == "repeats":
            return self._repeats(rng)
        pool = self.pools[name]
        ids, kinds = pool.document(rng.randrange(len(pool)))
        weights = np.where(kinds == ANSWER, self.answer_weight, 1.0)
        around = kinds == AROUND
        if around.any():
            kept = np.random.default_rng(rng.getrandbits(64)).random(len(ids)) < self.around_share
            weights[around & ~kept] = 0.0
        return ids, weights

    def _repeats(self, rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
        """Short random strings that come back in random order: from its second time on, all of a string but its first token can be known.

        The order matters. One string said over and over can also be copied from a fixed distance, and nothing is learned about content.
        """
        least, most = rng.choice(((2, 2), (2, 3), (2, 5), (3, 6)))
        strings = [rng.sample(range(len(SPECIAL), self.vocab), rng.randint(least, most)) for _ in range(rng.randint(2, 8))]
        tokens, weights, said = [SPECIAL.index("<bos>")], [0.0], set()
        while len(tokens) < self.length:
            i = rng.randrange(len(strings))
            tokens += strings[i]
            weights += [0.0] + [float(i in said)] * (len(strings[i]) - 1)
            said.add(i)
        return np.array(tokens), np.array(weights)


def stack(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Collate rows of one length into a batch of shape (batch, length)."""
    return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}


def counted_losses(model: PreTrainedModel, batch: dict[str, torch.Tensor], counted: torch.Tensor) -> torch.Tensor:
    """Return -log p(next token) in nats where ``counted``, of shape (batch, length - 1), is True, as one flat tensor.

    Logits are computed there alone: over a vocabulary of thousands they cost as much as all layers together.
    """
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids") if name in batch}
    hidden = model.get_decoder()(**inputs, use_cache=False).last_hidden_state[:, :-1]
    logits = model.get_output_embeddings()(hidden[counted])
    return torch.nn.functional.cross_entropy(logits.float(), batch["input_ids"][:, 1:][counted], reduction="none")


def weighted_next_token_loss(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the next-token cross-entropy in nats, averaged with the weight of the token that is predicted."""
    weights = batch["weights"][:, 1:]
    counted = weights > 0
    losses, weights = counted_losses(model, batch, counted), weights[counted]
    return (losses * weights).sum() / weights.sum().clamp(min=1e-6)
