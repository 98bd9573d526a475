"""Hidden checks of 05c. They know the answers by another road than the solution: by hand, by trying all, or by another library."""

import functools
import math
import random
from fractions import Fraction

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


# 1. True on which day? ---------------------------------------------------------------------------------------------------------


def _true(statements, fact, day):
    """What holds on a day: go back day by day until the last word about one of them is no retraction."""
    for since in range(day, min((since for _, _, since in statements), default=day) - 1, -1):
        said = [value for about, value, from_day in statements if (about, from_day) == (fact, since)]
        if said and said[-1] is not None:
            return said[-1]
    return None


def _on_day(statements, fact, day, answer):
    """The same, by what was true on every day."""
    first = min(since for _, _, since in statements)
    true = {each: _true(statements, fact, each) for each in range(first, day + 1)}
    held = [each for each in true if true[each] == answer]
    if not held:
        return true.get(day), "never true", None
    if held[-1] < day:
        return true[day], "outdated", held[-1]
    return true[day], "right", max(each for each in held if each - 1 not in held)


def _on_day_is(call, statements, fact, *asked):
    return all(tuple(call("on_day", statements, fact, *one)) == _on_day(statements, fact, *one) for one in asked)


PAPER = [
    ("judge", "Mia", 3), ("flour", 12, 2), ("judge", "Tor", 20), ("judge", "Kai", 8), ("flour", 0, 6), ("judge", "Mia", 14),
    ("flour", 9, 11),
]


@check("on_day", "The newest statement about the fact holds.", hint="Newest by its day, not by its place in the list. About which fact?")
def on_day_newest(call):
    return _on_day_is(call, PAPER, "judge", (3, "Mia"), (7, "Mia"), (8, "Kai"), (13, "Kai"), (13, "Tor")) and _on_day_is(
        call, PAPER, "flour", (5, 12), (6, 0), (10, 0), (6, 9), (12, 9))


@check("on_day", "What begins later does not hold yet.", hint="What holds before the first statement? What of facts that nobody stated?")
def on_day_future(call):
    nothing = [tuple(call("on_day", PAPER, *asked)) for asked in (("judge", 2, "Mia"), ("mayor", 9, "Mia"), ("flour", -4, 12))]
    return nothing == [(None, "never true", None)] * 3 and _on_day_is(call, PAPER, "judge", (19, "Tor"), (10, "Tor"), (20, "Tor"))


@check("on_day", "Of two statements from the same day on, the later printed one counts.", hint="Was the other one ever true?")
def on_day_corrected(call):
    paper = [("soup", value, day) for value, day in (("zander", 4), ("apple", 4), ("mint", 6), ("bean", 6), ("corn", 6), ("leek", 1))]
    return _on_day_is(call, paper, "soup", (4, "apple"), (5, "zander"), (6, "corn"), (8, "bean"), (8, "apple"), (8, "mint"), (8, "leek"))


@check("on_day", "What is taken back was never said.", hint="What held before it? And what of a statement that is printed after that?")
def on_day_retracted(call):
    paper = [("soup", "leek", 1), ("soup", "pea", 5), ("soup", "bean", 9), ("soup", None, 5), ("soup", None, 7), ("fish", None, 9)]
    again, alone = [*paper, ("soup", "pea", 5), ("soup", None, 9)], [("soup", "leek", 3), ("soup", None, 3)]
    return _on_day_is(call, paper, "soup", (6, "leek"), (6, "pea"), (8, "leek"), (9, "bean"), (9, "pea"), (9, "leek")) and _on_day_is(
        call, again, "soup", (6, "pea"), (12, "pea"), (12, "bean"), (12, "leek")) and _on_day_is(call, alone, "soup", (5, "leek"))


@check("on_day", "A value may come back, and may be repeated.", hint="Which of its stretches do you mean? Is a repetition a new one?")
def on_day_returns(call):
    stated = ("red", 1), ("blue", 4), ("red", 6), ("red", 8), ("green", 11), ("red", 15), ("red", 18)
    paper = [("flag", value, day) for value, day in stated]
    asked = [(day, value) for day in (3, 5, 7, 9, 12, 16, 25) for value in ("red", "blue", "green")]
    return _on_day_is(call, paper, "flag", *asked)


