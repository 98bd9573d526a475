# %% title [markdown]
# # 03c Conversations: exercises
#
# Five functions around conversations of many turns. The first four take five to fifteen lines each; the last one is open. Nothing is
# trained here.
#
# **How it works.** Replace each line `raise NotImplementedError(...)` by your code and run the cell. The cell below it checks some of
# what is asked for; if it stays silent, go on. Hand in this notebook. It is then asked more questions than you see here, such as edge
# cases and random inputs. The points stand behind each title, 30 in all.
#
# Keep the names and the arguments of the functions. You may add cells, imports and functions of your own. Each exercise is marked by
# itself: one that fails costs nothing elsewhere.

# %% imports
import random
import re

# %% pairs-text [markdown]
# ## 1. What each answer may see (5 points)
#
# A conversation is a list of messages, each a dictionary with a `"role"` ("system", "user", or "assistant") and a `"content"`. In
# training, every answer of the assistant is a target, and sees all that was said before it. Some trainers take nothing but pairs of a
# context and one answer. To lose nothing, each answer must bring its whole context along.
#
# Write `pairs(messages)`. Return a list with a pair `(context, answer)` for each message of the assistant, in their order. `context` is
# the list of all messages before it, the system's among them, and `answer` the content of the message. A conversation may begin with the
# assistant (then the context is empty), and two messages of the same role may stand one after the other.

# %% pairs
def pairs(messages):
    """Return (messages before it, its content) for each of the assistant's messages."""
    ### BEGIN SOLUTION
    return [(list(messages[:i]), message["content"]) for i, message in enumerate(messages) if message["role"] == "assistant"]
    ### END SOLUTION

# %% pairs-check
TALK = [
    {"role": "user", "content": "I am Ada."}, {"role": "assistant", "content": "Hello, Ada."},
    {"role": "user", "content": "Who am I?"}, {"role": "assistant", "content": "You are Ada."},
]
assert pairs(TALK) == [(TALK[:1], "Hello, Ada."), (TALK[:3], "You are Ada.")]

# %% trim-text [markdown]
# ## 2. When it no longer fits (7 points)
#
# A model's context is finite. A chat program must leave the oldest turns out, and leave room for the answer.
#
# Write `trim(messages, lengths, longest)`. `lengths` has the number of tokens of each message, and `longest` is how many tokens may be
# kept in all. The last message is the user's, who waits for an answer. Return the messages to keep, in their order:
#
# - a system message at the very beginning is always kept, and so is the last message;
# - of the others, leave out as few as possible, always the oldest first, and never half of an exchange: what is kept after the system
#   message begins with a message of the user;
# - if even the system message and the last message are longer than `longest`, raise a `ValueError`.

# %% trim
def trim(messages, lengths, longest):
    """Return the messages that fit into ``longest`` tokens: the system's, and the newest of the others from a user's message on."""
    ### BEGIN SOLUTION
    first = int(messages[0]["role"] == "system" and len(messages) > 1)
    for start in range(first, len(messages)):
        if messages[start]["role"] == "user" and sum(lengths[:first]) + sum(lengths[start:]) <= longest:
            return [*messages[:first], *messages[start:]]
    raise ValueError(f"the last message does not fit into {longest} tokens")
    ### END SOLUTION

# %% trim-check
LONG = [{"role": "system", "content": "Be brief."}, *TALK, {"role": "user", "content": "Sure?"}]
assert trim(LONG, [3, 5, 5, 5, 5, 2], 25) == LONG
assert trim(LONG, [3, 5, 5, 5, 5, 2], 24) == [LONG[0], *LONG[3:]]
assert trim(LONG, [3, 5, 5, 5, 5, 2], 14) == [LONG[0], LONG[5]]

# %% recalls-text [markdown]
# ## 3. Did it remember? (6 points)
#
# To measure memory without asking a person, a rule must judge replies. It must not be fooled: who recites every name it knows has
# remembered nothing.
#
# Write `recalls(reply, value, others)`. Return `True` if the reply names `value` and none of `others`, the other values of its kind, and
# has at most 20 words. A value is one word or several. It is named where its words stand in the reply as whole words, one after the other,
# whatever their case and whatever stands between them other than letters and digits: "Ann" is not named in "Anna", "dark blue" is named
# in "Dark-blue!". A name inside a longer one does not count: with "blue" and "dark blue" among the values, the reply "dark blue" names
# only the second.

# %% recalls
def recalls(reply, value, others):
    """Return whether a reply names the value, none of the others, in at most 20 words."""
    ### BEGIN SOLUTION
    words = re.findall(r"[a-z0-9]+", reply.lower())
    said, named = f" {' '.join(words)} ", []
    for name in sorted([value, *others], key=len, reverse=True):  # the longest first, and what is found is taken out
        plain = f" {' '.join(re.findall(r'[a-z0-9]+', name.lower()))} "
        if plain in said:
            named.append(name)
            said = said.replace(plain, " | ")
    return named == [value] and len(words) <= 20
    ### END SOLUTION

