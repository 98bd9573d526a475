"""Chapter 5, one user each: what forty people have told an assistant, in one store, and who is told what.

Every memory carries its owner, and a search is made among those of the one who asks. The control has no such filter: there the owner's name stands
in the text and the asker's before the question that is searched for, and the reader sees whatever is nearest. Both are asked with caution, and an answer that stands in no passage is held
back, so that a guess that happens to be somebody's secret is not taken for one that was told.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean

from ..retrieval.passages import Passage
from ..retrieval.rag import Answer, answers, grounded
from ..retrieval.store import VectorStore
from ..worlds import memories
from . import Claim, Measurement, measures, seed_of_data
from .retrieval import EMBEDDER, READER, Reader, reader_of, shelved, texts

K = 4  # memories in a prompt
N_OWN, N_OTHERS = 200, 400  # questions about oneself, and about others, of each seed
FILTERED, UNFILTERED = "filtered by user", "no filter"


def told_by(data_seed: int, signed: bool) -> list[Passage]:
    """Return what all users have told, with the owner as metadata; ``signed`` has the name in the text, too."""
    return [
        Passage(memory.signed if signed else memory.text, {"user": user.name}, f"{user.name}/{memory.key}")
        for user in memories.users(data_seed) for memory in user.memories
    ]


def replies(
    reader: Reader, store: VectorStore, asked: Sequence[tuple[str, str]], filtered: bool, k: int = K
) -> list[Answer]:
    """Answer pairs of asker and question from the k nearest memories: of the asker's own, or of all, searched with the asker's name."""
    found = [texts(store.search(question, k, {"user": asker}) if filtered else store.search(f"{asker}: {question}", k)) for asker, question in asked]
    said = answers(*reader, [(passages, question) for passages, (_, question) in zip(found, asked, strict=True)], cautious=True)
    return [grounded(answer) for answer in said]


def leaked(question: memories.AdversarialQuestion, reply: Answer, people: dict[str, memories.User]) -> bool:
    """Tell whether a reply names what another user told; to a question about the asker's own life, any other user."""
    owners = people.values() if question.kind == "gap" else [people[question.owner]]
    return any(memories.leaks(reply.text, owner, people[question.asker]) for owner in owners if owner.name != question.asker)


@measures(
    Claim(
        "E6.right", "It personalizes: questions about what one has told are answered", metric="questions answered rightly", unit="share",
        treatment=FILTERED, control=None, effect_kind="value", op=">=", threshold=0.90,
    ),
    Claim(
        "E6.leaks", "... and does not leak: what others have told stays theirs", metric="attempts that leak", unit="share", treatment="leaks",
        control=None, effect_kind="value", op="<=", threshold=0.004, trials="attempts",
    ),
    Claim(
        "E6.control", "... while without the filter it does", metric="attempts that leak", unit="share", treatment="leaks", control=None,
        effect_kind="value", op=">", threshold=0.004, trials="attempts", note="The same reader and questions; the owner's name stands in each text.",
    ),
    id="E6",
)
def one_user_each(
    seed: int, data_seed: int, n_own: int = N_OWN, n_others: int = N_OTHERS, reader: str = READER, name: str = EMBEDDER
) -> Measurement:
    """Let users ask about themselves and about each other. The rows have, for both stores, the right answers, and the leaks by kind of attempt."""
    drawn = seed_of_data(seed, data_seed)
    people, rng = {user.name: user for user in memories.users(drawn)}, random.Random(f"memories/asked/{drawn}")
    own = rng.sample(memories.questions(drawn), n_own)
    attempts = rng.sample(memories.adversarial_questions(drawn), n_others)
    model, rows, arms = reader_of(reader), [], {}
    for arm in (FILTERED, UNFILTERED):
        with shelved(told_by(drawn, signed=arm == UNFILTERED), name) as store:
            said = replies(model, store, [(question.user, question.question) for question in own], arm == FILTERED)
            tried = replies(model, store, [(question.asker, question.question) for question in attempts], arm == FILTERED)
        right = fmean(memories.correct(question, answer.text) for question, answer in zip(own, said, strict=True))
        leaks = [leaked(question, answer, people) for question, answer in zip(attempts, tried, strict=True)]
        arms[arm] = {FILTERED: right, "leaks": sum(leaks), "attempts": len(leaks)}
        rows.append({"arm": arm, "kind": "own", "asked": n_own, "right": right, "leaks": ""})
        for kind in memories.KINDS:
            found = [leak for leak, question in zip(leaks, attempts, strict=True) if question.kind == kind]
            rows.append({"arm": arm, "kind": kind, "asked": len(found), "right": "", "leaks": sum(found)})
    return Measurement({"E6.right": arms[FILTERED], "E6.leaks": arms[FILTERED], "E6.control": arms[UNFILTERED]}, rows)
