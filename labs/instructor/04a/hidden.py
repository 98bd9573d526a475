"""Hidden checks of 04a. They know the answers by another road than the solution: by hand, by counting pairs one by one, or by a property."""

import functools
import itertools
import math
import random

import numpy as np
import torch

from finetunelab.grading.checks import check, close, number

# 1. The loss and its pull -----------------------------------------------------------------------------------------------------


def _scores(seed, n=6, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(n, generator=generator) for _ in range(3)]


def _cost(chosen, rejected, margin):
    """The mean loss in double precision, pair by pair."""
    margins = [0.0] * len(chosen) if margin is None else margin.tolist()
    leads = [c - r - m for c, r, m in zip(chosen.tolist(), rejected.tolist(), margins, strict=True)]
    return sum(max(-lead, 0) + math.log1p(math.exp(-abs(lead))) for lead in leads) / len(leads)


def _slopes(chosen, rejected, margin, step=1e-4):
    """The gradient by finite differences."""
    found = []
    for i in range(len(chosen)):
        moved = torch.zeros(len(chosen), dtype=torch.double)
        moved[i] = step
        up, down = (_cost(chosen.double() + sign * moved, rejected, margin) for sign in (1, -1))
        found.append((up - down) / (2 * step))
    return torch.tensor(found)


def _loss_is(call, *given):
    return close(call("preference_loss", *given)[0], _cost(*given), 1e-4)


def _pull_is(call, *given):
    pull = torch.as_tensor(call("preference_loss", *given)[1])
    return pull.shape == given[0].shape and bool(torch.allclose(pull.float(), _slopes(*given).float(), atol=1e-4))


@check("preference_loss", "Without a margin the loss is that of the formula, a mean over the pairs.", hint="In nats; one pair or many.")
def loss_plain(call):
    chosen, rejected, _ = _scores(1)
    return _loss_is(call, chosen, rejected, None) and _loss_is(call, chosen[:1], rejected[:1], None)


@check("preference_loss", "With a margin the chosen response must lead by more.", hint="A larger margin makes the loss larger.")
def loss_margin(call):
    chosen, rejected, margin = _scores(2)
    return _loss_is(call, chosen, rejected, margin.abs())


@check("preference_loss", "The gradient without a margin is right.", hint="Move one score by a little, and see what becomes of the mean.")
def pull_plain(call):
    chosen, rejected, _ = _scores(3, n=1)
    return _pull_is(call, chosen, rejected, None)


@check("preference_loss", "It is the gradient of the mean.", hint="Of many pairs each has a smaller part in it.")
def pull_mean(call):
    chosen, rejected, _ = _scores(4)
    return _pull_is(call, chosen, rejected, None)


@check("preference_loss", "The gradient knows of the margin.", hint="The margin stands inside the sigmoid.")
def pull_margin(call):
    chosen, rejected, margin = _scores(5, n=1)
    return _pull_is(call, chosen, rejected, margin.abs() + 0.5)


@check("preference_loss", "Large scores do no harm, and the arguments stay as they are.", hint="Is a logarithm taken of a rounded zero?")
def loss_large(call):
    chosen, rejected, margin = _scores(6, scale=400.0)
    (loss, pull), after = call("preference_loss", chosen, rejected, margin, after=True)
    kept = all(torch.equal(torch.as_tensor(now), before) for now, before in zip(after, (chosen, rejected, margin), strict=True))
    return close(loss, _cost(chosen, rejected, margin), 1e-4) and bool(torch.isfinite(torch.as_tensor(pull)).all()) and kept


# 2. From clicks to preferences ------------------------------------------------------------------------------------------------


def _clicks(text):
    """Clicks from words such as "A1a", Ann's choice of a on item 1, and "A!", Ann's undo; t is a tie, s a skip."""
    values = {"a": "a", "b": "b", "t": "tie", "s": "skip"}
    return [
        {"kind": "undo", "rater": word[0]} if word[1] == "!"
        else {"kind": "choice", "rater": word[0], "item": word[1], "value": values[word[2]]}
        for word in text.split()
    ]


def _decide(call, text, told):
    """Whether the items, as "1a 2b", are decided as told."""
    found = call("decided", _clicks(text))
    return dict(found) == {word[0]: word[1] for word in told.split()}


@check("decided", "What more raters chose is decided, and a draw is not.", hint="Each item by itself; one rater is enough.")
def decided_majority(call):
    return _decide(call, "A1a B1b C1a A2b A3a B3b B4a C4b A4b D4b", "1a 2b 4b") and _decide(call, "", "")


