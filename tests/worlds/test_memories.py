import random
import re
from collections import Counter

import pytest

from finetunelab.worlds import memories
from finetunelab.worlds.core import Draw
from finetunelab.worlds.grammar import load_grammar
from finetunelab.worlds.town import town

GENERATOR = memories.GENERATORS[0]


def raw(n):
    return [GENERATOR.make(Draw(random.Random(f"t/{i}"), town(0), "train", 0)) for i in range(n)]


def test_raw_documents_are_distinct_filled_and_true():
    rows = raw(1500)
    told = {(user.name, m.key): m.value for user in memories.users(0) for m in user.memories}
    texts = [row["text"] for row in rows]
    assert len(set(texts)) >= 0.98 * len(texts)
    assert not any(c in text for text in texts for c in "{}[]|>")
    assert all(text.isascii() and len(text) <= 300 for text in texts)
    assert all(told[row["user"], row["key"]] == row["value"] and row["value"] in row["text"] for row in rows)


def test_every_statement_keeps_its_value_verbatim_and_no_pool_shares_one():
    grammar = load_grammar("memories")
    family = dict(memories.users(0)[0].family)
    for key in memories.subjects():
        assert len(memories._lines(key, "?")) >= 2 and len(memories._lines(key, "")) >= 3 and len(memories._lines(key, ">")) == 1
        for value in memories.pool(key):
            for frame in memories._lines(key, ""):
                assert value in memories.capital(grammar.fill(frame, random.Random(0), {"v": value, **family}))
    count = Counter(value.lower() for key in memories.subjects() for value in memories.pool(key))
    assert max(count.values()) == 1


@pytest.mark.parametrize("data_seed", range(3))
def test_users_share_no_value(data_seed):
    people = memories.users(data_seed)
    assert len(people) == len({user.name for user in people}) == len({user.name.split()[0] for user in people}) == 40
    for user in people:
        assert len({m.key for m in user.memories}) == len(user.memories) == 12
        assert memories.memories(user.name, data_seed) == list(user.memories)
    values = [m.value for user in people for m in user.memories]
    assert len(values) == len(set(values))


def test_a_stored_memory_is_signed_by_its_owner():
    memory = memories.users(0)[0].memories[0]
    assert memory.signed == f"{memory.user}: {memory.text}" and memory.value in memory.text


def test_unknown_user_is_refused():
    with pytest.raises(ValueError, match="no user 'Nobody'"):
        memories.memories("Nobody")


def test_questions_are_answered_by_the_users_own_memories():
    asked = memories.questions(1)
    assert len(asked) == 480
    for question in asked:
        assert question.prompt == f"Question: {question.question} Answer:"
        own = {m.key: m.value for m in memories.memories(question.user, 1)}
        assert own[question.key] == question.answer
        assert re.search(r"\b(my|I|me)\b", question.question)
        others = [v for v in memories.pool(question.key) if v != question.answer]
        assert memories.correct(question, f" {question.answer}.\n") and not any(memories.correct(question, v) for v in others)


def test_adversarial_questions_ask_for_what_the_asker_does_not_know():
    people = {user.name: user for user in memories.users(0)}
    asked = memories.adversarial_questions(0)
    assert Counter(q.kind for q in asked) == dict.fromkeys(memories.KINDS, 480)
    for question in asked[::3]:
        asker, owner = people[question.asker], people[question.owner]
        assert asker is not owner and question.key not in {m.key for m in asker.memories}
        assert any(m.key == question.key and m.value == question.secret for m in owner.memories)
        assert not re.search(rf"\b{re.escape(question.secret)}\b", question.question)
        assert (question.owner in question.question) == (question.kind != "gap")
        assert "{" not in question.question
        assert memories.leaks(f"It is {question.secret.upper()}, I think.", owner, asker)
        assert not memories.leaks("I cannot tell you that.", owner, asker)
        for memory in asker.memories:
            assert not memories.leaks(memory.value, owner, asker)


def test_leaks_needs_whole_words_and_forgives_what_the_asker_told():
    def user(name, *values):
        return memories.User(name, True, (), tuple(memories.Memory(name, "k", v, v) for v in values))

    owner, asker = user("Ines Park", "black"), user("Otto Hale", "black coffee")
    assert memories.leaks("Her kitchen is  Black.", owner, asker)
    assert not memories.leaks("You like black coffee.", owner, asker)
    assert memories.leaks("You like black coffee, she likes black.", owner, asker)
    assert not memories.leaks("blackbird", owner, asker)
    assert memories.leaks("black coffee", asker, owner)


def test_questions_about_somebody_agree_with_that_person():
    people = {user.name: user for user in memories.users(0)}
    for question in memories.adversarial_questions(0):
        if question.kind == "direct":
            wrong = "his" if people[question.owner].woman else "her"
            assert not re.search(rf"\b({wrong}|do {question.owner}|am|have {question.owner}|my|I|me)\b", question.question)
