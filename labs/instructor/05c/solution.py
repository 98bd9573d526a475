# %% title [markdown]
# # 05c Changing facts: exercises
#
# Five functions about facts that change and facts that are private. The first four take five to twenty lines each; the last one is open.
# Nothing is trained here, and no language model is needed: numpy and Python's own library are enough.
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

# %% day-text [markdown]
# ## 1. True on which day? (6 points)
#
# A model that was trained last month gives answers that were true last month. To tell them from mere inventions, one has to know what was
# true when.
#
# Write `on_day(statements, fact, day, answer)`. `statements` is a list of `(fact, value, day)` in the order in which the paper printed
# them. `("judge", "Ida Holm", 5)` says that Ida Holm is the judge from day 5 on, until another statement about the judge takes over. The
# days are whole numbers and need not be in order: a statement may come late, and it may be about a day that is still to come.
#
# - Of two statements about the same fact from the same day on, the one printed later corrects the other, which was never true.
# - A statement whose value is `None` takes back what was printed before it about this fact from just this day on. It is as if that had
#   never been printed: what held before goes on. It may be printed anew after that.
# - A value is a text or a number. 0 is a value like any other.
#
# Return three things:
#
# 1. what holds on `day`, or `None` if nothing does;
# 2. whether the answer, a text or a number, is `"right"`, or `"outdated"` (it does not hold on `day`, but did on an earlier day), or
#    `"never true"` (until `day`; what comes later does not count);
# 3. for a right answer the first day of the stretch without a gap in which it has held until `day`; for an outdated one the last day on
#    which it held; else `None`. A statement that only repeats what holds begins no new stretch.

# %% day
def on_day(statements, fact, day, answer):
    """Return what holds on a day, whether an answer is right, outdated or never true, and since or until when."""
    ### BEGIN SOLUTION
    said = {}
    for about, value, since in statements:
        if about == fact:
            said[since] = value  # the later one corrects, and None takes back
    turns = sorted(since for since, value in said.items() if value is not None and since <= day)
    holds = said[turns[-1]] if turns else None
    ends = [following - 1 for following in turns[1:]] + [day]
    first = last = None
    for start, end in zip(turns, ends):
        if said[start] != answer:
            continue
        if last is None or last < start - 1:
            first = start
        last = end
    if last is None:
        return holds, "never true", None
    return (holds, "right", first) if last == day else (holds, "outdated", last)
    ### END SOLUTION

# %% day-check
printed = [("judge", "Ida", 1), ("soup", "leek", 1), ("judge", "Bo", 4), ("judge", "Ida", 9), ("soup", "pea", 3), ("soup", None, 3)]
assert on_day(printed, "judge", 5, "Bo") == ("Bo", "right", 4)
assert on_day(printed, "judge", 5, "Ida") == ("Bo", "outdated", 3)
assert on_day(printed, "judge", 3, "Bo") == ("Ida", "never true", None)
assert on_day(printed, "soup", 5, "pea") == ("leek", "never true", None)

# %% cost-text [markdown]
# ## 2. What is cheapest, and until when? (6 points)
#
# Training pays by the night, retrieval by the question, and a larger machine is paid for once. Which way is the cheapest depends on how
# many questions there are.
#
# Write `cheapest(ways, days, asked)`. `ways` is a dict from the name of a way to `(once, a_day, a_question)`: what it costs once, each day
# whether or not anybody asks, and for each question. It will be used for `days` days with the same number of questions on each; so the
# one-off cost is paid once in `days` days. Return two things:
#
# 1. the name of the way that costs least in all if there are `asked` questions a day;
# 2. a list of `(number, name)`, in rising order: all numbers of questions a day at which the cheapest way becomes another one, each with
#    its name. The number is the smallest whole number at which the new one is the cheapest. What is cheapest at 0 questions is no change.
#
# Of ways that cost the same, the one that costs less for a question counts as cheaper; if that is the same, too, the one that stands first
# in the dict.
#
# All costs are whole numbers, zero or more. FLOPs may have twenty digits, and a number of questions nine: you cannot try them all,
# and the answer must be exact. Raise a `ValueError` if there are no ways, or fewer than one day.

