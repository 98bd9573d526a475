# %% title [markdown]
# # 05a In context: exercises
#
# Five functions around the question what a model takes from the examples in its prompt. The first four take five to fifteen lines each;
# the last one is open. Nothing is trained here, and no language model is needed.
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
import re

import numpy as np

# %% keyhole-text [markdown]
# ## 1. Through a keyhole (6 points)
#
# You see no probabilities. You send a text, and a text comes back; the label has to be read from it.
#
# Write `keyhole(demonstrations, query, labels, written)`. `demonstrations` is a list of pairs of a text and its label, and it may be empty.
# `written` is what the model wrote behind your prompt. Return two things.
#
# **The prompt.** A line `Text: ... Label: ...` for each demonstration, in their order, then `Text: ... Label:` for the query, divided by
# line breaks. Two details decide whether it works. In texts and query, whatever white space stands between words becomes one space, with
# none at the ends: a line break inside a text would look like the end of a demonstration. And nothing stands behind the last colon. A
# model's tokens begin with their space; one that you have written already, it can no longer write.
#
# **The label** as it stands in `labels`, or None if there is none to be read. Only the first line of `written` counts that holds more than
# white space; models like to go on with demonstrations of their own. The label is what this line *begins* with, spaces aside, in capitals
# or not. It must be there as a whole: no letter, digit or underscore may follow it at once. Where several labels would do, such as "no" and
# "no reply", the longest is meant. A label may hold any signs, as "c++" does. No two labels differ in capitals alone.

# %% keyhole
def keyhole(demonstrations, query, labels, written):
    """Return the prompt that puts a question by example, and the label that the model's text names, or None."""
    ### BEGIN SOLUTION
    def flat(text):
        return " ".join(text.split())

    lines = [f"Text: {flat(text)} Label: {label}" for text, label in demonstrations] + [f"Text: {flat(query)} Label:"]
    first = (written.strip().splitlines() or [""])[0]
    # Not \b: behind a label that ends in a sign there is no border of a word.
    fits = [label for label in labels if re.match(rf"{re.escape(label)}(?!\w)", first, re.IGNORECASE)]
    return "\n".join(lines), max(fits, key=len, default=None)
    ### END SOLUTION

# %% keyhole-check
shown = [("The oven was\nstill warm.", "fep"), ("She pumped up both tires. ", "zup")]
prompt, label = keyhole(shown, "The dough had risen.", ["fep", "zup"], " Fep\nText: He fell. Label: zup")
assert prompt == "Text: The oven was still warm. Label: fep\nText: She pumped up both tires. Label: zup\nText: The dough had risen. Label:"
assert label == "fep"
assert keyhole([], "Hm.", ["fep", "zup"], "I think it is zup.")[1] is None

# %% likeliest-text [markdown]
# ## 2. The likeliest label (7 points)
#
# Now you see probabilities. `scores` is a dict: for each label a list with the log-probability of each of its tokens, in nats, given the
# prompt and the tokens before. Labels may have different numbers of tokens. The last number of each list is that of the line break behind
# the label, and counts like any other: without it "no" could never lose against "no reply", which begins with it.
#
# Write `likeliest(scores, empty, per_token)`. Return the likeliest label, the first of equals, and a dict with the share of each label. The
# shares are in proportion to the labels' probabilities, and add up to one.
#
# - The probability of a label is the product over its tokens. Only if `per_token` is true, use the geometric mean over its tokens instead
#   (the mean of the logarithms), here and in all that follows.
# - `empty` is a list of dicts like `scores`, one for each query that says nothing, such as "N/A". If it is not empty, calibrate (Zhao et
#   al. 2021): make shares of each of these dicts; take their mean over the dicts; divide the probability of each label by its mean share;
#   make shares of what comes out.
#
# The labels of `empty` are those of `scores`, perhaps in another order. Log-probabilities may be as low as minus two thousand. The
# arguments stay as they are.