@check("decided", "A tie is a vote, and a skip is none.", hint="Three sides can win a vote; who does not vote, has none.")
def decided_ties(call):
    return _decide(call, "A1a B1t A2a B2t C2a A3t B3t C3b A4b B4s C4s D4s A5s B5t A6b B6b C6a D6t", "2a 4b 6b")


@check("decided", "An undo takes back the rater's own last choice.", hint="Somebody else may have clicked in between.")
def decided_own(call):
    return _decide(call, "A1a B1b A! B2a", "1b 2a") and _decide(call, "A1a A2a B2a B3b A!", "1a 2a 3b")


@check("decided", "One undo after the other goes further and further back.", hint="What was taken back is not the last one that stands.")
def decided_further(call):
    return _decide(call, "A1a A2b A3a A! A!", "1a") and _decide(call, "A1a A2b A! A3b A! A!", "") and _decide(call, "A! A! A1b B! B1b", "1b")


@check("decided", "What was taken back can be chosen anew.", hint="The new choice counts, and is the last one then.")
def decided_anew(call):
    return _decide(call, "A1a A! A1b", "1b") and _decide(call, "A1a A2a A! A! A2b A1b A!", "2b")


@check("decided", "A double click does not count, and the clicks stay as they are.", hint="Which of two choices was the first?")
def decided_double(call):
    clicks = _clicks("A1a A1b A1b B2b A2a A2a A2a C2b")
    found, after = call("decided", clicks, after=True)
    return dict(found) == {"1": "a", "2": "b"} and after[0] == clicks and _decide(call, "A1a A1a A!", "")


# 3. Krippendorff's alpha ------------------------------------------------------------------------------------------------------


