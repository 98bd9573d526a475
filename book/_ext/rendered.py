"""Parts of pages that are written from code and results while the book is built, so that they cannot fall behind.

A line ``% rendered: NAME`` in a page is replaced by what the function of that name below returns. The numbers of measured
claims become substitutions: ``{{ A1_gap_effect }}`` in a page is the effect of claim A1.gap with its interval. The first of a page says
that it is a 95% interval; the others need not.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import about
import measured
import measured_choosing
import measured_failures
from measured import table
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

BOOK = Path(__file__).resolve().parents[1]
ROOT = BOOK.parent
CARD = ROOT / "src" / "finetunelab" / "checkpoints" / "nano" / "README.md"
SAMPLES = 10
MEMORY_RANK = 16  # of the corrections whose memory the tables count
EFFECT = re.compile(r"(\{\{ \w+)_effect \}\}")
LINE = re.compile(r"^% rendered: ([a-z-]+)$", re.MULTILINE)


def evidence() -> str:
    """The Evidence page below its title."""
    from finetunelab.evidence import render

    page, _ = render(BOOK / "evidence")
    return page.removeprefix("# Evidence").strip()


def profiles() -> str:
    """The three profiles as a table."""
    from finetunelab.profiles import PROFILES

    def models(profile: Any) -> str:
        return "<br>".join(f"{role}: {name}" for role, name in profile.models.items())

    rows = {
        "machine": lambda p: p.machine,
        "models": models,
        "data": lambda p: "public hub datasets" if p.network else "the offline world",
        "network": lambda p: "needed, to fetch models and data" if p.network else "never",
        "minutes a lab, about": lambda p: f"{p.budget.minutes:g}",
        "examples, at most": lambda p: f"{p.budget.examples:,}",
        "tokens a sequence": lambda p: f"{p.budget.context:,}",
    }
    default = next(iter(PROFILES))
    heads = [f"`{name}`{' (default)' if name == default else ''}" for name in PROFILES]
    body = [[name, *(cell(profile) for profile in PROFILES.values())] for name, cell in rows.items()]
    return table(["", *heads], body)


def samples_pretrained() -> str:
    """Ten documents of every world that the base was pretrained on, each world in a box that opens."""
    return _samples(True)


def samples_held_out() -> str:
    """Ten documents of every world that the base never read."""
    return _samples(False)


def _samples(pretrained: bool) -> str:
    from finetunelab.worlds import generators

    return "\n\n".join(_world(g) for _, g in sorted(generators().items()) if g.pretrained is pretrained)


def _world(generator: Any) -> str:
    rows = generator.rows(SAMPLES)
    columns = "\n".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(what)}</dd>" for name, what in generator.columns.items())
    items = "\n".join(f"<li>{_document(row, generator.columns)}</li>" for row in rows)
    parts = (
        '<details class="world">', f"<summary><b>{generator.name}</b> {html.escape(generator.summary)}</summary>",
        f"<dl>{columns}</dl>", f"<ol>{items}</ol>", "</details>",
    )
    return "`````{raw} html\n" + "\n".join(parts) + "\n`````"


def _document(row: dict[str, Any], columns: dict[str, str]) -> str:
    text = html.escape(row["text"])
    facts = "; ".join(
        f"{name}: {_short(row[name])}" for name in columns if name not in ("text", "prompt", "messages", "spans", "response") and name in row
    )
    return f"<pre>{text}</pre>" + (f"<p>{html.escape(facts)}</p>" if facts else "")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= 160 else text[:157] + "..."


def surface() -> str:
    """What the worlds look like on the surface, beside real corpora."""
    rows = _measured()["surface"]
    heads = ["Corpus", "", "Words: median (10-90 %)", "Word types in 5,000 words", "Bits a character, zlib"]
    return table(heads, [
        [row["name"], "real" if row["real"] else "world", f"{row['median']} ({row['low']}-{row['high']})", f"{row['types']:,}", f"{row['bits']:.2f}"]
        for row in rows
    ])


def cues() -> str:
    """How often spam and honest messages carry the usual cues."""
    rows = _measured()["cues"]
    heads = ["Corpus", "", "link", "digit", "money", "exclamation mark", "word in capitals"]
    return table(heads, [
        [row["name"], row["side"], *(f"{row[cue]:.0%}" for cue in ("link", "digit", "money", "exclamation", "capitals"))] for row in rows
    ])


def baselines() -> str:
    """How far TF-IDF with logistic regression gets on each labeled task."""
    rows = _measured()["baselines"]
    heads = ["Task", "", "classes", "train / test", "majority class", "TF-IDF + logistic regression"]
    return table(heads, [
        [row["name"], "real" if row["real"] else "world", str(row["classes"]), f"{row['train']:,} / {row['test']:,}", f"{row['majority']:.3f}",
         f"{row['accuracy']:.3f}"]
        for row in rows
    ])


def _shapes() -> dict[str, Any]:
    """The shapes of two models that stand for many of their size, from the configs on their pages of the Hugging Face hub."""
    from transformers import LlamaConfig, Qwen3Config

    common = {"hidden_size": 4096, "num_attention_heads": 32, "tie_word_embeddings": False}
    return {
        "Qwen3-8B": Qwen3Config(
            **common, num_hidden_layers=36, num_key_value_heads=8, head_dim=128, intermediate_size=12288, vocab_size=151936,
        ),
        "Llama 2 7B": LlamaConfig(**common, num_hidden_layers=32, num_key_value_heads=32, intermediate_size=11008, vocab_size=32000),
    }


def memory() -> str:
    """What each method of fine-tuning keeps in memory for two large models, in GB."""
    from finetunelab.lora import METHODS, memory, sizes

    def row(name: str, config: Any, method: str) -> list[str]:
        need = memory(config, method, MEMORY_RANK)
        return [name, method, *(_gigabytes(value) for value in (need.weights, need.gradients, need.optimizer, need.total))]

    shapes = {f"{name} ({sizes(config).parameters / 1e9:.2f} billion parameters)": config for name, config in _shapes().items()}
    rows = [row(name if method == METHODS[0] else "", config, method) for name, config in shapes.items() for method in METHODS]
    return table(["Model", "Method", "Weights, GB", "Gradients, GB", "Optimizer, GB", "Sum, GB"], rows)


def memory_steps() -> str:
    """The sum for QLoRA on Qwen3-8B line by line, so that it can be done again by hand."""
    from finetunelab.lora import memory, packed_bytes, sizes

    config = _shapes()["Qwen3-8B"]
    count, need = sizes(config, MEMORY_RANK), memory(config, "QLoRA", MEMORY_RANK)
    packed, total = sum(map(packed_bytes, count.matrices)), sum(count.matrices)
    rows = [
        (f"matrices of the {config.num_hidden_layers} blocks, 4 bit", total, "1/2", total / 2),
        ("their constants, 8 bit for 64 weights", total, "1/64", total / 64),
        ("constants of the constants, 32 bit for 256", total, "1/4,096", packed - total * 33 / 64),
        ("embeddings and next-token layer, 16 bit", count.embeddings, "2", 2 * count.embeddings),
        ("norms, 32 bit", count.vectors, "4", 4 * count.vectors),
        (f"corrections of rank {MEMORY_RANK}, 32 bit", count.corrections, "4", 4 * count.corrections),
        ("their gradients", count.corrections, "4", need.gradients),
        ("their two AdamW moments", count.corrections, "8", need.optimizer),
    ]
    body = [[what, f"{n:,}", each, _gigabytes(value)] for what, n, each, value in rows]
    return table(["What", "Parameters", "Bytes each", "GB"], [*body, ["**sum**", "", "", f"**{_gigabytes(need.total)}**"]])


def _gigabytes(value: float) -> str:
    """Return bytes as a number of GB of 10^9 bytes."""
    return f"{value / 1e9:.2f}" if value == 0 or value >= 5e6 else f"{value / 1e9:.4f}"


def bench() -> str:
    """What was measured of the speed of fine-tuning: a table for each command in the bench-DEVICE.json files."""
    names = {"ours": "`finetunelab`", "bare": "bare PyTorch loop", "trl": "trl, its defaults"}
    methods = {"full": "full", "lora": "LoRA"}

    def span(values: list[float] | None, form: str = "{:.2f}") -> str:
        return "" if values is None else "{} ({} to {})".format(*(form.format(value) for value in values))

    parts = []
    for entry in _bench_entries("sft"):
        model, data = entry["model"], entry["data"]
        threads = f"{entry['threads']} thread{'s' if entry['threads'] > 1 else ''}"
        heads = ["Method", "", "Tokens a second", "of the bare loop's", "the same by CPU time", "of the peak", "Memory, MiB", "Held-out loss"]
        rows = [
            [methods[row["method"]], names[row["arm"]], span([row["tokens_per_second"], *row["interval"]], "{:,.0f}"), span(row.get("of_bare")),
             span(row.get("cpu_of_bare")), "" if row["mfu"] is None else f"{row['mfu']:.0%}", f"{row['peak_bytes'] / 2**20:,.0f}", f"{row['loss']:.4f}"]
            for row in entry["rows"]
        ]
        parts.append(
            f"**{model['name']}**, {model['parameters']:,} parameters, on {entry['device']}, {threads}. {data['name']}: {data['conversations']:,} conversations with "
            f"{data['tokens'] / data['conversations']:.0f} tokens on average, packed into rows of {data['longest']}, which they fill to {data['filled']:.0%}. "
            f"Commit {entry['commit']}; `{entry['command']}`.\n\n{table(heads, rows)}"
        )
    return "\n\n".join(parts) or measured.NOT_YET


def _bench_entries(kind: str) -> list[dict[str, Any]]:
    """Return what the command ``finetunelab bench KIND`` measured, on every device."""
    paths = sorted((BOOK / "evidence").glob("bench-*.json"))
    entries = [entry for path in paths for entry in json.loads(path.read_text(encoding="utf-8"))]
    return [entry for entry in entries if entry["command"].split()[:3] == ["finetunelab", "bench", kind]]


def bench_rl() -> str:
    """What was measured of the speed of the RL loop: a table for each command in the bench-DEVICE.json files."""
    names, parts = {"ours": "`finetunelab`, PPO", "rloo": "trl, RLOO"}, []
    for entry in _bench_entries("rl"):
        model, asked, rows = entry["model"], entry["settings"], []
        for row in entry["rows"]:
            shares = [f"{row['shares'][phase]:.0%}" if row["shares"] else "" for phase in ("generation", "scoring", "update")]
            low, high = row["interval"]
            rows.append([
                names[row["arm"]], f"{row['seconds']:.2f} ({low:.2f} to {high:.2f})", f"{row['cpu_seconds']:.2f}",
                f"{row['tokens_per_second']:,.0f}", f"{row['generated_per_second']:,.0f}", *shares, f"{row['length']:.1f}",
            ])
        ours = next(row for row in entry["rows"] if row["arm"] == "ours")
        ratio = "{:.1f} ({:.1f} to {:.1f})".format(*ours["of_rloo"])
        heads = ["", "Seconds a step", "of CPU time", "Tokens a second, whole step", "while generating", "Generation", "Scoring", "Update", "Tokens a response"]
        parts.append(
            f"**{model['name']}**, {model['parameters']:,} parameters, on {entry['device']}, {entry['threads']} threads: {asked['responses']} responses a step of at most "
            f"{asked['tokens']} tokens. Ours takes a step {ratio} times as fast. Commit {entry['commit']}; `{entry['command']}`.\n\n{table(heads, rows)}"
        )
    return "\n\n".join(parts) or measured.NOT_YET


def bench_index() -> str:
    """What was measured of the vector store: a table for each command in the bench-DEVICE.json files."""
    parts = []
    for entry in _bench_entries("index"):
        rows = [
            [
                f"{row['vectors']:,}", row["kind"], f"{row['recall']:.3f}", *(f"{row[name]['per_second']:,.0f}" for name in ("one", "one_exact")),
                *(f"{row[name]:.1f}" for name in ("of_exact", "cpu_of_exact")), f"{row['filtered']['per_second']:,.0f}",
                f"{row['bytes_a_vector']:,.0f}", *(f"{1000 * row[f'{name}_seconds']:.1f}" for name in ("add", "delete")), f"{row['fill_cpu_seconds']:,.0f}",
            ]
            for row in entry["rows"]
        ]
        heads = [
            "Vectors", "Index", "recall@10", "Queries a second", "comparing all", "ratio", "by CPU time", "for one user in 1,000", "Bytes a vector",
            "Add one, ms", "Delete one, ms", "Fill, CPU seconds",
        ]
        threads = f"{entry['faiss_threads']} thread{'s' if entry['faiss_threads'] > 1 else ''}"
        asked = f"{entry['settings']['queries']:,} questions of each size, one at a time"
        parts.append(f"faiss {entry['faiss']}, {threads}; {asked}. Commit {entry['commit']}; `{entry['command']}`.\n\n{table(heads, rows)}")
    return "\n\n".join(parts) or measured.NOT_YET


def bench_goals() -> str:
    """Speed on GPUs: what is to be measured, and what was."""
    measured: dict[str, list[str]] = {}
    for entry in _bench_entries("sft"):
        found = {(row["method"], row["arm"]): row for row in entry["rows"]}
        for (method, arm), row in found.items():
            theirs = found.get((method, "trl"))
            if arm == "ours" and theirs and row["mfu"] is not None:
                ratio = row["tokens_per_second"] / theirs["tokens_per_second"]
                measured.setdefault(entry["model"]["name"], []).append(f"{ratio:.1f} times, {row['mfu']:.0%} ({method}, {entry['device']})")
    shapes = {"qwen3-0.6b": "Qwen3, 0.6 billion", "qwen3-1.7b": "Qwen3, 1.7 billion"}
    return table(["Shape", "Goal", "Measured", "Command"], [
        [name, "on an H200, twice the speed of trl's defaults and half of the peak, or more", "; ".join(measured.get(shape, ["not measured here"])),
         f"`finetunelab bench sft --shape {shape} --longest 2048 --compile`"]
        for shape, name in shapes.items()
    ])


def _measured() -> dict[str, Any]:
    return json.loads((BOOK / "tables.json").read_text(encoding="utf-8"))


def model_card() -> str:
    """The model card of the shipped base, its title left out."""
    if not CARD.is_file():
        return "```{note}\nThe base is not in this copy of the repository. `make models` builds it, and its model card then stands here.\n```"
    text = CARD.read_text(encoding="utf-8")
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)  # what a model hub reads, not a reader
    return re.sub(r"\A\s*# .*\n", "", text).strip()


def assistant_card() -> str:
    """What the card of ``nano-sft`` says of its recipe and its measures, a heading level lower."""
    return _card("nano-sft")


def chat_card() -> str:
    """The same of ``nano-chat``."""
    return _card("nano-chat")


def reward_card() -> str:
    """The same of ``nano-reward``."""
    return _card("nano-reward")


def panel_card() -> str:
    """The same of ``nano-panel``."""
    return _card("nano-panel")


def embedder_card() -> str:
    """The same of ``nano-embedder``."""
    return _card("nano-embedder")


def reader_card() -> str:
    """The same of ``nano-reader``."""
    return _card("nano-reader")


def _card(name: str) -> str:
    text = (CARD.parents[1] / name / CARD.name).read_text(encoding="utf-8")
    return re.sub(r"^## ", "### ", text[text.index("## Recipe") : text.index("## Limits")], flags=re.MULTILINE).strip()


PARTS = {
    function.__name__.replace("_", "-"): function
    for function in (
        evidence, profiles, samples_pretrained, samples_held_out, surface, cues, baselines, memory, memory_steps, model_card, assistant_card,
        chat_card, reward_card, panel_card, embedder_card, reader_card, bench, bench_goals, bench_rl, bench_index, *measured.TABLES,
        *measured_failures.TABLES, *measured_choosing.TABLES, *about.TABLES,
    )
}


def fill(source: str) -> str:
    """Replace every ``% rendered: NAME`` line of a page; ExtensionError if there is no part of that name."""

    def part(found: re.Match) -> str:
        if found[1] not in PARTS:
            raise ExtensionError(f"no part {found[1]!r} to render; there are {', '.join(PARTS)}")
        return PARTS[found[1]]()

    return LINE.sub(part, source)


def name_once(source: str) -> str:
    """Let only the first effect of a page name the level of its interval."""
    head, first, rest = source.partition("_effect }}")
    return head + first + EFFECT.sub(r"\1_again }}", rest)


def _on_source(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname.startswith("book/"):
        source[0] = name_once(fill(source[0]))


def _on_config(app: Sphinx, config: Any) -> None:
    from finetunelab.evidence import render

    config.myst_substitutions = dict(config.myst_substitutions) | render(BOOK / "evidence")[1]


def setup(app: Sphinx) -> dict[str, Any]:
    """Fill pages as they are read, and give them the numbers of measured claims."""
    app.connect("config-inited", _on_config, priority=100)
    app.connect("source-read", _on_source)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
