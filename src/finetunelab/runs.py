"""Training runs from the shell, on one's own files: ``finetunelab sft`` and ``finetunelab adapt``.

A run reads its data, holds some out, trains, and leaves a model directory in Hugging Face layout with the recipe beside it. LoRA's corrections are
added to the weights before they are saved, so that every result is a plain model. Started by ``accelerate launch``, the main process alone
prints and writes. A run that was stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from . import adaptation, settings, sft
from .conversations import hold_out, load_conversations, part
from .corpus import counted_losses, stack
from .data import load_data
from .errors import UserError
from .files import write_text
from .lora import add_lora
from .models import load_model, load_tokenizer, save_model, shipped
from .profiles import device_and_dtype, processes, profile
from .skills import surprise
from .training import TrainConfig, TrainResult, last_checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RECIPE, RECORD = "recipe.yaml", "run.json"
LAYOUT_COLUMNS = ("messages", "prompt", "completion", "instruction", "input", "output")


# The two runs -------------------------------------------------------------------------------------------------------------------


def run_sft(asked: settings.SftSettings) -> Path:
    """Fine-tune a model on conversations, print what became of data, loss and cost, and return the directory of the finished model.

    Raises UserError for bad input, before anything is written where it can be told.
    """
    asked = _ready(asked)
    columns = {name: getattr(asked, f"{name}_column") for name in LAYOUT_COLUMNS}

    def conversations(source: str, split: str | None, other: str, n: int | None = None) -> list:
        return load_conversations(
            source, split, n, columns=columns, config=asked.data_config, seed=asked.seed, system=asked.system, other=other)

    rows, held = _divided(asked, conversations)
    tokenizer = sft.use_training_template(load_tokenizer(asked.model))

    def loss(model: PreTrainedModel) -> float:
        return held_out_loss(model, tokenizer, held, asked.longest, asked.batch_size)

    def fit(model: PreTrainedModel, config: TrainConfig, **options: Any) -> TrainResult:
        return sft.fine_tune(model, tokenizer, rows, config, longest=asked.longest, masked=asked.masked, **options).result

    return _run("sft", asked, tokenizer, (rows, held), loss, fit, "nats an assistant's token")


def run_adapt(asked: settings.AdaptSettings) -> Path:
    """Go on training a model on texts, print what became of data, loss and cost, and return the directory of the finished model.

    Raises UserError for bad input, before anything is written where it can be told.
    """
    asked = _ready(asked)

    def texts(source: str, split: str | None, other: str, n: int | None = None) -> list[str]:
        table = load_data(
            source, part(source, split, other), n, columns={"text": asked.text_column}, config=asked.data_config, data_seed=asked.seed)
        return table["text"][:]

    rows, held = _divided(asked, texts)
    old = texts(asked.replay, asked.replay_split, "train") if asked.replay is not None else []
    mixed = adaptation.with_replay(rows, old, asked.replay_share, asked.seed) if old else rows
    tokenizer = load_tokenizer(asked.model)
    lengths = [len(ids) + 1 for ids in tokenizer(mixed, verbose=False)["input_ids"]]  # with the token that ends each text
    tokens, most = sum(lengths), max(lengths)
    if most > asked.longest:
        raise UserError(f"a text has {most} tokens and a row {asked.longest}: its end would never be learned", f"give --longest {most}, or cut the texts")
    batch = asked.batch_size * asked.accumulate * processes()[1]
    steps = asked.steps or max(1, math.ceil(asked.epochs * tokens / (asked.longest * batch)))

    def loss(model: PreTrainedModel) -> float:
        total, count = surprise(model, tokenizer, held, asked.batch_size)
        return total / count

    def fit(model: PreTrainedModel, config: TrainConfig, announce: bool, **options: Any) -> TrainResult:
        if announce:
            print(f"{len(mixed):,} texts, {len(mixed) - len(rows):,} of them old; {tokens:,} tokens, in rows of {asked.longest}.")
        config = dataclasses.replace(config, steps=steps)
        return adaptation.continue_training(model, tokenizer, mixed, config, asked.longest, announce=announce, **options)

    return _run("adapt", asked, tokenizer, (mixed, held), loss, fit, "nats a token")


def held_out_loss(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, conversations: Sequence[sft.Conversation], longest: int, batch_size: int = 8
) -> float:
    """Return the mean of -log p in nats over all tokens that the assistant says, in conversations cut to ``longest`` tokens."""
    return loss_of_rows(model, sft.pack(sft.prepare(tokenizer, conversations, longest).rows, longest, tokenizer.pad_token_id), batch_size)


@torch.inference_mode()
def loss_of_rows(model: PreTrainedModel, rows: Sequence[dict[str, torch.Tensor]], batch_size: int = 8) -> float:
    """Return the mean of -log p in nats over all labels of packed rows."""
    total, count = 0.0, 0
    for start in range(0, len(rows), batch_size):
        batch = {name: value.to(model.device) for name, value in stack(rows[start : start + batch_size]).items()}
        losses = counted_losses(model, batch, batch["labels"][:, 1:] != sft.IGNORED)
        total, count = total + float(losses.sum()), count + losses.numel()
    return total / count


# What they share ----------------------------------------------------------------------------------------------------------------


def _ready(asked: Any) -> Any:
    from datasets import disable_progress_bars

    disable_progress_bars()  # tokenizing and packing take less time than their bars take lines
    check_output(asked)
    return filled_in(asked)


def check_output(asked: settings.RunSettings) -> None:
    """Raise UserError if the output directory holds a model already, or is a file."""
    directory = Path(asked.output)
    if (directory / "config.json").exists():
        raise UserError(f"{directory} already holds a finished model", "name another directory with --output, or remove this one first")
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file", "name a directory for the finished model with --output")


def filled_in(asked: settings.RunSettings) -> Any:
    """Return the settings with defaults that hang on others written out, and local paths made absolute: what a recipe must say."""
    found: dict[str, Any] = {}
    if asked.learning_rate is None:
        found["learning_rate"] = 1e-3 if asked.model in shipped() else 2e-5 if asked.lora_rank is None else 2e-4
    if asked.longest is None:
        found["longest"] = profile().budget.context
    for name in ("model", "data", "test", "replay"):
        path = getattr(asked, name, None)
        if path is not None and path not in shipped() and Path(path).expanduser().exists():
            found[name] = str(Path(path).expanduser().absolute())
    return dataclasses.replace(asked, **found)


def train_config(asked: settings.RunSettings) -> TrainConfig:
    """Return the trainer's settings among those of a run."""
    names = {field.name for field in dataclasses.fields(TrainConfig)} & {field.name for field in dataclasses.fields(asked)}
    return TrainConfig(**{name: getattr(asked, name) for name in names})


