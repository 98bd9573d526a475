# %% title [markdown]
# # 06 Capstone: exercises
#
# Five functions about choosing: what is worth a look, from when on something pays, who ties with the best, what a guide loses, and a guide
# that is learned from past decisions. The first four take five to twenty lines each; the last one is open. Nothing is trained here, and no
# language model is needed: numpy and Python's own library are enough.
#
# **How it works.** Replace each line `raise NotImplementedError(...)` by your code and run the cell. The cell below it checks some of
# what is asked for; if it stays silent, go on. Hand in this notebook. It is then asked more questions than you see here, such as edge
# cases and random inputs. The points stand behind each title, 30 in all.
#
# Keep the names and the arguments of the functions. You may add cells, imports and functions of your own. Each exercise is marked by
# itself: one that fails costs nothing elsewhere.

# %% imports
import math
import random

import numpy as np

# %% front-text [markdown]
# ## 1. Which methods are worth a look? (6 points)
#
# Of two methods, one that is at least as good and costs no more makes the other pointless. What is left is called the *Pareto front*. Which
# of its methods you take depends on what quality is worth to you; the others you need not look at.
#
# Write `front(methods, asked)`. `methods` is a dict from a name to `(quality, once, a_question)`, three whole numbers (quality in right
# answers of a test, costs in FLOPs). There will be `asked` questions, so a method costs `once + asked * a_question`. Return the names of the
# methods that are worth a look, the cheapest first.
#
# - A method is not worth a look if another one is at least as good and costs at most as much, and is better in one of the two.
# - Of methods that are equal in both, the one that stands first in the dict is kept, and the others are left out.
# - Raise a `ValueError` if there is no method, or if `asked` is below zero.
#
# Costs may have thirty digits: stay with whole numbers.

# %% front
def front(methods, asked):
    """Return the names of the methods that no other makes pointless, the cheapest first."""
    ### BEGIN SOLUTION
    if not methods or asked < 0:
        raise ValueError("no methods, or fewer than no questions")
    costs = {name: once + asked * each for name, (_, once, each) in methods.items()}
    found, highest = [], None
    # From cheap to dear, of equally dear ones the best first; sorting keeps the order of equals.
    for name in sorted(methods, key=lambda name: (costs[name], -methods[name][0])):
        if highest is None or methods[name][0] > highest:
            found.append(name)
            highest = methods[name][0]
    return found
    ### END SOLUTION

# %% front-check
methods = {"full": (95, 900, 1), "lora": (95, 600, 1), "retrieval": (98, 10, 30), "words": (60, 0, 0), "frozen": (55, 5, 1)}
assert front(methods, 0) == ["words", "retrieval"]
assert front(methods, 10) == ["words", "retrieval"]
assert front(methods, 1000) == ["words", "lora", "retrieval"]

# %% pays-text [markdown]
# ## 2. From when on does it pay? (6 points)
#
# What is learned has to be learned again each time something changes; what is looked up costs more at every question. So there are two
# questions to ask of a new method beside an old one: how many must ask, and how seldom must things change?
#
# Write `pays(old, new, asked, every)`. `old` and `new` are each `(learning, a_question)`: what learning costs at every change, and what an
# answer costs. All are whole numbers, zero or more. There is a change every `every` days, so that a day with n questions costs
# `learning / every + n * a_question`. Return two things:
#
# 1. the smallest number of questions a day, 0 or more, from which on (for it and for *all larger numbers*) the new method costs no more than
#    the old one, with a change every `every` days; or `None` if there is none;
# 2. the smallest number of days between changes, 1 or more, from which on (for it and all larger numbers) the new one costs no more, with
#    `asked` questions a day; or `None`.
#
# Both are whole numbers, and costs may have thirty digits: no float is exact enough. Raise a `ValueError` if `asked` is below 0 or `every`
# below 1.