# %% cost
def cheapest(ways, days, asked):
    """Return the way that is cheapest for a number of questions a day, and all numbers at which another becomes the cheapest."""
    ### BEGIN SOLUTION
    if not ways or days < 1:
        raise ValueError("no ways or no days")
    lines = {name: (once + days * a_day, days * a_question) for name, (once, a_day, a_question) in ways.items()}

    def best(number):
        return min(lines, key=lambda name: (lines[name][0] + number * lines[name][1], lines[name][1]))  # min takes the first of equals

    changes, now = [], best(0)
    while True:
        fixed, slope = lines[now]
        # Whoever overtakes costs less for a question. Minus before and behind // rounds up, without floats.
        meets = [-((fixed - other) // (slope - less)) for other, less in lines.values() if less < slope]
        if not meets:
            return best(asked), changes
        number = min(meets)
        now = best(number)
        changes.append((number, now))
    ### END SOLUTION

# %% cost-check
ways = {"nightly": (0, 1000, 2), "retrieved": (0, 10, 5), "both": (0, 1100, 6)}
assert cheapest(ways, 30, 100) == ("retrieved", [(330, "nightly")])
assert cheapest(ways, 30, 330) == ("nightly", [(330, "nightly")])
assert cheapest({"bought": (900, 0, 1), "rented": (0, 0, 4)}, 30, 7) == ("rented", [(10, "bought")])

# %% bound-text [markdown]
# ## 3. No leak in so many attempts (6 points)
#
# Nothing leaked in 80 attempts. That does not show that nothing ever will: how high may the true rate be?
#
# Write `bound(leaks, attempts, rate, confidence)`. Return two things:
#
# 1. Clopper and Pearson's upper bound of the rate, *one-sided*: the largest rate at which `leaks` or fewer in `attempts` independent
#    attempts still have a probability of at least $1 - \text{confidence}$. If all attempts leaked it is 1. (An interval that is bounded
#    on both sides has half of the doubt on each; its upper end is higher. Here all of the doubt is on the one side that worries us.)
# 2. How many attempts are needed at least to show a rate of at most `rate` if none of them leaks: the smallest number for which the
#    bound above, with 0 leaks, is at most `rate`. A whole number.
#
# The probability of at most k leaks in n attempts at rate p is $\sum_{i=0}^{k} \binom{n}{i} p^i (1-p)^{n-i}$. It falls as p rises, so one
# can close in on the bound from both sides. There may be millions of attempts and thousands of leaks, and rates as small as a billionth:
# the bound must be right to a millionth *of itself*, and the number to the last digit. Do not let a large number overflow or a small one
# vanish beside a one.
#
# Raise a `ValueError` unless there is at least one attempt and `leaks` is between 0 and `attempts`, and unless `rate` and `confidence` lie
# between 0 and 1, both excluded.

# %% bound
def bound(leaks, attempts, rate, confidence):
    """Return the one-sided upper bound of the rate of leaks, and how many attempts without one show a rate."""
    ### BEGIN SOLUTION
    if attempts < 1 or not 0 <= leaks <= attempts or not 0 < rate < 1 or not 0 < confidence < 1:
        raise ValueError("no such attempts, rate or confidence")
    doubt = math.log1p(-confidence)
    number = math.ceil(doubt / math.log1p(-rate))
    if leaks == attempts:
        return 1.0, number
    i = np.arange(leaks + 1)
    # Logarithms throughout: of (n over i), each from the one before it, and of the sum, with the largest term taken out.
    ways = np.concatenate([[0.0], np.log((attempts - i[:-1]) / i[1:]).cumsum()])
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        terms = ways + i * math.log(middle) + (attempts - i) * math.log1p(-middle)
        likely = terms.max() + math.log(np.exp(terms - terms.max()).sum()) >= doubt
        low, high = (middle, high) if likely else (low, middle)
    return low, number
    ### END SOLUTION

# %% bound-check
upper, number = bound(0, 80, 0.01, 0.95)
assert abs(upper - (1 - 0.05 ** (1 / 80))) < 1e-9 and number == 299
assert abs(bound(1, 2, 0.01, 0.75)[0] - math.sqrt(0.75)) < 1e-9  # one of two: 1 - p * p is a quarter
assert bound(3, 3, 0.5, 0.95) == (1.0, 5)

# %% search-text [markdown]
# ## 4. First who, then what (6 points)
#
# A search that looks for the nearest memories first, and drops afterwards what the asker may not see, finds too little when others'
# memories are nearer. One that forgets to drop them is worse.
#
# Write `search(query, vectors, owners, readers, deleted, asker, k)`. For each memory i there is a row `vectors[i]`, the name `owners[i]` of
# who told it, a list `readers[i]` of the names with whom it is shared, and `deleted[i]`, True if it was deleted. `query` is a vector, and
# `asker` the name of who asks. Return a list of places, as whole numbers: the k nearest of the memories that the asker may see, nearest
# first.
#
# - Nearer is what has the larger inner product with the query. Of equally near ones the smaller place comes first.
# - The asker may see a memory of the asker's own, and one that is shared with the asker. Names are the same only letter for letter. A
#   memory is shared by itself: the owner's other memories are not, and it gives the owner no right to see anything.
# - Nobody may see what was deleted. Its vector may hold anything by then, even `nan`.
# - If nobody is logged in, `asker` is None, and sees nothing. If the owner has left, `owners[i]` is None: the memory belongs to
#   nobody, and only those with whom it is shared see it.
# - If the asker may see fewer than k, return these. A `ValueError` is due if k is smaller than 1.

# %% search
def search(query, vectors, owners, readers, deleted, asker, k):
    """Return the places of the k nearest memories that the asker may see."""
    ### BEGIN SOLUTION
    if k < 1:
        raise ValueError(f"{k} memories were asked for")
    if asker is None:
        return []
    seen = [i for i, owner in enumerate(owners) if not deleted[i] and (owner == asker or asker in readers[i])]
    near = np.asarray(vectors, dtype=float)[seen] @ np.asarray(query, dtype=float)
    return [seen[i] for i in np.argsort(-near, kind="stable")[:k]]
    ### END SOLUTION

# %% search-check
told = np.array([[4.0, 0.0], [3.0, 1.0], [2.0, 0.0], [1.0, 5.0], [5.0, 5.0]])
owners, readers, gone = ["Bo", "Bo", "Ida", "Ida", "Ida"], [[], ["Ida"], [], [], []], [False, False, False, False, True]
assert list(search([1.0, 0.0], told, owners, readers, gone, "Ida", 2)) == [1, 2]
assert list(search([1.0, 0.0], told, owners, readers, gone, "Bo", 3)) == [0, 1]
assert list(search([1.0, 0.0], told, owners, readers, gone, "Cy", 3)) == []

# %% leaks-text [markdown]
# ## 5. Did it leak? (6 points)
#
# A rate of leaks is no better than what counts them. A plain search for the secret's letters misses a secret that is spelled out,
# and sees one in every longer word.
#
# Write `leaks(replies, askers, secrets)`. `replies` is a list of texts, `askers[i]` is the name of who got reply i, and `secrets` is a dict
# from each name to the list of values that this user has told. Return a list with one truth value for each reply: whether it leaks.
#
# A reply leaks if it names a value that somebody has told and its asker has not. Capitals make no difference, nor does white space or
# punctuation between the letters or digits of a value, or that there is none: `Green-Tea`, `g.r.e.e.n t.e.a` and `greentea` all name "green
# tea". A part of a longer word or number names nothing: "pea" is not named by "peacock", nor "64" by "1264", "64.5" or "2.64". And what
# stands within a value of the asker's own is the asker's to know: if I have told that I like green tea, you may say so to me, though
# somebody else has told "tea".
#
# It is marked on four draws that you do not see, made by the same function `draw` as the one below, by two numbers: precision (of the
# replies that you call a leak, how many are) and recall (of those that leak, how many you find). There is a point for an answer in the
# right form, one if both numbers are at least 0.65, two for 0.85, and two for 0.98. A call may take ten seconds.
#
# Before you write: print some replies that leak and some that do not. What would make you miss one, and what would make you cry wolf?

# %% leaks-values
HIDING = {  # values of one word, and a longer word that each is a part of
    "pea": "peacock", "ash": "cashier", "oak": "soaking", "rose": "prose", "ham": "chamber", "tea": "steady", "cat": "catalog",
    "red": "hundred", "owl": "bowling", "corn": "acorns", "rum": "drummer", "fig": "figure",
}
PAIRS = ["red wine", "green tea", "black cat", "ham and eggs", "rose garden", "corn bread", "old oak", "night shift", "Harbor Street"]
NUMBERS = ["47", "64", "12", "318", "4718", "2064", "5150", "90210"]
VALUES = [*HIDING, *PAIRS, *NUMBERS]
NAMES = ["Ada", "Bo", "Cy", "Dora", "Eli", "Fay", "Gus", "Hal", "Ida", "Jon"]
FRAMES = ["You once said {}.", "I have noted {} for you.", "It must be {}, I think.", "My notes say: {}!", "Is it not {}?", "Why not ({})?"]

# %% leaks-words
def worded(rng, value):
    """Return a value in some wording: as it is, in capitals, with other white space, or spelled out."""
    how = rng.randrange(6)
    if how < 2:
        return value
    if how < 4:
        return rng.choice([value.upper(), value.title(), value.replace(" ", rng.choice(["\n", "  ", "-", ", ", ""]))])
    if value.isdigit():
        cut = rng.randrange(1, len(value))
        return value[:cut] + rng.choice([" ", "-", "/"]) + value[cut:]
    return rng.choice(["-", ".", " ", "_"]).join(value.replace(" ", ""))


def part(rng, value):
    """Return a longer word or number that has a value in it, and does not name it."""
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    return rng.choice([f"{a}{value}{b}", f"{value}.{b}", f"{a}.{value}"]) if value.isdigit() else HIDING[value]

# %% leaks-draw
def draw(seed, n=250):
    """Return replies, who got them, what everybody has told, and which of the replies leak."""
    rng = random.Random(seed)
    secrets = {name: rng.sample(VALUES, 4) for name in NAMES}
    replies, askers, truth = [], [], []
    for _ in range(n):
        asker = rng.choice(NAMES)
        foreign = sorted({value for told in secrets.values() for value in told} - set(secrets[asker]))
        harmless = [value for value in VALUES if value not in secrets[asker] and not any(other in value for other in foreign)]
        kinds = rng.choices(["own", "foreign", "part", "harmless"], [4, 3, 4, 1], k=rng.choice([1, 2, 2, 3]))
        said = []
        for kind in kinds:
            pool = {"own": secrets[asker], "foreign": foreign, "part": [*HIDING, *NUMBERS], "harmless": harmless or ["nothing"]}[kind]
            value = rng.choice(pool)
            said.append(rng.choice(FRAMES).format(part(rng, value) if kind == "part" else worded(rng, value)))
        replies.append(" ".join(said))
        askers.append(asker)
        truth.append("foreign" in kinds)
    return replies, askers, secrets, truth

# %% leaks
def leaks(replies, askers, secrets):
    """Return for each reply whether it names a value that is not its asker's to know."""
    ### BEGIN SOLUTION
    def pattern(value):
        letters = [letter for letter in value.lower() if letter.isalnum()]
        spelled = r"[\W_]*".join(map(re.escape, letters))
        # No word goes on, and no number does, across its point or comma.
        return re.compile(rf"(?<!\w)(?<!\d[.,](?=\d)){spelled}(?!\w)(?!(?<=\d)[.,]\d)")

    patterns = {value: pattern(value) for told in secrets.values() for value in told}

    def spans(values, reply):
        return [match.span() for value in values for match in patterns[value].finditer(reply.lower())]

    found = []
    for reply, asker in zip(replies, askers, strict=True):
        mine = secrets.get(asker, [])
        own, others = spans(mine, reply), spans([value for value in patterns if value not in mine], reply)
        found.append(any(not any(a <= start and end <= b for a, b in own) for start, end in others))
    return found
    ### END SOLUTION

# %% leaks-check
def precision_and_recall(found, truth):
    both = sum(1 for yes, leak in zip(found, truth, strict=True) if yes and leak)
    return both / max(1, sum(map(bool, found))), both / sum(truth)


replies, askers, secrets, truth = draw(0)
told = [[value for name in secrets if name != asker for value in secrets[name]] for asker in askers]
plain = [any(value in reply for value in others) for reply, others in zip(replies, told)]
for name, found in {"yours": leaks(replies, askers, secrets), "letters alone": plain, "always": [True] * len(replies)}.items():
    print(f"{name:14} precision {{:.2f}}   recall {{:.2f}}".format(*precision_and_recall(found, truth)))
