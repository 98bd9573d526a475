"""Common failures around a finished model, each beside its mend: wrong chat template, score read at padding, test trained on, stale index.

Nothing is trained here but a logistic regression: the shipped models are used wrongly and rightly. Over-optimization is D6's, see
``overoptimization``; an old edition that stands beside the new one is E7's, see ``retrieval_failures``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from ..models import load_model, load_tokenizer
from ..repurposing import mislabel
from ..reward import encode, load_reward_model
from ..sft import PLAIN_TEMPLATE, Conversation, end_of_turn
from ..skills import generate
from ..worlds import handbook
from ..worlds.baseline import Labelled, words_regression
from ..worlds.instructions import follows
from . import Claim, Measurement, measures, seed_of_data
from .behavior import instructions
from .repurposing import CLASSES, draw
from .retrieval import EMBEDDER, FACTS, READER, answered, as_passage, asked_of, reader_of, right, searched, shelved, texts
from .retrieval_failures import others, says
from .reviewers import comparisons, requests

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ASSISTANT, REWARD = "nano-sft", "nano-panel"
TOKENS = 48  # of a response at most
N_ASKED = 100

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The template of another family of models, such as Qwen's. To this tokenizer its marks are letters and brackets, not tokens."""
BARE = "{{ bos_token }}{% for message in messages %}{{ message.content }}{% endfor %}"
OWN, OTHER, PLAIN, NONE = "its own", "another family's", "words for roles", "no template"
TEMPLATES = {OWN: None, OTHER: CHATML, PLAIN: PLAIN_TEMPLATE, NONE: BARE}

LAST_TOKEN, LAST_COLUMN = "last token", "last column"
N_PAIRS, BATCH = 100, 16
PADS = (0, 1, 2, 4, 8, 16, 32)

COPIED = (0.0, 0.1, 0.2, 0.4)  # of the test texts that are training texts
WRONG_LABELS = 0.2
N_TRAIN, N_TEST = 600, 400
HELD_BACK, REMEMBERS = "held back", "remembers"
PENALTIES = {HELD_BACK: 1.0, REMEMBERS: 100.0}  # C of a logistic regression: the larger, the more of its training texts it remembers

STALE, RENEWED = "index as it was", "index renewed"
N_QUESTIONS = 50


# A wrong chat template ----------------------------------------------------------------------------------------------------------


def asked_by(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], template: str | None
) -> list[str]:
    """Return a model's greedy responses where conversations are written by a template; None is the tokenizer's own."""
    written = [
        tokenizer.apply_chat_template(list(messages), chat_template=template, add_generation_prompt=True, return_dict=True)["input_ids"]
        for messages in conversations
    ]
    return [text.strip() for text in generate(model, tokenizer, written, tokens=TOKENS, end=end_of_turn(tokenizer))]


@measures(
    *(
        Claim(
            f"G1.{name}", f"Instructions that are lost when the model is asked with {words}", metric="instructions followed", unit="share",
            treatment=OWN, control=arm, effect_kind="difference",
        )
        for name, arm, words in (
            ("other", OTHER, "another family's chat template"), ("plain", PLAIN, "words for roles"), ("none", NONE, "no template"),
        )
    ),
    id="G1", seeds=10,
)
def wrong_template(seed: int, data_seed: int, n: int = N_ASKED, base: str = ASSISTANT) -> Measurement:
    """Put instructions to an assistant by its own template and by others. A row is an arm, with its response to the first of them."""
    model, tokenizer = load_model(base), load_tokenizer(base)
    tests, rows = instructions(n, "test", seed_of_data(seed, data_seed), combined=False), []
    for arm, template in TEMPLATES.items():
        said = asked_by(model, tokenizer, [row["messages"][:1] for row in tests], template)
        followed = fmean(follows(row, text) for row, text in zip(tests, said, strict=True))
        rows.append({"arm": arm, "followed": followed, "request": tests[0]["prompt"], "response": said[0]})
    found = {row["arm"]: row["followed"] for row in rows}
    return Measurement(dict.fromkeys(("G1.other", "G1.plain", "G1.none"), found), rows)


# A score that is read at padding ------------------------------------------------------------------------------------------------


@torch.inference_mode()
def scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]], batch: int = BATCH, more: int = 0
) -> torch.Tensor:
    """Return what the library's own forward gives for rows of tokens in padded batches, in order, with ``more`` pad tokens behind each.

    It looks for the last token that is not ``model.config.pad_token_id``: the last column, where that is not what the tokenizer pads with.
    """
    pad, found = tokenizer.pad_token_id, []
    for start in range(0, len(rows), batch):
        chunk = rows[start : start + batch]
        width = max(map(len, chunk)) + more
        ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in chunk])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in chunk])
        found.append(model(input_ids=ids, attention_mask=mask).logits[:, 0])
    return torch.cat(found)


