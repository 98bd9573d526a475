"""Hidden checks of 03b. They know the answers by another road than the solution: by hand, by a slower formula, or by a property."""

import copy
import functools
import math
import random

import torch

from finetunelab.grading.checks import check, close, number
from finetunelab.grading.wire import Ref

# 1. What the assistant says ---------------------------------------------------------------------------------------------------

# Tokens of a row, and the same row with a dot wherever nothing counts. U and A open a turn, E ends one.
USER, ASSISTANT, END = 50, 51, 52
NAMES = {"U": USER, "A": ASSISTANT, "E": END, "B": 1}


def _ids(text):
    return [NAMES.get(letter, 100 + ord(letter)) for letter in text]


def _labels(text, marks):
    return [-100 if mark == "." else token for token, mark in zip(_ids(text), marks, strict=True)]


def _labelled(call, text, marks, ends=False):
    """Whether the labels are as marked. Whoever is wrong about the ends of turns loses the checks with ``ends``, and no others."""
    found = [number(label) for label in call("answer_labels", _ids(text), ASSISTANT, END)]
    pairs = zip(found, _labels(text, marks), text, strict=True)
    return all(label == expected for label, expected, letter in pairs if ends or letter != "E")


@check("answer_labels", "Only what the assistant says counts.", hint="From behind the token that opens its turn; the user's words do not.")
def labels_one(call):
    return _labelled(call, "BUabcEAxyzE", ".......xyzE") and _labelled(call, "BUaEAxE", ".....xE")


@check(
    "answer_labels", "The end of its turn counts, and the end of the user's does not.",
    hint="Whose turn does each of the ends belong to?",
)
def labels_end(call):
    return _labelled(call, "BUabEAE", "......E", ends=True) and _labelled(call, "UaEAxE", "....xE", ends=True)


@check("answer_labels", "Every answer of a longer talk counts.", hint="What happens behind the first end of the assistant's?")
def labels_two(call):
    return _labelled(call, "BUaEAxyEUbcEAzEUdEAwvE", ".....xyE.....zE....wvE")


@check("answer_labels", "A row that was cut off counts as far as it goes.", hint="There may be no end behind the last answer.")
def labels_cut(call):
    return _labelled(call, "BUaEAxEUbEAyz", ".....xE....yz") and _labelled(call, "BUabc", ".....")


@check(
    "answer_labels", "Nothing counts before the assistant's first turn is opened, whatever ends there.",
    hint="A row may begin in somebody's turn, or be empty.",
)
def labels_begun(call):
    return _labelled(call, "xyEUaEAzE", ".......zE") and _labelled(call, "xyE", "...", ends=True) and _labelled(call, "", "")


@check("answer_labels", "The row stays as it is.", hint="Fill a list of your own.")
def labels_kept(call):
    found, after = call("answer_labels", _ids("BUaEAxE"), ASSISTANT, END, after=True)
    return after[0] == _ids("BUaEAxE") and len(found) == 7


# 2. The masked loss -----------------------------------------------------------------------------------------------------------


def _draw(seed, batch=3, length=7, vocabulary=9, share=0.5):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, length, vocabulary, generator=generator)
    labels = torch.randint(vocabulary, (batch, length), generator=generator)
    return logits, torch.where(torch.rand(batch, length, generator=generator) < share, labels, -100)


def _by_hand(logits, labels):
    """The mean, token by token, in double precision."""
    found = []
    for row, said in zip(logits.double().tolist(), labels.tolist(), strict=True):
        for scores, token in zip(row, said[1:]):
            if token != -100:
                top = max(scores)
                found.append(top + math.log(sum(math.exp(score - top) for score in scores)) - scores[token])
    return sum(found) / len(found) if found else 0.0


def _loss(call, logits, labels):
    return close(call("masked_loss", logits, labels), _by_hand(logits, labels), 1e-4)


@check("masked_loss", "It is the mean surprise about the tokens that count, in nats.", hint="Negative logarithms, of probabilities.")
def loss_random(call):
    return _loss(call, *_draw(1, batch=1, share=1.0)) and _loss(call, *_draw(2, batch=1, length=2, share=1.0))


@check("masked_loss", "Each position is about the next token.", hint="Which scores stand beside which label?")
def loss_shift(call):
    logits, labels = torch.zeros(1, 4, 6), torch.tensor([[-100, 3, 1, -100]])
    logits[0, 0, 3] = logits[0, 1, 1] = 30.0
    logits[0, 2, 4] = logits[0, 3, 5] = 30.0
    return _loss(call, logits, labels)


@check("masked_loss", "What has no label does not count.", hint="Does the mean divide by the tokens that count, or by all?")
def loss_mask(call):
    return all(_loss(call, *_draw(seed, batch=1, share=0.4)) for seed in (3, 4, 5))


@check(
    "masked_loss", "A token is a token, in a long answer or in a short one.",
    hint="One mean over the whole batch, not one for each row.",
)
def loss_tokens(call):
    logits, labels = _draw(6, batch=2, share=1.0)
    labels[0, 2:] = -100
    return _loss(call, logits, labels)