# %% recalls-check
assert recalls("Your dog is called Ziggy.", "Ziggy", ["Rex", "Anna"])
assert not recalls("Ziggy, or Rex.", "Ziggy", ["Rex", "Anna"])
assert not recalls("Anna.", "Ann", ["Rex", "Anna"]) and recalls("It is dark blue.", "dark blue", ["blue", "red"])

# %% control-text [markdown]
# ## 4. A control (7 points)
#
# Whoever claims that questions about early turns teach memory needs conversations that are the same but for that. In them the early
# message only touches on the subject, and the late question says again what its answer needs.
#
# Write `control(messages, stated, asked, value, hint, restated)`. `stated` and `asked` are the places of the early message and of the
# question in `messages`; `value` is what the question asks for. Return a new list of messages, alike but for two: the content of the early
# one is `hint`, and that of the question is `restated`, a space, and the old question. The list and the dictionaries that were handed in
# stay as they were.
#
# Check what you made. Raise a `ValueError` if a message before the question still contains `value`, whatever the case of its letters, for
# then looking back pays again; and if the question does not contain it, for then there is no answer at all.

# %% control
def control(messages, stated, asked, value, hint, restated):
    """Return a copy of a conversation in which the late question needs no early turn."""
    ### BEGIN SOLUTION
    made = [dict(message) for message in messages]
    made[stated]["content"] = hint
    made[asked]["content"] = f"{restated} {made[asked]['content']}"
    if any(value.lower() in message["content"].lower() for message in made[:asked]):
        raise ValueError(f"an earlier message still says {value}")
    if value.lower() not in made[asked]["content"].lower():
        raise ValueError(f"the question does not say {value}")
    return made
    ### END SOLUTION

# %% control-check
PLAIN = [TALK[0], {"role": "assistant", "content": "Hello."}, TALK[2]]
assert [message["content"] for message in control(PLAIN, 0, 2, "Ada", "I have a name.", "I am Ada.")] == [
    "I have a name.", "Hello.", "I am Ada. Who am I?"]
assert PLAIN[0]["content"] == "I am Ada."

# %% choose-text [markdown]
# ## 5. Which conversations teach memory? (5 points)
#
# You have 240 conversations and may train on 60 of them. They are of three kinds, equally many, and nobody has marked them. In some, the
# late question needs an early turn, and is answered rightly. In some, the question says itself what is needed. And in some the early turn
# is needed, and the answer is wrong: it gives another value. Only the first kind teaches to look back and be right.
#
# Write `choose(conversations, n)`. Each conversation is a list of messages. Return `n` different places in the list, whole numbers from 0,
# of conversations that teach memory. Anything goes that runs within thirty seconds on one core. It is marked by the share of your choice
# that is of the first kind, on two other draws of conversations. There is a point for an answer in the right form, one for 45 %, one for
# 75 %, and two for 90 %.
#
# Look at a dozen before you write. What stands in a right answer, in which earlier messages does it stand, and in which not? (Beware:
# some conversations end with a word of thanks after the question.)

# %% choose
def choose(conversations, n):
    """Return the places of n conversations whose late question needs an early turn and is answered rightly."""
    ### BEGIN SOLUTION
    def words(message):
        return set(re.findall(r"[a-z0-9]+", message["content"].lower()))

    common = {}
    for messages in conversations:
        for word in set().union(*map(words, messages)):
            common[word] = common.get(word, 0) + 1

    def score(messages):
        """Return how rare the rarest word is that the answer shares with an early message of the user, and not with the question."""
        best = 0.0
        for place in [i for i, message in enumerate(messages) if message["role"] == "assistant"][-2:]:
            early = set().union(set(), *(words(message) for message in messages[: place - 1] if message["role"] == "user"))
            asked = words(messages[place - 1])
            # A value of the question's own is a sign of the control; words that everybody uses are none of anything.
            shared = [1 / common[word] for word in (words(messages[place]) & early) - asked]
            best = max([best, *shared])
        return best

    return sorted(range(len(conversations)), key=lambda place: score(conversations[place]), reverse=True)[:n]
    ### END SOLUTION

# %% choose-check
from finetunelab import worlds


def pool(seed, each=80):
    """Draw equally many conversations of the three kinds, mixed, and which are of the first."""
    draw = worlds.generator("dialogues").rows
    needs, restated, wrong = draw(each, "train", seed), draw(each, "train", seed + 1, needs_context=False), draw(each, "train", seed + 2)
    answers = [(row["kind"], row["answer"], row["messages"][row["question_turn"] + 1]) for row in wrong + needs]
    for row in wrong:  # gets an answer that was given to a question of its kind, with another value
        others = [message for kind, value, message in answers if kind == row["kind"] and value != row["answer"]]
        row["messages"][row["question_turn"] + 1] = random.Random(seed + len(others)).choice(others)
    mixed = [(row["messages"], kind == 0) for kind, rows in enumerate((needs, restated, wrong)) for row in rows]
    random.Random(seed).shuffle(mixed)
    return [messages for messages, _ in mixed], [good for _, good in mixed]


conversations, good = pool(0)
chosen = choose(conversations, 60)
assert len(set(chosen)) == 60
print(f"{sum(good[place] for place in chosen) / 60:.0%} of the choice teach memory")