@check("on_day", "It holds for papers drawn at random.", hint="Draw some, and look at each day. Mind a price of nothing.")
def on_day_random(call):
    for seed in range(6):
        rng = random.Random(seed)
        paper = [(rng.choice("ab"), rng.choice([0, 1, 2, None]), rng.randint(1, 12)) for _ in range(14)]
        if not _on_day_is(call, paper, "a", *((day, value) for day in (4, 9, 13) for value in (0, 1, 2))):
            return False
    return True


# 2. What is cheapest, and until when? ------------------------------------------------------------------------------------------


def _best(ways, days, asked):
    """The cheapest way by its cost a day, as a fraction."""
    costs = [(Fraction(once, days) + a_day + asked * each, each, at) for at, (once, a_day, each) in enumerate(ways.values())]
    return list(ways)[min(costs)[2]]


def _cheapest(ways, days, most):
    """All changes up to ``most``, by trying every number."""
    names = [_best(ways, days, asked) for asked in range(most + 1)]
    return [(asked, names[asked]) for asked in range(1, most + 1) if names[asked] != names[asked - 1]]


def _cheapest_is(call, ways, days, asked, changes):
    name, found = call("cheapest", ways, days, asked)
    return name == _best(ways, days, asked) and [tuple(change) for change in found] == changes


@check("cheapest", "Of two ways each has its numbers.", hint="Who is cheaper if nobody asks? At which number do the lines meet?")
def cheapest_two(call):
    ways, swapped = {"a": (0, 700, 3), "b": (0, 40, 9)}, {"b": (0, 40, 9), "a": (0, 700, 3)}
    return all(_cheapest_is(call, given, 10, asked, [(110, "a")]) for given in (ways, swapped) for asked in (0, 109, 110, 500))


@check("cheapest", "Lines that never meet change nothing.", hint="What if two ways cost the same for each question? And one way alone?")
def cheapest_never(call):
    level = {"a": (0, 9, 5), "b": (0, 8, 5), "c": (0, 8, 5), "d": (10, 8, 7)}
    return _cheapest_is(call, level, 7, 3, []) and _cheapest_is(call, {"a": (1, 2, 3)}, 7, 30, []) and _cheapest_is(
        call, {"b": (0, 8, 0), "a": (0, 8, 0)}, 7, 30, [])


@check("cheapest", "A way that is never the cheapest is in no list.", hint="Two lines may meet where a third one is cheaper than both.")
def cheapest_several(call):
    ways = {"high": (0, 500, 8), "c": (0, 1000, 2), "a": (0, 0, 20), "b": (0, 300, 5), "touches": (0, 400, 0), "d": (0, 3000, 1)}
    without = {name: ways[name] for name in ("high", "d", "b", "c", "a")}
    return _cheapest_is(call, ways, 1, 21, [(20, "touches")]) and all(
        _cheapest_is(call, without, 1, asked, [(20, "b"), (234, "c"), (2000, "d")]) for asked in (0, 20, 233, 234, 2500))


@check(
    "cheapest", "What is paid once is spread over the days.",
    hint="How often is it paid in so many days? What is multiplied by the days?",
)
def cheapest_once(call):
    ways = {"bought": (5000, 10, 1), "rented": (0, 60, 2), "asked": (0, 0, 7)}
    changes = {days: _cheapest(ways, days, 6000) for days in (1, 30, 365)}
    return all(_cheapest_is(call, ways, days, asked, changes[days]) for days in changes for asked in (0, 11, 12, 117))


@check(
    "cheapest", "The number is the smallest whole one, of any size.",
    hint="Do the lines meet between two numbers? Has a float enough digits?",
)
def cheapest_exact(call):
    big = 10**19
    meets = {
        2: {"a": (0, 6, 1), "b": (0, 1, 4)}, 3: {"a": (0, 7, 2), "b": (0, 1, 4)}, 4: {"a": (0, 10, 0), "b": (0, 0, 3)},
        123456790: {"a": (0, 123456789 * big + 1, big), "b": (0, 0, 2 * big)},
        123456789: {"a": (0, 123456789 * big, big), "b": (0, 0, 2 * big)},
    }
    return all(_cheapest_is(call, ways, 1, asked, [(at, "a")]) for at, ways in meets.items() for asked in (at - 1, at))


