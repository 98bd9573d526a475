"""Hidden checks of 05b. They know the answers by another road than the solution: by hand, by counting one by one, or by a property."""

import math

import numpy as np
import torch

from finetunelab.grading.checks import check, close, number
from finetunelab.grading.examiner import Failed


def _refused(call, *arguments):
    """Whether a call of a hand-in's function stops with a ValueError."""
    try:
        call(*arguments)
    except Failed as problem:
        if "ValueError" in str(problem):
            return True
        raise
    return False


# 1. Was it found? --------------------------------------------------------------------------------------------------------------


def _search(seed, questions, passages, several=0.0, levels=None):
    """Scores, all different unless there are levels, and which passages are right: one of each question, and some more."""
    rng = np.random.default_rng(seed)
    scores = rng.permutation(questions * passages).reshape(questions, passages) / 7 if levels is None else rng.integers(
        levels, size=(questions, passages)).astype(float)
    right = rng.random((questions, passages)) < several
    right[np.arange(questions), rng.integers(passages, size=questions)] = True
    return scores, right


def _found(scores, right, k):
    """The same one question after the other."""
    hits, shares, ranks = [], [], []
    for row, answers in zip(scores.tolist(), right.tolist(), strict=True):
        ranked = [answer for _, answer in sorted((-score, answer) for score, answer in zip(row, answers, strict=True))]
        if True in ranked:
            hits.append(True in ranked[:k])
            shares.append(ranked[:k].count(True) / ranked.count(True))
            ranks.append(1 / (1 + ranked.index(True)))
    return [sum(values) / len(values) for values in (hits, shares, ranks)]


def _found_is(call, scores, right, k, which=(0, 1, 2)):
    values, wanted = [number(value) for value in call("found", scores, right, k)], _found(scores, right, k)
    return len(values) == 3 and all(close(values[i], wanted[i]) for i in which)


@check("found", "With one right passage each, all three are right.", hint="How many passages are nearer than the right one?")
def found_one(call):
    return all(_found_is(call, *_search(seed, 25, 12), k) for seed, k in ((0, 1), (1, 3), (2, 12)))


@check("found", "With several right passages, hit rate and recall are two things.", hint="Of what is recall a share, even if k is small?")
def found_several(call):
    return all(_found_is(call, *_search(seed, 25, 12, 0.4), k, (0, 1)) for seed, k in ((3, 1), (4, 3), (5, 8)))


@check("found", "The reciprocal rank is that of the first right passage.", hint="Does k have a say in it? Is it a mean of ranks?")
def found_rank(call):
    return all(_found_is(call, *_search(seed, 25, 12, more), 1, (2,)) for seed, more in ((6, 0.0), (7, 0.3)))


@check("found", "Equal scores count against you, wherever the right passage stands.", hint="What if all scores are the same?")
def found_ties(call):
    scores, right = _search(8, 30, 10, 0.2, levels=3)
    mirrored = scores[:, ::-1].copy(), right[:, ::-1].copy()
    level = np.ones((4, 5)), np.eye(4, 5, dtype=bool)
    return all(_found_is(call, *given, k) for given in ((scores, right), mirrored, level) for k in (1, 4))


@check("found", "Any k from one on will do.", hint="What if it is larger than the number of passages, or zero?")
def found_k(call):
    scores, right = _search(9, 6, 5, 0.3)
    (values, after), wanted = call("found", scores, right, 50, after=True), _found(scores, right, 50)
    kept = np.array_equal(after[0], scores) and np.array_equal(after[1], right)
    return all(map(close, values, wanted)) and kept and _refused(call, "found", scores, right, 0)


@check("found", "Questions without a right passage are left out.", hint="By how many is the sum divided? And if none are left?")
def found_unanswered(call):
    scores, right = _search(10, 20, 8, 0.2)
    right[::3] = False
    nothing = [number(value) for value in call("found", scores, np.zeros_like(right), 3)]
    return all(_found_is(call, scores, right, k) for k in (1, 3)) and len(nothing) == 3 and all(map(math.isnan, nothing))


# 2. Wrong answers that are right -----------------------------------------------------------------------------------------------


def _batch(seed, pairs, width=6):
    rng = np.random.default_rng(seed)
    questions, passages = rng.normal(size=(2, pairs, width))
    return [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (questions, passages + questions)]


