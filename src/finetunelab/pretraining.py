"""Self-supervised learning on raw text, and the recipes of the shipped bases.

The recipe is a curriculum, because few-shot learning does not come out of a plain mixture at this size: (1) random strings said
again, which form the heads that copy (induction heads, Olsson et al. 2022); (2) key-value recall and questions about notes; (3)
patterns with label words drawn anew for each document, the loss on the labels; (4) the whole world, in which each of
these is kept. A stage ends when its loss says that the step is learned, or at its last step.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from . import worlds
from .cards import model_card
from .corpus import PackedRows, build_pools, data_hash, stack, train_tokenizer, weighted_next_token_loss
from .errors import UserError
from .files import write_text
from .models import CHECKPOINTS, CHECKSUMS, checksums, count_parameters, save_model
from .training import TrainConfig, train

CONTEXT = 1024
VOCABULARY = 2048
SEED = 0


@dataclass(frozen=True)
class Shape:
    """The size of a Llama-architecture model."""

    width: int
    layers: int
    heads: int
    feed_forward: int


SHAPES = {"base": Shape(160, 4, 5, 432), "small": Shape(64, 3, 2, 160)}
NAMES = {"base": "nano", "small": "nano-small"}


@dataclass(frozen=True)
class Stage:
    """One stage of the curriculum: what is drawn, how it is weighted, how long, and at which learning rate."""

    name: str
    mixture: dict[str, float]
    steps: int
    length: int
    batch: int
    learning_rate: float
    stop_below: float | None = None
    schedule: str = "constant_with_warmup"
    answer_weight: float = 1.0
    around_weight: float = 0.05
    period: tuple[int, int] = (2, 20)


STAGES = (
    # Short strings first: with few tokens to look back at, a weak attention to the right one already lowers the loss. Strings of
    # 3 to 20 tokens from the start sat on the loss of "some token seen before" for 1,500 steps. All token ids from the start: ids that
    # never occur are all pushed the same way, and can hardly be told apart later.
    Stage("1a-repeats-short", {"repeats": 1.0}, 1500, 48, 32, 2e-3, stop_below=0.35, period=(2, 6)),
    Stage("1b-repeats", {"repeats": 1.0}, 1500, 96, 16, 2e-3, stop_below=1.1),
    Stage(
        "2-words",
        {"repeats": 0.1, "recall": 0.35, "notes": 0.2, "vignettes": 0.15, "french_recipes": 0.05, "encyclopedia": 0.15},
        700, 128, 24, 2e-3, answer_weight=4.0, around_weight=0.1,
    ),
    Stage("3-recall", {"repeats": 0.1, "recall": 0.65, "notes": 0.25}, 1200, 96, 32, 1.5e-3, stop_below=1.0, answer_weight=5.0),
    Stage(
        "4-patterns",
        {"repeats": 0.03, "recall": 0.12, "notes": 0.2, "patterns": 0.5, "vignettes": 0.15},
        1500, 192, 16, 1.5e-3, answer_weight=5.0,
    ),
    Stage(
        "5-world",
        {
            "patterns": 0.12, "notes": 0.18, "recall": 0.03, "vignettes": 0.09, "french_recipes": 0.2, "encyclopedia": 0.22,
            "mail": 0.08, "reviews": 0.08,
        },
        1800, 192, 16, 2e-3, schedule="cosine", answer_weight=4.0, around_weight=0.3,
    ),
)
SIZES = {
    "patterns": 60_000, "notes": 40_000, "recall": 20_000, "vignettes": 25_000, "french_recipes": 20_000, "encyclopedia": 25_000,
    "mail": 15_000, "reviews": 15_000,
}
TOKENIZER_SIZES = {
    "patterns": 3_000, "notes": 3_000, "vignettes": 4_000, "french_recipes": 3_000, "encyclopedia": 3_000, "mail": 3_000, "reviews": 3_000,
}


def new_model(shape: Shape) -> torch.nn.Module:
    """Initialize a Llama-architecture causal language model (Touvron et al. 2023) with tied embeddings."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=shape.width, num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads, intermediate_size=shape.feed_forward, max_position_embeddings=CONTEXT,
            tie_word_embeddings=True, initializer_range=0.06,
            # Heads that look one token back need a query and key that do not depend on the token: biases give them at once.
            attention_bias=True,
            pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )
    )


