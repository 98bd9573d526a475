"""Hidden checks of 03c. They know the answers by another road than the solution: by hand, by a slower rule, or by a property."""

import functools
import random

from finetunelab.grading.checks import check, number
from finetunelab.grading.examiner import Failed


def _says(role, content):
    return {"role": role, "content": content}


def _talk(*contents, system=None, first="user"):
    """Return a conversation in which the two speak in turn."""
    roles = ("user", "assistant") if first == "user" else ("assistant", "user")
    spoken = [_says(roles[i % 2], content) for i, content in enumerate(contents)]
    return [_says("system", system), *spoken] if system else spoken


def _refused(call, *arguments):
    """Whether a call of a hand-in's function stops with a ValueError."""
    try:
        call(*arguments)
    except Failed as problem:
        if "ValueError" in str(problem):
            return True
        raise
    return False


# 1. What each answer may see ---------------------------------------------------------------------------------------------------


def _pairs(found):
    return [(list(context), answer) for context, answer in found]


@check("pairs", "There is a pair for each of the assistant's messages, in their order.", hint="Which messages are targets?", points=2)
def pairs_all(call):
    talk = _talk(*"abcdefgh")
    return [answer for _, answer in _pairs(call("pairs", talk))] == ["b", "d", "f", "h"] and _pairs(call("pairs", talk[:1])) == []


@check("pairs", "Each answer has all before it in its context, and nothing after.", hint="How far back does the context reach?")
def pairs_context(call):
    talk = _talk(*"abcdef")
    return [context for context, _ in _pairs(call("pairs", talk))] == [talk[:1], talk[:3], talk[:5]]


@check("pairs", "What the system says is part of every context.", hint="Where does a conversation begin?")
def pairs_system(call):
    talk = _talk("a", "b", "c", "d", system="Be kind.")
    return [context for context, _ in _pairs(call("pairs", talk))] == [talk[:2], talk[:4]]


@check("pairs", "The assistant may speak first, or twice.", hint="Do not count on turns that alternate.")
def pairs_turns(call):
    first = _talk("hello", "hi", "well", first="assistant")
    twice = [_says("user", "a"), _says("assistant", "b"), _says("assistant", "c")]
    return _pairs(call("pairs", first)) == [([], "hello"), (first[:2], "well")] and _pairs(call("pairs", twice)) == [
        (twice[:1], "b"), (twice[:2], "c")]


# 2. When it no longer fits -----------------------------------------------------------------------------------------------------


def _trimmed(messages, lengths, longest):
    """The same, by leaving out one more message at a time, from the front, until what is left may stand."""
    system = [0] if messages[0]["role"] == "system" and len(messages) > 1 else []
    rest = list(range(len(system), len(messages)))
    while rest and (messages[rest[0]]["role"] != "user" or sum(lengths[i] for i in system + rest) > longest):
        rest.pop(0)
    return [messages[i] for i in system + rest] if rest else None


@check("trim", "What fits is kept whole.", hint="A conversation may fill its room exactly.")
def trim_fits(call):
    talk, lengths = _talk(*"abcde", system="s"), [2, 3, 4, 5, 6, 7]
    return call("trim", talk, lengths, 27) == talk and call("trim", talk, lengths, 90) == talk


@check("trim", "The oldest are left out first, and no more than needed.", hint="Try to keep one exchange more.", points=2)
def trim_oldest(call):
    rng, talk = random.Random(4), _talk(*"abcdefghi")
    lengths = [rng.randint(3, 9) for _ in talk]
    return all(call("trim", talk, lengths, longest) == _trimmed(talk, lengths, longest) for longest in range(lengths[-1], sum(lengths) + 1, 3))


@check("trim", "The system's message stays, and its tokens count.", hint="It is at the beginning, and takes room.")
def trim_system(call):
    talk, lengths = _talk(*"abcde", system="s"), [9, 3, 4, 5, 6, 7]
    return all(call("trim", talk, lengths, longest) == _trimmed(talk, lengths, longest) for longest in (16, 20, 27, 28, 33))