def _loss(questions, passages, also_right, temperature):
    """Question by question and passage by passage."""
    q, p = (torch.nn.functional.normalize(torch.tensor(vectors, dtype=torch.double), dim=1) for vectors in (questions, passages))
    n, total = len(q), 0.0
    for i in range(n):
        mine = [j for j in range(n) if j == i or not also_right[i, j]]
        its = [j for j in range(n) if j == i or not also_right[j, i]]
        total -= (p[mine] @ q[i] / temperature).log_softmax(0)[mine.index(i)].item()
        total -= (q[its] @ p[i] / temperature).log_softmax(0)[its.index(i)].item()
    return total / (2 * n)


def _loss_is(call, questions, passages, also_right, temperature):
    return close(call("loss", questions, passages, also_right, temperature), _loss(questions, passages, also_right, temperature))


def _none(pairs):
    return np.zeros((pairs, pairs), dtype=bool)


@check("loss", "The loss is asked of questions and of passages.", hint="Is the table symmetric? Which way do you sum?", points=2)
def loss_both(call):
    return all(_loss_is(call, *_batch(seed, n), _none(n), heat) for seed, n, heat in ((0, 2, 1.0), (1, 5, 0.5), (2, 9, 0.05)))


@check("loss", "The lengths of the vectors do not matter.", hint="What is a cosine?")
def loss_lengths(call):
    questions, passages = _batch(3, 6)
    scales = np.random.default_rng(3).uniform(0.1, 9, size=(2, 6, 1))
    given = [questions * scales[0], passages * scales[1], _none(6)]
    value, after = call("loss", *given, 0.3, after=True)
    kept = all(np.array_equal(now, then) for now, then in zip(after[:3], given, strict=True))
    return close(value, _loss(questions, passages, _none(6), 0.3)) and kept


@check("loss", "Passages that answer as well are no wrong answers.", hint="To leave one out of a sum is not to make its likeness zero.")
def loss_masked(call):
    twins = _none(6)
    twins[0, 3] = twins[3, 0] = twins[1, 4] = twins[4, 1] = True
    return _loss_is(call, *_batch(4, 6), twins, 0.2)


@check("loss", "Who answers whom need not go both ways.", hint="Follow one True: which two sums does it change?")
def loss_one_way(call):
    for seed, n in ((5, 4), (6, 8)):
        one_way = np.triu(np.random.default_rng(seed).random((n, n)) < 0.5, 1)
        if not _loss_is(call, *_batch(seed, n), one_way, 0.2):
            return False
    return True


@check("loss", "A pair belongs to its own sums, and may be alone there.", hint="What does the diagonal say? What is left if all others go?")
def loss_own(call):
    stated = np.random.default_rng(7).random((6, 6)) < 0.3
    np.fill_diagonal(stated, True)
    alone = close(call("loss", *_batch(8, 4), ~_none(4), 0.1), 0.0) and close(call("loss", *_batch(9, 1), _none(1), 0.1), 0.0)
    return alone and _loss_is(call, *_batch(7, 6), stated, 0.2)


@check("loss", "A small temperature does no harm.", hint="Of what is the exponential too large? What may be subtracted?")
def loss_cold(call):
    questions, passages = _batch(10, 5)
    swapped = passages[[1, 0, 2, 3, 4]]
    also = _none(5)
    also[2, 3] = True
    return all(_loss_is(call, questions, given, also, heat) for given in (passages, swapped) for heat in (1e-3, 1e-4))


# 3. Nothing may be lost --------------------------------------------------------------------------------------------------------


def _text(sizes):
    """Sentences of these numbers of words, all words different."""
    words, found = iter(range(10**6)), []
    for size in sizes:
        found.append(" ".join(f"w{next(words)}" for _ in range(size)) + ".")
    return found


def _chunks(sizes, most, overlap):
    """The chunks of ``_text(sizes)``, by the places of their sentences; no sentence is too long."""
    text, found, start, end = _text(sizes), [], 0, 0
    while end < len(sizes):
        while end < len(sizes) and sum(sizes[start : end + 1]) <= most:
            end += 1
        found.append(" ".join(text[start:end]))
        if end < len(sizes):
            fits = [at for at in range(start, end + 1) if sum(sizes[at:end]) <= overlap and sum(sizes[at : end + 1]) <= most]
            start = min(fits)
    return found


def _chunks_are(call, sizes, most, overlap):
    return list(call("chunks", _text(sizes), most, overlap)) == _chunks(sizes, most, overlap)


