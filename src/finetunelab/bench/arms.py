"""What is measured, the clock, and the arms: our entry point, a bare PyTorch loop, and trl's trainer with its defaults."""

from __future__ import annotations

import contextlib
import copy
import functools
import random
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from transformers.trainer_callback import PrinterCallback

from .. import sft
from ..conversations import load_conversations
from ..corpus import stack
from ..cost import measure_step
from ..errors import UserError, unknown
from ..lora import add_lora
from ..models import load_model, load_tokenizer, quiet, stored_bytes
from ..profiles import device_and_dtype
from ..settings import BenchSettings
from ..training import TrainConfig, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

METHODS = ("full", "lora")
WARM = 2  # steps of a round that are not timed
Batch = dict[str, torch.Tensor]

# Of the models' pages on the Hugging Face hub. "tiny" has the same parts and is there for tests.
COMMON = {"head_dim": 128, "num_key_value_heads": 8, "num_attention_heads": 16, "tie_word_embeddings": True, "vocab_size": 151936}
SHAPES: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": COMMON | {"hidden_size": 1024, "num_hidden_layers": 28, "intermediate_size": 3072},
    "qwen3-1.7b": COMMON | {"hidden_size": 2048, "num_hidden_layers": 28, "intermediate_size": 6144},
    "tiny": COMMON | {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "head_dim": 16, "num_attention_heads": 2,
                      "num_key_value_heads": 1, "vocab_size": 512},
}
# Mean and standard deviation of the logarithm of characters, of 1,100 instructions with their inputs and of their answers (the set of "Build a
# Large Language Model (From Scratch)", chapter 7). English has about four characters a token; a template adds some tokens to each turn.
PROMPT, ANSWER, CHARACTERS, AROUND = (3.914, 0.404), (3.706, 0.605), 4.0, (8, 2)


@dataclass
class Timed:
    """What an arm leaves after one round: the trained model, its peak of memory, and, where they were counted, its FLOPs."""

    model: Any
    peak_bytes: int
    flops: float = 0.0
    dtype: str | None = None  # where it is not the one that was asked for


class Clock:
    """Told of every step as it begins: keeps the seconds from the first that counts to the last, and the batches of those between.

    ``cpu_seconds`` are those of this process alone: on a busy machine they say more of what a loop does than the clock on the wall.
    """

    def __init__(self, steps: int):
        self.steps, self.step, self.seconds, self.cpu_seconds = steps, 0, 0.0, 0.0
        self._seen: list[Batch] = []

    def tick(self, batch: Batch) -> None:
        """Tell that the step of this batch begins."""
        if self.step in (WARM, self.steps - 1):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds, self.cpu_seconds = time.perf_counter() - self.seconds, time.process_time() - self.cpu_seconds
        if WARM <= self.step < self.steps - 1:
            self._seen.append(batch)
        self.step += 1

    @property
    def tokens(self) -> int:
        """The tokens that are not padding, of the steps that were timed."""
        return sum(map(real_tokens, self._seen))


def real_tokens(batch: Batch) -> int:
    """Count the tokens of a batch that are not padding. In packed rows each token of it stands at position 0, and none follows at 1."""
    if "position_ids" not in batch:
        return int(batch["attention_mask"].sum())
    places = batch["position_ids"]
    return int((places > 0).sum() + (places == 1).sum())


# What is trained ----------------------------------------------------------------------------------------------------------------


def shaped(name: str) -> PreTrainedModel:
    """Return a model of a known shape with random weights. UserError for an unknown shape."""
    from transformers import AutoModelForCausalLM, Qwen3Config

    if name not in SHAPES:
        raise unknown("shape", name, SHAPES)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(Qwen3Config(**SHAPES[name], max_position_embeddings=4096, rope_theta=1e6)).eval()


