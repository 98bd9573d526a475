"""The recipes and their oracle."""

import random
import re

import pytest

from finetunelab.worlds.kitchen import check, events
from finetunelab.worlds.larder import cuisine_share, ingredients_used, larder
from finetunelab.worlds.recipes import GENERATORS, dishes

WORLDS = {g.name: g for g in GENERATORS}
ROWS = {name: g.rows(500) for name, g in WORLDS.items()}
HEAD = "Leek soup\nIngredients: 2 leeks, 30 g butter, 3 carrots, 500 ml broth, 100 ml cream\nMethod: "
SOUP = (
    "Wash the leeks and cut them into rings.",
    "Melt the butter in a pot and soften the leeks.",
    "Peel the carrots and add them to the pot.",
    "Pour in the broth and bring it to a boil.",
    "Simmer for twenty minutes.",
    "Blend until smooth.",
    "Stir in the cream.",
    "Serve hot.",
)


def sentences(method):
    return [s.strip() for s in re.findall(r"[^.!?]+[.!?]", method)]


@pytest.mark.parametrize("name", WORLDS)
def test_documents_are_valid_distinct_and_complete(name):
    rows = ROWS[name]
    assert [problem for r in rows for problem in check(r["text"]).problems] == []
    assert len({r["text"] for r in rows}) >= 0.98 * len(rows)
    assert {r["dish"] for r in rows} == {d.name for d in dishes(name.removesuffix("_recipes"))}
    for row in rows:
        assert list(row) == list(WORLDS[name].columns)
        assert row["text"] == f"{row['prompt']} {row['method']}" and row["text"].isascii()
        assert not re.search(r"[{}\[\]|]", row["text"]) and 45 <= len(row["text"].split()) <= 150
        assert 3 <= len(row["ingredients"]) <= 7
        assert ingredients_used(row["method"]) == row["ingredients"] == ingredients_used(row["prompt"].split("\n")[1])
        marked = [row["text"][start:end] for start, end in row["known"]]
        assert list(dict.fromkeys(name for word in marked for name in ingredients_used(word))) == row["ingredients"]
        assert all(start > len(row["prompt"]) for start, _ in row["known"])


@pytest.mark.parametrize("name", WORLDS)
def test_same_arguments_same_rows_and_splits_are_disjoint(name):
    assert WORLDS[name].rows(20, "test", data_seed=3) == WORLDS[name].rows(20, "test", data_seed=3)
    train, test = ({r["text"] for r in WORLDS[name].rows(200, s)} for s in ("train", "test"))
    assert not train & test


