"""The settings of a command: each is a field here, a flag of the command, and a key of a recipe in YAML. A flag wins over the file.

Nothing heavy is imported, so that ``--help`` need not wait for it.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from .errors import UserError, near, unknown

Filled = TypeVar("Filled")

# What trl's scripts call the same: whoever brings such a file is told our name.
TRL = {
    "model_name_or_path": "model", "dataset_name": "data", "dataset_train_split": "split", "output_dir": "output", "max_steps": "steps",
    "num_train_epochs": "epochs", "per_device_train_batch_size": "batch_size", "gradient_accumulation_steps": "accumulate",
    "lr_scheduler_type": "schedule", "warmup_steps": "warmup", "warmup_ratio": "warmup", "max_grad_norm": "clip", "max_length": "longest",
    "assistant_only_loss": "masked", "completion_only_loss": "masked", "save_steps": "save_every", "gradient_checkpointing": "checkpointing",
    "activation_checkpointing": "checkpointing", "lora_r": "lora_rank", "lora_target_modules": "lora_targets", "load_in_4bit": "four_bit",
    "dataset_text_field": "text_column",
}


def option(default: Any, help: str, **rules: Any) -> Any:
    """Return a field with what ``--help`` says of it, and the rules for its values: choices, least, above, below."""
    return dataclasses.field(default=default, metadata={"help": help, **rules})


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What all training runs have in common."""

    model: str = option("nano", "a shipped model, a directory in Hugging Face layout, or (outside the nano profile) a name on the hub")
    data: str | None = option(
        None, "what to learn from: a CSV, JSONL or Parquet file, a folder in the hub's layout, world:NAME, or a name on the hub")
    data_config: str | None = option(None, "the configuration of a data set that has several")
    split: str | None = option(None, "the part of the data to learn from (default: all of a file, train of anything else)")
    examples: int | None = option(None, "draw so many examples from the data (default: all; of a world 1,000)", least=1)
    test: str | None = option(None, "other data of the same form, for the held-out loss (default: a share of the data)")
    test_split: str | None = option(None, "the part of it that is used (default: all of a file, test of anything else)")
    test_share: float = option(0.1, "without test: hold out about this share; copies stay on one side, and 0 holds out nothing", least=0, below=1)
    output: str | None = option(None, "the directory for the finished model; must not hold one")
    steps: int | None = option(None, "optimizer steps (default: as many as the epochs take)", least=1)
    epochs: float = option(3.0, "passes over the data, if no steps are given", above=0)
    batch_size: int = option(8, "rows in a batch, for each process", least=1)
    accumulate: int = option(1, "batches in an optimizer step", least=1)
    learning_rate: float | None = option(
        None, "the highest learning rate (default: 1e-3 for a shipped model, 2e-5 for another; with LoRA ten times that of the other)", above=0)
    schedule: str = option(
        "linear", "how the learning rate falls", choices=("linear", "cosine", "constant", "constant_with_warmup"))
    warmup: float = option(0.1, "steps over which it rises first, or below 1 a share of them", least=0)
    weight_decay: float = option(0.01, "the decay of AdamW", least=0)
    clip: float = option(1.0, "the gradient's norm is cut to this", above=0)
    longest: int | None = option(None, "tokens in a row (default: the profile's: 256, 512 or 1,024)", least=8)
    checkpointing: bool = option(False, "save memory: compute activations again in the backward pass")
    dtype: str | None = option(None, "the number format to train in (default: what the device is good at)", choices=("float32", "bfloat16", "float16"))
    seed: int = option(0, "draws the order of rows, LoRA's first weights, and what is held out", least=0)
    save_every: int | None = option(None, "steps between checkpoints, from which the same command goes on after it was stopped", least=1)
    lora_rank: int | None = option(None, "train corrections of this rank and leave the weights as they are (default: train all weights)", least=1)
    lora_alpha: float | None = option(None, "the corrections are multiplied by this over their rank (default: twice the rank)", above=0)
    lora_targets: str | None = option(None, "the layers that are corrected, with commas: q_proj,v_proj (default: every linear layer)")
    four_bit: bool = option(False, "keep the weights in 4 bit while training corrections (QLoRA); needs lora_rank")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SftSettings(RunSettings):
    """Supervised fine-tuning on conversations."""

    masked: bool = option(True, "learn from what the assistant says alone, not from all tokens")
    system: str | None = option(None, "a system message for conversations that have none")
    messages_column: str = option("messages", "the column of conversations: lists of messages with a role and a content")
    prompt_column: str = option("prompt", "or, without it: the column of prompts")
    completion_column: str = option("completion", "and that of their completions")
    instruction_column: str = option("instruction", "or, without these: the column of instructions")
    input_column: str = option("input", "that of what they are about, which may be missing or empty")
    output_column: str = option("output", "and that of the answers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptSettings(RunSettings):
    """Continued training on raw text."""

    text_column: str = option("text", "the column of texts")
    replay: str | None = option(None, "old texts to keep what was known: data of the same form")
    replay_split: str | None = option(None, "the part of them that is used (default: all of a file, train of anything else)")
    replay_share: float = option(0.1, "about this share of all texts are old ones, if there are any", above=0, below=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How fast supervised fine-tuning is measured."""

    model: str = option("nano", "a shipped model, a directory in Hugging Face layout, or (outside the nano profile) a name on the hub")
    shape: str | None = option(
        None, "instead of a model: random weights of a known shape, and random tokens in rows as long as real instructions",
        choices=("qwen3-0.6b", "qwen3-1.7b", "tiny"))
    data: str = option("world:instructions", "the conversations of a model; a shape needs none")
    examples: int = option(1500, "conversations to train on; a tenth of them is held out for the loss", least=20)
    longest: int = option(256, "tokens in a row", least=8)
    batch_size: int = option(8, "packed rows in a batch; trl is given as many conversations as make the same tokens", least=1)
    steps: int = option(16, "steps of a round; the first two are not timed", least=4)
    rounds: int = option(10, "rounds of each arm, in alternation", least=1)
    arms: str = option("ours,bare,trl", "which are measured, with commas")
    methods: str = option("full,lora", "which of the two, with commas")
    rank: int = option(8, "the rank of LoRA's corrections", least=1)
    learning_rate: float = option(5e-4, "the highest learning rate", above=0)
    attention: str | None = option(
        None, "the kind of attention (default: the library's choice)", choices=("eager", "sdpa", "flex_attention", "flash_attention_2"))
    compile: bool = option(False, "compile our model and the bare loop's with torch.compile")
    checkpointing: bool = option(False, "compute activations again in the backward pass, if memory asks for it; trl does so by default")
    dtype: str | None = option(None, "the number format (default: what the device is good at)", choices=("float32", "bfloat16", "float16"))
    output: str = option("book/evidence", "the folder for bench-DEVICE.json; what it holds of another model or other settings stays")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RlBenchSettings:
    """How fast the loop of reinforcement learning is measured."""

    model: str = option("nano-chat", "a shipped model, a directory in Hugging Face layout, or (outside the nano profile) a name on the hub")
    responses: int = option(64, "responses in a step; trl samples two to a request", least=2)
    tokens: int = option(72, "a response has at most this many", least=1)
    steps: int = option(6, "steps of a round; the first two are not timed", least=3)
    rounds: int = option(5, "rounds of each arm, in alternation", least=1)
    kl_weight: float = option(0.02, "above zero, so that both arms ask a reference", above=0)
    output: str = option("book/evidence", "the folder for bench-DEVICE.json; what it holds of another model or other settings stays")


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """What becomes of a folder of documents."""

    store: str = option("finetunelab-store", "the folder of the vector store; made if it is missing, and may hold several folders of documents")
    embedder: str | None = option(None, "minilm, nano-embedder (it knows only the course's town), the directory of a sentence encoder, or its name on the hub (default: the store's own, or minilm)")
    words: int = option(120, "words of a passage, at most", least=10)
    overlap: int = option(20, "words at most that a passage repeats from the one before it", least=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AskSettings:
    """How a question is answered from a vector store."""

    store: str = option("finetunelab-store", "the folder of the vector store")
    passages: int = option(3, "how many passages are shown", least=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexBenchSettings:
    """How fast the vector store is measured, and how much it finds."""

    sizes: str = option("1000,10000,100000,1000000", "numbers of vectors, with commas")
    queries: int = option(200, "questions, asked one at a time", least=10)
    texts: int = option(0, "real texts to fit the mixture to anew, with the real encoder (default: 0, as it was fitted before)", least=0)
    output: str = option("book/evidence", "the folder for bench-DEVICE.json; what it holds of other settings stays")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """What ways to classify texts are compared on."""

    train: str | None = option(None, "labeled texts to learn from: a CSV, JSONL or Parquet file")
    test: str | None = option(None, "other labeled texts, which only judge the finished methods")
    text_column: str = option("text", "the column of texts, in both files")
    label_column: str = option("label", "the column of classes, in both files")
    model: str = option("nano", "a shipped model, a directory in Hugging Face layout, or (outside the nano profile) a name on the hub")
    budget_minutes: float = option(10.0, "minutes that all methods together may take", above=0)
    out: str = option("report.html", "the report; an earlier one is replaced, any other file is not")
    seed: int = option(0, "draws the validation part, the demonstrations, the order of texts, and new weights", least=0)


# The ways to classify, and for each the settings that it needs.
METHODS: dict[str, tuple[str, ...]] = {
    "majority": (), "tfidf": ("C",), "frozen": ("layer", "penalty"), "few-shot": ("demonstrations",), "lora": ("learning_rate", "steps"),
    "full": ("learning_rate", "steps"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierSettings:
    """One way to classify texts, with one setting, which a report of ``compare`` names."""

    train: str | None = option(None, "labeled texts to learn from: a CSV, JSONL or Parquet file")
    test: str | None = option(None, "other labeled texts, to say how good the finished classifier is (default: it is not tested)")
    text_column: str = option("text", "the column of texts, in both files")
    label_column: str = option("label", "the column of classes, in both files")
    model: str = option("nano", "a shipped model, a directory in Hugging Face layout, or (outside the nano profile) a name on the hub")
    method: str | None = option(None, "the way to classify", choices=tuple(METHODS))
    C: float | None = option(None, "of tfidf: the larger, the less its weights are held back", above=0)
    layer: int | None = option(None, "of frozen: the layer whose states are read, 0 for the input embeddings", least=0)
    penalty: float | None = option(None, "of frozen: how much the weights of the head are held back", least=0)
    demonstrations: int | None = option(None, "of few-shot: labeled texts in the prompt", least=1)
    learning_rate: float | None = option(None, "of lora and full: the highest learning rate", above=0)
    steps: int | None = option(None, "of lora and full: optimizer steps of 16 texts", least=1)
    seed: int = option(0, "draws the demonstrations, the order of texts, and new weights", least=0)
    output: str | None = option(None, "the directory for the finished classifier; must be new or empty")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """Which texts a finished classifier labels."""

    data: str | None = option(None, "the texts: a CSV, JSONL or Parquet file")
    text_column: str | None = option(None, "the column of texts (default: as it was called in training)")
    label_column: str | None = option(None, "the column to add (default: as it was called in training)")
    out: str = option("labeled.csv", "a new CSV, JSONL or Parquet file: all columns of the data, and the class of each text")


NEEDED = {
    RunSettings: {"data": "a file, a folder, world:NAME, or a name on the hub", "output": "a directory for the finished model"},
    CompareSettings: {"train": "a CSV, JSONL or Parquet file of labeled texts", "test": "a file of other labeled texts"},
    ClassifierSettings: {
        "train": "a CSV, JSONL or Parquet file of labeled texts", "method": f"one of {', '.join(METHODS)}", "output": "a directory for the classifier"},
    LabelSettings: {"data": "a CSV, JSONL or Parquet file of texts"},
}


def add_flags(parser: argparse.ArgumentParser, kind: type) -> None:
    """Give a parser ``--config`` and a flag for each setting. What is not given stays out of the parsed arguments."""
    parser.add_argument("--config", metavar="FILE", help="a recipe in YAML: the settings below, with _ for -; flags win over it")
    for field in dataclasses.fields(kind):
        rules, flag = field.metadata, f"--{field.name.replace('_', '-')}"
        known = f"{rules['help']}" if field.default is None or "(default" in rules["help"] else f"{rules['help']} (default: {_shown(field.default)})"
        options: dict[str, Any] = {"dest": field.name, "default": argparse.SUPPRESS, "help": known.replace("%", "%%")}
        if _type(kind, field) is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
        else:
            metavar = "|".join(rules["choices"]) if "choices" in rules else {int: "N", float: "X"}.get(_type(kind, field), "NAME")
            parser.add_argument(flag, metavar=metavar, **options)


def _shown(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def read(kind: type[Filled], flags: Mapping[str, Any], config: str | Path | None = None) -> Filled:
    """Return the settings that a recipe and flags make together.

    Raises UserError for a file that is no recipe, an unknown key, a value of the wrong kind or out of range, and settings that do not
    go together.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    given = _read_yaml(Path(config), fields) if config is not None else {}
    found = {name: _value(kind, fields[name], value, f"{name} in {config}") for name, value in given.items()}
    for name, field in fields.items():
        if name in flags:
            found[name] = _value(kind, field, flags[name], f"--{name.replace('_', '-')}")
    settings = kind(**found)
    _check(settings)
    return settings


def _read_yaml(path: Path, fields: Mapping[str, dataclasses.Field]) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        close = near(path.name, siblings)
        cause = f"{path} is a folder" if path.is_dir() else f"there is no recipe {path}"
        raise UserError(cause, f"did you mean {close[0]}?" if close else "give a YAML file with settings, such as steps: 100")
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text in UTF-8", "give a YAML file with settings, such as steps: 100") from None
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f" near line {mark.line + 1}" if mark else ""
        raise UserError(f"{path} is not readable as YAML{where}", "write one setting a line, such as steps: 100") from None
    if not isinstance(given, dict):
        raise UserError(f"{path} holds no settings", "write one a line, such as steps: 100")
    for name in given:
        if name not in fields:
            if name in TRL and TRL[name] in fields:
                raise UserError(f"unknown setting {name!r} in {path}", f"it is called {TRL[name]} here")
            raise unknown(f"setting in {path}", str(name), fields)
    return {name: value for name, value in given.items() if value is not None}


def _type(kind: type, field: dataclasses.Field) -> type:
    """Return the type of a field, without the None that stands for a default."""
    found = typing.get_type_hints(kind)[field.name]
    return next(part for part in typing.get_args(found) if part is not type(None)) if isinstance(found, types.UnionType) else found


def _value(kind: type, field: dataclasses.Field, value: Any, where: str) -> Any:
    """Return a value as its field has it, or say what is wrong with it."""
    wanted, rules = _type(kind, field), field.metadata
    if wanted is bool:
        if not isinstance(value, bool):
            raise UserError(f"{where} is {value!r}", "write true or false")
        return value
    if wanted is str:
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            value = ",".join(value)
        if isinstance(value, (dict, list)) or not str(value).strip():
            raise UserError(f"{where} is {value!r}", "give a name")
        value = str(value)
        if "choices" in rules and value not in rules["choices"]:
            raise unknown(where, value, rules["choices"])
        return value
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):  # YAML reads 1e-3, without a dot, as a text: that is a number too
        number = math.nan
    if not math.isfinite(number) or wanted is int and number != int(number):
        raise UserError(f"{where} is {value!r}", "give a whole number" if wanted is int else "give a number")
    bounds = {"least": ("at least", number >= rules.get("least", number)), "above": ("above", number > rules.get("above", -math.inf)),
              "below": ("below", number < rules.get("below", math.inf))}
    if not all(kept for _, kept in bounds.values()):
        asked = " and ".join(f"{words} {rules[bound]}" for bound, (words, _) in bounds.items() if bound in rules)
        raise UserError(f"{where} is {value}", f"give a number {asked}")
    return wanted(number)


def _check(settings: Any) -> None:
    """Raise UserError for settings that are missing or do not go together."""
    for kind, names in NEEDED.items():
        for name, mend in names.items() if isinstance(settings, kind) else ():
            if getattr(settings, name) is None:
                raise UserError(f"no {name} was named", f"give {mend} with --{name}, or as {name} in the recipe")
    if isinstance(settings, ClassifierSettings):
        wanted = METHODS[settings.method]
        for name in dict.fromkeys(name for names in METHODS.values() for name in names):
            given, flag = getattr(settings, name) is not None, f"--{name.replace('_', '-')}"
            if given and name not in wanted:
                raise UserError(f"{flag} is no setting of {settings.method}", "leave it out, or name another method")
            if not given and name in wanted:
                raise UserError(f"{settings.method} needs {flag}", "a report of finetunelab compare names the one that did best")
    if isinstance(settings, RunSettings) and settings.lora_rank is None:
        if settings.four_bit:
            raise UserError("weights in 4 bit cannot be trained themselves", "give the rank of corrections to train: --lora-rank 8")
        for name in ("lora_alpha", "lora_targets"):
            if getattr(settings, name) is not None:
                raise UserError(f"{name} was given without a rank", "give --lora-rank too, or leave it out")


def write(settings: Any, command: str) -> str:
    """Return a recipe in YAML that repeats a run with these settings. Its output is left out: that is where it lies."""
    import yaml

    kept = {name: value for name, value in dataclasses.asdict(settings).items() if value is not None and name != "output"}
    return f"# finetunelab {command} --config THIS --output NEW repeats this run.\n" + yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