def random_rows(n: int, vocabulary: int, longest: int, seed: int = 0) -> list[dict[str, list[int]]]:
    """Return rows of random tokens with the lengths of real instructions and answers, labeled as ``sft.prepare`` labels."""
    rng, rows = random.Random(seed), []
    for _ in range(n):
        prompt, answer = (
            round(rng.lognormvariate(*fit) / CHARACTERS) + around for fit, around in zip((PROMPT, ANSWER), AROUND, strict=True))
        ids = [rng.randrange(10, vocabulary) for _ in range(min(prompt + answer, longest))]
        rows.append({"input_ids": ids, "labels": [sft.IGNORED] * min(prompt, len(ids) - 1) + ids[min(prompt, len(ids) - 1):]})
    return rows


@dataclass
class Bench:
    """Everything that the arms share. ``order`` is that of the rows in a run of ours, which the bare loop follows."""

    asked: BenchSettings
    base: PreTrainedModel
    rows: list[dict[str, list[int]]]
    packed: list[Batch]
    held_out: list[Batch]
    tokenizer: PreTrainedTokenizerBase
    dtype: str
    order: list[int] = field(default_factory=list)

    @property
    def conversations(self) -> int:
        """Conversations that make as many tokens as a batch of packed rows: what trl is given for a batch."""
        return max(1, round(len(self.rows) / len(self.packed) * self.asked.batch_size))

    def model(self, method: str, compiled: bool = False) -> Any:
        """Return a fresh copy of the model, made ready for a method."""
        model = copy.deepcopy(self.base).to(device_and_dtype().device)
        if method == "lora":
            model = add_lora(model, self.asked.rank, seed=0)
        if compiled:
            model.get_decoder().compile(dynamic=False)
        return model


def set_up(asked: BenchSettings) -> Bench:
    """Make the model and the data. UserError for a model, shape or data that does not exist, and for data of too few rows."""
    from datasets import disable_progress_bars

    disable_progress_bars()  # as in a run
    tokenizer = sft.use_training_template(load_tokenizer(asked.model if asked.shape is None else "nano"))
    if asked.shape is not None:
        base = shaped(asked.shape)
        rows = random_rows(asked.examples, base.config.vocab_size, asked.longest)
    else:
        base = load_model(asked.model, device="cpu")
        rows = sft.prepare(tokenizer, load_conversations(asked.data, n=asked.examples), asked.longest).rows
    if asked.attention is not None:
        base.set_attn_implementation(asked.attention)
    cut = max(1, len(rows) // 10)
    held, packed = (sft.pack(part, asked.longest, tokenizer.pad_token_id) for part in (rows[:cut], rows[cut:]))
    whole = len(packed) - len(packed) % asked.batch_size  # batches of one shape
    if not whole:
        raise UserError(f"{len(rows)} conversations fill {len(packed)} rows, and a batch has {asked.batch_size}", "give more --examples")
    return Bench(asked, base, rows[cut:], packed[:whole], held, tokenizer, asked.dtype or device_and_dtype().dtype)


def flat(rows: list[Batch]) -> Batch:
    """Collate packed rows into one long row. FlashAttention tells conversations apart by their positions only if there is one row."""
    return {name: torch.cat([row[name] for row in rows])[None] for name in rows[0]}


def collate_of(asked: BenchSettings) -> Callable[[list[Batch]], Batch]:
    """Return how rows become a batch, which hangs on the kind of attention."""
    return flat if (asked.attention or "").startswith("flash") else stack


# The arms -----------------------------------------------------------------------------------------------------------------------


def ours(bench: Bench, method: str, clock: Clock, first: bool) -> Timed:
    """Train through ``training.train``, as ``sft.fine_tune`` does."""
    asked, model = bench.asked, bench.model(method, bench.asked.compile)

    @functools.wraps(sft.completion_loss)
    def loss(model: Any, batch: Batch, count: Any = None) -> torch.Tensor:
        clock.tick(batch)
        return sft.completion_loss(model, batch, count)

    config = TrainConfig(
        steps=asked.steps, batch_size=asked.batch_size, learning_rate=asked.learning_rate, warmup=WARM, weight_decay=0.0,
        checkpointing=asked.checkpointing, dtype=bench.dtype,
    )
    rows = _Ordered(bench.packed)
    cost = train(model, rows, config, collate=collate_of(asked), loss=loss).cost
    bench.order = rows.order[: asked.steps * asked.batch_size]
    return Timed(model, cost.peak_bytes, cost.flops)


def bare(bench: Bench, method: str, clock: Clock, first: bool) -> Timed:
    """Train in a plain loop: forward, loss, backward, clipping, AdamW, schedule. What every training has to do, and nothing else."""
    from transformers import get_scheduler

    asked, model = bench.asked, bench.model(method, bench.asked.compile)
    if asked.checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=asked.learning_rate, weight_decay=0.0, fused=True)
    schedule = get_scheduler("linear", optimizer, WARM, asked.steps)
    device, collate = model.device, collate_of(asked)
    scaler = torch.amp.GradScaler(device.type, enabled=bench.dtype == "float16")
    mixed = contextlib.nullcontext
    if bench.dtype != "float32":
        mixed = functools.partial(torch.autocast, device.type, getattr(torch, bench.dtype))
    model.train()
    peak = 0
    for step in range(asked.steps):
        places = bench.order[step * asked.batch_size : (step + 1) * asked.batch_size]
        batch = {name: value.to(device) for name, value in collate([bench.packed[place] for place in places]).items()}
        if first and step == 0:
            peak = _peak(model, mixed, functools.partial(sft.completion_loss, model, batch))
        clock.tick(batch)
        with mixed():
            loss = sft.completion_loss(model, batch)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        optimizer.zero_grad()
    return Timed(model, peak)


