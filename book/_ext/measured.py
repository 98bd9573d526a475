"""Tables of what the chapters measured, from the tables beside the evidence: each function returns one, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, geometric_mean

BOOK = Path(__file__).resolve().parents[1]
NOT_YET = "Not measured yet."
PHONE = 44  # letters that the cells of a row may have together on a phone


def chef() -> str:
    """A5 as a table: perplexities of the chef and the novice by the number of Thai recipes, geometric means over the seeds."""
    from finetunelab.evidence.render import number

    found = _over_seeds("A5", ("arm", "recipes"))
    amounts = list(dict.fromkeys(recipes for _, recipes in found))

    def mean(arm: str, recipes: str, column: str) -> str:
        return number(geometric_mean(float(row[column]) for row in found[arm, recipes]))

    columns = [(arm, column) for column in ("perplexity", "French perplexity") for arm in ("French", "novice")]
    heads = ["Thai recipes read", "chef, on Thai", "novice, on Thai", "chef, on French", "novice, on French"]
    return table(heads, [[recipes, *(mean(arm, recipes, column) for arm, column in columns)] for recipes in amounts])


def real_chef() -> str:
    """A5.real as a table: bits per byte by arm and number of Thai recipes, means over the seeds."""
    from finetunelab.evidence.render import number

    found = _over_seeds("A5.real", ("arm", "recipes"))
    arms, amounts = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    means = {key: number(_mean(rows, "bits per byte")) for key, rows in found.items()}
    return table(["Thai recipes read", *arms], [[n, *(means[arm, n] for arm in arms)] for n in amounts])


def real_labels() -> str:
    """A2.real as a table: accuracy on comments by arm and number of labels, means over the draws."""
    found = {key: rows for key, rows in _over_seeds("A2.real", ("arm", "labels")).items() if key[1]}
    amounts = sorted({labels for _, labels in found}, key=float)

    def mean(arm: str, labels: str) -> str:
        return f"{_mean(found[arm, labels], 'accuracy'):.2f}" if (arm, labels) in found else ""

    rows = [[arm, *(mean(arm, labels) for labels in amounts)] for arm in dict.fromkeys(arm for arm, _ in found)]
    return table(["Labels", *(f"{float(labels):.0f}" for labels in amounts)], rows)


def real_classifiers() -> str:
    """B1.real as a table: accuracy by arm and data, means over the draws, and the seconds of training on news."""
    found = _over_seeds("B1.real", ("data", "arm"))
    data, arms = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    names = {"sst2": "film reviews", "ag_news": "news", "sms_spam": "text messages"}

    def seconds(arm: str) -> str:
        rows = found["ag_news", arm]
        return "" if not rows[0]["seconds"] else f"{_mean(rows, 'seconds'):.2g}"

    rows = [[arm, *(f"{_mean(found[kind, arm], 'accuracy'):.2f}" for kind in data), seconds(arm)] for arm in arms]
    return table(["", *(names[kind] for kind in data), "seconds, news"], rows)


def few_labels() -> str:
    """B1 as a table: accuracy on the topic and the verdict of easy reviews by arm and number of labels, means over the seeds."""
    found = _over_seeds("B1", ("task", "labels", "arm"))
    tasks, amounts, arms = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    heads = [f"{'verdict' if task == 'sentiment' else task}, {int(n):,}" for task in tasks for n in amounts]
    order = [arm for arm in ("frozen", "full", "embeddings", "TF-IDF", "majority class") if arm in arms]
    return table(["Labels", *heads], [
        [arm, *(f"{_mean(found[task, n, arm], 'accuracy'):.2f}" for task in tasks for n in amounts)] for arm in order
    ])


def head_widths() -> str:
    """B5 as a table: accuracy by task, number of labels, and width of the head, means over the seeds."""
    found = _over_seeds("B5", ("task", "labels", "width"))
    tasks, amounts, widths = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    rows = [
        [task, f"{int(n):,}", *(f"{_mean(found[task, n, width], 'accuracy'):.2f}" for width in widths)]
        for task in tasks for n in (amounts[0], amounts[-1])
    ]
    return table(["Task", "Labels", *(f"width {width}" for width in widths)], rows)


def unfreezing() -> str:
    """B7 as a table: for each arm the share of parameters that is trained, the counted FLOPs, and the accuracy on hard reviews."""
    found = {arm: rows for (arm,), rows in _over_seeds("B7", ("arm",)).items()}

    def cell(rows: list[dict[str, str]], column: str, form: str, factor: float = 1.0) -> str:
        values = [float(row[column]) * factor for row in rows if row[column] and float(row[column])]
        return form.format(fmean(values)) if values else ""

    return table(["Trained", "of the parameters", "TFLOP", "accuracy"], [
        [arm, cell(rows, "share", "{:.3g} %", 100), cell(rows, "FLOPs", "{:.2g}", 1e-12), cell(rows, "accuracy", "{:.3f}")]
        for arm, rows in found.items()
    ])


def clinic_knowledge() -> str:
    """C1 as a table: what the base knows of the clinic before and after reading, means over the seeds."""
    from finetunelab.evidence.render import number

    found = {arm: rows for (arm,), rows in _over_seeds("C1", ("arm",)).items()}
    columns = {
        "perplexity": "perplexity", "recall": "right, new wordings", "as worded": "right, as worded", "written": "right, left to write",
    }
    return table(["", *found], [[name, *(number(_mean(rows, column)) for rows in found.values())] for column, name in columns.items() if found])


def new_language() -> str:
    """C3 as a table: bits per byte on held-out stories and on the town's texts by reader, means over the seeds."""
    from finetunelab.evidence.render import number

    names = {
        "before": "the base, before", "n-gram": "n-gram model", "scratch": "random weights", "continued": "the base, reading on",
        "slowly": "the same, slowly", "with replay": "slowly, with replay",
    }
    found = {arm: rows for (arm,), rows in _over_seeds("C3", ("arm",)).items()}
    return table(["Bits per byte", "new language", "the town"], [
        [name, number(_mean(found[arm], "language")), number(_mean(found[arm], "town")) if found[arm][0]["town"] else ""]
        for arm, name in names.items() if arm in found
    ])