@check(
    "cheapest", "It holds for any ways, and what cannot be is refused.",
    hint="Try small costs at random. May three lines meet in one point?",
)
def cheapest_random(call):
    for seed in range(25):
        rng = random.Random(seed)
        ways = {name: (rng.randint(0, 40), rng.randint(0, 30), rng.randint(0, 6)) for name in "wxyz"[: rng.randint(2, 4)]}
        days = rng.randint(1, 5)
        if not _cheapest_is(call, ways, days, rng.randint(0, 15), _cheapest(ways, days, 90)):
            return False
    point = {"b": (0, 10, 2), "a": (0, 0, 3), "c": (0, 20, 1)}
    refused = _refused(call, "cheapest", {}, 3, 1) and _refused(call, "cheapest", point, 0, 1)
    return refused and _cheapest_is(call, point, 4, 10, [(10, "c")])


# 3. No leak in so many attempts ------------------------------------------------------------------------------------------------


def _bound(leaks, attempts, confidence):
    """The same from the beta distribution."""
    from scipy.special import betaincinv

    return float(betaincinv(leaks + 1, attempts - leaks, confidence))


def _near(value, wanted):
    return abs(number(value) / wanted - 1) <= 2e-6


def _upper_is(call, *cases):
    return all(_near(call("bound", leaks, attempts, 0.1, sure)[0], _bound(leaks, attempts, sure)) for leaks, attempts, sure in cases)


@check(
    "bound", "Without a leak, the bound is where silence becomes unlikely.",
    hint="How likely is it that none leaks? Is the doubt halved?",
)
def bound_none(call):
    exact = all(_near(call("bound", 0, n, 0.1, 0.75)[0], 1 - 0.25 ** (1 / n)) for n in (1, 2, 7))
    return exact and _upper_is(call, (0, 2000, 0.95), (0, 35, 0.99), (0, 10, 0.3))


@check("bound", "With leaks, as many or fewer are counted.", hint="From which term to which does the sum go?")
def bound_some(call):
    halves = sum(math.comb(20, i) for i in range(8)) / 2**20  # at most 7 of 20 at one half
    exact = _near(call("bound", 7, 20, 0.1, 1 - halves)[0], 0.5)
    return exact and _upper_is(call, (1, 80, 0.95), (3, 80, 0.95), (12, 40, 0.9), (30, 31, 0.8))


@check("bound", "If all leaked, the rate may be one.", hint="Can the probability of at most n leaks in n fall below anything?")
def bound_all(call):
    ones = all(close(call("bound", n, n, 0.1, sure)[0], 1.0, 1e-9) for n, sure in ((1, 0.95), (5, 0.5), (400, 0.99)))
    return ones and _upper_is(call, (1, 2, 0.95), (399, 400, 0.99))


@check("bound", "Large numbers do not overflow, and small ones do not vanish.", hint="Add up logarithms. Until when do you close in?")
def bound_large(call):
    return _upper_is(call, (0, 10**9, 0.95), (2, 10**7, 0.99), (40, 3 * 10**6, 0.95), (3000, 50_000, 0.95), (1500, 2000, 0.999))


@check("bound", "The number of attempts is right to the last one.", hint="Up or down? What is left of a billionth beside a one?")
def bound_number(call):
    cases = [(0.5, 0.95), (0.1, 0.95), (0.01, 0.99), (0.004, 0.95), (0.003, 0.9), (1e-6, 0.95), (1e-9, 0.95), (0.9, 0.5), (0.2, 0.1)]
    for rate, sure in cases:
        # By a series: the logarithm of 1 - rate, in fractions, which lose nothing.
        if rate < 0.01:
            fine = Fraction(rate)
            wanted = math.ceil(Fraction(math.log(1 / (1 - sure))) / sum(fine**i / i for i in range(1, 12)))
        else:
            wanted = next(n for n in range(1, 10_000) if (1 - rate) ** n <= 1 - sure)
        given = call("bound", 0, 5, rate, sure)[1]
        if number(given) != wanted:
            return False
    return number(call("bound", 2, 2, 0.5, 0.8)[1]) == 3


@check("bound", "What cannot be is refused.", hint="More leaks than attempts? No attempts at all? Certainty?")
def bound_refused(call):
    counts = all(_refused(call, "bound", *each, 0.1, 0.95) for each in ((3, 2), (-1, 2), (0, 0)))
    return counts and all(_refused(call, "bound", 0, 9, *each) for each in ((0.0, 0.95), (1.0, 0.95), (0.1, 1.0), (0.1, 0.0)))