@check("masked_loss", "A row without a label adds nothing.", hint="Neither to the sum nor to what it is divided by.")
def loss_empty_row(call):
    logits, labels = _draw(7, batch=3, share=1.0)
    labels[1] = -100
    labels[2, 1:] = -100  # a label at the first position is nobody's next token
    return _loss(call, logits, labels)


@check("masked_loss", "Where nothing counts at all, it is zero.", hint="What is zero divided by zero?")
def loss_nothing(call):
    logits, labels = _draw(8)
    return close(call("masked_loss", logits, torch.full_like(labels, -100)), 0.0)


@check("masked_loss", "Large scores do no harm, and both arguments stay as they are.", hint="Is a logarithm taken of a rounded zero?")
def loss_large(call):
    logits, labels = _draw(9)
    logits = 300 * logits
    found, after = call("masked_loss", logits, labels, after=True)
    kept = torch.equal(after[0], logits) and torch.equal(after[1], labels)
    return close(found, _by_hand(logits, labels), 1e-4) and bool(kept)


# 3. Packing -------------------------------------------------------------------------------------------------------------------

PAD = 0


def _rows(lengths):
    """Conversations of these lengths; no token occurs twice."""
    fresh = iter(range(1, 10_000))
    return [[next(fresh) for _ in range(length)] for length in lengths]


def _packed(call, lengths, room):
    found = call("pack_rows", _rows(lengths), room, PAD)
    return [([int(number(token)) for token in ids], [int(number(place)) for place in places]) for ids, places in found]


def _told(lengths, room):
    """What first fit, longest first, makes of them, by bins of numbers rather than of tokens."""
    bins = []
    for size, index in sorted((-length, index) for index, length in enumerate(lengths)):
        home = next((bin for bin in bins if sum(lengths[i] for i in bin) - size <= room), None)
        if home is None:
            bins.append(home := [])
        home.append(index)
    return bins


def _lengths(seed, n=40, room=32):
    rng = random.Random(seed)
    return [rng.randint(1, room) for _ in range(n)]


@check(
    "pack_rows", "Every packed row is as long as was asked for, and filled up behind.",
    hint="Both lists of the pair, with the right filling.",
)
def pack_length(call):
    for ids, places in _packed(call, [5, 3, 6, 2, 2], 8):
        used = sum(token != PAD for token in ids)
        if not (len(ids) == len(places) == 8 and PAD not in ids[:used] and places[used:] == [0] * (8 - used)):
            return False
    return True


@check("pack_rows", "Every conversation is there once, whole and in one piece.", hint="None is cut, dropped, or laid down twice.")
def pack_whole(call):
    lengths = _lengths(1)
    texts = [" ".join(map(str, ids)) + " " for ids, _ in _packed(call, lengths, 32)]
    tokens = sum(token != "0" for text in texts for token in text.split())
    return tokens == sum(lengths) and all(sum(f" {' '.join(map(str, row))} " in f" {t}" for t in texts) == 1 for row in _rows(lengths))


@check("pack_rows", "Positions begin anew with every conversation.", hint="Where does a new conversation start to count?")
def pack_positions(call):
    lengths = _lengths(2)
    starts = {row[0] for row in _rows(lengths)}
    for ids, places in _packed(call, lengths, 32):
        expected = -1
        for token, place in zip(ids, places):
            expected = 0 if token in starts or token == PAD else expected + 1
            if place != expected:
                return False
    return True


@check(
    "pack_rows", "There are no more rows than first fit, longest first, needs.",
    hint="Is every open row looked at, and which comes first?",
)
def pack_few(call):
    return all(len(_packed(call, _lengths(seed), 32)) <= len(_told(_lengths(seed), 32)) for seed in range(3, 9))


@check(
    "pack_rows", "It is first fit: the first row with room, in the order in which they were opened.",
    hint="Neither the fullest row, nor the last, and equals in the order given.",
)
def pack_first(call):
    for lengths in ([5, 6, 3, 2, 2, 1, 3], [4, 4, 4, 4, 4], *(_lengths(seed) for seed in (9, 10))):
        room, rows = max(10, *lengths), _rows(lengths)
        told = [[token for index in bin for token in rows[index]] for bin in _told(lengths, room)]
        if [ids[: len(t)] for (ids, _), t in zip(_packed(call, lengths, room), told, strict=True)] != told:
            return False
    return True


@check("pack_rows", "What fits exactly, fits.", hint="Compare with the length, and mind the equals sign.")
def pack_exact(call):
    return [ids.count(PAD) for ids, _ in _packed(call, [6, 4, 3, 7, 10], 10)] == [0, 0, 0]