def behavior_kinds() -> str:
    """C5 as a table: the share of instructions followed by kind of task, alone and combined together, over all seeds."""
    found = _over_seeds("C5", ("kind", "arm"))
    kinds = sorted({kind for kind, _ in found}, key=lambda kind: (-_share(found[kind, "after SFT"]), kind))
    return table(["Task", "after SFT", "base"], [
        [kind.replace("_", " "), *(f"{_share(found[kind, arm]):.2f}" for arm in ("after SFT", "base"))] for kind in kinds
    ])


def who_writes() -> str:
    """C8 as a table: for each set of answers how many there were, how many of them right, and what its student follows."""
    found = _over_seeds("C8", ("arm",))
    return table(["Answers", "how many", "right", "student"], [
        [arm, f"{_mean(rows, 'answers'):,.0f}", f"{_mean(rows, 'right'):.2f}", f"{_mean(rows, 'followed'):.3f}"] for (arm,), rows in found.items()
    ])


def early_turns() -> str:
    """C6 as a table: right answers by how far back the early turn stands, and to questions that say again what they need; means over the seeds."""
    far = {"1 back": range(1, 2), "2 to 5": range(2, 6), "6 to 8": range(6, 9)}
    rows = []
    for (arm,), found in _over_seeds("C6", ("arm",)).items():
        back = [[row for row in found if row["distance"] and int(row["distance"]) in distances] for distances in far.values()]
        again = [row for row in found if row["question"] == "restated"]
        rows.append([arm, *(f"{_mean(part, 'right'):.2f}" for part in (*back, again))])
    return table(["", *far, "said again"], rows)


