# %% title [markdown]
# # 04a Reviewers and reward: exercises
#
# Five functions on the way from clicks to a reward. The first four take three to fifteen lines each; the last one is open.
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
from collections import Counter

import numpy as np
import torch

# %% preference-loss-text [markdown]
# ## 1. The loss and its pull (6 points)
#
# Some reviewers say not only which response is better, but also by how much. Then the better one may be asked to lead by a *margin*. With
# the scores $r$ of the two responses and the margin $m$, a pair costs
#
# $$- \log \sigma\big(r_\text{chosen} - r_\text{rejected} - m\big).$$
#
# Write `preference_loss(chosen, rejected, margin)`. All three are tensors of shape (pairs,); `margin` may also be None, which is a margin
# of zero. Return two tensors: the mean over the pairs, which is one number, and the gradient of *this mean* with respect to `chosen`, of
# shape (pairs,).
#
# Derive the gradient on paper and compute it without automatic differentiation. Scores may be large, up to a thousand. All arguments stay
# as they are.

# %% preference-loss
def preference_loss(chosen, rejected, margin=None):
    """Return the mean loss of Bradley and Terry with a margin, in nats, and its gradient with respect to the chosen scores."""
    ### BEGIN SOLUTION
    lead = chosen - rejected if margin is None else chosen - rejected - margin
    return torch.nn.functional.softplus(-lead).mean(), -torch.sigmoid(-lead) / len(lead)
    ### END SOLUTION

# %% preference-loss-check
loss, pull = preference_loss(torch.tensor([math.log(3), 5.0]), torch.tensor([0.0, 5.0]))
assert math.isclose(float(loss), (math.log(4 / 3) + math.log(2)) / 2, rel_tol=1e-5)
assert torch.allclose(pull, torch.tensor([-0.125, -0.25]))

# %% decided-text [markdown]
# ## 2. From clicks to preferences (6 points)
#
# Several people rate the same comparisons, and every click is kept, in order. A click is a dict of one of two kinds:
#
# - `{"kind": "choice", "rater": "ann", "item": "k1", "value": "a"}`, where the value is "a", "b", "tie" or "skip";
# - `{"kind": "undo", "rater": "ann"}`, which takes back the last of *ann's* choices that still stands; if none does, it does nothing.
#
# Where a rater's choice on an item stands, another choice of the same rater on it is a double click, and does not count.
#
# Write `decided(clicks)`. Return a dict with the items on which the raters have decided, and "a" or "b" for each. They have decided for a
# response if more of the choices that stand are for it than for the other response, and more than are for a tie. A skip is no vote.
# `clicks` stays as it is.

# %% decided
def decided(clicks):
    """Return by item the response that most raters prefer, "a" or "b", of the items on which there is one."""
    ### BEGIN SOLUTION
    standing = {}  # by rater, their choices by item, in order
    for click in clicks:
        mine = standing.setdefault(click["rater"], {})
        if click["kind"] == "undo":
            if mine:
                mine.popitem()
        else:
            mine.setdefault(click["item"], click["value"])
    votes = {}
    for mine in standing.values():
        for item, value in mine.items():
            votes.setdefault(item, Counter())[value] += 1
    found = {}
    for item, counts in votes.items():
        for one, other in ("ab", "ba"):
            if counts[one] > max(counts[other], counts["tie"]):
                found[item] = one
    return found
    ### END SOLUTION

# %% decided-check
def choice(rater, item, value):
    return {"kind": "choice", "rater": rater, "item": item, "value": value}


clicks = [choice("ann", "k1", "a"), choice("ben", "k1", "b"), {"kind": "undo", "rater": "ben"}, choice("ann", "k2", "skip")]
assert decided(clicks) == {"k1": "a"}
assert decided([*clicks, choice("ben", "k1", "b")]) == {}

# %% reliability-text [markdown]
# ## 3. Krippendorff's alpha (7 points)
#
# Several raters have sorted items into categories, with gaps. Take all the pairs of values that two raters gave to the same item. Among
# them is a share of pairs that differ: the *observed* disagreement. Had the values been dealt out to the items at random, another share
# would differ: the *expected* one. Alpha is $1 - \text{observed} / \text{expected}$. Exactly:
#
# - An item with $m$ values counts only if $m$ is at least 2. Let $n$ be the number of all values of such items.
# - For each item take the ordered pairs of two of its values, $m (m - 1)$ of them, and count those that differ. Divide by $m - 1$, so that
#   an item weighs as much as it has values. The sum over the items, divided by $n$, is the observed disagreement.
# - Of the ordered pairs of two of *all* these values, $n (n - 1)$ of them, the share that differ is the expected disagreement.
#
# Write `reliability(table)`. `table` has a row for each item, a list with a value for each rater, and None where a rater gave none. Return
# alpha as a number. Where the expected disagreement is zero, or nothing was rated twice, alpha does not exist: return NaN.

# %% reliability
def reliability(table):
    """Return Krippendorff's alpha for categories, or NaN where it does not exist."""
    ### BEGIN SOLUTION
    units = [Counter(value for value in row if value is not None) for row in table]
    units = [counts for counts in units if counts.total() > 1]
    everything = sum(units, Counter())

    def differing(counts):
        return counts.total() ** 2 - sum(count**2 for count in counts.values())

    n, apart = everything.total(), differing(everything)
    if not apart:
        return math.nan
    return 1 - (n - 1) * sum(differing(counts) / (counts.total() - 1) for counts in units) / apart
    ### END SOLUTION

