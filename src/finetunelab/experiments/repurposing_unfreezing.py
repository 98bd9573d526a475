"""Chapter 2 on models that are trained along: what the hard task needs, what LoRA and single blocks recover of it, and what each costs.

The hard reviews hold praise and blame in both classes, so that only negation, contrast and order tell the verdict. Learning rates are the best of
a sweep on validation texts of a data seed below 1,000: ``sweep_unfreezing`` measured what ``book/evidence/B6-rates.csv`` holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from ..cost import Cost
from ..heads import Classifier, accuracy, fit, padded
from ..models import count_parameters, load_model, load_tokenizer, shipped
from ..repurposing import HeadConfig, fit_head, freeze_but_last, with_lora
from ..training import TrainConfig, train
from ..worlds.baseline import tfidf
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import SWEEP_SEED
from .repurposing import BATCH, LARGER_RATE, TEST, TRAIN, draw, embedded, every_head, reading, settings

KINDS = ("full", "last block", "LoRA")
RATES = dict.fromkeys(KINDS, (1e-3, 3e-3, 1e-2))
RATE = dict.fromkeys(KINDS, 3e-3)  # as it happens, the best of the sweep for each
LARGER = {"full": LARGER_RATE, "last block": LARGER_RATE, "LoRA": 10 * LARGER_RATE}
FROZEN = (1, 0, 1e-2)  # layer, width of the head, penalty
RANKS, BLOCKS = (1, 2, 4, 8), (1, 3)
RANK = 4  # the one that the claim is about
LORA, BLOCK = f"LoRA, rank {RANK}", "last block"

# Models with random weights, for what they cost: width and blocks.
SHAPES = ((64, 2), (128, 6), (256, 8), (512, 10))
ROWS, LENGTH, STEPS = 8, 128, 3


def arms() -> dict[str, Callable[[Classifier], Classifier]]:
    """Return what each arm does to a classifier before it is trained."""
    found: dict[str, Callable[[Classifier], Classifier]] = {"full": lambda classifier: classifier}
    for blocks in BLOCKS:
        found[BLOCK if blocks == 1 else f"last {blocks} blocks"] = lambda classifier, blocks=blocks: freeze_but_last(classifier, blocks)
    for rank in RANKS:
        found[f"LoRA, rank {rank}"] = lambda classifier, rank=rank: with_lora(classifier, rank, seed=0)
    return found


def rate_of(arm: str, base: str) -> float:
    """Return the learning rate of an arm: all ranks share one, and all numbers of blocks."""
    kind = next(kind for kind in (*RATE, "last") if arm.startswith(kind))
    return (RATE if base in shipped() else LARGER)[BLOCK if kind == "last" else kind]


def trained(arm: str, seed: int, drawn: int, labels: int, base: str, rate: float | None = None) -> tuple[Classifier, Cost]:
    """Train an arm for the verdict of hard reviews, and return it with what that cost."""
    classifier = arms()[arm](Classifier(load_model(base), 2, seed=seed))
    config = settings(labels, rate or rate_of(arm, base), seed)
    return classifier, fit(classifier, load_tokenizer(base), *draw("sentiment", labels, "train", drawn, "hard"), config).cost


def sweep_unfreezing(
    rates: dict[str, Sequence[float]] = RATES, labels: int = TRAIN, n: int = TEST, base: str = "nano"
) -> list[dict[str, Any]]:
    """Return the accuracy on hard validation reviews, for each kind of arm and learning rate, and for each frozen head."""
    valid, rows = draw("sentiment", n, "validation", SWEEP_SEED, "hard"), []
    for kind, tried in rates.items():
        for rate in tried:
            classifier, _ = trained({"LoRA": LORA}.get(kind, kind), 0, SWEEP_SEED, labels, base, rate)
            rows.append({"arm": kind, "rate": rate, "accuracy": accuracy(classifier, load_tokenizer(base), *valid)})
    layers = tuple(range(1, load_model(base).config.num_hidden_layers + 1))
    known, seen = (embedded(base, size, split, SWEEP_SEED, "hard", layers) for size, split in ((labels, "train"), (n, "validation")))
    targets = draw("sentiment", labels, "train", SWEEP_SEED, "hard")[1]
    rows += [{"arm": "frozen", **row} for row in every_head(known, targets, seen, valid[1], 2)]
    return [{"seed": SWEEP_SEED, **row} for row in rows]


# The hard task ------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=None)
def hard_score(arm: str, seed: int, drawn: int, labels: int, n_test: int, base: str) -> tuple[float, int, float, float, int]:
    """Return what an arm reaches on hard test reviews, and its cost: accuracy, parameters trained, FLOPs, seconds, peak bytes.

    B6 and B7 share the runs, so they are kept.
    """
    test = draw("sentiment", n_test, "test", drawn, "hard")
    if arm == "frozen":
        layer, width, penalty = reading(base, FROZEN)
        known, seen = (
            embedded(base, n, split, drawn, "hard", (layer,))[layer] for n, split in ((labels, "train"), (n_test, "test"))
        )
        targets = draw("sentiment", labels, "train", drawn, "hard")[1]
        result = fit_head(known, targets, 2, HeadConfig(width=width, penalty=penalty, seed=seed))
        return result.head.accuracy(seen, test[1]), count_parameters(result.head), 0.0, sum(result.seconds), 0
    classifier, cost = trained(arm, seed, drawn, labels, base)
    score = accuracy(classifier, load_tokenizer(base), *test)
    return score, cost.trained_parameters, cost.flops, cost.seconds, cost.peak_bytes


def scored(chosen: Sequence[str], seed: int, data_seed: int, labels: int, n_test: int, base: str) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Return the accuracies of some arms, with TF-IDF and the majority class beside them, and the rows of the table."""
    drawn, found, rows = seed_of_data(seed, data_seed), {}, []
    for arm in chosen:
        found[arm], parameters, flops, seconds, peak = hard_score(arm, seed, drawn, labels, n_test, base)
        rows.append({
            "arm": arm, "accuracy": found[arm], "trained": parameters, "share": parameters / count_parameters(load_model(base)), "FLOPs": flops,
            "seconds": seconds, "peak bytes": peak,
        })
    plain = tfidf(draw("sentiment", labels, "train", drawn, "hard"))(draw("sentiment", n_test, "test", drawn, "hard"))
    found |= zip(("majority class", "TF-IDF"), plain, strict=True)
    return found, rows + [{"arm": arm, "accuracy": found[arm]} for arm in ("majority class", "TF-IDF")]