def facts_taught() -> str:
    """C10 as a table: facts given rightly by how they were taught and how they are asked for; means over the seeds."""
    found = {arm: _mean(rows, "right") for (part, arm), rows in _over_seeds("C10", ("part", "arm")).items() if part == "facts"}
    ways, questions = (list(dict.fromkeys(arm.rsplit(", ", 1)[side] for arm in found)) for side in (0, 1))
    return table(["Taught by", *questions], [[way, *(f"{found[f'{way}, {asked}']:.2f}" for asked in questions)] for way in ways])


def labels_needed() -> str:
    """C10 as a table: instructions followed by how many were trained on, from the base and from the reader; means over the seeds."""
    found = {key: _mean(rows, "followed") for key, rows in _over_seeds("C10", ("arm", "labels")).items() if key[1]}
    arms, amounts = (list(dict.fromkeys(names)) for names in zip(*found, strict=True)) if found else ([], [])
    return table(["Instructions", *arms], [[f"{int(n):,}", *(f"{found[arm, n]:.2f}" for arm in arms)] for n in amounts])


def reward_model() -> str:
    """D2 as a table: accuracy of each guess against the panel's clicks and against the oracle; means over the seeds."""
    found = {key: rows for key, rows in _over_seeds("D2", ("arm", "accuracy against")).items() if key[1]}
    arms = dict.fromkeys(arm for arm, _ in found)
    return table(["", "clicks", "oracle"], [[arm, *(f"{_mean(found[arm, name], 'value'):.2f}" for name in ("clicks", "oracle"))] for arm in arms])


def real_preferences() -> str:
    """D2.real as a table: accuracy of each guess on real pairs, means over the draws."""
    found = _over_seeds("D2.real", ("arm",))
    return table(["", "right"], [[arm, f"{_mean(rows, 'accuracy'):.2f}"] for (arm,), rows in found.items()])


def loop_gain() -> str:
    """D4 as a table: for each chain what responses are worth before and after PPO, and their coherence, words, score, and KL after it."""
    found = {(seed, arm): rows[0] for (seed, arm, step), rows in _over_seeds("D4", ("seed", "arm", "step")).items() if not step}

    def numbers(seed: str) -> list[str]:
        before, after = found[seed, "SFT"], found[seed, "PPO"]
        cells = (before["worth"], *(after[name] for name in ("worth", "coherence", "score")))
        return [*(f"{float(cell):.2f}" for cell in cells), *(f"{float(after[name]):.0f}" for name in ("KL", "words"))]

    seeds = dict.fromkeys(seed for seed, _ in found)
    heads = ["Chain", "worth before", "after PPO", "coherence", "score", "KL", "words"]
    return table(heads, [[str(int(seed) + 1), *numbers(seed)] for seed in seeds])


def loop_starts() -> str:
    """D1 as a table: what responses are worth before PPO and after it, by start and reward; means over the seeds."""
    found = {key: f"{_mean(rows, 'worth'):.2f}" for key, rows in _over_seeds("D1", ("arm", "reward")).items()}
    arms = dict.fromkeys(arm for arm, _ in found)
    return table(["Worth", "before PPO", "dense", "sparse"], [[arm, *(found[arm, reward] for reward in ("", "dense", "sparse"))] for arm in arms])


def small_and_large() -> str:
    """D5 as a table: what each model's responses are worth, and how often the panel prefers the small aligned model's to them."""
    found = {arm: rows for (arm,), rows in _over_seeds("D5", ("arm",)).items()}
    return table(["", "worth", "small, PPO preferred"], [
        [arm, f"{_mean(rows, 'worth'):.2f}", "" if arm == "small, PPO" else f"{_mean(rows, 'preferred to it'):.2f}"] for arm, rows in found.items()
    ])


