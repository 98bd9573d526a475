"""Hidden checks of 01a. They know the answers by another road than the solution: by hand, by a slower formula, or by a property."""

import functools
import math
import random

import numpy as np

from finetunelab.grading.checks import check, close, number
from finetunelab.grading.wire import Ref

MEAN_GAP = Ref("mean_gap")

# 1. New words -----------------------------------------------------------------------------------------------------------------


@check("new_word_share", "Words that stand there often count often.", hint="Count running words, not kinds of words.")
def words_run(call):
    return close(call("new_word_share", ["a b c"], ["a d d d", "b e"]), 4 / 6)


@check(
    "new_word_share", "The share is one of the target's words, over all its texts.",
    hint="Divide by the number of words of the target, once.",
)
def words_of_target(call):
    rng = random.Random(3)
    draw = lambda kinds, n: [" ".join(rng.choice(kinds) for _ in range(rng.randint(1, 9))) for _ in range(n)]  # noqa: E731
    source, target = draw("abcdefgh", 30), draw("ABCDefghijklmnop", 11)
    words = " ".join(target).lower().split()
    return close(call("new_word_share", source, target), sum(word > "h" for word in words) / len(words))


@check("new_word_share", "Texts without words are no trouble.", hint="What do you divide by if the target is empty?")
def words_absent(call):
    return close(call("new_word_share", ["a"], ["", "  "]), 0) and close(call("new_word_share", [], ["a b"]), 1)


# 2. The error on the right part -----------------------------------------------------------------------------------------------


