"""Self-supervised learning on raw text, and the recipes of the shipped bases.

The recipe is a curriculum, because few-shot learning does not come out of a plain mixture at this size. What a stage has taught stays in
the mixture of the next ones: (1) random strings that come back, which form the heads that copy (induction heads, Olsson et al. 2022);
(2) recall of what stands under a key; (3) the same in sentences, notes with questions; (4) classes under their own names; (5) classes
under made-up words that a first line explains; (6) patterns with label words that only the demonstrations explain; (7) the town, with
all of the others; (8) more of what is not learned well yet, at a lower learning rate. A stage ends when its loss says that the step is
learned, or at its last step.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import torch

from . import worlds
from .cards import model_card
from .corpus import PackedRows, build_pools, data_hash, stack, train_tokenizer, weighted_next_token_loss
from .errors import UserError
from .files import write_text
from .initialization import Shape, company, keep_company, new_model
from .models import CHECKPOINTS, CHECKSUMS, checksums, count_parameters, save_model
from .profiles import device_and_dtype
from .training import TrainConfig, train

CONTEXT = 1024
VOCABULARY = 4096
SEED = 0
DRAWS = (1000, 1001, 1002, 1003, 1004)  # the data seeds that a finished base is measured on
SHAPES = {"base": Shape(128, 6, 4, 352), "small": Shape(56, 3, 2, 128)}
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
    around_share: float = 0.1
    weight_decay: float = 0.01


STAGES = (
    Stage("1-repeats", {"repeats": 1.0}, 400, 64, 32, 3e-3, stop_below=0.12),
    Stage(
        "2-recall", {"repeats": 0.1, "recall": 0.3, "sorting": 0.2, "notes": 0.25, "vignettes": 0.15}, 400, 96, 32, 3e-3, answer_weight=5.0,
    ),
    # In a mixture, reading from notes sits on a plateau: the right kind of value, of the wrong person. By itself it is soon learned.
    Stage("3-notes", {"notes": 0.9, "recall": 0.1}, 1500, 96, 32, 3e-3, answer_weight=5.0),
    # A class is learned under its own name first: there is something to learn from every sentence.
    Stage(
        "4-names",
        {"named": 0.4, "legend": 0.1, "patterns": 0.1, "vignettes": 0.2, "notes": 0.15, "sorting": 0.03, "recall": 0.02},
        1500, 192, 16, 3e-3, answer_weight=5.0,
    ),
    # Then under a word that a first line explains, which takes the name of the class and one step of recall.
    Stage(
        "5-legends",
        {"legend": 0.28, "patterns": 0.26, "named": 0.12, "vignettes": 0.15, "notes": 0.15, "sorting": 0.02, "recall": 0.02},
        1500, 192, 16, 3e-3, answer_weight=5.0,
    ),
    # At last under a word that only the demonstrations explain.
    Stage(
        "6-patterns",
        {"patterns": 0.44, "legend": 0.1, "named": 0.04, "vignettes": 0.17, "notes": 0.2, "sorting": 0.03, "recall": 0.02},
        3000, 192, 16, 3e-3, answer_weight=5.0,
    ),
    # The decay keeps the longest stage from learning wordings by heart: with it, facts are known in wordings never shown.
    Stage(
        "7-world",
        {
            "patterns": 0.22, "legend": 0.03, "named": 0.02, "vignettes": 0.1, "notes": 0.18, "sorting": 0.01, "recall": 0.01,
            "french_recipes": 0.17, "encyclopedia": 0.13, "mail": 0.06, "reviews": 0.06,
        },
        9000, 256, 16, 3e-3, schedule="cosine", answer_weight=4.0, around_share=0.2, weight_decay=0.3,
    ),
    # Recipes and patterns were still getting better when the learning rate had fallen to nothing.
    Stage(
        "8-practice",
        {
            "patterns": 0.3, "legend": 0.02, "vignettes": 0.06, "notes": 0.12, "french_recipes": 0.3, "encyclopedia": 0.12, "mail": 0.04,
            "reviews": 0.04,
        },
        1200, 256, 16, 1e-3, schedule="cosine", answer_weight=4.0, around_share=0.2, weight_decay=0.3,
    ),
)
SIZES = {
    "patterns": 100_000, "named": 30_000, "legend": 40_000, "notes": 50_000, "recall": 20_000, "sorting": 20_000, "vignettes": 40_000,
    "french_recipes": 30_000, "encyclopedia": 40_000, "mail": 40_000, "reviews": 30_000,
}
DRAWN_WITH = {"named": ("patterns", {"labels": "meaningful"}), "legend": ("patterns", {"legend": True})}
# The pools whose company of words the embeddings start from.
COMPANY = ("vignettes", "encyclopedia", "french_recipes", "mail", "reviews")
# Names and things that are read out of a text must be whole tokens, or copying one takes several steps: hence so many notes.
TOKENIZER_SIZES = {
    "patterns": 4_000, "notes": 6_000, "recall": 6_000, "vignettes": 10_000, "french_recipes": 3_000, "encyclopedia": 5_000, "mail": 3_000,
    "reviews": 3_000,
}


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
    model = new_model(SHAPES[size], VOCABULARY, CONTEXT)
    keep_company(model, company((pools[name] for name in COMPANY), VOCABULARY, SHAPES[size].width, SEED))
    # The plain form of attention is the quicker one for rows this short.
    model.set_attn_implementation("eager")
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


def ship(directory: Path, say: Callable[[str], None] = print) -> Path:
    """Measure a finished build on ``DRAWS``, write its model card, and put it into the package with its checksums; return where it lies.

    The report holds what each draw gave, and of all values the means.
    """
    from .skills import report

    directory = Path(directory)
    draws = [report(seed, str(directory), say=say) for seed in DRAWS]

    def mean(key: str) -> dict[str, float]:
        return {name: round(sum(draw[key][name] for draw in draws) / len(draws), 4) for name in draws[0][key]}

    recorded = {
        "data_seeds": DRAWS, "skills": mean("skills"), "draws": {skill: [draw["skills"][skill] for draw in draws] for skill in draws[0]["skills"]},
        "perplexity": mean("perplexity"), "step_seconds": sorted(draw["step_seconds"] for draw in draws)[len(draws) // 2],
    }
    (directory / "report.json").write_text(json.dumps(recorded, indent=1) + "\n")
    (directory / "README.md").write_text(model_card(directory))
    return put(directory)


def measured(
    directory: Path | str, measure: Callable[[Path, int, int], dict[str, float]], card: Callable[[Path], str], n: int, say: Callable[[str], None]
) -> Path:
    """Measure a finished checkpoint on ``DRAWS``, write its report and its card, and put it into the package; return where it lies there.

    ``measure`` takes the directory, a data seed, and how much to ask; ``card`` makes the model card from what lies in the directory.
    """
    directory = Path(directory)
    draws = [measure(directory, seed, n) for seed in DRAWS]
    found = {key: [round(draw[key], 4) for draw in draws] for key in draws[0]}
    say(", ".join(f"{key}: {fmean(values):.3f}" for key, values in found.items()))
    write_text(directory / "report.json", json.dumps({"data_seeds": DRAWS, "measured": found, "asked": n}, indent=1) + "\n")
    write_text(directory / "README.md", card(directory))
    return put(directory)


def put(directory: Path) -> Path:
    """Put a finished checkpoint into the package with its checksums, in place of one of its name; return where it lies."""
    target = CHECKPOINTS / directory.name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(directory, target)
    known = json.loads(CHECKSUMS.read_text()) if CHECKSUMS.exists() else {}
    CHECKSUMS.write_text(json.dumps(known | {directory.name: checksums(target)}, indent=1) + "\n")
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


def number_format() -> str | None:
    """Return "bfloat16" on a CPU that multiplies in it, which halves the time of a step; None leaves the choice to the device."""
    return "bfloat16" if device_and_dtype().device == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)() else None


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
        answer_weight=stage.answer_weight, around_share=stage.around_share,
    )
    config = TrainConfig(
        steps=steps, batch_size=stage.batch, learning_rate=stage.learning_rate, warmup=min(100, steps // 2), schedule=stage.schedule,
        weight_decay=stage.weight_decay, seed=SEED, save_every=250, stop_below=stage.stop_below, dtype=number_format(),
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
