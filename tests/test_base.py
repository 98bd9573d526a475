"""The shipped bases: whole, small enough, as their cards say, and able to do what the chapters build on."""

from __future__ import annotations

import json
import time

import pytest

from finetunelab import worlds
from finetunelab.cards import GOALS, model_card
from finetunelab.models import CHECKPOINTS, CHECKSUMS, count_parameters, load_model, resolve
from finetunelab.skills import IN_DOMAIN, report

BASES = ("nano", "nano-small")
# Goals that this build of the base falls short of. The tests are strict: a goal that is reached must leave this list.
NOT_YET = {"fact_cloze", "fewshot_unseen_k8"}
# Goals that this build reaches on average: the mean over five draws lies at the goal or just above, so one draw of n texts may fall below.
AT_THE_GOAL = {"recipe_valid": 200, "fewshot_k8": 300}
SKILLS = [
    pytest.param(skill, marks=pytest.mark.xfail(reason="this build falls short, as its card says", strict=True) if skill in NOT_YET else ())
    for skill, (_, goal) in GOALS.items()
    if goal is not None
]
# A draw of texts that neither the training nor the model card has seen.
FRESH_SEED = 2026


@pytest.fixture(scope="module")
def measured():
    began = time.perf_counter()
    return report(FRESH_SEED) | {"elapsed": time.perf_counter() - began}


@pytest.mark.parametrize("name", BASES)
def test_a_shipped_base_is_whole_and_made_from_this_world(name):
    assert resolve(name) == str(CHECKPOINTS / name)
    assert set(json.loads(CHECKSUMS.read_text())[name]) >= {"model.safetensors", "config.json", "tokenizer.json", "recipe.json"}
    recipe = json.loads((CHECKPOINTS / name / "recipe.json").read_text())
    assert recipe["world_hash"] == worlds.frozen_hash() and recipe["seed"] == 0 and recipe["data_hash"]
    assert (CHECKPOINTS / name / "README.md").read_text() == model_card(CHECKPOINTS / name)


def test_sizes():
    base, small = (count_parameters(load_model(name)) for name in BASES)
    assert 1_000_000 <= base <= 4_000_000 and small <= base / 5
    assert sum(file.stat().st_size for file in (CHECKPOINTS / "nano").iterdir()) <= 16 * 2**20
    assert sum(file.stat().st_size for file in CHECKPOINTS.rglob("*") if file.is_file()) <= 40 * 2**20


def test_both_bases_are_made_by_one_recipe():
    recipes = [json.loads((CHECKPOINTS / name / "recipe.json").read_text()) for name in BASES]
    for recipe in recipes:
        for stage in recipe["stages"]:
            del stage["cost"], stage["loss"]
    assert recipes[0]["stages"] == recipes[1]["stages"] and recipes[0]["data_hash"] == recipes[1]["data_hash"]


@pytest.mark.parametrize("skill", SKILLS)
def test_the_base_has_the_skill(measured, skill):
    goal = GOALS[skill][1]
    # Two standard errors of a share of n texts.
    slack = 2 * (goal * (1 - goal) / AT_THE_GOAL[skill]) ** 0.5 if skill in AT_THE_GOAL else 0.0
    assert measured["skills"][skill] >= goal - slack


def test_without_demonstrations_the_base_is_at_chance(measured):
    assert abs(measured["skills"]["fewshot_k0"] - 0.5) <= 0.05


def test_held_out_domains_leave_something_to_teach(measured):
    held_out = {name: value for name, value in measured["perplexity"].items() if name not in ("in_domain", *IN_DOMAIN)}
    assert set(held_out) == {name for name, generator in worlds.generators().items() if not generator.pretrained}
    assert min(held_out.values()) >= 2.5 * measured["perplexity"]["in_domain"], held_out


def test_the_report_and_a_training_step_are_quick(measured):
    # Goals on two cores of a usual machine: half a second and 50 seconds. Tests have one core, of a machine that may be half as fast.
    assert measured["step_seconds"] <= 1.8
    assert measured["elapsed"] <= 180


def test_the_card_states_what_another_machine_measures(measured):
    recorded = json.loads((CHECKPOINTS / "nano" / "report.json").read_text())
    for skill, value in recorded["skills"].items():
        # Two draws of 100 texts or more: four standard errors of their difference, and what another instruction set may change.
        assert abs(measured["skills"][skill] - value) <= 4 * (2 * value * (1 - value) / 100) ** 0.5 + 0.02, skill