def build(size: str, out: Path, scale: float = 1.0, say: Callable[[str], None] = print) -> Path:
    """Build a base by the recipe, stage by stage, and return the directory of the finished checkpoint.

    Everything under ``out`` is kept: a build that was killed goes on from its last checkpoint. ``scale`` shortens every stage and
    the corpus alike (tests use it).
    """
    out = Path(out)
    directory = out / NAMES[size]
    if (directory / "config.json").exists():
        say(f"{directory} is finished; remove it to build it anew")
        return directory
    _claim(out, scale)
    tokenizer = _tokenizer(out, scale, say)
    say("drawing and tokenizing the corpus")
    pools = build_pools({world: max(50, round(n * scale)) for world, n in SIZES.items()}, tokenizer, out / "corpus", SEED)
    torch.manual_seed(SEED)
    model = new_model(SHAPES[size])
    recipe = {
        "size": asdict(SHAPES[size]), "parameters": count_parameters(model), "seed": SEED, "data_hash": data_hash(pools),
        "world_hash": worlds.frozen_hash(), "stages": [],
    }
    say(f"{NAMES[size]}: {count_parameters(model):,} parameters; corpus {sum(len(p.tokens) for p in pools.values()):,} tokens")
    for stage in STAGES:
        recipe["stages"].append(asdict(stage) | _run_stage(model, stage, pools, out / size / stage.name, scale, say))
    # The config is moved in last of all and says that the checkpoint is whole, so the recipe goes before it.
    directory.mkdir(exist_ok=True)
    write_text(directory / "recipe.json", json.dumps(recipe, indent=1) + "\n")
    save_model(model, tokenizer, directory)
    return directory


def ship(directory: Path, data_seed: int, say: Callable[[str], None] = print) -> Path:
    """Measure a finished build, write its model card, and put it into the package with its checksums; return where it lies."""
    from .skills import report

    directory = Path(directory)
    (directory / "report.json").write_text(json.dumps({"data_seed": data_seed} | report(data_seed, str(directory), say=say), indent=1) + "\n")
    (directory / "README.md").write_text(model_card(directory))
    target = CHECKPOINTS / directory.name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(directory, target)
    recorded = json.loads(CHECKSUMS.read_text()) if CHECKSUMS.exists() else {}
    CHECKSUMS.write_text(json.dumps(recorded | {directory.name: checksums(target)}, indent=1) + "\n")
    return target


def _claim(out: Path, scale: float) -> None:
    """Write down which corpus ``out`` is for, or refuse: a build must not go on with another world's texts."""
    asked = {"world_hash": worlds.frozen_hash(), "corpus": SIZES, "tokenizer": TOKENIZER_SIZES, "scale": scale}
    file = out / "build.json"
    out.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        write_text(file, json.dumps(asked, indent=1) + "\n")
    elif json.loads(file.read_text()) != asked:
        raise UserError(f"{out} holds a build of another world or corpus", "choose another directory, or remove this one")


def _tokenizer(out: Path, scale: float, say: Callable[[str], None]):
    """Return the tokenizer of a build, trained once on a sample of every world."""
    from transformers import AutoTokenizer

    directory = out / "tokenizer"
    if (directory / "tokenizer.json").exists():
        return AutoTokenizer.from_pretrained(directory)
    say("training the tokenizer")
    texts = [
        row["text"] for world, n in TOKENIZER_SIZES.items() for row in worlds.generator(world).rows(max(50, round(n * scale)), "train", SEED)
    ]
    tokenizer = train_tokenizer(texts, VOCABULARY, CONTEXT)
    tokenizer.save_pretrained(directory)
    return tokenizer


def _run_stage(model, stage: Stage, pools, directory: Path, scale: float, say: Callable[[str], None]) -> dict:
    """Train one stage, or load it where it is finished already; return its cost."""
    from safetensors.torch import load_model as load_weights
    from safetensors.torch import save_model as save_weights

    finished, record = directory / "model.safetensors", directory / "stage.json"
    steps = max(2, round(stage.steps * scale))
    asked = json.loads(json.dumps(asdict(stage) | {"steps": steps}))
    if finished.exists():
        summary = json.loads(record.read_text())
        if summary.pop("stage") != asked:
            raise UserError(f"{directory} was trained by another recipe", "remove it to train this stage anew")
        load_weights(model, finished)
        return summary
    rows = PackedRows(
        pools, stage.mixture, rows=steps * stage.batch, length=stage.length, vocab=VOCABULARY, seed=SEED,
        answer_weight=stage.answer_weight, around_weight=stage.around_weight, period=stage.period,
    )
    config = TrainConfig(
        steps=steps, batch_size=stage.batch, learning_rate=stage.learning_rate, warmup=min(100, steps // 2), schedule=stage.schedule,
        seed=SEED, save_every=250, stop_below=stage.stop_below,
    )
    say(f"stage {stage.name}: at most {steps} steps of {stage.batch} x {stage.length} tokens")
    result = train(model, rows, config, collate=stack, loss=weighted_next_token_loss, output=directory)
    summary = {"cost": asdict(result.cost), "loss": [[entry["step"], round(entry["loss"], 4)] for entry in result.history]}
    write_text(record, json.dumps({"stage": asked} | summary) + "\n")
    partial = finished.with_suffix(".partial")
    save_weights(model, str(partial))
    partial.replace(finished)
    for checkpoint in directory.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    say(f"stage {stage.name}: {result.cost.describe()}")
    return summary