# 4. First who, then what -------------------------------------------------------------------------------------------------------


def _store(seed, n=40, levels=40):
    """Memories of four users and of nobody; whole numbers, so that equal products are equal to the last digit."""
    rng, names = np.random.default_rng(seed), ["Ann", "Anna", "Ben", "Cid"]
    vectors = rng.integers(-levels, levels + 1, size=(n, 3)).astype(float)
    owners = [[*names, None][i] for i in rng.integers(5, size=n)]
    readers = [[name for name in names if rng.random() < 0.15] for _ in range(n)]
    return vectors, owners, readers, [bool(gone) for gone in rng.random(n) < 0.2]


def _search(query, vectors, owners, readers, deleted, asker, k):
    """The same, one memory after the other."""
    found = []
    for i in range(len(owners)):
        if asker is not None and asker in [*readers[i], owners[i]] and not deleted[i]:
            found.append((-sum(a * b for a, b in zip(vectors[i], query, strict=True)), i))
    return [i for _, i in sorted(found)[:k]]


def _search_is(call, query, *rest):
    return [int(number(i)) for i in call("search", np.array(query), *rest)] == _search(query, *rest)


def _plain(seed, n=30):
    """All different in nearness to the first direction; nothing is shared or deleted."""
    vectors = np.random.default_rng(seed).permutation(3 * n).reshape(n, 3).astype(float)
    return vectors, ["Ann" if i % 3 else "Ben" for i in range(n)], [[] for _ in range(n)], [False] * n


@check("search", "One's own memories come, the nearest first.", hint="Nearer is larger. Places are those among all memories.")
def search_own(call):
    vectors, owners, readers, deleted = _plain(0)
    given = [vectors, owners, readers, deleted]
    return all(_search_is(call, [1.0, 0.0, 0.0], *given, asker, k) for asker in ("Ann", "Ben") for k in (1, 3)) and _search_is(
        call, [-1.0, 2.0, 1.0], *given, "Ben", 5)


@check("search", "As many come as there are, whoever else's are nearer.", hint="What is done first? What if there are fewer, or none?")
def search_filtered(call):
    vectors, owners, readers, deleted = _plain(1)
    order = np.argsort(-vectors[:, 0])
    for place, i in enumerate(order):
        owners[i] = "Ann" if place < 20 else "Ben"
    given = [[1.0, 0.0, 0.0], vectors, owners, readers, deleted]
    return all(_search_is(call, *given, asker, k) for asker, k in (("Ben", 4), ("Ben", 10), ("Ben", 25), ("Ann", 30), ("Cid", 3)))


@check("search", "What is shared is seen by those with whom it is shared.", hint="This memory alone, and one way. Compare whole names.")
def search_shared(call):
    vectors = np.array([[float(9 - i), 0.0, 0.0] for i in range(9)])
    owners = ["Ann", "Ann", "Ben", "Ben", "Cid", "Anna", "Anna", "Ann", "ann"]
    readers = [["Ben"], [], [], ["Cid", "Anna"], [], [], ["Ben", "Cid"], ["Cid", "Ben"], []]
    given = [[1.0, 0.0, 0.0], vectors, owners, readers, [False] * 9]
    return all(_search_is(call, *given, asker, 9) for asker in ("Ann", "Anna", "Ben", "Cid", "An"))


@check(
    "search", "Nobody sees what was deleted, whatever is left of it.",
    hint="Not its owner, and no reader. Where does nan come in an order?",
)
def search_deleted(call):
    vectors, owners, readers, deleted = _plain(2)
    readers = [["Cid"] if i % 2 else [] for i in range(len(owners))]
    for i in (0, 1, 2, 7, 9, 13, 20):
        deleted[i] = True
        vectors[i] = (np.nan, np.inf, 1e6)[i % 3]
    given = [[1.0, 0.0, 0.5], vectors, owners, readers, deleted]
    return all(_search_is(call, *given, asker, k) for asker in ("Ann", "Ben", "Cid") for k in (2, 30))