@measures(
    Claim(
        "B6", "Harder tasks need unfreezing", metric="accuracy on hard reviews", unit="share", treatment="full", control="frozen",
        effect_kind="difference", op=">=", threshold=0.10,
    ),
    id="B6", seeds=5,
)
def hard_task(seed: int, data_seed: int, labels: int = TRAIN, n_test: int = TEST, base: str = "nano") -> Measurement:
    """Learn the verdict of hard reviews with a head on the frozen base, and with the base trained along."""
    found, rows = scored(("frozen", "full"), seed, data_seed, labels, n_test, base)
    return Measurement({"B6": found}, rows)


@measures(
    Claim(
        "B7.lora", "LoRA with at most 5 % of the parameters recovers most of what full fine-tuning gains over a frozen model",
        metric="share of the gain in accuracy", unit="share", treatment=LORA, control=None, effect_kind="value", op=">=", threshold=0.9,
    ),
    Claim(
        "B7.block", "What unfreezing the last block recovers", metric="share of the gain in accuracy", unit="share", treatment=BLOCK,
        control=None, effect_kind="value",
    ),
    id="B7", seeds=5,
)
def part_of_it(
    seed: int, data_seed: int, labels: int = TRAIN, n_test: int = TEST, base: str = "nano", chosen: Sequence[str] | None = None
) -> Measurement:
    """Train more and more of the base for the hard task, by LoRA of several ranks and by last blocks, and set the gain beside the full one.

    The gain is the accuracy above that of a head on the frozen base, as a share of what full fine-tuning gains.
    """
    found, rows = scored(("frozen", *(arms() if chosen is None else chosen)), seed, data_seed, labels, n_test, base)
    whole = found["full"] - found["frozen"]
    gain = {arm: (found[arm] - found["frozen"]) / whole if whole > 0 else float("nan") for arm in found if arm in arms()}
    return Measurement({"B7.lora": gain, "B7.block": gain}, rows)


# What it costs ------------------------------------------------------------------------------------------------------------------


@measures(
    Claim(
        "B2.seconds", "Freezing saves compute: seconds of the same batches", metric="seconds of training", unit="ratio", treatment="frozen",
        control="full", effect_kind="log_ratio", op="<=", threshold=0.5,
    ),
    Claim(
        "B2.peak", "Freezing saves compute: memory at its peak", metric="peak bytes", unit="ratio", treatment="frozen", control="full",
        effect_kind="log_ratio", op="<=", threshold=0.6,
    ),
    Claim(
        "B2.optimizer", "Freezing saves compute: what the optimizer keeps", metric="bytes of optimizer state", unit="ratio", treatment="frozen",
        control="full", effect_kind="log_ratio", op="<=", threshold=0.05,
    ),
    id="B2",
)
def cost_of_freezing(seed: int, data_seed: int, steps: int = 12, base: str = "nano") -> Measurement:
    """Train the same batches of reviews with a frozen base and with all of it, and measure what that takes.

    The frozen base is run for every batch, as without a cache; what a cache saves on top is claim B3.
    """
    drawn, costs = seed_of_data(seed, data_seed), {}
    texts = draw("sentiment", steps * BATCH, "train", drawn)
    for arm, blocks in (("frozen", 0), ("full", None)):
        classifier = Classifier(load_model(base), 2, seed=seed)
        if blocks is not None:
            freeze_but_last(classifier, blocks)
        costs[arm] = fit(classifier, load_tokenizer(base), *texts, replace(settings(len(texts[0]), 1e-3, seed), steps=steps, warmup=0)).cost
    rows = [{"arm": arm, "seconds": c.seconds, "peak bytes": c.peak_bytes, "optimizer bytes": c.optimizer_bytes, "FLOPs": c.flops} for arm, c in costs.items()]
    return Measurement(
        {
            f"B2.{name}": {arm: float(getattr(cost, field)) for arm, cost in costs.items()}
            for name, field in (("seconds", "seconds"), ("peak", "peak_bytes"), ("optimizer", "optimizer_bytes"))
        },
        rows,
    )