@check("trim", "No answer stands without its question.", hint="What is the role of the first message that is kept?")
def trim_halves(call):
    talk = [*_talk(*"abcd"), _says("user", "e"), _says("user", "f"), *_talk("g", "h", first="assistant")]
    lengths = [5] * len(talk)
    return all(call("trim", talk, lengths, longest) == _trimmed(talk, lengths, longest) for longest in (5, 12, 19, 22, 31, 36, 40))


@check("trim", "What cannot fit is refused.", hint="Is the last message, with the system's, longer than what is allowed?")
def trim_refuses(call):
    talk = _talk("a", "b", "c", system="s")
    return _refused(call, "trim", talk, [4, 1, 1, 6], 9) and call("trim", talk, [4, 1, 1, 6], 10) == [talk[0], talk[3]]


@check("trim", "A single message is no trouble.", hint="What if there is nothing to leave out?")
def trim_single(call):
    return call("trim", _talk("a"), [3], 3) == _talk("a") and _refused(call, "trim", _talk("a"), [3], 2)


# 3. Did it remember? -----------------------------------------------------------------------------------------------------------


def _recalls(call, *asked):
    found = [call("recalls", *arguments) for arguments, _ in asked]
    return all(type(answer) is bool for answer in found) and found == [wanted for _, wanted in asked]


@check("recalls", "The right value counts, whatever its case and its punctuation.", hint="Compare letters and digits only.")
def recalls_right(call):
    return _recalls(
        call, (("Your sister lives in MADRID!", "Madrid", ["Oslo"]), True), (("It's at half-past eight.", "half past eight", ["noon"]), True),
        (("I do not know.", "Madrid", ["Oslo"]), False), (("", "Madrid", ["Oslo"]), False), (("Number 7.", "7", ["17"]), True),
    )


@check("recalls", "Whoever recites the others is wrong.", hint="How many of the values stand in the reply?")
def recalls_recited(call):
    return _recalls(
        call, (("Madrid, or was it Oslo?", "Madrid", ["Oslo", "Rome"]), False), (("Oslo.", "Madrid", ["Oslo"]), False),
        (("Madrid. Yes, Madrid.", "Madrid", ["Oslo"]), True),
    )


@check("recalls", "Values are whole words.", hint="Is 'cat' named in 'catalog'?", points=2)
def recalls_words(call):
    return _recalls(
        call, (("The catalog.", "cat", ["dog"]), False), (("The cat, in the dogma of the house.", "cat", ["dog"]), True),
        (("17.", "7", ["8"]), False), (("A half, then past eight.", "half past eight", ["noon"]), False),
    )


@check("recalls", "A name inside a longer one does not count.", hint="Look for the longest values first.")
def recalls_inside(call):
    return _recalls(
        call, (("It is dark blue.", "blue", ["dark blue"]), False), (("It is dark blue.", "dark blue", ["blue"]), True),
        (("Dark blue, and blue.", "dark blue", ["blue"]), False), (("Blue.", "blue", ["dark blue", "very dark blue"]), True),
    )


@check("recalls", "A speech is no answer.", hint="Count the words.")
def recalls_long(call):
    filler = " ".join(["well"] * 18)
    return _recalls(call, ((f"{filler} Oslo now.", "Oslo", []), True), ((f"{filler} in Oslo now.", "Oslo", []), False))


# 4. A control ------------------------------------------------------------------------------------------------------------------

DOG = _talk("I have a dog called Ziggy.", "How nice.", "It rains.", "Take a coat.", "What is my dog called?", "Ziggy.", system="Be kind.")
CALL = (1, 5, "Ziggy", "I have a dog.", "My dog is Ziggy.")