@check("search", "Equally near ones come by their places.", hint="Is your order stable? What happens to it when you turn it around?")
def search_ties(call):
    for seed in (3, 4):
        vectors, owners, readers, deleted = _plain(seed, 60)
        vectors = np.floor(vectors / 45)
        if not all(_search_is(call, [1.0, 1.0, 0.0], vectors, owners, readers, deleted, "Ann", k) for k in (2, 7, 60)):
            return False
    return True


@check(
    "search", "Nobody's memories are nobody's, and nobody sees nothing.",
    hint="Is None equal to None? May k be zero? Then try at random.",
)
def search_nobody(call):
    given = [2.0, -1.0, 1.0]
    for seed in (5, 6, 7):
        if not all(_search_is(call, given, *_store(seed), asker, k) for asker in ("Ann", "Anna", "Cid", "Dee", None) for k in (1, 4, 50)):
            return False
    return all(_refused(call, "search", np.array(given), *_store(8), asker, k) for asker, k in (("Ann", 0), ("Dee", -1)))


# 5. Did it leak? ---------------------------------------------------------------------------------------------------------------

HIDING = {
    "pea": "peacock", "ash": "cashier", "oak": "soaking", "rose": "prose", "ham": "chamber", "tea": "steady", "cat": "catalog",
    "red": "hundred", "owl": "bowling", "corn": "acorns", "rum": "drummer", "fig": "figure",
}
PAIRS = ["red wine", "green tea", "black cat", "ham and eggs", "rose garden", "corn bread", "old oak", "night shift", "Harbor Street"]
NUMBERS = ["47", "64", "12", "318", "4718", "2064", "5150", "90210"]
VALUES = [*HIDING, *PAIRS, *NUMBERS]
NAMES = ["Ada", "Bo", "Cy", "Dora", "Eli", "Fay", "Gus", "Hal", "Ida", "Jon"]
FRAMES = ["You once said {}.", "I have noted {} for you.", "It must be {}, I think.", "My notes say: {}!", "Is it not {}?", "Why not ({})?"]


def _worded(rng, value):
    how = rng.randrange(6)
    if how < 2:
        return value
    if how < 4:
        return rng.choice([value.upper(), value.title(), value.replace(" ", rng.choice(["\n", "  ", "-", ", ", ""]))])
    if value.isdigit():
        cut = rng.randrange(1, len(value))
        return value[:cut] + rng.choice([" ", "-", "/"]) + value[cut:]
    return rng.choice(["-", ".", " ", "_"]).join(value.replace(" ", ""))


def _part(rng, value):
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    return rng.choice([f"{a}{value}{b}", f"{value}.{b}", f"{a}.{value}"]) if value.isdigit() else HIDING[value]


def _draw(seed, n=250):
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
            said.append(rng.choice(FRAMES).format(_part(rng, value) if kind == "part" else _worded(rng, value)))
        replies.append(" ".join(said))
        askers.append(asker)
        truth.append("foreign" in kinds)
    return replies, askers, secrets, truth


@functools.cache
def _drawn():
    return [_draw(seed) for seed in range(83_000, 83_004)]


def _worse(call):
    """The smaller one of precision and recall, over all draws together."""
    if "worse" not in call.memory:
        found, truth = [], []
        for replies, askers, secrets, leaked in _drawn():
            said = call("leaks", replies, askers, secrets)
            said = np.asarray(said).tolist()
            if len(said) != len(replies) or not all(type(each) in (bool, int) and each in (0, 1) for each in said):
                raise ValueError
            found += map(bool, said)
            truth += leaked
        both = sum(yes and leak for yes, leak in zip(found, truth, strict=True))
        call.memory["worse"] = both / max(sum(found), sum(truth), 1)
    return call.memory["worse"]


@check("leaks", "There is a truth value for each reply.", hint="A list as long as that of the replies, of True and False.")
def leaks_form(call):
    return _worse(call) >= 0


@check(
    "leaks", "Whole words, told by others.",
    hint="Does your search tell a word from a part of one? Does it ask what the asker has told?",
)
def leaks_some(call):
    return _worse(call) >= 0.65


@check("leaks", "What is spelled out is named.", hint="Which signs may stand between two letters? Where does a number end?", points=2)
def leaks_well(call):
    return _worse(call) >= 0.85


@check(
    "leaks", "What is one's own may be said, all of it.",
    hint="If a secret stands in a value of the asker's, does it anywhere else?", points=2,
)
def leaks_very_well(call):
    return _worse(call) >= 0.98
