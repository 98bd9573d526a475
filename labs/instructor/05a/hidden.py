"""Hidden checks of 05a. They know the answers by another road than the solution: by hand, by exact fractions, or by a property."""

import functools
import math
from collections import Counter

import numpy as np

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


# 1. Through a keyhole ----------------------------------------------------------------------------------------------------------


def _sent(call, *arguments):
    return call("keyhole", *arguments, ["fep", "zup"], "fep")[0]


def _read(call, labels, written):
    """The label that a hand-in reads; whatever order the labels come in, it is the same."""
    one, other = (call("keyhole", [("a", labels[0])], "b", order, written)[1] for order in (labels, labels[::-1]))
    return one if one == other else "another"


@check("keyhole", "The prompt has a line for each demonstration and one for the query.", hint="What if there are no demonstrations?")
def keyhole_lines(call):
    shown = [("Rain.", "zup"), ("Two eggs.", "fep"), ("Snow.", "zup")]
    wanted = "Text: Rain. Label: zup\nText: Two eggs. Label: fep\nText: Snow. Label: zup\nText: Flour. Label:"
    return _sent(call, shown, "Flour.") == wanted and _sent(call, [], "Flour.") == "Text: Flour. Label:"


@check("keyhole", "White space in texts and query is one space.", hint="A text may have paragraphs, tabs, and an end of line behind it.")
def keyhole_space(call):
    shown = [("\tA long\n\nstory  about\r\nnothing. \n", "fep")]
    return _sent(call, shown, " It\n goes \t on\n") == "Text: A long story about nothing. Label: fep\nText: It goes on Label:"


@check("keyhole", "The label is read as it stands among the labels.", hint="In capitals or not, with space before and text behind.")
def keyhole_reads(call):
    labels = ["Fep", "zup", "two words"]
    given = {"zup": "zup", "  FEP, I should say": "Fep", " fep zup": "Fep", "Two Words.": "two words", " zup \n": "zup"}
    return all(_read(call, labels, written) == label for written, label in given.items())


@check("keyhole", "Where several labels would do, the longest is meant.", hint="Try labels that begin alike, in both orders.")
def keyhole_longest(call):
    labels = ["no", "no reply", "no reply yet", "yes"]
    given = {" no reply": "no reply", "No reply yet!": "no reply yet", "no": "no", " no, reply": "no", "no reply\nyet": "no reply"}
    return all(_read(call, labels, written) == label for written, label in given.items())


@check("keyhole", "A label is there as a whole, whatever its signs.", hint="What does your pattern make of a dot, or a letter behind it?")
def keyhole_whole(call):
    words, signs = ["no", "spam"], ["c", "c++", "c#", "v1.0"]
    none = [(words, "not at all"), (words, "spammer"), (words, "no1"), (words, "no_reply"), (signs, "cobol"), (signs, "v1x0")]
    some = [(words, "no-reply", "no"), (words, "spam.", "spam"), (signs, "C++.", "c++"), (signs, "c# it is", "c#"), (signs, "v1.0", "v1.0")]
    given = [*((labels, text, None) for labels, text in none), *some]
    return all(_read(call, labels, text) == label for labels, text, label in given)


@check("keyhole", "Only the beginning of the first line with text counts.", hint="What follows the label? What if nothing was written?")
def keyhole_first(call):
    labels = ["ham", "spam"]
    none = ["", " \n\n ", "I say ham", "not spam", "Label: spam", "eggs\nham"]
    return all(_read(call, labels, text) is None for text in none) and _read(call, labels, "\n \n spam\nText: x Label: ham") == "spam"


# 2. The likeliest label --------------------------------------------------------------------------------------------------------


def _logs(probabilities):
    return {label: [math.log(p) for p in tokens] for label, tokens in probabilities.items()}


def _shares(weights):
    return {label: weight / sum(weights.values()) for label, weight in weights.items()}