# %% likeliest
def likeliest(scores, empty=(), per_token=False):
    """Return the likeliest label, and by label its share of the probability, calibrated by queries that say nothing if there are any."""
    ### BEGIN SOLUTION
    def shares(logs):
        highest = max(logs.values())  # what is subtracted from all cancels out; without it all might be zero
        weights = {label: math.exp(log - highest) for label, log in logs.items()}
        total = math.fsum(weights.values())
        return {label: weight / total for label, weight in weights.items()}

    def logs(given):
        return {label: math.fsum(tokens) / (len(tokens) if per_token else 1) for label, tokens in given.items()}

    found = logs(scores)
    if empty:
        priors = [shares(logs(given)) for given in empty]
        found = {label: log - math.log(math.fsum(prior[label] for prior in priors) / len(priors)) for label, log in found.items()}
    return max(found, key=found.get), shares(found)
    ### END SOLUTION

# %% likeliest-check
def in_logs(**probabilities):
    return {label: [math.log(p) for p in tokens] for label, tokens in probabilities.items()}


scores = in_logs(fep=[0.3, 0.9], zup=[0.5, 0.4, 0.9])
label, shares = likeliest(scores)
assert label == "fep" and abs(shares["fep"] - 0.6) < 1e-9 and abs(shares["zup"] - 0.4) < 1e-9
assert likeliest(scores, per_token=True)[0] == "zup"
label, shares = likeliest(in_logs(fep=[0.3, 0.9], zup=[0.1, 0.9]), [in_logs(fep=[0.5, 0.9], zup=[0.1, 0.5])])
assert label == "zup" and abs(shares["zup"] - 0.75) < 1e-9

# %% draw-text [markdown]
# ## 3. What may stand in the prompt (6 points)
#
# Demonstrations are drawn from a pool of labeled texts. Two mistakes are easily made. The query stands in the pool, and so its answer in
# the prompt: the score is splendid, and worth nothing. Or chance leaves a class out, and the model never sees its label.
#
# Write `draw(pool, query, k, seed)`. `pool` is a list of pairs of a text and its label. Return a list of k of these pairs, unchanged.
#
# - Two texts are the same if they differ only in capitals and in white space. Texts that are the same as the query are left out. Of pairs
#   whose texts are the same, only the first may be drawn.
# - The classes of what is left are drawn as evenly as possible: as long as a class that has texts to spare is behind another one by more
#   than one, there is something to mend. A class with few texts gives all that it has, and the others make up for it. If k is smaller than
#   the number of classes, no class comes twice, and chance decides which come.
# - Chance also decides which texts of a class are drawn, and in which order they all stand: the classes are not to come in blocks, nor in
#   turns.
# - `seed` decides all of it: the same call gives the same list. Another seed usually gives another one.
#
# Raise a `ValueError` if fewer than k can be drawn. The pool stays as it is.

# %% draw
def draw(pool, query, k, seed):
    """Return k demonstrations for a query, its own text not among them, the classes as even as the pool allows."""
    ### BEGIN SOLUTION
    def same(text):
        return " ".join(text.lower().split())

    rng, seen, by_class = random.Random(seed), {same(query)}, {}
    for text, label in pool:
        if same(text) not in seen:
            seen.add(same(text))
            by_class.setdefault(label, []).append((text, label))
    if k > sum(map(len, by_class.values())):
        raise ValueError(f"there are no {k} texts to draw")
    for pairs in by_class.values():
        rng.shuffle(pairs)
    drawn = []
    while len(drawn) < k:  # in rounds: one of each class that has any left
        groups = [pairs for pairs in by_class.values() if pairs]
        rng.shuffle(groups)
        drawn += [pairs.pop() for pairs in groups[: k - len(drawn)]]
    rng.shuffle(drawn)
    return drawn
    ### END SOLUTION

# %% draw-check
pool = [(f"bread {i}", "fep") for i in range(20)] + [("bike 0", "zup"), ("bike 1", "zup")]
drawn = draw(pool, "Bread  3", 6, seed=0)
assert len(set(drawn)) == 6 and set(drawn) <= set(pool) and ("bread 3", "fep") not in drawn
assert [label for _, label in drawn].count("zup") == 2
assert draw(pool, "bread 3", 6, seed=0) == drawn