def _examples(seed, n=60, apart=1.5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    features = rng.normal(size=(n, 3)) + apart * labels[:, None]
    part = ["train" if i % 3 else "test" for i in range(n)]
    return features, labels, part


def _error(features, labels, part):
    sums, counts = {0: np.zeros(features.shape[1]), 1: np.zeros(features.shape[1])}, {0: 0, 1: 0}
    for row, label, where in zip(features, labels, part):
        if where == "train":
            sums[int(label)] += row
            counts[int(label)] += 1
    wrong = of = 0
    for row, label, where in zip(features, labels, part):
        if where == "test":
            away = [math.dist(row, sums[k] / counts[k]) for k in (0, 1)]
            wrong += int(away[1] < away[0]) != label
            of += 1
    return (wrong + 1) / (of + 2)


@check(
    "test_error", "The rate is that of the test examples, with pseudo-counts.",
    hint="Count mistakes where part is test, add one; divide by n + 2.",
)
def error_rate(call):
    return all(close(call("test_error", *example), _error(*example)) for example in map(_examples, range(5)))


@check("test_error", "Test examples have no say in the means.", hint="Which rows go into the means?")
def error_apart(call):
    # One far test example would drag the mean of its class away, and be right.
    features, labels = np.array([[0.0], [1.0], [4.0], [5.0], [400.0], [4.4], [4.5]]), np.array([0, 0, 1, 1, 0, 1, 1])
    return close(call("test_error", features, labels, ["train"] * 4 + ["test"] * 3), 2 / 5)


@check("test_error", "Perfect and hopeless classifiers get the ends of the range.", hint="Is class 1 the class of the second mean?")
def error_ends(call):
    features, part = np.array([[0.0], [9.0], [1.0], [8.0]]), ["train", "train", "test", "test"]
    return close(call("test_error", features, np.array([1, 0, 1, 0]), part), 1 / 4) and close(
        call("test_error", features, np.array([1, 0, 0, 1]), part), 3 / 4)


@check("test_error", "The parts may stand in any order.", hint="Do not rely on training examples standing first.")
def error_order(call):
    features, labels, part = _examples(17, n=45, apart=0.7)
    order = np.random.default_rng(1).permutation(45)
    found = call("test_error", features[order], labels[order], [part[i] for i in order])
    return close(found, _error(features, labels, part))


# 3. A split without twins -----------------------------------------------------------------------------------------------------


def _parts(value):
    parts = [list(map(number, part)) for part in value]
    return [set(part) for part in parts] if len(parts) == 3 and all(len(set(part)) == len(part) for part in parts) else None


@check("split", "Every place stands in exactly one list.", hint="No place may be lost or stand twice.")
def split_whole(call):
    for n in (5, 23, 100):
        parts = _parts(call("split", [f"text {i}" for i in range(n)], 4))
        if not parts or set.union(*parts) != set(range(n)) or sum(map(len, parts)) != n:
            return False
    return True


@check("split", "Twins land in the same list, however they are spelled.", hint="Divide groups of equal texts, not single texts.")
def split_twins(call):
    rng = random.Random(8)
    texts = [rng.choice(["Win {}", "win {} ", " WIN  {}"]).format(rng.randrange(40)) for _ in range(150)]
    parts = _parts(call("split", texts, 2))
    plain = [{" ".join(texts[int(i)].lower().split()) for i in part} for part in parts]
    return sum(map(len, plain)) == len(set.union(*plain)) and sum(map(len, parts)) == 150


@check("split", "The lists have about 60, 20 and 20 %.", hint="The middle list is for validation; compare the three lengths.")
def split_shares(call):
    sizes = list(map(len, _parts(call("split", [f"text {i}" for i in range(200)], 9))))
    return all(abs(size - wanted) <= 1 for size, wanted in zip(sizes, (120, 40, 40)))


@check("split", "The seed decides, and the order of the texts does not.", hint="Shuffle with the seed before you divide.")
def split_seed(call):
    texts = [f"text {i}" for i in range(60)]
    first, again, other = (_parts(call("split", texts, seed)) for seed in (1, 1, 2))
    return first == again and first[2] != other[2] and first[0] != set(range(36))


# 4. MMD -----------------------------------------------------------------------------------------------------------------------


def _mmd2(x, y, width):
    likeness = lambda a, b: math.exp(-sum((p - q) ** 2 for p, q in zip(a, b)) / width)  # noqa: E731
    pairs = lambda a: [(p, q) for i, p in enumerate(a) for j, q in enumerate(a) if i != j]  # noqa: E731
    within = lambda a: sum(likeness(p, q) for p, q in pairs(a)) / len(pairs(a))  # noqa: E731
    return within(x) + within(y) - 2 * sum(likeness(a, b) for a in x for b in y) / (len(x) * len(y))


def _samples(seed, n, m, d=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.4


@check("mmd2", "The value is that of the formula.", hint="Compare with three nested sums over two vectors each.")
def mmd_value(call):
    return all(close(call("mmd2", *_samples(seed, 9, 9), 4.0), _mmd2(*_samples(seed, 9, 9), 4.0)) for seed in range(3))


@check("mmd2", "The samples may differ in size.", hint="Each sum has its own number of terms.")
def mmd_sizes(call):
    return all(close(call("mmd2", *_samples(5, n, m), 2.0), _mmd2(*_samples(5, n, m), 2.0)) for n, m in ((2, 11), (14, 3)))


@check("mmd2", "On average it is zero for samples of one distribution.", hint="Leave out the comparisons of a vector with itself.")
def mmd_unbiased(call):
    rng = np.random.default_rng(11)
    values = [number(call("mmd2", rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), 2.0)) for _ in range(60)]
    return abs(np.mean(values)) < 0.05 and min(values) < 0


@check("mmd2", "The width of the kernel counts.", hint="The squared distance is divided by the width, and by nothing else.")
def mmd_width(call):
    x, y = _samples(7, 8, 8)
    return all(close(call("mmd2", x, y, width), _mmd2(x, y, width)) for width in (0.3, 1.0, 50.0))


# 5. Permutation test ----------------------------------------------------------------------------------------------------------


def _p(call, x, y, permutations=99, seed=0):
    return number(call("permutation_p", x, y, MEAN_GAP, permutations, seed))


@check(
    "permutation_p", "Where the samples are far apart, p is as small as it can be, and not zero.",
    hint="Count the observed division, above and below.",
)
def p_smallest(call):
    x, y = np.zeros((15, 2)), np.full((20, 2), 5.0)
    return close(_p(call, x, y, 99), 1 / 100) and close(_p(call, x, y, 19, 3), 1 / 20)


@check("permutation_p", "Divisions that are just as far apart count.", hint="Use at least, with a little room for rounding.")
def p_ties(call):
    return close(_p(call, np.full((6, 2), 3.1), np.full((9, 2), 3.1), 49), 1)


@check(
    "permutation_p", "Where there is no difference, every p value is as likely as another.",
    hint="Divide all vectors anew, into n and m of them.",
)
def p_uniform(call):
    rng = np.random.default_rng(21)
    found = [_p(call, rng.normal(size=(8, 2)), rng.normal(size=(20, 2)), 39, seed) for seed in range(80)]
    steps = all(abs(p * 40 - round(p * 40)) < 1e-6 and 1 <= round(p * 40) <= 40 for p in found)
    return bool(steps and 0.38 < np.mean(found) < 0.64 and np.std(found) > 0.2)


@check("permutation_p", "The seed decides, and the samples stay as they are.", hint="Shuffle a copy, with a generator made from the seed.")
def p_seed(call):
    x, y = _samples(33, 12, 12)
    (first, after), again = call("permutation_p", x, y, MEAN_GAP, 199, 5, after=True), _p(call, x, y, 199, 5)
    others = {_p(call, x, y, 199, seed) for seed in range(6, 12)}
    return close(first, again) and len(others) > 1 and np.array_equal(after[0], x) and np.array_equal(after[1], y)


# 6. Labels needed -------------------------------------------------------------------------------------------------------------


def _needed(call, amounts, scores, target, amount, bound):
    found = call("labels_needed", amounts, scores, target)
    return len(found) == 2 and close(found[0], amount, 1e-4) and found[1] == bound


@check(
    "labels_needed", "Between two points the line is straight in the logarithm.",
    hint="Interpolate the logarithms, then undo the logarithm.",
)
def needed_log(call):
    return _needed(call, [8, 32, 128, 512], [0.5, 0.6, 0.8, 0.9], 0.75, 32 * 4**0.75, "=") and _needed(
        call, [1, 1024], [0.0, 1.0], 0.3, 2**3, "=")


@check("labels_needed", "Outside the curve only a bound is known.", hint="Which amount was enough, and which was not?")
def needed_bounds(call):
    curve = [16, 64, 256], [0.7, 0.8, 0.85]
    return _needed(call, *curve, 0.65, 16, "<=") and _needed(call, *curve, 0.9, 256, ">")


@check("labels_needed", "A score that just meets the target reaches it.", hint="At least, at both ends.")
def needed_exact(call):
    curve = [16, 64, 256], [0.7, 0.8, 0.85]
    return (_needed(call, *curve, 0.7, 16, "<=") and _needed(call, *curve, 0.8, 64, "=") and _needed(call, *curve, 0.85, 256, "=")
            and _needed(call, [50], [0.9], 0.9, 50, "<="))


@check("labels_needed", "In a curve that wobbles the first reach counts.", hint="Go from left to right and stop at the first.")
def needed_first(call):
    return _needed(call, [10, 100, 1000, 10000], [0.5, 0.7, 0.55, 0.9], 0.6, 10 * 10**0.5, "=")


# 7. Replay --------------------------------------------------------------------------------------------------------------------


def _mixed(call, n, share, seed=0):
    new, old = [f"new {i}" for i in range(n)], [f"old {i}" for i in range(2000)]
    return new, call("mix_replay", new, old, share, seed)


@check("mix_replay", "The share is one of the whole list.", hint="New and old together make the whole.")
def replay_share(call):
    for n, share, wanted in ((100, 0.5, 100), (300, 0.25, 100), (70, 0.3, 30), (10, 0.9, 90), (40, 0.0, 0)):
        new, mixed = _mixed(call, n, share)
        if len(mixed) != n + wanted or sum(item.startswith("old") for item in mixed) != wanted:
            return False
    return True


@check("mix_replay", "All new ones are there, and no old one twice.", hint="Draw without putting back.")
def replay_whole(call):
    new, mixed = _mixed(call, 150, 0.9, 4)  # 1350 of 2000 old ones
    return len(set(mixed)) == 1500 == len(mixed) and set(new) <= set(mixed)


@check(
    "mix_replay", "Old ones stand among the new, as the seed decides; nothing else changes.",
    hint="Shuffle the result, not what you were given.",
)
def replay_order(call):
    new, old = list(range(80)), list(range(1000, 1200))
    first, after = call("mix_replay", new, old, 0.5, 1, after=True)
    again, other = call("mix_replay", new, old, 0.5, 1), call("mix_replay", new, old, 0.5, 2)
    among = sum(item >= 1000 for item in first[:80])
    drawn = {item for item in first if item >= 1000}
    return first == again and first != other and 20 < among < 60 and after[:2] == [new, old] and drawn != set(range(1000, 1080))


# 8. The detector --------------------------------------------------------------------------------------------------------------


@functools.lru_cache
def _draw(seed):
    from finetunelab.worlds.baseline import labelled

    train, test = labelled("posts", "spam", 200, "train", seed), labelled("posts", "spam", 400, "test", seed)
    return (*labelled("mail", "spam", 400, "train", seed), *train, test[0]), np.array(test[1])


def _accuracy(call):
    if "accuracy" not in call.memory:
        shares = []
        for seed in (41_007, 41_020):
            given, truth = _draw(seed)
            answer = [number(label) for label in call("detect_spam", *given)]
            if len(answer) != len(truth) or not set(answer) <= {0, 1}:
                raise ValueError
            shares.append(np.mean(np.array(answer) == truth))
        call.memory["accuracy"] = float(np.mean(shares))
    return call.memory["accuracy"]


@check("detect_spam", "There is an answer, 0 or 1, for each post.", hint="One label for each, in their order, within ten seconds.")
def detects(call):
    return _accuracy(call) >= 0


@check(
    "detect_spam", "It is better than guessing, and than what letters alone teach.",
    hint="Learn from the posts; are the labels the right way round?",
)
def detects_some(call):
    return _accuracy(call) >= 0.60


@check("detect_spam", "It finds its way among posts.", hint="Compare with words as features, on posts that you set aside.")
def detects_well(call):
    return _accuracy(call) >= 0.68


@check("detect_spam", "It makes good use of two hundred labels.", hint="Try more than one set of features and choose on posts set aside.")
def detects_very_well(call):
    return _accuracy(call) >= 0.75