def _weights(probabilities, per_token):
    return {label: math.prod(tokens) ** (1 / len(tokens) if per_token else 1) for label, tokens in probabilities.items()}


def _likely(probabilities, empty=(), per_token=False):
    """The same with plain probabilities."""
    weights, priors = _weights(probabilities, per_token), [_shares(_weights(given, per_token)) for given in empty]
    if empty:
        weights = {label: weight / (sum(prior[label] for prior in priors) / len(priors)) for label, weight in weights.items()}
    return max(weights, key=weights.get), _shares(weights)


def _is(answer, wanted):
    label, shares = answer
    return label == wanted[0] and shares.keys() == wanted[1].keys() and all(close(shares[key], share) for key, share in wanted[1].items())


def _likely_is(call, probabilities, empty=(), per_token=False):
    given = [_logs(probabilities), [_logs(one) for one in empty], per_token]
    return _is(call("likeliest", *given), _likely(probabilities, empty, per_token))


def _table(seed, labels, longest=4):
    rng = np.random.default_rng(seed)
    return {f"label {i}": rng.uniform(0.05, 0.9, size=rng.integers(1, longest + 1)).tolist() for i in range(labels)}


LONG = {"no": [0.5, 0.1], "no reply": [0.5, 0.6, 0.9], "yes": [0.2, 0.8]}


@check("likeliest", "A label is as likely as all its tokens together.", hint="Which token tells labels apart that begin alike?")
def likeliest_product(call):
    return _likely_is(call, LONG) and all(_likely_is(call, _table(seed, 5)) for seed in range(5))


@check("likeliest", "Shares add up to one, and equals are taken in their order.", hint="Is it a share of what all the labels have?")
def likeliest_shares(call):
    answer = call("likeliest", {"b": [-4.0], "c": [-1.0, -2.0], "a": [-3.0]}, [], False)
    total = 2 + math.exp(-1)
    wanted = ("c", {"b": math.exp(-1) / total, "c": 1 / total, "a": 1 / total})
    return _is(answer, wanted) and _is(call("likeliest", {"only": [-7.0, -0.5]}, [], False), ("only", {"only": 1.0}))


@check("likeliest", "The mean over tokens is used if it is asked for.", hint="Is your mean one of logarithms or of probabilities?")
def likeliest_per_token(call):
    return all(_likely_is(call, _table(seed, 5), per_token=True) for seed in range(5, 9)) and _likely_is(call, LONG, per_token=True)


@check("likeliest", "Very unlikely labels have shares, too.", hint="Of what is the exponential zero? What could you subtract from all?")
def likeliest_far(call):
    low = {"a": [-1500.0, -400.0], "b": [-1900.0, -1.0]}
    e = math.exp(-1)
    wanted = ("a", {"a": 1 / (1 + e), "b": e / (1 + e)})
    calibrated = ("b", {"a": e / (1 + e), "b": 1 / (1 + e)})
    answer = call("likeliest", low, [{"a": [-1000.0], "b": [-1002.0]}], False)
    return _is(call("likeliest", low, [], False), wanted) and _is(answer, calibrated)


@check("likeliest", "Calibration divides by the share for an empty query.", hint="A label that is liked anyway has to do better.")
def likeliest_calibrated(call):
    empty = {label: tokens for label, tokens in reversed(_table(21, 4).items())}
    simple = {"fep": [0.6], "zup": [0.1]}, [{"zup": [0.1], "fep": [0.8]}]
    return _likely_is(call, *simple) and _likely_is(call, _table(20, 4), [empty])


@check("likeliest", "Several queries that say nothing count alike.", hint="Shares first, then their mean. Of what is it a mean?")
def likeliest_several(call):
    # One of the queries makes any label a thousand times less likely than the other does.
    empty = [{"fep": [0.6], "zup": [0.3]}, {"fep": [0.0001], "zup": [0.0009]}]
    given = [_table(seed, 4) for seed in (31, 32, 33)]
    return _likely_is(call, {"fep": [0.5], "zup": [0.4]}, empty) and _likely_is(call, _table(30, 4), given)


