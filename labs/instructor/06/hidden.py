"""Hidden checks of 06. They know the answers by another road than the solution: by hand, by trying all, or by another library."""

import functools
import math
import random

from finetunelab.grading.checks import check, close
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


# 1. Which methods are worth a look? --------------------------------------------------------------------------------------------


def _front(methods, asked):
    """The same, by looking at all pairs."""
    rows = [(name, quality, once + asked * each) for name, (quality, once, each) in methods.items()]
    kept = []
    for place, (name, quality, cost) in enumerate(rows):
        better = any(q >= quality and c <= cost and (q > quality or c < cost) for _, q, c in rows)
        twin = any((q, c) == (quality, cost) for _, q, c in rows[:place])
        if not better and not twin:
            kept.append((cost, name))
    return [name for _, name in sorted(kept)]


def _front_is(call, methods, *numbers):
    return all(list(call("front", methods, asked)) == _front(methods, asked) for asked in numbers)


@check("front", "What another method beats in both is left out.", hint="As good and cheaper, or better and no dearer.")
def front_dominated(call):
    methods = {"a": (50, 100, 0), "b": (60, 90, 0), "c": (60, 120, 0), "d": (80, 120, 0), "e": (70, 300, 0), "f": (50, 90, 0)}
    return _front_is(call, methods, 0) and _front_is(call, {"alone": (3, 4, 5)}, 0, 7)


@check("front", "The cheapest come first.", hint="In which order do you return them?")
def front_order(call):
    methods = {"gold": (99, 900, 0), "tin": (10, 1, 0), "silver": (70, 400, 0), "bronze": (40, 30, 0)}
    return _front_is(call, methods, 0, 5)


@check("front", "The number of questions decides.", hint="What is paid once, and what for each question?")
def front_asked(call):
    methods = {"train": (90, 5000, 1), "read": (92, 20, 40), "count": (60, 5, 0), "dear": (91, 6000, 30), "free": (55, 0, 0)}
    return _front_is(call, methods, 0, 100, 127, 128, 129, 150, 10**6)


@check("front", "Of equal methods the first is kept.", hint="Equal in both: which one stays? Equal in one alone: which is better?")
def front_equal(call):
    methods = {"z": (50, 10, 1), "a": (50, 0, 2), "m": (50, 10, 1), "b": (60, 20, 0), "c": (60, 20, 0), "y": (50, 30, 0)}
    return _front_is(call, methods, 10, 0, 9, 11)


@check("front", "Costs of any size are exact.", hint="Has a float enough digits? May a cost be zero?")
def front_exact(call):
    big = 10**29
    methods = {"near": (8, big + 1, 3), "under": (7, big, 3), "over": (9, big + 2, 3), "same": (8, big + 1, 3), "zero": (0, 0, 0)}
    return _front_is(call, methods, 0, big, 10**12)


@check("front", "It holds for any methods, and what cannot be is refused.", hint="Draw small numbers at random, and look at all pairs.")
def front_random(call):
    for seed in range(30):
        rng = random.Random(seed)
        methods = {name: (rng.randint(0, 6), rng.randint(0, 9), rng.randint(0, 3)) for name in "qwertyui"[: rng.randint(1, 8)]}
        if not _front_is(call, methods, rng.randint(0, 4)):
            return False
    return _refused(call, "front", {}, 3) and _refused(call, "front", {"a": (1, 2, 3)}, -1)


# 2. From when on does it pay? --------------------------------------------------------------------------------------------------


def _pays(old, new, asked, every, most=400):
    """The same, by trying every number up to ``most``; None if it does not pay at the last of them."""

    def start(dearer, least):
        fails = [n for n in range(least, most + 1) if dearer(n)]
        if not fails:
            return least
        return None if fails[-1] == most else fails[-1] + 1

    def cost(method, n, days):  # of so many days, to stay with whole numbers
        return method[0] + days * n * method[1]

    return (
        start(lambda n: cost(new, n, every) > cost(old, n, every), 0), start(lambda days: cost(new, asked, days) > cost(old, asked, days), 1),
    )


def _pays_is(call, *cases):
    return all(tuple(call("pays", *case)) == _pays(*case) for case in cases)


@check("pays", "Training overtakes where many ask.", hint="By how much is it dearer at a change, and cheaper for a question?")
def pays_many(call):
    return _pays_is(call, ((4, 9), (100, 1), 6, 1), ((4, 9), (101, 1), 5, 1), ((0, 20), (333, 13), 7, 2), ((50, 30), (49, 2), 3, 4))