def _divided(asked: settings.RunSettings, load: Callable[..., list]) -> tuple[list, list]:
    """Load what to learn from and what to test on."""
    rows = load(asked.data, asked.split, "train", asked.examples)
    if asked.test is not None:
        return rows, load(asked.test, asked.test_split, "test")
    return hold_out(rows, asked.test_share, asked.seed)


def _begin(directory: Path, recipe: str, facts: dict[str, Any]) -> None:
    """Write the recipe and the record of a run. UserError if another run lies there, or a recipe that no run of ours wrote."""
    recipe_file, record_file = directory / RECIPE, directory / RECORD
    goes_on = last_checkpoint(directory) is not None
    if recipe_file.exists() and (goes_on or not record_file.exists()):
        _same_recipe(recipe_file, recipe)
    elif goes_on and not recipe_file.exists():
        raise UserError(f"{directory} holds checkpoints of another run", "name another directory with --output")
    if goes_on and record_file.exists() and json.loads(record_file.read_text())["data"] != facts["data"]:
        raise UserError(f"{directory} holds a run on other data", "bring that data back, or name another directory with --output")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"cannot make {directory}: {problem.strerror}", "name another directory with --output") from problem
    if not recipe_file.exists() or record_file.exists():
        write_text(recipe_file, recipe)
    write_text(record_file, json.dumps(facts, indent=1) + "\n")