def overoptimized() -> str:
    """D6 as a table: for each chain the worth at the start, at the peak picked on half A, and at the end, measured on half B."""
    from finetunelab.experiments.overoptimization import FREE, TRUTH, TUNED, course

    found = _over_seeds("D6", ("seed", "arm"))

    def told(seed: str, arm: str) -> str:
        looks = [{"step": int(row["step"]), "half": row["half"], "worth": float(row["worth"])} for row in found[seed, arm]]
        return ", ".join(f"{worth:.2f}" for worth in course(looks))

    seeds = dict.fromkeys(seed for seed, _ in found)
    return table(["Chain", *(arms := (FREE, TUNED, TRUTH))], [[str(int(seed) + 1), *(told(seed, arm) for arm in arms)] for seed in seeds])


def methods() -> str:
    """D7 as a table: what each method was given and what its responses are like; means over the seeds."""
    found = {arm: rows for (arm,), rows in _over_seeds("D7", ("arm",)).items()}
    return table(["", "training TFLOP", "MFLOP an answer", "worth", "KL", "wins"], [
        [
            arm, f"{_mean(rows, 'training FLOPs') / 1e12:.1f}", f"{_mean(rows, 'inference FLOPs') / 1e6:,.0f}",
            *(f"{round(_mean(rows, name), 2) + 0.0:.2f}" for name in ("worth", "KL", "wins")),  # no -0.00
        ]
        for arm, rows in found.items()
    ])


def alignment_tax() -> str:
    """D8 as a table: instructions followed and early turns remembered before and after PPO; means over the seeds."""
    found = {arm: rows for (arm,), rows in _over_seeds("D8", ("arm",)).items()}
    names = ("followed", "remembered")
    return table(["", *names], [[arm, *(f"{_mean(rows, name):.3f}" for name in names)] for arm, rows in found.items()])


def demonstrations() -> str:
    """E1 as a table: accuracy with arbitrary label words by kind of task and number of demonstrations; means over the seeds."""
    names = {"seen": "seen concepts", "unseen": "unseen concepts", "posts": "posts, spam or not", "reviews": "reviews, two topics"}
    found = {  # a row without an accuracy counts what the order changes
        (task, k): kept for (task, labels, k), rows in _over_seeds("E1", ("task", "labels", "k")).items()
        if labels == "arbitrary" and (kept := [row for row in rows if row["accuracy"]])
    }
    shots = sorted({k for _, k in found}, key=int)
    return table(["", *(f"k = {k}" for k in shots)], [
        [name, *(f"{_mean(found[task, k], 'accuracy'):.2f}" if (task, k) in found else "" for k in shots)] for task, name in names.items() if found
    ])


def retrieval_answers() -> str:
    """E5 as a table: questions answered rightly by what the reader was given, and how often the search finds the passage; means over the seeds."""
    found = {arm: rows for (arm,), rows in _over_seeds("E5", ("arm",)).items()}
    return table(["", "all", "in the book's words", "in others"], [
        [arm, *(f"{_mean(rows, column):.2f}" for column in ("right", "plain", "paraphrased"))] for arm, rows in found.items()
    ])


def real_retrieval() -> str:
    """E5.real and E5.pages as a table: recalls of both ways to search, and the answers that a sentence gives; means over the draws."""
    names = {"E5.real": "paragraphs", "E5.pages": "pages by title"}
    rows = [
        [name, arm, *(f"{_mean(found, column):.2f}" for column in ("recall@1", "recall@5", "recall@10"))]
        + [f"{_mean(found, column):.2f}" if column in found[0] else "" for column in ("answer", "answer, paragraph given")]
        for experiment, name in names.items() for (arm,), found in _over_seeds(experiment, ("arm",)).items()
    ]
    return table(["Searched", "", "recall@1", "recall@5", "recall@10", "answer", "answer, paragraph given"], rows)


