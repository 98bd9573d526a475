"""The text that a model is pretrained on: drawn from the worlds, tokenized once, packed into rows.

A row is a run of whole documents, each between a begin and an end token, cut at the row's length. Every token has a weight in
the loss: answers and label words weigh more than the text around them, because they are what the curriculum teaches.
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
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<bos>", "<eos>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message.role + '|>' }}{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message.content + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: list[str], vocab_size: int = 2048, context: int = 1024) -> PreTrainedTokenizerFast:
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


@dataclass
class Pool:
    """Tokenized documents of one world: flat token ids, a flag on the tokens of answers, and where each document begins."""

    tokens: np.ndarray
    answers: np.ndarray
    starts: np.ndarray

    def document(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the token ids and answer flags of one document."""
        part = slice(self.starts[index], self.starts[index + 1])
        return self.tokens[part], self.answers[part]

    def __len__(self) -> int:
        return len(self.starts) - 1


def encode(rows: list[dict], tokenizer: PreTrainedTokenizerFast) -> Pool:
    """Tokenize rows (``text``, and ``spans`` of characters where answers stand) as begin token, text, end token.

    Only answers that stand earlier in their text are flagged: a label word that is new to a document cannot be known, and would add
    nothing but noise to the loss.
    """
    encoded = tokenizer([row["text"] for row in rows], return_offsets_mapping=True)
    tokens, answers, starts = [], [], [0]
    for row, ids, offsets in zip(rows, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        flags = np.zeros(len(ids) + 1, dtype=bool)
        for start, end in row.get("spans", ()):
            if row["text"].find(row["text"][start:end]) == start:
                continue
            flags[: len(ids)] |= [a < end and b > start for a, b in offsets]
        tokens.append(np.array(ids + [tokenizer.eos_token_id], dtype=np.uint16))
        answers.append(flags)
        starts.append(starts[-1] + len(ids) + 1)
    return Pool(np.concatenate(tokens), np.concatenate(answers), np.array(starts))


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
                pools[name] = Pool(saved["tokens"], saved["answers"], saved["starts"])
            continue
        world, knobs = (drawn_with or {}).get(name, (name, {}))
        pools[name] = encode(worlds.generator(world).rows(size, "train", data_seed, **knobs), tokenizer)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary = file.with_suffix(".partial.npz")
            np.savez(temporary, tokens=pools[name].tokens, answers=pools[name].answers, starts=pools[name].starts)
            temporary.replace(file)
    return pools


def data_hash(pools: dict[str, Pool]) -> str:
    """Hash all token ids: two corpora with one hash are the same corpus."""
    digest = hashlib.sha256()
    for world in sorted(pools):
        digest.update(world.encode())
        digest.update(pools[world].tokens.astype("<u2").tobytes())
    return digest.hexdigest()[:16]


class PackedRows(torch.utils.data.Dataset):
    """Rows of ``length`` tokens packed from pools according to a mixture; row ``i`` is the same whenever it is asked for.

    Args:
        mixture: share of documents drawn from each pool; the name "repeats" stands for random strings of tokens that come back.
        answer_weight, around_weight: loss weight of answer tokens, and of the other tokens of documents that have answers;
            the tokens of plain prose weigh one.
    """

    def __init__(
        self, pools: dict[str, Pool], mixture: dict[str, float], *, rows: int, length: int, vocab: int, seed: int,
        answer_weight: float = 1.0, around_weight: float = 0.05,
    ):
        self.pools, self.rows, self.length, self.seed, self.vocab = pools, rows, length, seed, vocab
        self.names, self.shares = list(mixture), list(mixture.values())
        self.answer_weight, self.around_weight = answer_weight, around_weight

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
        ids, answers = pool.document(rng.randrange(len(pool)))
        if not answers.any():
            return ids, np.ones(len(ids))
        return ids, np.where(answers, self.answer_weight, self.around_weight)

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


def weighted_next_token_loss(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the next-token cross-entropy in nats, averaged with the weight of the token that is predicted."""
    logits = model(input_ids=batch["input_ids"]).logits[:, :-1]
    weights = batch["weights"][:, 1:]
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch["input_ids"][:, 1:].flatten(), reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum().clamp(min=1e-6)
