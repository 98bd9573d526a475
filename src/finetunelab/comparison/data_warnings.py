"""What is wrong with a user's labeled texts, or may mislead a comparison on them: each warning a sentence with its numbers and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .label_noise import suspects_among
from .task import Part, Task, copies, plain
from .verdict import percent

IMBALANCE = 5  # the most frequent class has so many times as many texts as the rarest
FEW_TO_LEARN = 20
FEW_TO_JUDGE = 20
SMALL_TEST = 100
SHOWN = 60  # characters of a text that is quoted
NAMED = 5  # suspected labels that are named


def warnings_of(task: Task) -> list[str]:
    """Return all warnings about a task's texts, the gravest first; none if nothing was found."""
    return [
        *_in_both(task), *_conflicts("training", task.train, task.classes), *_conflicts("test", task.test, task.classes),
        *_noise("training", task.train, task.classes), *_noise("test", task.test, task.classes, task.train),
        *_copies("training", task.train), *_copies("test", task.test), *_few(task), *_imbalance(task), *_small(task),
    ]


def seen(task: Task) -> list[bool]:
    """Return for each test text whether it is among the training texts, but for case and gaps."""
    known = set(map(plain, task.train.texts))
    return [plain(text) in known for text in task.test.texts]


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return f"“{line if len(line) <= SHOWN else line[:SHOWN].rstrip() + '…'}”"


def _in_both(task: Task) -> list[str]:
    both = [text for text, known in zip(task.test.texts, seen(task), strict=True) if known]
    if not both:
        return []
    return [
        f"Texts in both parts: {len(both)} of {len(task.test):,} test texts are among the training texts too, such as {_quoted(both[0])}. A method "
        "that remembers its training texts looks better on them than it is. The table shows the accuracy without them, too. Remove them from one part."
    ]


def _conflicts(where: str, part: Part, classes: Sequence[str]) -> list[str]:
    torn = [places for places in copies(part.texts).values() if len({part.labels[i] for i in places}) > 1]
    if not torn:
        return []
    labels = " and ".join(f"“{classes[label]}”" for label in sorted({part.labels[i] for i in torn[0]}))
    many = f"{len(torn)} texts have" if len(torn) > 1 else "one text has"
    return [
        f"Conflicting labels: in the {where} file {many} more than one label; {_quoted(part.texts[torn[0][0]])} is called {labels}. No method can be "
        "right on all of them, and other labels may be wrong as well. Decide which is right."
    ]


def _noise(where: str, part: Part, classes: Sequence[str], learned_from: Part | None = None) -> list[str]:
    found = suspects_among(part, learned_from=learned_from)
    if found is None:
        return []
    named = "\n".join(
        f"row {place + 1} is labeled “{classes[part.labels[place]]}” and reads like “{classes[taken]}”: {_quoted(part.texts[place])}"
        for place, taken in zip(found.places[:NAMED], found.taken_for, strict=False)
    )
    return [
        f"Labels that may be wrong: about {percent(found.share.estimate)} of the labels in the {where} file seem wrong (95 % interval "
        f"{100 * found.share.low:.2g} to {percent(found.share.high)}). A model of words that had not seen the texts denies labels even where it is surest, "
        f"which a task that is only hard does not explain. It suspects {len(found.places)} rows, not counting the header; look first at\n{named}"
    ]


def _copies(where: str, part: Part) -> list[str]:
    groups = [places for places in copies(part.texts).values() if len(places) > 1]
    spare = sum(len(places) - 1 for places in groups)
    if not spare:
        return []
    most = max(groups, key=len)
    effect = "They count several times in what is learned" if where == "training" else "They count several times in every score, and the intervals are too narrow"
    return [
        f"Duplicates: {spare} of {len(part):,} rows of the {where} file repeat the text of another row, {_quoted(part.texts[most[0]])} "
        f"{len(most)} times. {effect}. Keep one of each, unless such texts really come that often."
    ]


def _few(task: Task) -> list[str]:
    found = []
    for where, part, least, effect in (
        ("training", task.train, FEW_TO_LEARN, "What a class is like can hardly be learned from so few"),
        ("test", task.test, FEW_TO_JUDGE, "How well such a class is recognized cannot be told from so few"),
    ):
        counts = Counter(part.labels)
        rare = [f"“{name}” ({counts[i]})" for i, name in enumerate(task.classes) if counts[i] < least]
        if rare:
            named = ", ".join(rare[:8]) + (f" and {len(rare) - 8} more" if len(rare) > 8 else "")
            found.append(f"Too few examples: fewer than {least} {where} texts for {named}. {effect}. Label more, or merge classes.")
    return found


def _imbalance(task: Task) -> list[str]:
    counts = Counter(task.train.labels)
    (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
    if many < IMBALANCE * few:
        return []
    return [
        f"Class imbalance: “{task.classes[most]}” has {many:,} training texts and “{task.classes[least]}” {few:,}. Accuracy hides how the rare "
        "class fares: read macro F1, in which every class weighs the same."
    ]


def _small(task: Task) -> list[str]:
    if len(task.test) >= SMALL_TEST:
        return []
    return [f"A small test: {len(task.test)} test texts. Only large differences can be told from chance. Label more texts for the test."]