def _same_recipe(file: Path, recipe: str) -> None:
    import yaml

    there, here = yaml.safe_load(file.read_text(encoding="utf-8")), yaml.safe_load(recipe)
    there = there if isinstance(there, dict) else {}
    differing = [name for name in dict.fromkeys((*here, *there)) if there.get(name) != here.get(name)]
    if differing:
        name = differing[0]
        cause = f"{file} is the recipe of another run: its {name} is {there.get(name)}, and {here.get(name)} was asked for"
        raise UserError(cause, "name another directory with --output, or give the same settings to go on with that run")


def _finish(
    directory: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, loss: Callable[[PreTrainedModel], float] | None,
    before: float | None, result: TrainResult, facts: dict[str, Any], unit: str,
) -> None:
    """Print what a run cost and brought, write its record, save the model, and drop the checkpoints."""
    after = loss(model) if loss else None
    several = f", in {facts['processes']} processes" if facts["processes"] > 1 else ""
    print(f"Cost: {result.cost.describe()}{several}.")
    print(f"Held-out loss: {before:.3f} before, {after:.3f} after, in {unit}." if loss else "Nothing was held out, so no loss was measured.")
    found = {"cost": dataclasses.asdict(result.cost), "history": result.history, "held_out_loss": {"before": before, "after": after}}
    write_text(directory / RECORD, json.dumps(facts | found, indent=1) + "\n")
    save_model(model, tokenizer, directory)
    for checkpoint in directory.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    print(f"Saved to {directory}, with {RECIPE} and {RECORD} beside the model.")


def _run(
    command: str, asked: Any, tokenizer: PreTrainedTokenizerBase, data: tuple[list, list], loss: Callable[[PreTrainedModel], float],
    fit: Callable[..., TrainResult], unit: str,
) -> Path:
    """Load the model, train it by ``fit``, measure ``loss`` before and after, and save it."""
    rank, count = processes()
    main, directory, hardware = rank == 0, Path(asked.output), device_and_dtype()
    if hardware.device == "cuda" and count > 1:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    model = load_model(asked.model, four_bit=asked.four_bit)
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and asked.longest > context:
        raise UserError(f"rows of {asked.longest} tokens are longer than this model's context of {context}", f"give longest: {context} or less")
    rows, held = data
    digest = hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]
    facts: dict[str, Any] = {
        "command": command, "data": {"examples": len(rows), "held_out": len(held), "hash": digest}, "device": hardware.describe(),
        "processes": count, "versions": {name: version(name) for name in ("torch", "transformers", "accelerate", "peft", "trl")},
    }
    before = loss(model) if main and held else None  # the others wait for the main process as soon as there is something to exchange
    if asked.lora_rank is not None:
        model = _corrected(model, asked)
    if main:
        _begin(directory, settings.write(asked, command), facts)
    result = fit(model, train_config(asked), output=directory if asked.save_every else None, announce=main)
    if main:
        _finish(directory, _plain(model, asked), tokenizer, loss if held else None, before, result, facts, unit)
        if asked.lora_rank is not None:
            print("LoRA's corrections are merged into the weights that were saved.")
    if count > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    return directory


def _corrected(model: PreTrainedModel, asked: settings.RunSettings) -> Any:
    scale = 2.0 if asked.lora_alpha is None else asked.lora_alpha / asked.lora_rank
    targets = [name.strip() for name in asked.lora_targets.split(",")] if asked.lora_targets else "all-linear"
    return add_lora(model, asked.lora_rank, scale, asked.seed, targets)


def _plain(model: Any, asked: settings.RunSettings) -> PreTrainedModel:
    """Return a model without corrections: they are added to the weights, if the base is in 4 bit to those that were not rounded."""
    if asked.lora_rank is None:
        return model
    if asked.four_bit:
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        learned, model = get_peft_model_state_dict(model), _corrected(load_model(asked.model), asked)
        set_peft_model_state_dict(model, learned)
    return model.merge_and_unload()