def changing_facts() -> str:
    """E4 as a table: right and outdated answers, and what a day and a question cost; means over days and seeds."""
    found = {arm: rows for (arm,), rows in _over_seeds("E4", ("arm",)).items()}
    return table(["", "right", "outdated", "GFLOP a day", "GFLOP a question"], [
        [arm, f"{_mean(rows, 'right'):.2f}", f"{_mean(rows, 'stale'):.2f}", f"{_mean(rows, 'a_day') / 1e9:.1f}", f"{_mean(rows, 'a_question') / 1e9:.2f}"]
        for arm, rows in found.items()
    ])


def nights() -> str:
    """The sweep of E4 as a table: right answers after a night, by what it is trained on and for how long, at the best of the rates; and its FLOPs."""
    return table(["trained on", "passes", "right", "GFLOP a night"], [
        [data, passes, f"{max(float(row['right']) for row in rows):.2f}", f"{_mean(rows, 'flops') / 1e9:.0f}"]
        for (data, passes), rows in _over_seeds("E4-nights", ("data", "passes")).items()
    ])


def attempts_to_learn() -> str:
    """E6 as a table: own questions answered rightly, and leaks by kind of attempt, over all seeds."""
    found = _over_seeds("E6", ("arm", "kind"))
    arms, kinds = (list(dict.fromkeys(names)) for names in zip(*found, strict=True)) if found else ([], [])
    tried = [kind for kind in kinds if kind != "own"]

    def leaks(arm: str, kind: str) -> str:
        return f"{sum(float(row['leaks']) for row in found[arm, kind]):.0f} of {sum(int(row['asked']) for row in found[arm, kind]):,}"

    return table(["", "own, right", *(f"leaks, {kind}" for kind in tried)], [
        [arm, f"{_mean(found[arm, 'own'], 'right'):.2f}", *(leaks(arm, kind) for kind in tried)] for arm in arms
    ])


def retrieval_failures() -> str:
    """E7 as a table: how often each failure shows, and how many answers are right, with its guard off and on; means over the seeds."""
    names = {
        "distractors": "eight passages", "stale": "an old edition", "contradiction": "a notice board", "no_answer": "no answer in the book",
        "planted": "planted orders", "ordinary": "nothing wrong",
    }
    found = _over_seeds("E7", ("failure", "guard"))
    return table(["", "error", "error, guarded", "right", "right, guarded"], [
        [name, *(f"{_mean(found[failure, guard], column):.2f}" for column in ("error", "right") for guard in ("no guard", "guarded"))]
        for failure, name in names.items() if found
    ])


def _share(rows: Sequence[dict[str, str]]) -> float:
    """Return the share followed of rows that have different numbers of instructions."""
    return sum(float(row["n"]) * float(row["followed"]) for row in rows) / sum(float(row["n"]) for row in rows)


def _mean(rows: Sequence[dict[str, str]], column: str) -> float:
    return fmean(float(row[column]) for row in rows)


def _over_seeds(experiment: str, keys: tuple[str, ...]) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """Return the rows of an experiment's table by the values of some columns."""
    from finetunelab.evidence.store import load_rows

    found: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in load_rows(BOOK / "evidence" / f"{experiment}.csv"):
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a table; one too wide for a phone scrolls there. Without rows, a word that nothing is measured yet."""
    if not rows:
        return NOT_YET
    lines = [heads, ["---"] * len(heads), *rows]
    found = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    wide = sum(max(map(len, column)) for column in zip(*lines, strict=True)) > PHONE
    return f":::{{div}} wide\n\n{found}\n\n:::" if wide else found


TABLES = (
    chef, real_chef, real_labels, real_classifiers, few_labels, head_widths, unfreezing, clinic_knowledge, new_language, behavior_kinds,
    who_writes, early_turns, facts_taught, labels_needed, reward_model,
    real_preferences, loop_gain, loop_starts, small_and_large, alignment_tax, overoptimized, methods,
    demonstrations, retrieval_answers, real_retrieval, changing_facts, nights, attempts_to_learn, retrieval_failures,
)