# %% pays
def pays(old, new, asked, every):
    """Return from how many questions a day on, and from how many days between changes on, the new method costs no more."""
    ### BEGIN SOLUTION
    if asked < 0 or every < 1:
        raise ValueError("no such number of questions or days")
    learning, each = new[0] - old[0], new[1] - old[1]

    def start(fixed, slope, least):
        """Return the smallest n of at least ``least`` from which on fixed + n * slope stays at or below zero."""
        if slope > 0 or slope == 0 < fixed:
            return None
        return max(least, -(-fixed // -slope)) if slope else least  # minus before and behind // rounds up

    return start(learning, every * each, 0), start(learning, asked * each, 1)
    ### END SOLUTION

# %% pays-check
retrieval, trained = (10, 30), (700, 2)
assert pays(retrieval, trained, 5, 1) == (25, 5)  # 690 more for a change, 28 less for a question
assert pays(trained, retrieval, 5, 1) == (None, None)  # cheaper where few ask; but not from any number on
assert pays((5, 3), (5, 3), 0, 9) == (0, 1)

# %% ties-text [markdown]
# ## 3. Who ties with the best? (6 points)
#
# Several methods have answered the same test texts. One of them has the most right answers, but a lead of a few texts may be chance.
#
# Write `ties(marks, costs)`. `marks` is a dict from a name to a list with True for each text that the method had right; all lists are in the
# same order. `costs` is a dict from a name to what the method costs. Return three things:
#
# 1. the best: the name with the most right answers; of equals the one that costs least, and of these the one that stands first in `marks`;
# 2. the list of those that tie with it, the cheapest first, of equally cheap ones in the order of `marks`, without the best itself;
# 3. a dict from each of the other names to its p value against the best.
#
# The p value is that of McNemar's exact test, two-sided. Count the texts that one of the two has right and the other wrong: $b$ of one kind
# and $c$ of the other. If both methods were equally good, each of these $n = b + c$ texts would be of either kind with probability one
# half, so $p = \min(1,\; 2 \sum_{i=0}^{\min(b, c)} \binom{n}{i} 2^{-n})$; with no such text it is 1. As several methods are compared with the best,
# one that ties has a p value of *at least* 0.05 divided by their number (Bonferroni).
#
# There may be a hundred thousand texts: p must be right to a millionth of itself and must not fail, where the computer can hold it at all.
# Raise a `ValueError` if there are fewer than two methods, if there is no text, or if the lists differ in length.

# %% ties
def ties(marks, costs):
    """Return the best method, those that tie with it, and the p value of each against it."""
    ### BEGIN SOLUTION
    sizes = {len(found) for found in marks.values()}
    if len(marks) < 2 or len(sizes) != 1 or 0 in sizes:
        raise ValueError("too few methods or texts, or lists of different lengths")
    names = list(marks)
    best = max(names, key=lambda name: (sum(marks[name]), -costs[name]))  # max takes the first of equals

    def against(name):
        b = sum(bool(x) and not y for x, y in zip(marks[best], marks[name]))
        c = sum(bool(y) and not x for x, y in zip(marks[best], marks[name]))
        n = b + c
        # Logarithms throughout: the largest term is taken out of the sum.
        terms = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(min(b, c) + 1)]
        top = max(terms)
        tail = math.fsum(math.exp(term - top) for term in terms)
        return min(1.0, math.exp(math.log(2) + top + math.log(tail) - n * math.log(2)))

    p = {name: against(name) for name in names if name != best}
    tied = sorted((name for name in p if p[name] >= 0.05 / len(p)), key=lambda name: costs[name])
    return best, tied, p
    ### END SOLUTION

# %% ties-check
marks = {"full": [1] * 18 + [0] * 2, "words": [1] * 15 + [0] * 5, "chance": [0] * 9 + [1] * 9 + [0] * 2}
best, tied, p = ties(marks, {"full": 90, "words": 1, "chance": 0})
assert best == "full" and tied == ["words"]
assert abs(p["words"] - 0.25) < 1e-9 and abs(p["chance"] - 2 / 2**9) < 1e-9

# %% regret-text [markdown]
# ## 4. What does a guide lose? (6 points)
#
# Write `lost(table)`. `table` is a list of situations, each `(quality, allowed, advice)`: a dict from the methods that were measured to their
# quality, a list of the methods that the situation allows, and the method that a guide advises.
#
# - The method `"as it is"` has been measured in every situation and is always allowed, whether or not the list names it.
# - A choice that is not allowed, or was not measured, counts as `"as it is"`.
# - The *regret* of a choice is the highest quality of any method that was measured and is allowed, less that of the choice.
#
# Return three things: the mean regret of the guide; the name of the best constant choice, the method with the smallest mean regret if it is
# chosen in *every* situation; and that regret. Constants are all methods that were measured in at least one situation. Of equally good ones
# take the first in the order of the alphabet; regrets that differ by less than a billionth are equal. Raise a `ValueError` if the table is empty.

# %% lost
def lost(table):
    """Return the mean regret of a guide, the best constant choice, and its mean regret."""
    ### BEGIN SOLUTION
    if not table:
        raise ValueError("no situations")

    def regret(quality, allowed, choice):
        possible = {name: value for name, value in quality.items() if name in allowed or name == "as it is"}
        return max(possible.values()) - possible.get(choice, quality["as it is"])

    def mean(choices):
        return math.fsum(regret(quality, allowed, choice) for (quality, allowed, _), choice in zip(table, choices)) / len(table)

    constants = {name: mean([name] * len(table)) for name in sorted({name for quality, _, _ in table for name in quality})}
    least = min(constants.values())
    best = next(name for name, value in constants.items() if value < least + 1e-9)
    return mean([advice for _, _, advice in table]), best, constants[best]
    ### END SOLUTION

# %% lost-check
table = [
    ({"as it is": 0.1, "full": 0.9, "retrieval": 0.8}, ["full", "retrieval"], "retrieval"),
    ({"as it is": 0.1, "full": 0.9, "retrieval": 0.8}, ["retrieval"], "full"),
]
guide, best, constant = lost(table)
assert abs(guide - 0.4) < 1e-9  # 0.1 in the first; 0.7 in the second, where "full" is not allowed
assert best == "retrieval" and abs(constant - 0.05) < 1e-9

# %% choose-text [markdown]
# ## 5. A guide from past decisions (6 points)
#
# A team has kept a record: in which situation they were, and how good each method turned out to be there. Learn from it.
#
# Write `choose(table, situations)`. `table` is a list of `(situation, quality)`: past situations, and a dict from the methods that were
# measured to their quality. `situations` is a list of new ones. Return a list with one method for each: it must be one that `allowed`, below,
# allows in that situation, and that is possible for its need.
#
# A situation is a dict: `need` is "classes", "behavior" or "facts"; `examples` a number from 4 to 2,048; `weights`, `fast` and `private` are
# True or False; `tried` is how well a prompt did when it was tried on a few of the examples. Qualities were measured on small tests, so each
# is off by some hundredths. A past situation does not rule out what it would not have allowed: everything that applies to the need was measured.
#
# It is marked on four draws that you do not see, made by the same function `draw` as the one below with other rules for the qualities' size,
# by the mean regret in *true* quality. There is a point for a list of allowed methods, one if the regret is at most 0.05, two for 0.012, and two
# for 0.002. A call may take ten seconds.
#
# Before you write: for which need does the number of examples matter? When does `tried` decide? How far apart are two situations?

# %% choose-draw
NEEDS = {
    "classes": ["as it is", "prompt", "words", "frozen", "trained"], "behavior": ["as it is", "prompt", "trained"],
    "facts": ["as it is", "prompt", "retrieval", "trained"],
}


def allowed(situation):
    """Return the methods that a situation allows, of those that apply to its need."""
    out = set()
    if not situation["weights"]:
        out |= {"frozen", "trained"}
    if situation["fast"]:
        out |= {"prompt", "retrieval"}
    if situation["private"] and situation["need"] == "facts":
        out |= {"trained"}
    return [method for method in NEEDS[situation["need"]] if method not in out]


def curve(low, high, scale, examples):
    return low + (high - low) * (1 - math.exp(-examples / scale))

# %% choose-qualities
def draw(seed, n=400):
    """Return n situations, the true qualities in each, and the qualities as they were measured. The rules differ from seed to seed."""
    rng = random.Random(seed)
    scale = {name: rng.uniform(*ends) for name, ends in {"words": (200, 500), "frozen": (10, 40), "trained": (60, 250), "behavior": (100, 400)}.items()}
    top = {name: rng.uniform(*ends) for name, ends in {"words": (0.75, 0.88), "frozen": (0.72, 0.82), "trained": (0.9, 0.97), "heart": (0.5, 0.8)}.items()}
    found = []
    for _ in range(n):
        skill, examples = rng.uniform(0.4, 0.98), round(2 ** rng.uniform(2, 11))
        situation = {"need": rng.choice(sorted(NEEDS)), "examples": examples, "tried": min(1.0, max(0.0, skill + rng.gauss(0, 0.04)))}
        situation |= {name: rng.random() < share for name, share in {"weights": 0.6, "fast": 0.35, "private": 0.3}.items()}
        trained = curve(0.5, top["trained"], scale["trained"], examples)
        true = {
            "classes": {"as it is": 0.5, "prompt": skill, "words": curve(0.5, top["words"], scale["words"], examples),
                        "frozen": curve(0.5, top["frozen"], scale["frozen"], examples), "trained": trained},
            "behavior": {"as it is": 0.05, "prompt": 0.7 * skill, "trained": curve(0.0, 0.92, scale["behavior"], examples)},
            "facts": {"as it is": 0.1, "prompt": 0.35, "retrieval": 0.9, "trained": curve(0.1, top["heart"], scale["trained"], examples)},
        }[situation["need"]]
        found.append((situation, true, {method: value + rng.gauss(0, 0.04) for method, value in true.items()}))
    return found

# %% choose
def choose(table, situations):
    """Return a method for each situation, learned from past ones."""
    ### BEGIN SOLUTION
    def place(situation):
        return np.array([math.log2(situation["examples"]), situation["tried"] / 0.08])

    past = {need: [(place(s), quality) for s, quality in table if s["need"] == need] for need in {s["need"] for s, _ in table}}
    matters = {"frozen": 0, "words": 0, "trained": 0, "prompt": 1}  # which of the two a method's quality can depend on

    def guess(situation, method):
        rows = [(where, quality[method]) for where, quality in past.get(situation["need"], []) if method in quality]
        if not rows:
            return -1.0
        values = np.array([value for _, value in rows])
        if method not in matters:
            return values.mean()
        axis = matters[method]
        away = np.array([where[axis] for where, _ in rows]) - place(situation)[axis]
        # A straight line through what lies near.
        weights = np.exp(-0.5 * (away / 0.6) ** 2) + 1e-9
        design = np.stack([np.ones_like(away), away], 1) * np.sqrt(weights)[:, None]
        return np.linalg.lstsq(design, values * np.sqrt(weights), rcond=None)[0][0]

    return [max(allowed(situation), key=lambda method: guess(situation, method)) for situation in situations]
    ### END SOLUTION

# %% choose-check
def mean_regret(found, chosen):
    lost = [max(true[m] for m in allowed(s)) - true[c if c in allowed(s) else "as it is"] for (s, true, _), c in zip(found, chosen)]
    return sum(lost) / len(lost)


past, new = draw(0), draw(0, 700)[400:]  # the same rules, other situations
rng = random.Random(0)
rivals = {"yours": choose([(s, measured) for s, _, measured in past], [s for s, _, _ in new])}
rivals["any that is allowed"] = [rng.choice(allowed(s)) for s, _, _ in new]
for constant in ("prompt", "trained", "retrieval"):
    rivals[f"always {constant}"] = [constant for _ in new]
for name, chosen in rivals.items():
    print(f"{name:20} mean regret {mean_regret(new, chosen):.4f}")