def shaped(width: int, blocks: int, seed: int) -> torch.nn.Module:
    """Return a classifier of a given size on a model with random weights: what it costs does not depend on what it knows."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=width, intermediate_size=11 * width // 4, num_hidden_layers=blocks, num_attention_heads=width // 32,
        num_key_value_heads=width // 32, vocab_size=4_096, max_position_embeddings=LENGTH, tie_word_embeddings=True, pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Classifier(LlamaForCausalLM(config), 2, seed=seed)


@measures(
    Claim(
        "B8.bytes", "Full fine-tuning's cost grows with model size: memory", metric="peak bytes per parameter of the largest model",
        unit="bytes", treatment="full", control=None, effect_kind="value",
    ),
    Claim(
        "B8.seconds", "Full fine-tuning's cost grows with model size: time", metric="nanoseconds per token and parameter of the largest model",
        unit="ns", treatment="full", control=None, effect_kind="value",
    ),
    Claim(
        "B8.ratio", "What full fine-tuning takes beside a frozen model, at the largest size", metric="seconds of a step", unit="ratio",
        treatment="full", control="frozen", effect_kind="log_ratio", words=("dearer", "cheaper", "equal"),
    ),
    Claim(
        "B8.lora", "What LoRA takes beside full fine-tuning, at the largest size", metric="peak bytes", unit="ratio", treatment="LoRA",
        control="full", effect_kind="log_ratio", words=("more", "less", "equal"),
    ),
    Claim(
        "B8.checkpointing", "What checkpointing saves of full fine-tuning's memory, at the largest size", metric="peak bytes", unit="ratio",
        treatment="full, checkpointing", control="full", effect_kind="log_ratio", words=("more", "less", "equal"),
    ),
    id="B8", seeds=5,
)
def cost_of_size(
    seed: int, data_seed: int, shapes: Sequence[tuple[int, int]] = SHAPES, rows: int = ROWS, length: int = LENGTH, steps: int = STEPS
) -> Measurement:
    """Take a few training steps on random tokens with models of growing size: frozen, with LoRA, and whole, with and without checkpointing."""
    prepared: dict[str, Callable[[Classifier], Classifier]] = {
        "frozen": lambda classifier: freeze_but_last(classifier, 0), "LoRA": with_lora, "full": lambda classifier: classifier,
    }
    generator = torch.Generator().manual_seed(seed_of_data(seed, data_seed))
    ids = torch.randint(3, 4_096, (rows * steps, length), generator=generator).tolist()

    def collate(batch: list[list[int]]) -> dict[str, torch.Tensor]:
        return padded(batch, 0) | {"labels": torch.zeros(len(batch), dtype=torch.long)}

    table, parameters = [], 0
    for width, blocks in shapes:
        for arm, prepare in prepared.items():
            for checkpointing in (False, True)[: 1 if arm == "frozen" else 2]:  # a frozen model keeps no activations to save
                classifier = shaped(width, blocks, seed)
                parameters = count_parameters(classifier)
                config = TrainConfig(steps=steps, batch_size=rows, learning_rate=1e-4, warmup=0, seed=seed, checkpointing=checkpointing)
                cost = train(prepare(classifier), ids, config, collate=collate).cost
                table.append({
                    "parameters": parameters, "arm": arm + (", checkpointing" if checkpointing else ""), "seconds": cost.seconds / steps,
                    "peak bytes": cost.peak_bytes, "trained": cost.trained_parameters, "FLOPs": cost.flops / steps,
                })
    largest = {row["arm"]: row for row in table if row["parameters"] == parameters}
    seconds, peak = ({arm: row[name] for arm, row in largest.items()} for name in ("seconds", "peak bytes"))
    per = {
        "B8.bytes": {arm: value / parameters for arm, value in peak.items()},
        "B8.seconds": {arm: value / parameters / rows / length * 1e9 for arm, value in seconds.items()},
    }
    return Measurement(per | {"B8.ratio": seconds, "B8.lora": peak, "B8.checkpointing": peak}, table)