@check("pays", "The days between changes spread what is learned.", hint="What is paid once in so many days?")
def pays_spread(call):
    return _pays_is(call, ((4, 9), (100, 1), 1, 30), ((10, 5), (310, 2), 7, 7), ((0, 3), (1000, 2), 90, 25))


@check("pays", "Cheaper for a few is not cheaper from there on.", hint="For it and for all larger numbers.")
def pays_for_good(call):
    return _pays_is(call, ((500, 2), (3, 7), 4, 2), ((9, 9), (9, 10), 3, 1), ((9, 9), (1, 10), 0, 1))


@check("pays", "Where nothing changes by the number, it pays always or never.", hint="What if both cost the same for a question? And if nobody asks?")
def pays_level(call):
    return _pays_is(call, ((5, 3), (6, 3), 2, 3), ((6, 3), (5, 3), 2, 3), ((5, 3), (5, 3), 2, 3), ((9, 7), (20, 1), 0, 3), ((20, 9), (9, 1), 0, 3))


@check("pays", "It is the smallest whole number, of any size.", hint="Up or down? Has a float enough digits? From 0, and from 1.")
def pays_exact(call):
    big = 10**28
    cases = {
        ((0, big + 1), (big * big + 1, 1), 1, 1): (big + 1, big + 1), ((0, 3 * big), (9 * big * 10**6, 0), 3, 1): (3 * 10**6, 10**6),
        ((1, 3 * big), (9 * big * 10**6 + 2, 0), 3, 1): (3 * 10**6 + 1, 10**6 + 1), ((big, 4), (0, 1), 9, 9): (0, 1),
    }
    return all(tuple(call("pays", *case)) == wanted for case, wanted in cases.items())


@check("pays", "It holds for any two, and what cannot be is refused.", hint="Draw small costs at random, and try every number.")
def pays_random(call):
    rng = random.Random(6)
    cases = [((rng.randint(0, 30), rng.randint(0, 5)), (rng.randint(0, 30), rng.randint(0, 5)), rng.randint(0, 4), rng.randint(1, 5)) for _ in range(80)]
    return _pays_is(call, *cases) and _refused(call, "pays", (1, 2), (3, 4), -1, 1) and _refused(call, "pays", (1, 2), (3, 4), 1, 0)


# 3. Who ties with the best? ----------------------------------------------------------------------------------------------------


def _against(ours, theirs):
    from scipy.stats import binomtest

    b, c = (sum(bool(x) is kind and bool(y) is not kind for x, y in zip(ours, theirs, strict=True)) for kind in (True, False))
    return float(binomtest(b, b + c).pvalue) if b + c else 1.0


def _ties(marks, costs):
    names = list(marks)
    best = sorted(names, key=lambda name: (-sum(marks[name]), costs[name], names.index(name)))[0]
    p = {name: _against(marks[best], marks[name]) for name in names if name != best}
    tied = [name for name in p if p[name] * len(p) >= 0.05]
    return best, sorted(tied, key=lambda name: (costs[name], names.index(name))), p


def _ties_is(call, marks, costs):
    best, tied, p = call("ties", marks, costs)
    wanted = _ties(marks, costs)
    return best == wanted[0] and list(tied) == wanted[1] and set(p) == set(wanted[2]) and all(
        abs(p[name] - value) <= 2e-6 * value for name, value in wanted[2].items())


def _drawn(seed, n, rates):
    rng = random.Random(seed)
    return {name: [rng.random() < rate for _ in range(n)] for name, rate in rates.items()}


@check("ties", "The best has the most right answers; of equals it is the cheaper.", hint="And of equally cheap ones the first?")
def ties_best(call):
    marks = {"b": [1, 1, 0, 0], "a": [0, 1, 1, 0], "c": [0, 0, 1, 1], "d": [0, 0, 0, 1]}
    return all(_ties_is(call, marks, dict(zip("bacd", prices, strict=True))) for prices in ((5, 3, 3, 1), (3, 3, 3, 3), (9, 8, 7, 0)))


@check("ties", "Only texts count on which the two differ.", hint="What is p if they never differ? Is it ever above one?")
def ties_discordant(call):
    same = {"a": [1] * 30 + [0] * 10, "b": [1] * 30 + [0] * 10, "c": [1] * 29 + [0] * 11, "d": [0] * 10 + [1] * 29 + [0]}
    return _ties_is(call, same, {"a": 2, "b": 2, "c": 1, "d": 0})


@check("ties", "The test looks at both sides, the tail included.", hint="From 0 to the smaller of the two counts, and twice.")
def ties_tail(call):
    return all(_ties_is(call, _drawn(seed, 60, {"a": 0.8, "b": 0.65}), {"a": 2, "b": 1}) for seed in range(12))