def _sizes(seed, n, most):
    return np.random.default_rng(seed).integers(1, most + 1, size=n).tolist()


@check("chunks", "Without repetition each chunk takes what fits.", hint="A chunk may be full to the last word. Is the last chunk there?")
def chunks_plain(call):
    given = (([3, 3, 4, 5, 5, 1], 10), ([10, 10], 10), ([4], 10), ([2] * 11, 7), (_sizes(0, 30, 6), 12))
    return all(_chunks_are(call, sizes, most, 0) for sizes, most in given)


@check("chunks", "A chunk begins with the end of the one before it.", hint="How many whole sentences fit into the overlap? It may be none.")
def chunks_overlap(call):
    given = (([3, 3, 3, 3, 3, 3], 10, 3), ([3, 3, 3, 3, 3, 3], 10, 7), ([4, 2, 1, 2, 1, 2, 3, 1], 8, 3), ([5, 5, 5], 10, 4))
    return all(_chunks_are(call, *one) for one in given)


@check("chunks", "What is repeated leaves room for what is new.", hint="No chunk is larger than it may be, and each has something new.")
def chunks_room(call):
    given = (([2, 2, 2, 7], 9, 6), ([2, 2, 2, 9, 1], 9, 6), ([1, 1, 1, 5, 6, 1, 1, 5], 7, 5), ([3, 6, 3, 6], 9, 8))
    return all(_chunks_are(call, *one) for one in given)


@check("chunks", "A sentence that is too long is cut into pieces.", hint="Where does its last piece go? Can a piece be repeated?")
def chunks_long(call):
    found = call("chunks", ["a b", "1 2 3 4 5 6 7 8 9 10 11", "c d", "e"], 4, 3)
    exact = call("chunks", ["1 2 3 4 5 6 7 8", "c"], 4, 0)
    repeated = call("chunks", ["1 2 3 4 5", "c d e", "f"], 4, 3)
    wanted = ["a b", "1 2 3 4", "5 6 7 8", "9 10 11", "c d e"], ["1 2 3 4", "5 6 7 8", "c"], ["1 2 3 4", "5 c d e", "c d e f"]
    return tuple(map(list, (found, exact, repeated))) == wanted


@check("chunks", "Every sentence is whole in some chunk, whatever the sizes.", hint="Draw some at random, and look for each of them.")
def chunks_whole(call):
    for seed, most, overlap in ((1, 8, 3), (2, 20, 10), (3, 15, 14), (4, 5, 1)):
        sizes = _sizes(seed, 40, most)
        text, found = _text(sizes), list(call("chunks", _text(sizes), most, overlap))
        if max(len(chunk.split()) for chunk in found) > most or not all(any(sentence in chunk for chunk in found) for sentence in text):
            return False
        if found != _chunks(sizes, most, overlap):
            return False
    return True


@check("chunks", "Sentences without words are none; what cannot be is refused.", hint="Any white space; an overlap as large as a chunk.")
def chunks_edges(call):
    spaced = list(call("chunks", ["", " one\n two ", "  ", "three\tfour.", ""], 4, 1)) == ["one two three four."]
    nothing = list(call("chunks", [], 4, 1)) == [] and list(call("chunks", ["", " \n"], 4, 0)) == []
    return spaced and nothing and all(_refused(call, "chunks", ["a b c"], *sizes) for sizes in ((4, 4), (4, 5), (4, -1), (0, 0)))


# 4. Who says so? ---------------------------------------------------------------------------------------------------------------

GATE = [
    "The gate is locked by Mira Tal at ten.",
    "Lunch costs 12.5 crowns, a map\nof the yard 5,000. The ferry leaves at 7.",
    "Ask Mira  Tal for the yard [old] key, or for key 14B; C++ is taught on Monday.",
]


def _checked(call, given):
    return all(tuple(call("checked", said, list(GATE))) == wanted for said, wanted in given.items())


@check("checked", "Answer and source are taken apart.", hint="White space and full stops at the end, before and behind the source.")
def checked_apart(call):
    return _checked(call, {
        "Mira Tal [1]": ("Mira Tal", 1), "  at ten. [1]": ("at ten", 1), "7 [2].": ("7", 2), "Mira Tal[3] ": ("Mira Tal", 3),
        "the gate.": ("the gate", None),
    })


