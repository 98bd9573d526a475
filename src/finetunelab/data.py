"""One loader for everything a lab trains on: worlds, hub datasets, local folders laid out like them, and your own files.

    load_data("world:mail", n=1000)
    load_data("stanfordnlp/sst2", columns={"text": "sentence", "label": "label"}, profile="colab")
    load_data("folder/with/train.parquet", columns={"text": "sentence"})
    load_data("mine.csv", columns={"text": "message", "label": "kind"})

Whatever the source, the columns asked for come back under our names, checked. A mistake in a file is one line: cause and mend.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError, near, unknown
from .profiles import PROFILES, VARIABLE
from .profiles import profile as chosen_profile
from .tables import SUFFIXES, read_table

if TYPE_CHECKING:
    from datasets import Dataset

MAX_CHARACTERS = 100_000
MIN_EXAMPLES = 20
MIN_PER_CLASS = 5
WORLD_EXAMPLES = 1_000
SPLITS = ("train", "validation", "test")

Columns = Mapping[str, str] | Callable[[Sequence[str]], Mapping[str, str]] | None
"""Ours -> theirs, or what makes that of the names of a source's columns; None for "text" and, if there is one, "label"."""


@dataclass(frozen=True)
class Source:
    """A dataset by name, the configuration of it, and which of its columns plays which part (ours -> theirs)."""

    name: str
    columns: Mapping[str, str]
    config: str | None = None


# One task, one row: the offline world that stands for it in nano and the public dataset in colab and gpu, under the same column names.
CATALOG: dict[str, dict[str, Source]] = {
    "mail": {
        "world": Source("world:mail", {"text": "text", "label": "spam"}),
        "hub": Source("SetFit/enron_spam", {"text": "text", "label": "label"}),
    },
    "messages": {
        "world": Source("world:posts", {"text": "text", "label": "spam"}),
        "hub": Source("ucirvine/sms_spam", {"text": "sms", "label": "label"}, "plain_text"),
    },
    "sentiment": {
        "world": Source("world:reviews", {"text": "text", "label": "sentiment"}),
        "hub": Source("stanfordnlp/sst2", {"text": "sentence", "label": "label"}),
    },
    "topic": {
        "world": Source("world:reviews", {"text": "text", "label": "topic"}),
        "hub": Source("fancyzhx/ag_news", {"text": "text", "label": "label"}),
    },
    "clinic": {
        "world": Source("world:clinic", {"text": "text"}),
        "hub": Source("qiaojin/PubMedQA", {"text": "long_answer"}, "pqa_labeled"),
    },
    "passages": {
        "world": Source("world:handbook", {"text": "text"}),
        "hub": Source("rajpurkar/squad", {"text": "context"}),
    },
}


def load_task(task: str, split: str = "train", n: int | None = None, *, data_seed: int = 0, profile: str | None = None) -> Dataset:
    """Load the dataset that stands for a task of ``CATALOG`` in the chosen profile. See ``load_data``."""
    if task not in CATALOG:
        raise unknown("task", task, CATALOG)
    chosen = chosen_profile(profile)
    source = CATALOG[task][chosen.datasets]
    return load_data(source.name, split, n, columns=source.columns, config=source.config, data_seed=data_seed, profile=chosen.name)


def load_data(
    source: str | Path,
    split: str = "train",
    n: int | None = None,
    *,
    columns: Columns = None,
    config: str | None = None,
    data_seed: int = 0,
    profile: str | None = None,
    **knobs: Any,
) -> Dataset:
    """Return a ``datasets.Dataset`` with the columns asked for, under our names, then the source's other columns.

    ``source`` is a world ("world:mail" or "mail"), a CSV, JSONL or Parquet file, a folder in the hub's layout, or a hub name.
    ``columns`` maps our names to the source's, or is a function that makes such a mapping of the source's names; "text" and "label" are checked
    as such. Default: "text", and "label" if there is one (of a world: the label of its task).
    ``n`` rows are drawn with ``data_seed``; None takes all (of a world 1,000). A single file is split by a hash of its text, as
    worlds are (three fifths train, one validation, one test); split "all" takes every row. ``knobs`` go to a world's generator.
    UserError names the cause and the mend: a source that does not exist, the network in nano, and everything ``check_rows`` finds.
    """
    name, path = str(source), Path(source).expanduser()
    if n is not None and n < 1:
        raise UserError(f"{n} rows were asked for", "ask for at least one")
    if not path.exists() and _names_a_world(name):
        return _load_world(name.removeprefix("world:"), split, n, columns, data_seed, knobs)
    if knobs:
        raise UserError(f"only a world has knobs, and {name} is none", f"leave out {', '.join(knobs)}")
    single = path.is_file() or not path.is_dir() and _names_a_file(name)
    if single:
        table, where = read_table(path), name
    elif path.is_dir():
        table, where = _read_folder(path, split, config), f"{name} ({split})"
    else:
        table, where = _read_hub(name, split, config, profile), f"{name} ({split})"
    wanted = resolve_columns(table, columns, where)
    table = _rename(table, wanted)
    check_rows({column: table.column(column).to_pylist() for column in wanted}, where)
    rows = _rows_of_split(table, split, where) if single else list(range(table.num_rows))
    return _draw(table, rows, n, data_seed, where)