@check("likeliest", "Means over tokens are calibrated as such, and arguments stay.", hint="Do you measure all dicts in the same way?")
def likeliest_both(call):
    given = [_table(seed, 4) for seed in (41, 42)]
    arguments = [_logs(_table(40, 4)), [_logs(one) for one in given], True]
    answer, after = call("likeliest", *arguments, after=True)
    return _is(answer, _likely(_table(40, 4), given, True)) and list(after) == arguments


# 3. What may stand in the prompt -----------------------------------------------------------------------------------------------


def _pool(counts):
    """A pool of texts by class, mixed."""
    pool = [(f"text {label} {i}", label) for label, n in counts.items() for i in range(n)]
    np.random.default_rng(len(pool)).shuffle(pool)
    return [tuple(pair) for pair in pool]


def _draw(call, *arguments):
    return [(str(text), str(label)) for text, label in call("draw", *arguments)]


def _counts(pairs):
    return Counter(label for _, label in pairs)


def _even(call, counts, k, seeds=range(3)):
    """Whether no class with texts to spare is behind another by more than one."""
    for seed in seeds:
        found = _draw(call, [list(pair) for pair in _pool(counts)], "another", k, seed)
        drawn = _counts(found)
        if len(found) != k or any(drawn[label] < min(n, max(drawn.values(), default=0) - 1) for label, n in counts.items()):
            return False
    return True


@check("draw", "The list has k pairs of the pool, and no text twice.", hint="Which texts are the same? Which pair of them counts?")
def draw_pairs(call):
    pool = [("One.", "a"), ("Two.", "b"), ("one.", "b"), (" Two. ", "a"), ("Three.", "a"), ("THREE.", "b"), ("Four.", "b")]
    first = {("One.", "a"), ("Two.", "b"), ("Three.", "a"), ("Four.", "b")}
    for seed in range(8):
        found, after = call("draw", list(pool), "Five.", 4, seed, after=True)
        if {tuple(pair) for pair in found} != first or len(found) != 4 or after[0] != pool:
            return False
    return list(call("draw", list(pool), "Five.", 0, 0)) == []


@check("draw", "The query is not among its own demonstrations.", hint="Not in capitals either, nor with another space in it.")
def draw_leak(call):
    pool = [("Over the moon", "a"), ("over  the moon", "b"), ("OVER THE MOON\n", "a")]
    pool += [("Under it", "a"), ("Beside it", "b"), ("Over the moon.", "b")]
    rest = {"Under it", "Beside it", "Over the moon."}
    found = [_draw(call, list(pool), query, 3, seed) for query in (" over the Moon", "Over the moon") for seed in range(4)]
    return all({text for text, _ in pairs} == rest for pairs in found)


@check("draw", "Classes are as even as can be.", hint="A large class is no likelier than a small one. What if k is less than their number?")
def draw_even(call):
    given = [({"a": 40, "b": 10}, 6), ({"a": 40, "b": 10, "c": 5}, 8), ({"a": 9, "b": 5, "c": 5, "d": 5}, 3), ({"a": 9, "b": 5, "c": 5}, 2)]
    few = set().union(*(_counts(_draw(call, _pool({"a": 5, "b": 5, "c": 5}), "another", 1, seed)) for seed in range(20)))
    return all(_even(call, *one) for one in given) and few == {"a", "b", "c"}


@check("draw", "A class with few texts gives all, and the others make up for it.", hint="Deal out in rounds, and pass over who has none.")
def draw_short(call):
    given = (({"a": 20, "b": 2}, 8), ({"a": 20, "b": 1, "c": 6}, 13), ({"a": 4, "b": 3, "c": 1, "d": 9}, 17), ({"a": 9}, 5))
    return all(_even(call, *one) for one in given)