# %% verdict-text [markdown]
# ## 4. Is it the labels? (6 points)
#
# You ask the same questions twice, once with right labels in the demonstrations and once with shuffled ones. With right ones the score is
# higher by .03. Is it the labels? And if there is no difference to be seen: is it *not* the labels, or were the questions too few to tell?
#
# Write `verdict(right, shuffled, least)`. `right` and `shuffled` are lists of truth values, one for each question, in the same order:
# whether the model answered it rightly. Return three things.
#
# 1. The difference: the share answered rightly with right labels less that with shuffled ones.
# 2. A p-value, two-sided and exact, for the hypothesis that the labels do nothing. Only questions count that were answered rightly in just
#    one of the two ways. If the labels did nothing, each of these would be a fair coin. The p-value is twice the probability that so many
#    coins show the rarer side as seldom as it was seen, or more seldom; one at most, and one where there are no coins (McNemar's exact
#    test).
# 3. A verdict, the first of these that applies:
#     - `"labels"`: the p-value is below .05, and right labels did better;
#     - `"not the labels"`: the data rule out that right labels rescue a share of `least` of all questions, or more. That is so if a share
#       of just `least` would show *as few* rescued questions as were seen, or fewer, with a probability below .05. Rescued is what was
#       answered rightly with right labels alone. (The number of rescued ones out of *all* questions is binomial.)
#     - `"cannot tell"`.
#
# There is at least one question, and there may be ten thousand. `least` lies between 0 and 1. No table or library is needed, but what is
# the largest number that a float can hold?

# %% verdict
def verdict(right, shuffled, least):
    """Return what right labels are worth, the p-value of an exact paired test, and what follows."""
    ### BEGIN SOLUTION
    def at_most(successes, n, chance):
        """Return P(X <= successes) of a binomial X, by logarithms: the coefficients are larger than any float."""
        log = math.lgamma(n + 1)
        terms = (
            math.exp(log - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(chance) + (n - i) * math.log1p(-chance))
            for i in range(successes + 1)
        )
        return math.fsum(terms)

    rescued = sum(a and not b for a, b in zip(right, shuffled, strict=True))
    spoiled = sum(b and not a for a, b in zip(right, shuffled, strict=True))
    p = min(1.0, 2 * at_most(min(rescued, spoiled), rescued + spoiled, 0.5)) if rescued + spoiled else 1.0
    if p < 0.05 and rescued > spoiled:
        told = "labels"
    else:
        told = "not the labels" if at_most(rescued, len(right), least) < 0.05 else "cannot tell"
    return (rescued - spoiled) / len(right), p, told
    ### END SOLUTION

# %% verdict-check
right, shuffled = [True] * 60 + [False] * 40, [True] * 52 + [False] * 46 + [True] * 2
difference, p, told = verdict(right, shuffled, 0.1)
print(f"{difference:.2f}, p = {p:.3f}: {told}")
assert abs(difference - 0.06) < 1e-9 and abs(p - 2 * 56 / 1024) < 1e-9 and told == "cannot tell"
assert verdict([True, False] * 100, [True, False] * 100, 0.1)[1:] == (1.0, "not the labels")
assert verdict([True, False] * 5, [True, False] * 5, 0.1)[1:] == (1.0, "cannot tell")
pooled = math.erfc(0.06 / math.sqrt(2 * 0.57 * 0.43 / 100) / math.sqrt(2))
print(f"a test that does not know that the questions are the same: p = {pooled:.2f}")