@check(
    "pack_rows", "Nothing packs into nothing, and the conversations stay as they are.",
    hint="Lay copies down, not the lists themselves.",
)
def pack_kept(call):
    rows = _rows([2, 5, 3, 1])
    return call("pack_rows", [], 8, PAD) == [] and call("pack_rows", rows, 8, PAD, after=True)[1][0] == rows


# 4. A rule for a new kind -----------------------------------------------------------------------------------------------------

ITEMS = ["swimming pool", "band", "sand", "hen", "goat", "chicken", "hand"]


def _judged(call, n, right, wrong):
    """Each check asks for both, so that neither a rule that accepts all nor one that rejects all passes."""
    said = [call("obeys", ITEMS, n, response) for response in (*right, *wrong)]
    return all(answer in (True, False) for answer in said) and said == [True] * len(right) + [False] * len(wrong)


@check("obeys", "As many as were asked for, different, and from the list.", hint="Count them, also without those that are named twice.")
def obeys_count(call):
    return _judged(
        call, 3, ("band, goat, hen", "chicken, hand, sand"),
        ("band, goat", "band, chicken, goat, hen", "goat, goat, hen", "goat, hen, lamb", "hen", "band, band, goat, hen"),
    )


@check("obeys", "In alphabetical order.", hint="Compare the items with themselves, sorted.")
def obeys_order(call):
    return _judged(call, 3, ("hand, hen, sand", "band, hen, swimming pool"), ("hen, hand, sand", "sand, hen, hand", "hand, sand, hen"))


@check(
    "obeys", "Capitals, white space and a final period do not matter.", hint="Bring the response into one form before you read it.",
)
def obeys_form(call):
    right = ("Goat, Hen, SAND.", "goat,hen ,  sand", "  goat, hen, sand\n", "goat,\nhen,\nsand.")
    return _judged(call, 3, right, ("goat, hen, sand..", "goat. hen. sand", "goat hen sand", "goat; hen; sand")) and _judged(
        call, 2, ("Hen, Swimming  Pool.",), ("hen, swimmingpool", "hen, swimming, pool"))


@check(
    "obeys", "An and before the last one is as good as a comma.",
    hint="Three ways to write it; and some items have these letters inside.",
)
def obeys_and(call):
    return _judged(
        call, 3, ("goat, hen and sand", "goat, hen, and sand", "band, hand, sand"),
        ("goat and hen and sand", "goat and hen, sand", "and goat, hen, sand", "goat, hen sand", "goat, hen, sand and"),
    ) and _judged(call, 2, ("hand and sand", "band, and hand"), ("hand sand", "hand and and sand"))


@check("obeys", "All else matters.", hint="Nothing may be left over, neither words nor empty places nor signs.")
def obeys_else(call):
    return _judged(
        call, 2, ("goat, hen", "band, sand"),
        (
            "Sure! goat, hen", "goat, hen, of course", "(goat, hen)", "1. goat, 2. hen",
            "goat,, hen", "goat, hen,", ", goat, hen", "", ".", "goat, hens",
        ),
    )


# 5. An assistant from faulty answers ------------------------------------------------------------------------------------------

SEED = 51_203


@functools.lru_cache
def _lessons():
    """A pool with the faults of the visible one: a quarter has another's answer, and nine in twenty begin with chatter."""
    from finetunelab.experiments.behavior import instructions

    kinds = ("brackets", "contains")
    rng, rows = random.Random(SEED), instructions(1_000, "train", SEED, kind=kinds)
    pool = []
    for row in rows:
        fault = rng.random()
        answer = rng.choice(rows)["answer"] if fault < 0.25 else row["answer"]
        pool.append((row["prompt"], f"Sure! {answer}" if 0.25 <= fault < 0.7 else answer))
    return pool, instructions(200, "test", SEED, kind=kinds)


@functools.lru_cache
def _base():
    from finetunelab.models import load_model, load_tokenizer

    return load_model("nano-small"), load_tokenizer("nano-small")


def _followed(call):
    """The share of new instructions that the model follows, measured here."""
    from finetunelab.sft import following

    if "followed" not in call.memory:
        pool, tests = _lessons()
        weights = call("train_assistant", Ref("model", {"name": "nano-small"}), [list(pair) for pair in pool], seconds=60)
        model, tokenizer = copy.deepcopy(_base()[0]), _base()[1]
        model.load_state_dict(weights)
        right = following(model, tokenizer, tests)
        call.memory["followed"] = sum(right) / len(right)
    return call.memory["followed"]


@check("train_assistant", "It follows some.", hint="Return the model that you trained, in the chat template, within the time.")
def assistant_some(call):
    return _followed(call) >= 0.05


@check(
    "train_assistant", "It does not chat, and mostly does as told.",
    hint="Read the answers: what do most of the faulty ones share?", points=2,
)
def assistant_most(call):
    return _followed(call) >= 0.6


@check(
    "train_assistant", "It does as told nearly always.",
    hint="Another fault shows only beside the instruction. Which words must an answer share with it?",
    points=2,
)
def assistant_well(call):
    return _followed(call) >= 0.85
