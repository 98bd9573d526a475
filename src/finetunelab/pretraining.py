"""Self-supervised learning on raw text, and the recipes of the shipped bases.

The recipe is a curriculum, because few-shot learning does not come out of a plain mixture at this size. What a stage has taught stays in the
mixture of the next ones: (1) random strings that come back, which form the heads that copy (induction heads, Olsson et al. 2022); (2) recall
of what stands under a key; (3) the town, read for the first time; (4) to (7) patterns with label words drawn anew for each document, the
loss on the labels: one concept, ten, all of them; (8) the town again, with all of the others. A stage ends when its loss says that the step
is learned, or at its last step.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import torch

from . import worlds
from .cards import model_card
from .corpus import PackedRows, build_pools, data_hash, stack, train_tokenizer, weighted_next_token_loss
from .errors import UserError
from .files import write_text
from .models import CHECKPOINTS, CHECKSUMS, checksums, count_parameters, save_model
from .training import TrainConfig, train
from .worlds.patterns import TOPICS

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


SHAPES = {"base": Shape(128, 6, 4, 352), "small": Shape(64, 3, 2, 160)}
NAMES = {"base": "nano", "small": "nano-small"}
EMBEDDING_STD = 0.3
# How far back the heads of the first layer look before training; None spreads over the last dozen tokens. A model of two heads has the last two.
DISTANCES = (3, 2, 1, None)


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


STAGES = (
    Stage("1-repeats", {"repeats": 1.0}, 300, 64, 32, 3e-3, stop_below=0.12),
    Stage(
        "2-recall", {"repeats": 0.1, "recall": 0.3, "sorting": 0.3, "notes": 0.2, "vignettes": 0.1}, 400, 96, 32, 2e-3, answer_weight=5.0,
    ),
    Stage(
        "3-world",
        {
            "recall": 0.06, "sorting": 0.08, "patterns": 0.1, "notes": 0.22, "vignettes": 0.12, "french_recipes": 0.16, "encyclopedia": 0.16,
            "mail": 0.05, "reviews": 0.05,
        },
        1000, 192, 16, 2e-3, answer_weight=4.0, around_weight=0.3,
    ),
    # Class words that mean something new in each document: found within 300 steps for one pair of topics, and not in 1,500 for all of them
    # at once. What is found for one pair carries over to the others.
    Stage(
        "4-one-concept",
        {"repeats": 0.02, "recall": 0.08, "notes": 0.12, "vignettes": 0.05, "one_concept": 0.73},
        300, 192, 16, 2e-3, answer_weight=5.0,
    ),
    Stage(
        "5-few-concepts",
        {"repeats": 0.02, "recall": 0.08, "notes": 0.12, "vignettes": 0.05, "few_concepts": 0.73},
        350, 192, 16, 2e-3, answer_weight=5.0,
    ),
    Stage(
        "6-patterns",
        {"recall": 0.05, "sorting": 0.07, "notes": 0.12, "vignettes": 0.08, "few_concepts": 0.1, "patterns": 0.58},
        800, 192, 16, 2e-3, answer_weight=5.0,
    ),
    Stage(
        "7-more-patterns",
        {"recall": 0.03, "sorting": 0.05, "notes": 0.1, "vignettes": 0.04, "patterns": 0.78},
        1200, 192, 16, 2e-3, answer_weight=5.0,
    ),
    Stage(
        "8-world",
        {
            "patterns": 0.25, "sorting": 0.03, "recall": 0.02, "notes": 0.19, "vignettes": 0.04, "french_recipes": 0.17, "encyclopedia": 0.16,
            "mail": 0.07, "reviews": 0.07,
        },
        1500, 192, 16, 2e-3, schedule="cosine", answer_weight=4.0, around_weight=0.3,
    ),
)
SIZES = {
    "patterns": 60_000, "notes": 40_000, "recall": 20_000, "sorting": 20_000, "vignettes": 25_000, "french_recipes": 20_000,
    "encyclopedia": 25_000, "mail": 30_000, "reviews": 30_000, "one_concept": 12_000, "few_concepts": 12_000,
}
FEW_CONCEPTS = [f"{one}/{other}" for one, other in combinations(TOPICS[:5], 2)]
DRAWN_WITH = {"one_concept": ("patterns", {"concept": FEW_CONCEPTS[0]}), "few_concepts": ("patterns", {"concept": FEW_CONCEPTS})}
# Names and things that are read out of a text must be whole tokens, or copying one takes several steps: hence so many notes.
TOKENIZER_SIZES = {
    "patterns": 4_000, "notes": 6_000, "recall": 6_000, "vignettes": 4_000, "french_recipes": 3_000, "encyclopedia": 3_000, "mail": 3_000,
    "reviews": 3_000,
}


def new_model(shape: Shape) -> torch.nn.Module:
    """Initialize a Llama-architecture causal language model (Touvron et al. 2023) with tied embeddings, ready to learn to copy.

    To copy what followed an earlier occurrence takes two layers (Olsson et al. 2022): one that looks back, one that finds and copies.
    Neither is of use without the other, so from random weights they are found by chance, and late. Here both are at hand: each head's
    value and output weights start as transposes, so that their product is near the identity (mimetic initialization, Trockman
    and Kolter 2023, arXiv:2305.09828), and the heads of the first layer look a few tokens back.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=shape.width, num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads, intermediate_size=shape.feed_forward, max_position_embeddings=CONTEXT,
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
        first, *later = model.model.layers
        for layer in later:
            layer.self_attn.o_proj.weight.copy_(0.5 * layer.self_attn.v_proj.weight.T)
        for head, distance in enumerate(DISTANCES[-shape.heads :]):
            _look_back(first.self_attn, head, distance)
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
    pools = build_pools({world: max(50, round(n * scale)) for world, n in SIZES.items()}, tokenizer, out / "corpus", SEED, DRAWN_WITH)
    torch.manual_seed(SEED)
    model = new_model(SHAPES[size])
    recipe = {
        "size": asdict(SHAPES[size]), "parameters": count_parameters(model), "seed": SEED, "data_hash": data_hash(pools),
        "world_hash": worlds.frozen_hash(), "drawn_with": DRAWN_WITH, "stages": [],
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
    asked = {
        "world_hash": worlds.frozen_hash(), "corpus": SIZES, "drawn_with": DRAWN_WITH, "tokenizer": TOKENIZER_SIZES, "scale": scale,
    }
    file = out / "build.json"
    out.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        write_text(file, json.dumps(asked, indent=1) + "\n")
    elif json.loads(file.read_text()) != json.loads(json.dumps(asked)):
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
        answer_weight=stage.answer_weight, around_weight=stage.around_weight,
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