@measures(
    Claim(
        "G2.accuracy", "Choices that a reward model gets wrong when it is read at the last column", metric="sides with the better response",
        unit="share", treatment=LAST_TOKEN, control=LAST_COLUMN, effect_kind="difference",
    ),
    Claim(
        "G2.company", "Choices that another batch changes", metric="pairs decided otherwise one at a time than in batches", unit="share",
        treatment=LAST_COLUMN, control=LAST_TOKEN, effect_kind="difference",
    ),
    id="G2", seeds=5,
)
def read_at_padding(seed: int, data_seed: int, n: int = N_PAIRS, pads: Sequence[int] = PADS, base: str = REWARD) -> Measurement:
    """Score pairs of responses with the right pad token in the model's config and with a wrong one, alone and in batches of sixteen.

    A row is an arm, or the score of the first response with some pad tokens behind it.
    """
    model, tokenizer = load_reward_model(base), load_tokenizer(base)
    end, drawn, rows = end_of_turn(tokenizer), comparisons(n, "test", seed_of_data(seed, data_seed)), []
    said = [
        encode(tokenizer, [*asked, {"role": "assistant", "content": row[f"response_{side}"]}], end)
        for side in "ab" for row, asked in zip(drawn, requests(drawn), strict=True)
    ]
    better = torch.tensor([row["better"] == "a" for row in drawn])
    for arm, pad in ((LAST_TOKEN, tokenizer.pad_token_id), (LAST_COLUMN, tokenizer.eos_token_id)):
        model.config.pad_token_id = pad
        together, alone = (torch.sub(*scores(model, tokenizer, said, batch).chunk(2)) > 0 for batch in (BATCH, 1))
        rows.append({
            "arm": arm, "right": float((together == better).float().mean()), "right alone": float((alone == better).float().mean()),
            "changed": float((together != alone).float().mean()),
        })
        rows += [{"arm": arm, "pads": more, "score": float(scores(model, tokenizer, said[:1], 1, more))} for more in pads]
    arms = [row for row in rows if "right" in row]
    return Measurement({
        "G2.accuracy": {row["arm"]: row["right"] for row in arms}, "G2.company": {row["arm"]: row["changed"] for row in arms},
    }, rows)


# Tests that were trained on -----------------------------------------------------------------------------------------------------


def copied(arm: str, share: float) -> str:
    """Name the arm of a method on a test of which a share are copies."""
    return f"{arm}, {share:.0%} copied"


def leaked(train: Labelled, test: Labelled, share: float) -> Labelled:
    """Return the test with the first part of it replaced by as many training texts and their labels."""
    n = round(share * len(test[0]))
    return [*train[0][:n], *test[0][n:]], [*train[1][:n], *test[1][n:]]


@measures(
    Claim(
        "G6.flattered", f"By how much a test flatters a method when {COPIED[-1]:.0%} of it are training texts", metric="accuracy",
        unit="share", treatment=copied(REMEMBERS, COPIED[-1]), control=copied(REMEMBERS, COPIED[0]), effect_kind="difference",
    ),
    Claim(
        "G6.honest", "Which of two methods a clean test prefers", metric="accuracy", unit="share", treatment=copied(HELD_BACK, COPIED[0]),
        control=copied(REMEMBERS, COPIED[0]), effect_kind="difference",
    ),
    Claim(
        "G6.misled", "... and which one with copies in it", metric="accuracy", unit="share", treatment=copied(HELD_BACK, COPIED[-1]),
        control=copied(REMEMBERS, COPIED[-1]), effect_kind="difference",
    ),
    id="G6", seeds=10,
)
def trained_on_the_test(seed: int, data_seed: int, n: int = N_TRAIN, n_test: int = N_TEST) -> Measurement:
    """Judge two regressions on the topic of reviews, a fifth of the labels wrong, by tests of which more and more were trained on."""
    drawn, classes = seed_of_data(seed, data_seed), CLASSES["topic"]
    train, test = (
        (found, mislabel(labels, WRONG_LABELS, classes, 2 * drawn + place))
        for place, (found, labels) in enumerate(draw("topic", size, split, drawn) for size, split in ((n, "train"), (n_test, "test")))
    )
    rows: list[dict[str, Any]] = []
    for arm, penalty in PENALTIES.items():
        pipeline = words_regression(penalty).fit(*train)
        rows += [{"arm": arm, "copied": share, "accuracy": float(pipeline.score(*leaked(train, test, share)))} for share in COPIED]
    arms = {copied(row["arm"], row["copied"]): row["accuracy"] for row in rows}
    return Measurement(dict.fromkeys(("G6.flattered", "G6.honest", "G6.misled"), arms), rows)


# A stale index ------------------------------------------------------------------------------------------------------------------


@measures(
    Claim(
        "G7.right", "Answers that renewing the index makes right", metric="questions answered rightly", unit="share", treatment=RENEWED,
        control=STALE, effect_kind="difference",
    ),
    Claim(
        "G7.stale", "Answers out of pages that are no longer so", metric="answers that were right before the change", unit="share",
        treatment=STALE, control=RENEWED, effect_kind="difference",
    ),
    id="G7", seeds=5,
)
def stale_index(seed: int, data_seed: int, n: int = N_QUESTIONS, reader: str = READER, name: str = EMBEDDER) -> Measurement:
    """Change every page of a handbook, and ask before and after the index is renewed. A row is an arm, with an answer."""
    drawn = seed_of_data(seed, data_seed)
    questions, pages, model, rows = asked_of(n, drawn), handbook.passages(drawn, FACTS), reader_of(reader), []
    before = others(map(handbook.stale, pages))
    outdated = says(before)
    with shelved((as_passage(replace(handbook.stale(page), id=page.id)) for page in pages), name) as store:
        for arm in (STALE, RENEWED):
            changes = store.add(map(as_passage, pages)) if arm == RENEWED else None
            said = answered(model, questions, [texts(found) for found in searched(store, questions)])
            rows.append({
                "arm": arm, "renewed": changes.changed if changes else 0, "right": fmean(right(questions, said)),
                "stale": fmean(outdated(question, answer) for question, answer in zip(questions, said, strict=True)),
                "question": questions[0].question, "answer": said[0].text, "true": questions[0].answer,
            })
    return Measurement({f"G7.{what}": {row["arm"]: row[what] for row in rows} for what in ("right", "stale")}, rows)
