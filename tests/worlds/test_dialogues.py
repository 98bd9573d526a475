"""The dialogues world: where the answer stands, and what the oracle accepts."""

import pytest

from finetunelab.worlds.dialogues import GENERATORS, KINDS, correct
from finetunelab.worlds.grammar import load_grammar

WORLD = GENERATORS[0]


def users(r):
    return [m["content"] for m in r["messages"][: r["question_turn"] + 1 : 2]]


def holds(text, value):
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    wanted = "".join(c if c.isalnum() else " " for c in value.lower()).split()
    return any(words[i : i + len(wanted)] == wanted for i in range(len(words)))


def test_the_answer_stands_exactly_distance_exchanges_back():
    for r in WORLD.rows(800):
        stated = [i for i, text in enumerate(users(r)) if holds(text, r["answer"])]
        assert stated == [len(users(r)) - 1 - r["distance"]], r["text"]
        replies = r["messages"][1 : r["question_turn"] : 2]
        assert not any(holds(m["content"], r["answer"]) for m in replies), r["text"]


def test_the_control_needs_only_its_own_turn():
    control, real = WORLD.rows(800, needs_context=False), WORLD.rows(800)
    for r in control:
        assert [i for i, text in enumerate(users(r)) if holds(text, r["answer"])] == [len(users(r)) - 1], r["text"]
        assert correct(r, r["messages"][r["question_turn"] + 1]["content"])
    words = [sum(len(r["text"].split()) for r in rows) / len(rows) for rows in (control, real)]
    assert abs(words[0] / words[1] - 1) < 0.08


def test_oracle():
    for r in WORLD.rows(400):
        answer = r["messages"][r["question_turn"] + 1]["content"]
        other = next(v for v in load_grammar("dialogues").frames(f"{r['kind']}_value") if v != r["answer"])
        assert correct(r, answer) and correct(r, answer.upper())
        assert not correct(r, answer.lower().replace(r["answer"].lower(), other))
        assert not correct(r, f"{answer} Or {other}.")
        assert not correct(r, "I do not remember.")
        assert not correct(r, answer * 9)


def test_shape():
    rows = WORLD.rows(1500)
    assert {r["kind"] for r in rows} == set(KINDS) and {r["distance"] for r in rows} == set(range(1, 9))
    for r in rows:
        assert set(r) == set(WORLD.columns)
        assert 2 <= len(r["messages"]) / 2 <= 10
        assert [m["role"] for m in r["messages"]] == ["user", "assistant"] * (len(r["messages"]) // 2)
        assert not set("{}[]") & set(r["text"]) and "=>" not in r["text"]
        assert max(len(m["content"].split()) for m in r["messages"]) <= 18
        told = [m["content"] for m in r["messages"]]
        assert len(set(told[::2])) == len(told[::2])
    assert len({r["text"] for r in rows}) > 0.98 * 1500
    assert WORLD.rows(20, "test", 7) == WORLD.rows(20, "test", 7)
    assert not {r["text"] for r in rows} & {r["text"] for r in WORLD.rows(500, "test")}


def test_knobs():
    assert {r["distance"] for r in WORLD.rows(50, distance=6)} == {6}
    for wrong in (0, 9):
        with pytest.raises(ValueError, match="distance"):
            WORLD.rows(1, distance=wrong)