def check_file(path: str | Path, columns: Mapping[str, str] | None = None) -> str:
    """Check one file as ``load_data`` would and return a line about what it holds. UserError if it cannot be used."""
    table = read_table(Path(path))
    wanted = resolve_columns(table, columns, str(path))
    found = {column: table.column(theirs).to_pylist() for column, theirs in wanted.items()}
    check_rows(found, str(path))
    summary = f"{path}: {table.num_rows:,} rows, columns {', '.join(wanted.values())}"
    if "label" in found:
        counts = Counter(found["label"])
        shown = ", ".join(f"{value}: {count:,}" for value, count in counts.most_common(10))
        summary += f"; {len(counts)} classes ({shown}{', ...' if len(counts) > 10 else ''})"
    return summary + "; ready to use"


def resolve_columns(table, columns: Columns, where: str) -> dict[str, str]:
    """Return ours -> theirs, every one of them in the table: those asked for, or text and, if there is one, label."""
    if columns is None:
        columns = {"text": "text"} | ({"label": "label"} if "label" in table.column_names else {})
    elif callable(columns):
        columns = columns(table.column_names)
    for ours, theirs in columns.items():
        if theirs not in table.column_names:
            close = near(theirs, table.column_names)
            hint = f"did you mean {close[0]!r}? It has" if close else "name the right one: it has"
            raise UserError(f"{where} has no column {theirs!r} for the {ours}", f"{hint} {', '.join(table.column_names)}")
    return dict(columns)


def check_rows(found: Mapping[str, Sequence[Any]], where: str, per_class: int = MIN_PER_CLASS, least: int = MIN_EXAMPLES) -> None:
    """Check columns by our names: enough rows, "text" filled with text of bearable length, "label" complete and of two classes or more.

    There must be ``least`` rows, and ``per_class`` of each class. UserError for what is wrong.
    """
    rows = max((len(values) for values in found.values()), default=0)
    for column, values in found.items():
        for row, value in enumerate(values, start=1):
            if column == "text" and (not isinstance(value, str) or not value.strip()):
                held = "no text" if value is None or isinstance(value, str) else f"{type(value).__name__} instead of text"
                raise UserError(f"row {row} of {where} holds {held} in column {column!r}", "fill it in or remove the row")
            if isinstance(value, str) and len(value) > MAX_CHARACTERS:
                raise UserError(
                    f"row {row} of {where} has {len(value):,} characters in column {column!r}, more than {MAX_CHARACTERS:,}",
                    "shorten it or cut it into several rows",
                )
    if "label" in found:
        _check_labels(found["label"], where, per_class if rows >= MIN_EXAMPLES else 1)
    if rows < least:
        raise UserError(f"{where} has {rows} examples, too few to learn from", f"give at least {least}")


def _check_labels(labels: Sequence[Any], where: str, least: int) -> None:
    missing = [row for row, label in enumerate(labels, start=1) if _is_missing(label)]
    if missing:
        raise UserError(f"{where} has {len(missing)} rows without a label, the first is row {missing[0]}", "label them or remove them")
    odd = next((label for label in labels if not isinstance(label, (str, int))), None)
    if odd is not None and not (isinstance(odd, float) and all(float(label).is_integer() for label in labels)):
        raise UserError(f"labels in {where} must be names or whole numbers, and one is {odd!r}", "name the column that holds the class")
    counts = Counter(labels)
    if len(counts) == 1:
        raise UserError(f"all labels in {where} are {next(iter(counts))!r}", "add examples of a second class, or name another label column")
    rarest, count = min(counts.items(), key=lambda item: item[1])
    if count < least:
        raise UserError(
            f"class {rarest!r} in {where} has {count} of the {least} examples that a class needs ({len(counts)} classes in all)",
            "add examples, merge rare classes, or name another label column",
        )


def _is_missing(label: Any) -> bool:
    return label is None or label != label or (isinstance(label, str) and label.strip().lower() in ("", "nan"))


def _worlds() -> dict:
    from .worlds import generators

    return generators()