@check("ties", "With more methods a difference has to be clearer.", hint="By what is the level divided? What of a p value just at the limit?")
def ties_bonferroni(call):
    # Six texts of one kind alone: p = 1/32. Nine: 1/256.
    marks = {"best": [1] * 20, "six": [0] * 6 + [1] * 14, "nine": [0] * 9 + [1] * 11, "five": [1] * 15 + [0] * 5}
    two = {name: marks[name] for name in ("best", "six")}
    costs = {"best": 9, "six": 3, "nine": 0, "five": 1}
    return _ties_is(call, marks, costs) and _ties_is(call, two, costs)


@check("ties", "A hundred thousand texts are no trouble.", hint="Add up logarithms. May p be very small?")
def ties_large(call):
    marks = _drawn(3, 100_000, {"a": 0.71, "b": 0.705, "c": 0.69})
    found = {"half": [1] * 800 + [0] * 700, "other": [0] * 800 + [1] * 700}
    return _ties_is(call, marks, {"a": 3, "b": 2, "c": 1}) and _ties_is(call, found, {"half": 1, "other": 1})


@check("ties", "The cheapest come first, and what cannot be is refused.", hint="One method alone? No text? Lists of different lengths?")
def ties_refused(call):
    marks = _drawn(8, 40, {"d": 0.6, "a": 0.62, "c": 0.61, "b": 0.63})
    refused = [{"a": [1, 0]}, {"a": [], "b": []}, {"a": [1, 0], "b": [1]}, {}]
    return _ties_is(call, marks, {"d": 4, "a": 1, "c": 1, "b": 0}) and all(
        _refused(call, "ties", each, {"a": 1, "b": 1}) for each in refused)


# 4. What does a guide lose? ----------------------------------------------------------------------------------------------------

ASIS = "as it is"


def _regret(quality, allowed, choice):
    usable = [name for name in quality if name == ASIS or name in allowed]
    taken = choice if choice in usable else ASIS
    return max(quality[name] for name in usable) - quality[taken]


def _lost(table):
    guide = sum(_regret(*row) for row in table) / len(table)
    names = sorted({name for quality, _, _ in table for name in quality})
    means = [(sum(_regret(quality, allowed, name) for quality, allowed, _ in table) / len(table), name) for name in names]
    least = min(means)[0]
    return guide, *next((name, value) for value, name in means if value < least + 1e-9)


def _lost_is(call, table):
    guide, best, constant = call("lost", table)
    wanted = _lost(table)
    return close(guide, wanted[0], 1e-9) and best == wanted[1] and close(constant, wanted[2], 1e-9)


def _table(seed, n=12):
    rng, names = random.Random(seed), ["prompt", "full", "lora", "words"]
    table = []
    for _ in range(n):
        measured = rng.sample(names, rng.randint(0, 4))
        quality = {ASIS: rng.random() / 2} | {name: rng.random() for name in measured}
        table.append((quality, rng.sample([*names, ASIS], rng.randint(0, 4)), rng.choice([*names, ASIS])))
    return table


@check("lost", "The regret is against the best that is allowed.", hint="May a better method that is not allowed count?")
def lost_allowed(call):
    quality = {ASIS: 0.2, "full": 0.95, "lora": 0.9, "words": 0.6}
    return _lost_is(call, [(quality, ["lora", "words"], "words")]) and _lost_is(call, [(quality, ["full"], "full"), (quality, ["words"], ASIS)])


@check("lost", "What cannot be taken is the model as it is.", hint="Not allowed, or not measured: what is its quality then?")
def lost_fallback(call):
    a, b = {ASIS: 0.3, "full": 0.9, "words": 0.5}, {ASIS: 0.4, "words": 0.7}
    return _lost_is(call, [(a, ["words"], "full"), (b, ["full", "words"], "full"), (a, [], "words"), (b, ["words"], "nothing like it")])


@check("lost", "The constant is chosen in every situation.", hint="Also in those in which it was not measured.")
def lost_constant(call):
    a, b = {ASIS: 0.1, "full": 1.0}, {ASIS: 0.5, "words": 0.6}
    return _lost_is(call, [(a, ["full"], "full"), (b, ["words"], "words"), (b, ["words"], "words"), (b, ["words"], ASIS)])


@check("lost", "To leave the model as it is is a choice, too.", hint="Whether or not the list names it.")
def lost_as_it_is(call):
    a = {ASIS: 0.8, "full": 0.2, "words": 0.3}
    return _lost_is(call, [(a, ["full", "words"], "full"), (a, ["words"], ASIS), (a, [ASIS, "full"], "words")])