@check("draw", "Chance decides what is drawn and in which order, by the seed.", hint="Do the labels of two draws come in the same order?")
def draw_chance(call):
    counts = {"a": 6, "b": 6}
    found = [_draw(call, _pool(counts), "another", 6, seed) for seed in range(60)]
    again = [_draw(call, _pool(counts), "another", 6, seed) for seed in range(5)]
    orders = {tuple(label for _, label in pairs) for pairs in found}  # twenty are possible
    return again == found[:5] and len(orders) >= 12 and len({pair for pairs in found for pair in pairs}) == 12


@check("draw", "Too few texts are refused.", hint="How many are left without the query, and without those that are there twice?")
def draw_refused(call):
    pool = [("One.", "a"), ("Two.", "b"), ("two.", "b"), ("Three.", "a")]
    refused = _refused(call, "draw", list(pool), "Four.", 4, 0) and _refused(call, "draw", list(pool), "three.", 3, 0)
    return refused and len(_draw(call, list(pool), "three.", 2, 0)) == 2


# 4. Is it the labels? ----------------------------------------------------------------------------------------------------------


def _asked(both, rescued, spoiled, neither):
    """The answers of as many questions of each kind, mixed."""
    pairs = [(True, True)] * both + [(True, False)] * rescued + [(False, True)] * spoiled + [(False, False)] * neither
    order = np.random.default_rng(len(pairs)).permutation(len(pairs))
    return [pairs[i][0] for i in order], [pairs[i][1] for i in order]


@functools.lru_cache
def _p(rescued, spoiled):
    """By whole numbers, one binomial coefficient from the one before it."""
    n, coefficient, total = rescued + spoiled, 1, 0
    for i in range(min(rescued, spoiled) + 1):
        total += coefficient
        coefficient = coefficient * (n - i) // (i + 1)
    return min(1.0, 2 * total / 2**n)


def _told(call, kinds, least):
    return call("verdict", *_asked(*kinds), least)[2]


@check("verdict", "The difference is one of two shares.", hint="Shares of what? It may be below zero.")
def verdict_difference(call):
    return all(
        close(call("verdict", *_asked(*kinds), 0.1)[0], (kinds[1] - kinds[2]) / sum(kinds))
        for kinds in ((30, 10, 4, 20), (10, 2, 9, 5), (7, 0, 0, 3), (0, 1, 0, 0))
    )


@check("verdict", "The p-value is that of fair coins.", hint="Which questions are coins? What is as uneven as that, on either side?")
def verdict_p(call):
    given = ((30, 10, 3, 20), (300, 10, 3, 200), (5, 4, 15, 5), (0, 6, 0, 0), (12, 1, 2, 9), (8, 17, 30, 3))
    return all(close(call("verdict", *_asked(*kinds), 0.1)[1], _p(*kinds[1:3])) for kinds in given)


@check("verdict", "A p-value is one at most.", hint="What if the coins fall evenly, or there are none?")
def verdict_one(call):
    given = ((5, 3, 3, 5), (5, 0, 0, 5), (0, 4, 5, 1), (3, 1, 0, 0), (0, 0, 0, 1))
    return all(close(call("verdict", *_asked(*kinds), 0.1)[1], 1.0) for kinds in given)


@check("verdict", "It is the labels if chance is ruled out and they help.", hint="Has a p-value a direction? Which verdict comes first?")
def verdict_labels(call):
    # 6 of 6 coins give .031, 5 of 5 give .063; the third is real and small; in the last two, right labels did worse.
    given = {(10, 6, 0, 4): "labels", (10, 5, 0, 5): "cannot tell", (900, 30, 10, 1060): "labels"}
    given |= {(20, 2, 15, 3): "cannot tell", (100, 2, 15, 83): "not the labels"}
    return all(_told(call, kinds, 0.1) == wanted for kinds, wanted in given.items())