@pytest.mark.parametrize("name", WORLDS)
def test_oracle_rejects_corruptions(name):
    rng = random.Random(0)
    rejected = {kind: 0 for kind in ("other method", "no ending", "broken off", "repeated", "unlisted", "shuffled")}
    rows = ROWS[name][:200]
    for row, other in zip(rows, rows[1:] + rows[:1]):
        steps = sentences(row["method"])
        at = rng.randrange(len(steps))
        new = next(n for n in larder() if n not in row["ingredients"])
        mixed = rng.sample(steps, len(steps))
        variants = {
            "other method": other["method"],
            "no ending": " ".join(steps[:-1]),
            "broken off": row["method"][: len(row["method"]) * 2 // 3],
            "repeated": " ".join(steps[: at + 1] + steps[at:]),
            "unlisted": " ".join([f"Add the {new}.", *steps]),
            "shuffled": " ".join(mixed if mixed != steps else steps[::-1]),
        }
        for kind, method in variants.items():
            rejected[kind] += not check(f"{row['prompt']} {method}").valid
    for kind in ("no ending", "broken off", "repeated", "unlisted"):
        assert rejected[kind] == len(rows), kind
    assert rejected["other method"] >= 0.97 * len(rows) and rejected["shuffled"] >= 0.93 * len(rows)


def test_the_plain_soup_is_valid_and_every_damage_to_it_is_named():
    assert check(HEAD + " ".join(SOUP)).problems == []

    def problems(*order):
        return " ".join(check(HEAD + " ".join(SOUP[i] for i in order)).problems)

    assert "after serving" in problems(0, 1, 2, 3, 4, 5, 7, 6)
    assert "leek" in problems(1, 0, 2, 3, 4, 5, 6, 7)
    assert "the pot" in problems(0, 2, 1, 3, 4, 5, 6, 7)
    assert "before any liquid" in problems(0, 1, 2, 4, 3, 5, 6, 7)
    assert "before anything is cooked" in problems(5, 0, 1, 2, 3, 4, 6, 7)
    assert "leek goes in after" in problems(0, 3, 2, 4, 5, 6, 1, 7)
    assert "twice" in problems(0, 1, 2, 3, 4, 4, 5, 6, 7)
    assert "cream is listed but not used" in problems(0, 1, 2, 3, 4, 5, 7)
    assert "does not end" in problems(0, 1, 2, 3, 4, 5, 6)
    assert check(HEAD).problems == ["the method is empty"]
    assert not check("no recipe at all").valid


@pytest.mark.parametrize(
    "listed, method, problem",
    [
        ("1 egg, 20 g butter", "Melt the butter in a pan. Add the egg and cook it. Add the ham. Serve.", "ham is not listed"),
        ("1 egg, 20 g butter", "Melt the butter in a pan. Add the egg and cook it. Beat the egg. Serve.", "after it is in"),
        ("200 g pastry, 3 apples", "Line a tin with the pastry. Add the apples. Bake. Heat the oven. Serve.", "oven is not heated"),
        ("400 g pork, 1 spoon oil", "Fry the pork in a pan. Heat the oil in the pan. Serve.", "before any fat"),
        ("400 g pork, 1 spoon oil", "Heat the oil in a wok. Add the pork. Toss well and serve.", "pork is served raw"),
        ("200 g rice noodles, 500 ml broth", "Drain the rice noodles. Boil them in a pot with the broth. Serve.", "drain"),
        ("1 egg, 20 g butter", "Cook the egg in the butter in a pan. Season the fish. Serve.", "no fish is listed"),
        ("1 onion, 20 g butter", "Chop the onion. Slice the onion. Cook it with the butter in a pan. Serve.", "done twice"),
        ("1 onion, 20 g butter", "Melt the butter in a pan. Add the onion. Put the onion in and cook it. Serve.", "added twice"),
        ("2 eggs, 50 g sugar", "Whisk the whites with the sugar. Separate the eggs. Chill for an hour. Serve.", "separated"),
    ],
)
def test_oracle_names_the_rule_that_is_broken(listed, method, problem):
    found = check(f"Dish\nIngredients: {listed}\nMethod: {method}").problems
    assert any(problem in p for p in found), found


def test_wordings_that_no_template_has_are_accepted():
    text = (
        "Pork with lime\nIngredients: 400 g pork, 2 spoons oil, 1 shallot, 1 lime\nMethod: Mince the shallot. In an old pan, warm the oil; "
        "brown the pork on both sides. When the pork is crisp, stir in the shallot, then cook for a minute. Squeeze the lime over the "
        "meat, and serve it."
    )
    assert check(text).problems == []


def test_reading_finds_actions_with_their_objects():
    (peel, cut), (heat, fry) = events("Peel the onions and cut them into rings. In a pan, heat the oil, then fry the onions with salt.")
    assert (peel.verb, peel.direct, cut.it) == ("peel", ["onion"], ["onion"])
    assert heat.vessels == [("pan", False)] and (fry.kind, fry.direct, fry.using) == ("fry", ["onion"], ["salt"])


def test_cuisine_share_tells_the_kitchens_apart():
    french, thai = ([cuisine_share(r["text"]) for r in ROWS[name]] for name in ("french_recipes", "thai_recipes"))
    assert max(french) < 0.3 and min(thai) > 0.7
    assert cuisine_share("Chop the onion.") == 0.5
    assert cuisine_share("Whisk the cream and the fish sauce.") == pytest.approx(1 / 3)