def trl(bench: Bench, method: str, clock: Clock, first: bool) -> Timed:
    """Train by trl's ``SFTTrainer`` with its defaults: rows padded, not packed; checkpointing and bf16 on. Data, loss mask, rate and steps are ours."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    asked, model = bench.asked, bench.model(method)
    with tempfile.TemporaryDirectory(prefix="finetunelab-") as directory, quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = SFTConfig(
            output_dir=directory, max_steps=asked.steps, per_device_train_batch_size=bench.conversations, learning_rate=asked.learning_rate,
            warmup_steps=WARM, max_length=asked.longest, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=device_and_dtype().device == "cpu",
        )
        trainer = SFTTrainer(model=model, args=config, train_dataset=Dataset.from_list(bench.rows), processing_class=bench.tokenizer)
        trainer.remove_callback(PrinterCallback)
        compute, peak = trainer.compute_loss, 0

        def compute_loss(model: Any, inputs: Batch, *args: Any, **options: Any) -> torch.Tensor:
            nonlocal peak
            if first and not peak:
                peak = _peak(model, trainer.compute_loss_context_manager, lambda: compute(model, dict(inputs)))
            clock.tick(inputs)
            return compute(model, inputs, *args, **options)

        trainer.compute_loss = compute_loss
        trainer.train()
    return Timed(model, peak, dtype="bfloat16" if config.bf16 else "float32")


ARMS: dict[str, Callable[[Bench, str, Clock, bool], Timed]] = {"ours": ours, "bare": bare, "trl": trl}


class _Ordered(torch.utils.data.Dataset):
    """Rows that remember in which order they were asked for."""

    def __init__(self, rows: list[Batch]):
        self.rows, self.order = rows, []

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Batch:
        self.order.append(place)
        return self.rows[place]


def _peak(model: Any, mixed: Callable[[], Any], loss_of: Callable[[], torch.Tensor]) -> int:
    """Return the peak of memory in a step as the cost meter counts it, for an arm that has none. On CUDA the allocator is asked instead."""
    if torch.cuda.is_available():
        return 0
    trained = [p for p in model.parameters() if p.requires_grad]

    def loss() -> torch.Tensor:
        with mixed():
            return loss_of()

    return measure_step(loss, trained)[1] + stored_bytes(model) + 2 * sum(p.numel() * p.element_size() for p in trained)