@check("control", "The early message becomes the hint, and all others stay.", hint="Which two messages change?", points=2)
def control_hint(call):
    made = call("control", DOG, *CALL)
    return len(made) == len(DOG) and made[1] == _says("user", "I have a dog.") and [made[i] for i in (0, 2, 3, 4, 6)] == [
        DOG[i] for i in (0, 2, 3, 4, 6)]


@check("control", "The question is still asked, after what it needs.", hint="In which order do the two stand, and what is between them?")
def control_question(call):
    return call("control", DOG, *CALL)[5] == _says("user", "My dog is Ziggy. What is my dog called?")


@check("control", "What was handed in stays as it was.", hint="A copy of a list holds the same dictionaries.")
def control_copy(call):
    _, after = call("control", DOG, *CALL, after=True)
    return after[0] == DOG


@check("control", "A value that is left in an earlier message is found.", hint="Look at all messages before the question, not at one.", points=2)
def control_leak(call):
    told = [*DOG[:4], _says("assistant", "Does ziggy mind?"), *DOG[5:]]
    again = _talk("I have a dog called Ziggy.", "ZIGGY! What a name.", "What is my dog called?", "Ziggy.")
    return (
        _refused(call, "control", told, *CALL) and _refused(call, "control", again, 0, 2, *CALL[2:])
        and _refused(call, "control", DOG, 1, 5, "Ziggy", "My ziggy is a dog.", "My dog is Ziggy.")
        and len(call("control", DOG, *CALL)) == 7
    )


@check("control", "A question that cannot be answered is found.", hint="The answer after the question may name the value; does the question?")
def control_answerable(call):
    return _refused(call, "control", DOG, *CALL[:4], "My dog has a name.") and len(call("control", DOG, *CALL[:4], "My dog is ziggy.")) == 7


# 5. Which conversations teach memory? ------------------------------------------------------------------------------------------

CHOSEN = 60


@functools.lru_cache
def _pool(seed, each=80):
    from finetunelab import worlds

    draw = worlds.generator("dialogues").rows
    needs, restated, wrong = draw(each, "test", seed), draw(each, "test", seed + 1, needs_context=False), draw(each, "test", seed + 2)
    answers = [(row["kind"], row["answer"], row["messages"][row["question_turn"] + 1]) for row in wrong + needs]
    for row in wrong:
        others = [message for kind, value, message in answers if kind == row["kind"] and value != row["answer"]]
        row["messages"][row["question_turn"] + 1] = random.Random(seed + len(others)).choice(others)
    mixed = [(row["messages"], kind == 0) for kind, rows in enumerate((needs, restated, wrong)) for row in rows]
    random.Random(seed).shuffle(mixed)
    return [messages for messages, _ in mixed], [good for _, good in mixed]


def _chosen(call):
    if "chosen" not in call.memory:
        shares = []
        for seed in (41_303, 41_377):
            conversations, good = _pool(seed)
            places = [number(place) for place in call("choose", conversations, CHOSEN, seconds=30)]
            if len(set(places)) != CHOSEN or not set(places) <= set(range(len(good))):
                raise ValueError
            shares.append(sum(good[int(place)] for place in places) / CHOSEN)
        call.memory["chosen"] = sum(shares) / len(shares)
    return call.memory["chosen"]


@check("choose", "There are as many different places as were asked for.", hint="Whole numbers, none of them twice.")
def choose_form(call):
    return _chosen(call) >= 0


@check("choose", "It is better than drawing lots.", hint="Which words of the answer stood in an earlier message?")
def choose_some(call):
    return _chosen(call) >= 0.45


@check("choose", "Restated questions and wrong answers are mostly left out.", hint="What does the question itself say, and who said what before?")
def choose_well(call):
    return _chosen(call) >= 0.75


@check(
    "choose", "Nearly all of the choice teaches memory.",
    hint="Words that stand in every conversation tell nothing. Rare ones do.", points=2,
)
def choose_very_well(call):
    return _chosen(call) >= 0.90