# %% crossing-text [markdown]
# ## 5. From how many labels on? (5 points)
#
# With few labels, show them; with many, train on them. Somewhere between is a crossing, and a table of noisy runs has to say where.
#
# Write `crossing(sizes, shown, trained)`. `sizes` is an array of numbers of labels, in rising order. `shown` and `trained` are arrays of
# shape (runs, sizes): the accuracy of in-context learning and of fine-tuning. A row of both is one draw of the data, which may be an easy
# or a hard one for both. Return from how many labels on training is ahead of showing, in the typical run. That need not be one of
# `sizes`. If training is ahead from the first size on, return the first size; if it is not ahead at the last one, return `math.inf`.
#
# In the typical run training stays ahead once it is. But every accuracy is noisy, and now and then a training fails altogether and ends
# near chance. Such a failure says something about training, but not about the typical run.
#
# It is marked on 120 tables that you do not see, made by the same function as those below. An answer is right if it is within a factor of
# 1.5 of the truth. There is a point for an answer in the right form to each, one for 50 % right, one for 80 %, and two for 88 %. You have
# ten seconds a table.
#
# Before you write: print one table. At how many places does the mean of `trained - shown` change its sign?

# %% crossing-make
def make_table(seed, runs=5):
    """Return the sizes, the accuracies of both in some runs, and the true crossing."""
    rng, sizes, x = np.random.default_rng(seed), 2 ** np.arange(1, 10), np.linspace(1, 9, 801)
    lead = np.zeros(801)
    # The ends are not too close to call, and training that is ahead stays ahead.
    while min(abs(lead[0]), abs(lead[-1])) < 0.04 or (np.diff(np.sign(lead)) < 0).any():
        rise, top, middle = rng.uniform(0.1, 0.45), rng.uniform(0.2, 0.48), rng.uniform(0, 8)
        shown, trained = 0.5 + rise * (1 - np.exp(-x / 2)), 0.5 + top / (1 + np.exp((middle - x) / 0.8))
        lead = trained - shown
    ahead = np.flatnonzero(lead <= 0)[-1:] + 1
    truth = 2.0 if not len(ahead) else math.inf if ahead[0] == 801 else float(2 ** x[ahead[0]])
    level = rng.normal(0, 0.05, size=(runs, 1))  # easy and hard draws
    shown, trained = (curve[::100] + level + rng.normal(0, 0.03, size=(runs, 9)) for curve in (shown, trained))
    failed = rng.random(trained.shape) < 0.1
    trained[failed] = rng.normal(0.5, 0.03, size=failed.sum())
    return sizes, shown.clip(0, 1), trained.clip(0, 1), truth

# %% crossing
def crossing(sizes, shown, trained):
    """Return from how many labels on training is ahead in the typical run; math.inf if it is not ahead at the last size."""
    ### BEGIN SOLUTION
    # Paired, a run's own difficulty drops out; a median does not mind failures.
    leads = np.median(np.asarray(trained) - np.asarray(shown), axis=0)
    # The rising curve that is nearest to it: neighbors that fall are replaced by their mean, until none fall.
    blocks = []
    for lead in leads:
        blocks.append((lead, 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (one, m), (other, n) = blocks[-2:]
            blocks[-2:] = [((m * one + n * other) / (m + n), m + n)]
    leads = np.concatenate([np.full(n, lead) for lead, n in blocks])
    behind = np.flatnonzero(leads <= 0)
    if not len(behind):
        return float(sizes[0])
    last = behind[-1]
    if last == len(leads) - 1:
        return math.inf
    x = np.log2(sizes)
    part = -leads[last] / (leads[last + 1] - leads[last])
    return float(2 ** (x[last] + part * (x[last + 1] - x[last])))
    ### END SOLUTION

# %% crossing-check
def hit(found, truth):
    return found == truth if math.isinf(truth) or math.isinf(found) else abs(math.log(found / truth)) <= math.log(1.5)


tables = [make_table(seed) for seed in range(200)]
ahead_at = [np.flatnonzero((trained - shown).mean(0) > 0) for _, shown, trained, _ in tables]
plain = [float(sizes[places[0]]) if len(places) else math.inf for (sizes, *_), places in zip(tables, ahead_at)]
print("the first size at which the mean is ahead:", np.mean([hit(found, table[3]) for found, table in zip(plain, tables)]))
print("yours:", np.mean([hit(crossing(*table[:3]), table[3]) for table in tables]))
