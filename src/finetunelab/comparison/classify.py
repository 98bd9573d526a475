"""``finetunelab classify``: train one method with one setting and keep it in a directory, and label texts with what was kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ..data import check_rows, resolve_columns
from ..errors import UserError
from ..files import umask, write_text
from ..models import quiet
from ..settings import METHODS, ClassifierSettings, LabelSettings
from ..stats import clopper_pearson
from ..tables import check_suffix, read_table, write_table
from .learned import Constant, Counted, Headed, Shown, Trained
from .methods import method
from .task import read_task
from .verdict import percent

RECORD = "classifier.json"
FORMAT = 1
KINDS = {"majority": Constant, "tfidf": Counted, "frozen": Headed, "few-shot": Shown, "lora": Trained, "full": Trained}
AGAIN = "copy all of it again, or train it anew with finetunelab classify fit"


def fit(asked: ClassifierSettings) -> Path:
    """Train a method on all training texts, save it, print how good what was saved is on the test texts, and return its directory.

    With a report's method, setting, model, files and seed it is the classifier of the report. UserError for bad input, before anything is trained.
    """
    directory = Path(asked.output).expanduser()
    check_output(directory)
    task = read_task(asked)
    setting = {name.replace("_", " "): getattr(asked, name) for name in METHODS[asked.method]}
    with quiet():
        fitted = method(asked.method, asked.model, asked.seed).fit(task, task.train, setting)
        facts = {
            "format": FORMAT, "method": asked.method, "setting": setting, "classes": task.classes, "text_column": asked.text_column,
            "label_column": asked.label_column, "model": asked.model, "seed": asked.seed, "training_texts": len(task.train)}
        save(directory, fitted.predict, facts)
        print(f"{directory}: {asked.method}, learned from {len(task.train):,} texts")
        if len(task.test):
            answers = load(directory)[0](task.test.texts)  # what was saved is asked, not what it was saved from
            right = sum(answer == label for answer, label in zip(answers, task.test.labels, strict=True))
            interval = clopper_pearson(right, len(task.test))
            print(f"right on {percent(interval.estimate)} of the {len(task.test):,} test texts (95 % interval {100 * interval.low:.3g} to {percent(interval.high)})")
    return directory


def label(directory: str, asked: LabelSettings) -> Path:
    """Let a saved classifier label the texts of a file, write them with their labels to a new file, and return its path.

    UserError for bad input; no file is replaced.
    """
    out = Path(asked.out).expanduser()
    check_suffix(out)
    if out.exists():
        raise UserError(f"{out} exists", "name a new file with --out")
    if not out.absolute().parent.is_dir():
        raise UserError(f"there is no folder {out.absolute().parent} to write {out.name} in", "make it first, or name another file")
    facts = _facts(Path(directory).expanduser())
    table = read_table(Path(asked.data).expanduser())
    column = resolve_columns(table, {"text": asked.text_column or facts["text_column"]}, asked.data)["text"]
    texts, added = table.column(column).to_pylist(), asked.label_column or facts["label_column"]
    check_rows({"text": texts}, asked.data, least=1)
    if added in table.column_names:
        raise UserError(f"{asked.data} has a column {added!r} already", "name the one to add with --label-column, such as predicted")
    with quiet():
        answer, facts = load(directory)
        labels = [facts["classes"][place] for place in answer(texts)]
    write_table(out, table.append_column(added, [labels]))
    print(f"{out}: {len(texts):,} texts, labeled in column {added!r}")
    return out


def check_output(directory: Path) -> None:
    """Raise UserError unless a directory is new or empty, and can be made."""
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file", "name a new directory with --output")
    if directory.is_dir() and any(directory.iterdir()):
        raise UserError(f"{directory} holds something already", "name a new directory with --output")
    if not directory.absolute().parent.is_dir():
        raise UserError(f"there is no folder {directory.absolute().parent} to make {directory.name} in", "make it first, or name another place")


def save(directory: Path, learned: Any, facts: dict[str, Any]) -> None:
    """Save what a method has learned, with facts about it, into a directory that is new or empty, whole or not at all.

    UserError if that cannot be written.
    """
    from safetensors import SafetensorError

    check_output(directory)
    partial = None
    try:
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".part", dir=directory.absolute().parent))
        facts = facts | {"learned": learned.save(partial)}
        facts["files"] = {str(path.relative_to(partial).as_posix()): _digest(path) for path in _files(partial)}
        write_text(partial / RECORD, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        for path in _files(partial):  # safetensors makes files that only their owner can read
            path.chmod(0o666 & ~umask())
        partial.chmod(0o777 & ~umask())
        if directory.is_dir():
            directory.rmdir()  # it is empty
        partial.replace(directory)
    except (OSError, SafetensorError) as problem:
        raise UserError(f"cannot write {directory}: {getattr(problem, 'strerror', None) or problem}", "make room or choose another place") from problem
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def load(directory: str | Path) -> tuple[Any, dict[str, Any]]:
    """Return a saved classifier, which takes texts and returns the places of their classes, and the facts about it.

    UserError for a directory that ``save`` did not write, or of which something is missing or altered.
    """
    directory = Path(directory).expanduser()
    facts = _facts(directory)
    for name, digest in facts["files"].items():
        path = directory / name
        if not path.is_file() or _digest(path) != digest:
            raise UserError(f"{path} is {'altered or cut short' if path.is_file() else 'missing'}", AGAIN)
    try:
        return KINDS[facts["method"]].load(directory, facts["learned"] | {"classes": facts["classes"]}), facts
    except (KeyError, TypeError, ValueError, RuntimeError, OSError) as problem:
        if isinstance(problem, UserError):
            raise
        raise UserError(f"{directory} does not hold what its {RECORD} says ({type(problem).__name__})", AGAIN) from problem


def _facts(directory: Path) -> dict[str, Any]:
    """Return what is recorded of a saved classifier, or say why it is none."""
    record = directory / RECORD
    if not directory.exists():
        raise UserError(f"there is no directory {directory}", "give one that finetunelab classify fit has written")
    if not record.is_file():
        raise UserError(f"{directory} holds no classifier: {RECORD} is missing", "give a directory that finetunelab classify fit has written")
    try:
        facts = json.loads(record.read_text(encoding="utf-8"))
        good = facts["method"] in KINDS and len(facts["classes"]) > 1 and all(
            isinstance(facts[name], kind) for name, kind in (("learned", dict), ("files", dict), ("text_column", str), ("label_column", str)))
        later = facts["format"] != FORMAT
    except (KeyError, TypeError, ValueError):
        good = later = False
    if not good:
        raise UserError(f"{record} is cut short, or is no record of a classifier", AGAIN)
    if later:
        raise UserError(f"{directory} was written by another version of finetunelab", "use that version, or train it anew")
    return facts


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