# %% reliability-check
assert reliability([["a", "a"], ["b", "b"], ["a", "a"]]) == 1
assert math.isclose(reliability([["a", "a"], ["a", "b"], ["b", "b"]]), 4 / 9)
assert math.isnan(reliability([["a", "a"], ["a", None]]))

# %% ceilings-text [markdown]
# ## 4. How good can a guess be? (6 points)
#
# Suppose that you knew the reviewers exactly. `chances` is an array of shape (reviewers, comparisons), with at least two reviewers: the
# probability that this reviewer clicks "a" on this comparison. Everybody clicks without looking at the others, and a comparison and whoever
# judges it are drawn at random, each as likely as any other.
#
# Write `ceilings(chances)`. Return three numbers:
#
# 1. how often two *different* reviewers click the same on one comparison;
# 2. how often the best guess is right that knows the comparison, but not who clicks;
# 3. how often the best guess is right that knows who clicks, too.
#
# All are exact, without drawing anything. `chances` stays as it is.

# %% ceilings
def ceilings(chances):
    """Return how often two reviewers agree, and how often the best guess of a click is right, without and with the reviewer's name."""
    ### BEGIN SOLUTION
    n, mean = len(chances), chances.mean(axis=0)

    def both(chance):  # of n reviewers, that two different ones click what has this chance
        return (chance.sum(axis=0) ** 2 - (chance**2).sum(axis=0)) / (n * (n - 1))

    agree = (both(chances) + both(1 - chances)).mean()
    return float(agree), float(np.maximum(mean, 1 - mean).mean()), float(np.maximum(chances, 1 - chances).mean())
    ### END SOLUTION

# %% ceilings-check
agree, best, knowing = ceilings(np.array([[1.0, 0.5], [0.0, 0.5]]))
assert math.isclose(agree, 0.25) and math.isclose(best, 0.5) and math.isclose(knowing, 0.75)

# %% crowd [markdown]
# ## 5. Whom to listen to (5 points)
#
# A crowd of thirty has judged 400 comparisons, five of them each. They are not all of a kind. Some read well. Many click without reading.
# A few have misread the guidelines, and click the *worse* response more often than not. Nobody has told you who is who.
#
# Write `settle(clicks)`. `clicks` is a list of triples (reviewer, comparison, "a" or "b"). Return a dict with "a" or "b" for every
# comparison: the response that is better. There is a point for being right on 60 %, two for 75 %, and two for 88 %. Crowds that you do not
# see are made by the same function, with other people.
#
# The cell below makes such a crowd, and keeps the truth. **Look at some reviewers before you write anything.** You will not have the truth
# when you are marked. What stands in for it? And once you have settled the comparisons, can you tell better who is who?
#
# You have ten seconds.

# %% crowd-make
def make_crowd(seed, items=400, each=5):
    """Return the clicks of a crowd, and the better response of each comparison."""
    rng = random.Random(seed)
    skill = {f"reviewer {i}": chance for i, chance in enumerate(rng.sample([0.9] * 11 + [0.5] * 14 + [0.2] * 5, 30))}
    better = {f"pair {i}": rng.choice("ab") for i in range(items)}
    clicks = []
    for item, right in better.items():
        for reviewer in rng.sample(sorted(skill), each):
            clicks.append((reviewer, item, right if rng.random() < skill[reviewer] else "ba"["ab".index(right)]))
    rng.shuffle(clicks)
    return clicks, better


clicks, better = make_crowd(0)
for name in sorted({reviewer for reviewer, _, _ in clicks})[:5]:
    mine = [value == better[item] for reviewer, item, value in clicks if reviewer == name]
    print(f"{name:12} {sum(mine)} of {len(mine)} clicks on the better response")

# %% settle
def settle(clicks):
    """Return by comparison the response that is better, by what is known of those who clicked."""
    ### BEGIN SOLUTION
    by_item, by_reviewer = {}, {}
    for reviewer, item, value in clicks:
        by_item.setdefault(item, []).append((reviewer, value == "a"))
        by_reviewer.setdefault(reviewer, []).append((item, value == "a"))
    belief = {item: sum(first for _, first in given) / len(given) for item, given in by_item.items()}
    # In turns: how often each is right by what is believed, and what to believe by how often each is right (Dawid and Skene, 1979).
    for _ in range(30):
        trust = {
            reviewer: (1 + sum(belief[item] if first else 1 - belief[item] for item, first in given)) / (2 + len(given))
            for reviewer, given in by_reviewer.items()
        }
        for item, given in by_item.items():
            odds = sum((1 if first else -1) * math.log(trust[reviewer] / (1 - trust[reviewer])) for reviewer, first in given)
            belief[item] = 1 / (1 + math.exp(-odds))
    return {item: "a" if chance > 0.5 else "b" for item, chance in belief.items()}
    ### END SOLUTION

# %% settle-check
settled = settle(clicks)
share = sum(settled[item] == right for item, right in better.items()) / len(better)
print(f"right on {share:.0%}")
assert share > 0.6