@check("checked", "Only one line counts, and brackets at its end.", hint="What stands in brackets elsewhere? What comes after a line?")
def checked_line(call):
    return _checked(call, {
        "\n Mira Tal [1]\nMira Tal [3]": ("Mira Tal", 1), "Mira Tal\n[1]": ("Mira Tal", None), "yard [old] key [3]": ("yard [old] key", 3),
        "the yard [old]": ("the yard [old]", None), "[1] Mira Tal": ("not said", None),
    })


@check("checked", "What no passage says is not said.", hint="Is there anything to be said? Look in all passages.")
def checked_nobody(call):
    said = {"Ben Tal [1]": ("not said", None), "Tal Mira [1]": ("not said", None), "[2]": ("not said", None), "": ("not said", None)}
    said |= {" . [1]": ("not said", None), "Mira Tal at [1]": ("Mira Tal at", 1)}
    return _checked(call, said) and tuple(call("checked", "Mira Tal [1]", [])) == ("not said", None)


@check("checked", "Capitals and kinds of white space make no difference.", hint="A passage has lines. Return what the reader wrote.")
def checked_space(call):
    return _checked(call, {
        "MIRA tal [3]": ("MIRA tal", 3), "a map of the yard [2]": ("a map of the yard", 2), "mira\tTal [1]": ("mira\tTal", 1),
        "c++ [3]": ("c++", 3),
    })


@check("checked", "The answer is no part of a word or of a number.", hint="What stands next to it? When is a comma part of a number?")
def checked_part(call):
    none = ["ma [2]", "ate [1]", "key 14 [3]", "5 [2]", "12 [2]", "000 [2]", "2.5 [2]", "ira Tal [1]"]
    some = {"12.5 [2]": ("12.5", 2), "5,000 [2]": ("5,000", 2), "at 7 [2]": ("at 7", 2), "crowns [2]": ("crowns", 2), "14B [3]": ("14B", 3)}
    return _checked(call, {said: ("not said", None) for said in none} | some)


@check("checked", "A source that is not there, or says something else, is none.", hint="How many passages are there? Does this one say it?")
def checked_source(call):
    return _checked(call, {
        "Mira Tal [2]": ("Mira Tal", None), "Mira Tal [12]": ("Mira Tal", None), "Mira Tal [0]": ("Mira Tal", None),
        "Mira Tal [4]": ("Mira Tal", None), "the yard [1]": ("the yard", None), "the yard [3]": ("the yard", 3),
        "the yard [2]": ("the yard", 2),
    })


# 5. Two searches are better than one -------------------------------------------------------------------------------------------


def _two(seed, questions=300, passages=100):
    rng = np.random.default_rng(seed)
    right, by_words = rng.integers(passages, size=questions), rng.random(questions) < 0.5
    own = (np.arange(questions), right)
    words = rng.gamma(2, 1, size=(questions, passages)) * (rng.random((questions, passages)) < 0.4)
    words[own] += np.where(by_words, rng.normal(9, 2, size=questions), rng.gamma(2, 1, size=questions))
    words *= rng.uniform(0.5, 5, size=(questions, 1))
    near = rng.normal(size=(questions, passages))
    near[own] += np.where(by_words, rng.normal(1, 1, size=questions), rng.normal(4.5, 1, size=questions))
    near += 1.5 * rng.normal(size=passages)
    return words, 0.7 + 0.02 * near, right


def _recall(call):
    if "recall" not in call.memory:
        found = []
        for seed in range(71_000, 71_004):
            words, vectors, right = _two(seed)
            scores = np.asarray(call("fuse", words, vectors), dtype=float)
            if scores.shape != words.shape or not np.isfinite(scores).all():
                raise ValueError
            found.append(np.mean((scores >= scores[np.arange(len(right)), right][:, None]).sum(1) == 1))
        call.memory["recall"] = float(np.mean(found))
    return call.memory["recall"]


@check("fuse", "There is a score for each question and passage.", hint="Return an array of the same shape, of numbers without gaps.")
def fuse_form(call):
    return _recall(call) >= 0


@check("fuse", "Two searches do better than one.", hint="Bring them to one scale first, question by question. Which one is louder?")
def fuse_some(call):
    return _recall(call) >= 0.52


@check("fuse", "What is near to everything tells nothing.", hint="Compare a passage's score with what it usually gets.")
def fuse_well(call):
    return _recall(call) >= 0.66


@check("fuse", "Both manners are seen through at once.", hint="How far does the best one stand out, by one that knows?", points=2)
def fuse_very_well(call):
    return _recall(call) >= 0.74