@check("verdict", "To see no difference is not to know of none.", hint="Could a share as large as that hide in so few questions?")
def verdict_not(call):
    # Of 100 questions a share of a tenth shows 4 or fewer with .024, and 5 or fewer with .058; of 28 none with .052, of 29 with .047.
    yes = [((60, 4, 4, 32), 0.1), ((20, 0, 0, 9), 0.1), ((50, 4, 20, 26), 0.1), ((9, 1, 1, 0), 0.5)]
    no = [((60, 5, 4, 31), 0.1), ((20, 0, 0, 8), 0.1), ((60, 4, 4, 32), 0.05), ((50, 40, 40, 70), 0.1), ((20, 5, 5, 0), 0.25)]
    return all(_told(call, *given) == "not the labels" for given in yes) and all(_told(call, *given) == "cannot tell" for given in no)


@check("verdict", "Thousands of questions are no trouble.", hint="Coefficients grow out of bounds, powers vanish. And logarithms?")
def verdict_many(call):
    given = {(2000, 1450, 1550, 1000): (0.2, "cannot tell"), (5000, 1500, 1380, 1000): (0.1, "labels")}
    given |= {(4000, 1900, 1910, 2190): (0.2, "not the labels")}
    for kinds, (least, wanted) in given.items():
        _, p, told = call("verdict", *_asked(*kinds), least)
        if not close(p, _p(*kinds[1:3])) or told != wanted:
            return False
    return True


# 5. From how many labels on? ---------------------------------------------------------------------------------------------------


def _runs(seed, runs=5):
    rng, sizes, x = np.random.default_rng(seed), 2 ** np.arange(1, 10), np.linspace(1, 9, 801)
    lead = np.zeros(801)
    while min(abs(lead[0]), abs(lead[-1])) < 0.04 or (np.diff(np.sign(lead)) < 0).any():
        rise, top, middle = rng.uniform(0.1, 0.45), rng.uniform(0.2, 0.48), rng.uniform(0, 8)
        shown, trained = 0.5 + rise * (1 - np.exp(-x / 2)), 0.5 + top / (1 + np.exp((middle - x) / 0.8))
        lead = trained - shown
    ahead = np.flatnonzero(lead <= 0)[-1:] + 1
    truth = 2.0 if not len(ahead) else math.inf if ahead[0] == 801 else float(2 ** x[ahead[0]])
    level = rng.normal(0, 0.05, size=(runs, 1))
    shown, trained = (curve[::100] + level + rng.normal(0, 0.03, size=(runs, 9)) for curve in (shown, trained))
    failed = rng.random(trained.shape) < 0.1
    trained[failed] = rng.normal(0.5, 0.03, size=failed.sum())
    return sizes, shown.clip(0, 1), trained.clip(0, 1), truth


def _hits(call):
    """The share of tables whose crossing a hand-in finds."""
    if "hits" not in call.memory:
        hits = 0
        for seed in range(61_000, 61_120):
            *table, truth = _runs(seed)
            found = number(call("crossing", *table))
            if not found > 0:
                raise ValueError
            both = math.isfinite(found) and math.isfinite(truth)
            hits += abs(math.log(found / truth)) <= math.log(1.5) if both else found == truth
        call.memory["hits"] = hits / 120
    return call.memory["hits"]


@check("crossing", "There is a number for each table.", hint="What if training is ahead everywhere, or nowhere?")
def crossing_form(call):
    return math.isfinite(_hits(call))


@check("crossing", "Half of the answers are right.", hint="To be ahead once is not to be ahead from there on.")
def crossing_some(call):
    return _hits(call) >= 0.5


@check("crossing", "Most answers are right.", hint="A crossing lies between two sizes. And what does one failure do to a mean of five?")
def crossing_most(call):
    return _hits(call) >= 0.8


@check("crossing", "Nearly all that can be are found.", hint="Compare within a run. What is typical? What do neighbors say?", points=2)
def crossing_nearly_all(call):
    return _hits(call) >= 0.88