@check("lost", "Of equally good constants the first in the alphabet counts.", hint="Are sums of floats equal to the last digit?")
def lost_equal(call):
    pairs = [({ASIS: 0.0, "zinc": x, "copper": y}, ["zinc", "copper"], "zinc") for x, y in ((0.1, 0.3), (0.2, 0.2), (0.3, 0.1), (0.7, 0.7))]
    return _lost_is(call, pairs) and _lost_is(call, [(q, ["copper"], "copper") for q, _, _ in pairs[:1]] * 3)


@check("lost", "It holds for any table, and none is refused.", hint="Draw some at random.")
def lost_random(call):
    return all(_lost_is(call, _table(seed)) for seed in range(20)) and _refused(call, "lost", [])


# 5. A guide from past decisions ------------------------------------------------------------------------------------------------

NEEDS = {
    "classes": [ASIS, "prompt", "words", "frozen", "trained"], "behavior": [ASIS, "prompt", "trained"],
    "facts": [ASIS, "prompt", "retrieval", "trained"],
}


def _allowed(situation):
    out = set()
    if not situation["weights"]:
        out |= {"frozen", "trained"}
    if situation["fast"]:
        out |= {"prompt", "retrieval"}
    if situation["private"] and situation["need"] == "facts":
        out |= {"trained"}
    return [method for method in NEEDS[situation["need"]] if method not in out]


def _curve(low, high, scale, examples):
    return low + (high - low) * (1 - math.exp(-examples / scale))


def _draw(seed, n):
    rng = random.Random(seed)
    scale = {name: rng.uniform(*ends) for name, ends in {"words": (200, 500), "frozen": (10, 40), "trained": (60, 250), "behavior": (100, 400)}.items()}
    top = {name: rng.uniform(*ends) for name, ends in {"words": (0.75, 0.88), "frozen": (0.72, 0.82), "trained": (0.9, 0.97), "heart": (0.5, 0.8)}.items()}
    found = []
    for _ in range(n):
        skill, examples = rng.uniform(0.4, 0.98), round(2 ** rng.uniform(2, 11))
        situation = {"need": rng.choice(sorted(NEEDS)), "examples": examples, "tried": min(1.0, max(0.0, skill + rng.gauss(0, 0.04)))}
        situation |= {name: rng.random() < share for name, share in {"weights": 0.6, "fast": 0.35, "private": 0.3}.items()}
        trained = _curve(0.5, top["trained"], scale["trained"], examples)
        true = {
            "classes": {ASIS: 0.5, "prompt": skill, "words": _curve(0.5, top["words"], scale["words"], examples),
                        "frozen": _curve(0.5, top["frozen"], scale["frozen"], examples), "trained": trained},
            "behavior": {ASIS: 0.05, "prompt": 0.7 * skill, "trained": _curve(0.0, 0.92, scale["behavior"], examples)},
            "facts": {ASIS: 0.1, "prompt": 0.35, "retrieval": 0.9, "trained": _curve(0.1, top["heart"], scale["trained"], examples)},
        }[situation["need"]]
        found.append((situation, true, {method: value + rng.gauss(0, 0.04) for method, value in true.items()}))
    return found


@functools.cache
def _draws():
    return [_draw(seed, 650) for seed in range(86_000, 86_004)]


def _loss(call):
    """The mean regret over all draws; an error for a method that is not allowed."""
    if "loss" not in call.memory:
        lost = []
        for found in _draws():
            past, new = found[:400], found[400:]
            said = call("choose", [(situation, measured) for situation, _, measured in past], [situation for situation, _, _ in new])
            if len(said) != len(new):
                raise ValueError
            for (situation, true, _), method in zip(new, said, strict=True):
                possible = _allowed(situation)
                if method not in possible:
                    raise ValueError
                lost.append(max(true[each] for each in possible) - true[method])
        call.memory["loss"] = sum(lost) / len(lost)
    return call.memory["loss"]


@check("choose", "There is an allowed method for each situation.", hint="Ask `allowed` before you choose.")
def choose_form(call):
    return _loss(call) >= 0


@check("choose", "The needs differ.", hint="What was best on average, for this need and among what is allowed?")
def choose_needs(call):
    return _loss(call) <= 0.05


@check("choose", "The number of examples matters.", hint="Look at past situations with about as many.", points=2)
def choose_examples(call):
    return _loss(call) <= 0.012


@check("choose", "So does what a prompt did, and one past situation is not enough.", hint="Measurements are noisy: how many do you average?", points=2)
def choose_well(call):
    return _loss(call) <= 0.002
