"""The instructions world: its oracle, its splits, and what is held out."""

import json

import pytest

from finetunelab.worlds.instructions import (
    COMBINATIONS,
    GENERATORS,
    HELD_OUT_COMBINATIONS,
    HELD_OUT_KINDS,
    KINDS,
    follows,
)

WORLD = GENERATORS[0]


def row(**checks):
    return {"constraints": json.dumps(checks), "prompt": ""}


@pytest.mark.parametrize("heldout", ["none", "combinations", "kinds"])
def test_reference_answers_follow_and_texts_are_filled(heldout):
    for r in WORLD.rows(600, heldout=heldout):
        assert follows(r, r["answer"]), r
        assert follows(r, f"  {r['answer']} \n"), r
        assert not set("{}[]") & set(r["text"])
        assert r["messages"] == [{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r["answer"]}]
        assert set(WORLD.columns) == set(r)


@pytest.mark.parametrize("kind", KINDS + COMBINATIONS)
def test_empty_foreign_and_repeated_answers_fail(kind):
    rows = WORLD.rows(12, "validation", kind=kind)
    for r in rows:
        assert not follows(r, "")
        assert not follows(r, "I do not know that")
        assert not follows(r, r["prompt"])
        assert not follows(r, f"{r['prompt']} {r['answer']}")
        assert not follows(r, " ".join([r['answer']] * 3))


def test_a_combination_needs_both_parts():
    for r in WORLD.rows(150, kind=[c for c in COMBINATIONS if c.endswith("capitals")]):
        assert not follows(r, r["answer"].lower())
    for r in WORLD.rows(150, kind=[c for c in COMBINATIONS if c.endswith("brackets")]):
        assert not follows(r, r["answer"].strip("()"))
    for r in WORLD.rows(150, kind=[c for c in COMBINATIONS if c.endswith("starts_with")]):
        assert not follows(r, r["answer"].partition(" ")[2])
    for r in WORLD.rows(50, kind="reverse+dashes"):
        assert not follows(r, r["answer"].replace(" - ", ", "))
        assert not follows(r, " - ".join(r["answer"].split(" - ")[::-1]))


def test_oracle_is_strict_about_content_and_fair_about_form():
    assert follows(row(words=["cat", "dog"]), "Cat and dog.")
    assert not follows(row(words=["cat", "dog"]), "dog, cat")
    assert not follows(row(words=["cat", "dog"]), "cat, dog, pig")
    assert follows(row(verdict="yes"), "Yes, it does.")
    assert not follows(row(verdict="yes"), "Yes and no")
    assert follows(row(n_words=4, includes=["hat"], prose=True), "The hat is old.")
    assert not follows(row(n_words=4, includes=["hat"], prose=True), "hat hat hat hat")
    assert not follows(row(includes=["hat", "red"], sentences=1, min_words=4), "The hat is here. It is red.")
    assert follows(row(ends_with="good luck", text="It is late."), "it is late. Good luck!")
    assert not follows(row(ends_with="good luck", text="It is late."), "Good luck. It is late.")
    assert not follows(row(starts_with="well", mentions=["tea"], min_words=3), "Welling up, I drink tea.")


def test_held_out_parts_never_reach_training():
    kinds = {r["kind"] for r in WORLD.rows(3000)}
    assert kinds == (set(KINDS) | set(COMBINATIONS)) - set(HELD_OUT_KINDS) - set(HELD_OUT_COMBINATIONS)
    assert {r["kind"] for r in WORLD.rows(300, heldout="kinds")} == set(HELD_OUT_KINDS)
    assert {r["kind"] for r in WORLD.rows(300, heldout="combinations")} == set(HELD_OUT_COMBINATIONS)
    for pair in HELD_OUT_COMBINATIONS:
        task, form = pair.split("+")
        assert any(k.startswith(f"{task}+") for k in kinds) and any(k.endswith(f"+{form}") for k in kinds)


def test_knobs_splits_and_determinism():
    assert all("+" in r["kind"] for r in WORLD.rows(100, combined=True))
    assert all("+" not in r["kind"] for r in WORLD.rows(100, combined=False))
    assert WORLD.rows(50, "test", 3) == WORLD.rows(50, "test", 3) != WORLD.rows(50, "test", 4)
    train = {(r["kind"], r["given"]) for r in WORLD.rows(2000)}
    assert not train & {(r["kind"], r["given"]) for r in WORLD.rows(500, "test")}
    assert len({r["text"] for r in WORLD.rows(1500)}) > 0.98 * 1500
    with pytest.raises(ValueError, match="unknown kind"):
        WORLD.rows(1, kind="juggle")
    with pytest.raises(ValueError, match="unknown heldout"):
        WORLD.rows(1, heldout="all")