def _alpha(table):
    """Alpha by counting the pairs one by one."""
    units = [[value for value in row if value is not None] for row in table]
    units = [unit for unit in units if len(unit) > 1]
    values = [value for unit in units for value in unit]
    observed = sum(sum(a != b for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units) / len(values)
    pairs = [a != b for a, b in itertools.permutations(values, 2)]
    return 1 - observed / (sum(pairs) / len(pairs))


def _table(seed, items, raters, kinds="ab", gaps=0.0):
    rng = random.Random(seed)
    truth = [rng.choice(kinds) for _ in range(items)]
    return [[None if rng.random() < gaps else one if rng.random() < 0.6 else rng.choice(kinds) for _ in range(raters)] for one in truth]


def _alpha_is(call, *tables):
    return all(close(call("reliability", table), _alpha(table)) for table in tables)


# Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), section C: four observers, twelve units, gaps; nominal alpha is .743.
PUBLISHED = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


@check("reliability", "Many values of two raters without gaps.", hint="One where all agree; near zero for what chance would give.")
def alpha_two(call):
    return _alpha_is(call, _table(1, 60, 2), _table(2, 80, 2, "abc"))


@check("reliability", "Few values: no value makes a pair with itself.", hint="How many ordered pairs do all values make?")
def alpha_few(call):
    return _alpha_is(call, [["a", "b"], ["a", "a"]], [["a", "a"], ["b", "b"], ["c", "b"]])


@check("reliability", "Those who disagree more than chance would have it get less than zero.", hint="Nothing is cut off at zero.")
def alpha_below(call):
    return _alpha_is(call, [["a", "b"], ["b", "a"], ["a", "b"], ["b", "a"]] * 5)


@check("reliability", "More than two raters.", hint="Every two values of an item are compared, in both orders.")
def alpha_many(call):
    return _alpha_is(call, _table(3, 40, 5), _table(4, 40, 3, "abcd"))


@check("reliability", "A gap is no value, and an item weighs as much as it has values.", hint="How many pairs has an item, and by what is it divided?")
def alpha_gaps(call):
    wide = [["a", "b", "a", "b", "a", "b"], *([["a", "a", None, None, None, None]] * 8), *([["b", None, "b", None, None, None]] * 8)]
    return _alpha_is(call, wide)


@check("reliability", "An item with one value or none counts nowhere.", hint="Neither with what is observed nor with what is expected.")
def alpha_alone(call):
    lonely = [["a", "a"], ["a", "b"], ["b", "b"], *([["c", None]] * 9), [None, None]]
    published = [[None if value == "." else value for value in unit] for unit in zip(*PUBLISHED, strict=True)]
    return _alpha_is(call, lonely) and close(call("reliability", published), 0.743, 5e-4)


@check("reliability", "Where alpha does not exist, it is NaN.", hint="What is divided by zero? Full agreement with two values is not such a case.")
def alpha_none(call):
    nothing = ([["a", "a"], ["a", "a"]], [["a", None], [None, "b"]], [], [["a", "a"], ["b", None]])
    return all(math.isnan(number(call("reliability", table))) for table in nothing) and close(call("reliability", [["a", "a"], ["b", "b"]]), 1.0)


# 4. How good can a guess be? --------------------------------------------------------------------------------------------------


def _chances(seed, reviewers, comparisons):
    return np.random.default_rng(seed).random((reviewers, comparisons))


def _found(call, chances):
    return [number(value) for value in call("ceilings", np.array(chances, dtype=float))]


def _agree(chances):
    """By going through all pairs of two different reviewers."""
    pairs = [p * q + (1 - p) * (1 - q) for one, other in itertools.permutations(chances.tolist(), 2) for p, q in zip(one, other, strict=True)]
    return sum(pairs) / len(pairs)


@check("ceilings", "How often two agree, of reviewers who are all alike.", hint="Both click a, or both click b.")
def agree_alike(call):
    return close(_found(call, [[0.8, 0.5, 0.0]] * 4)[0], (0.68 + 0.5 + 1) / 3)


@check("ceilings", "How often two different ones agree, of reviewers who are not alike.", hint="Nobody is compared with themselves.")
def agree_different(call):
    return close(_found(call, [[1.0], [0.0]])[0], 0) and all(close(_found(call, each)[0], _agree(each)) for each in (_chances(1, 3, 8), _chances(2, 7, 5)))


@check("ceilings", "The best guess of a click, not knowing whose it is.", hint="How likely is a click on a, of somebody drawn at random?")
def best_unnamed(call):
    return close(_found(call, [[0.9, 0.2], [0.3, 0.4]])[1], (0.6 + 0.7) / 2) and close(_found(call, [[1.0, 0.5], [0.0, 0.5]])[1], 0.5)


@check("ceilings", "The best guess may be b.", hint="What if a is less likely than not?")
def best_other(call):
    return close(_found(call, [[0.1, 0.8], [0.2, 0.6]])[1], (0.85 + 0.7) / 2) and close(_found(call, [[0.0], [0.0], [0.3]])[1], 0.9)


@check("ceilings", "The best guess of a click, knowing whose it is.", hint="One guess for each reviewer and comparison.")
def best_named(call):
    chances = _chances(3, 5, 6)
    by_hand = sum(max(p, 1 - p) for row in chances.tolist() for p in row) / 30
    return close(_found(call, chances)[2], by_hand) and close(_found(call, [[0.1, 0.7], [0.9, 0.5]])[2], (0.9 + 0.7 + 0.9 + 0.5) / 4)


@check("ceilings", "All three of a large panel, and the array stays as it is.", hint="Take copies of what you change.")
def ceilings_large(call):
    chances = _chances(4, 40, 50)
    found, after = call("ceilings", chances, after=True)
    agree, best, named = map(number, found)
    mean = chances.mean(0).tolist()
    by_hand = sum(max(p, 1 - p) for p in mean) / len(mean)
    return close(agree, _agree(chances)) and close(best, by_hand) and named > best and np.array_equal(np.asarray(after[0]), chances)


# 5. Whom to listen to ---------------------------------------------------------------------------------------------------------

KINDS = [0.9] * 11 + [0.5] * 14 + [0.2] * 5  # how often reviewers click on the better response, as in the visible cell


@functools.lru_cache
def _crowd(seed, items=400, each=5):
    rng = random.Random(f"hidden/{seed}")
    skill = dict(zip((f"r{i}" for i in range(30)), rng.sample(KINDS, 30), strict=True))
    better = {f"c{i}": rng.choice("ab") for i in range(items)}
    clicks = []
    for item, right in better.items():
        wrong = {"a": "b", "b": "a"}[right]
        clicks += [(name, item, right if rng.random() < skill[name] else wrong) for name in rng.sample(list(skill), each)]
    rng.shuffle(clicks)
    return clicks, better


def _right(call):
    """The share of comparisons that are settled rightly, a mean over three crowds."""
    if "right" not in call.memory:
        shares = []
        for seed in (6, 7, 9):
            clicks, better = _crowd(seed)
            found = call("settle", list(clicks))
            shares.append(sum(found.get(item) == right for item, right in better.items()) / len(better))
        call.memory["right"] = sum(shares) / len(shares)
    return call.memory["right"]


@check("settle", "Most comparisons are settled rightly.", hint="What do most of those say who clicked?")
def settle_some(call):
    return _right(call) >= 0.6


@check("settle", "Far more than a vote settles.", hint="Does everybody's click deserve the same weight? Whose stand against the others'?", points=2)
def settle_most(call):
    return _right(call) >= 0.75


@check("settle", "Nearly all that can be settled.", hint="A click of somebody who is mostly wrong says something too. And weigh once more.", points=2)
def settle_nearly_all(call):
    return _right(call) >= 0.88