def _load_world(name: str, split: str, n: int | None, columns: Columns, data_seed: int, knobs: dict) -> Dataset:
    if name not in _worlds():
        raise unknown("world", name, sorted(_worlds()))
    dataset = _worlds()[name].load(n or WORLD_EXAMPLES, split, data_seed, **knobs)
    if columns is None:
        columns = {"text": "text"} | ({"label": label} if (label := _worlds()[name].label) else {})
    wanted = resolve_columns(dataset.data.table, columns, f"world:{name}")
    # Renaming one column onto another's name replaces it: the mapping says which of the two is meant.
    renamed = {theirs: ours for ours, theirs in wanted.items() if ours != theirs}
    return dataset.remove_columns([ours for ours in renamed.values() if ours in dataset.column_names]).rename_columns(renamed)


def _names_a_file(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES or name.startswith((".", "/", "~"))


def _names_a_world(name: str) -> bool:
    """Return True for a world's name; UserError for a bare word that names nothing. Hub names have a slash."""
    if name.startswith("world:"):
        return True
    if _names_a_file(name) or "/" in name:
        return False
    if name not in _worlds():
        close = near(name, _worlds())
        mend = f"did you mean {' or '.join(close)}?" if close else "give a world, a path, or a hub name such as stanfordnlp/sst2"
        raise UserError(f"there is no world, file or folder {name!r}", mend)
    return True


def _read_folder(folder: Path, split: str, config: str | None):
    """Read the files of one split: train.parquet, data/train-00000-of-00002.parquet, or a configuration's folder with either."""
    import pyarrow as pa

    pattern = re.compile(r"(?P<split>[\w.]+?)(-\d+-of-\d+)?(\.parquet|\.csv|\.jsonl)", re.IGNORECASE)
    places = [folder / config] if config else [folder, folder / "data"]
    found: dict[str, list[Path]] = {}
    for file in sorted(file for place in places if place.is_dir() for file in place.iterdir()):
        match = pattern.fullmatch(file.name)
        if match:
            found.setdefault(match["split"], []).append(file)
    if not found:
        inside = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())) or "nothing else"
        cause = f"{folder} has no Parquet, CSV or JSONL file (folders in it: {inside})"
        raise UserError(cause, "give the folder that holds train.parquet or the like")
    if split not in found:
        raise UserError(f"{folder} has no split {split!r}", f"choose one of {', '.join(found)}")
    tables = [read_table(file) for file in found[split]]
    try:
        return pa.concat_tables(tables)
    except pa.ArrowInvalid as problem:
        raise UserError(f"the files of split {split!r} in {folder} have different columns", "write them with the same ones") from problem


def _read_hub(name: str, split: str, config: str | None, profile: str | None):
    chosen = chosen_profile(profile)
    if not chosen.network:
        others = " or ".join(other for other, settings in PROFILES.items() if settings.network)
        raise UserError(
            f"there is no file or folder {name}, and as a hub dataset it needs the network, which profile {chosen.name} does not use",
            f"check the path, or set {VARIABLE} to {others}",
        )
    from datasets import load_dataset

    try:
        return load_dataset(name, config, split=split).with_format(None).data.table
    except (OSError, ValueError) as problem:
        reason = str(problem).strip().split("\n")[0] or type(problem).__name__
        raise UserError(f"cannot load {name} from the hub: {reason}", "check the name, configuration, split and network") from problem


def _rename(table, wanted: Mapping[str, str]):
    """Put the columns asked for first, under our names; a column whose name ours now takes is dropped. Names of classes are kept."""
    from datasets import Features

    others = [column for column in table.column_names if column not in wanted.values() and column not in wanted]
    theirs, ours = [*wanted.values(), *others], [*wanted, *others]
    features = Features.from_arrow_schema(table.schema)
    described = Features({new: features[old] for new, old in zip(ours, theirs, strict=True)}).arrow_schema
    return table.select(theirs).rename_columns(ours).replace_schema_metadata(described.metadata)


def _rows_of_split(table, split: str, where: str) -> list[int]:
    """Return the rows of a single file that belong to ``split`` by a hash of their first column."""
    from .worlds.grammar import split_of

    if split == "all":
        return list(range(table.num_rows))
    if split not in SPLITS:
        raise UserError(f"{where} has no split {split!r}", f"choose one of {', '.join(SPLITS)} or all")
    rows = [row for row, value in enumerate(table.column(0).to_pylist()) if split_of(str(value)) == split]
    if not rows:
        raise UserError(f"none of the {table.num_rows} rows of {where} falls into split {split!r}", "give more rows, or use split all")
    return rows


def _draw(table, rows: list[int], n: int | None, data_seed: int, where: str) -> Dataset:
    from datasets import Dataset
    from datasets.table import InMemoryTable

    if n is not None:
        if n > len(rows):
            raise UserError(f"{n:,} rows were asked for and {where} has {len(rows):,} to draw from", "ask for fewer or give more")
        # Files are often sorted by class: the first n rows would then be one class.
        rows = random.Random(f"{Path(where).name}/{data_seed}").sample(rows, n)
    return Dataset(InMemoryTable(table.take(rows)))
