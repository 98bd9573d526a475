"""The recipe of ``nano-panel``: a reward model of grades and clicks, stored at half the size."""

from __future__ import annotations

import json
from statistics import fmean

import pytest
import torch
from safetensors import safe_open

from finetunelab import panel_reward as recipe
from finetunelab.experiments import reviewers
from finetunelab.models import CHECKPOINTS
from finetunelab.reward import load_reward_model

SHIPPED = CHECKPOINTS / recipe.NAME


def test_it_does_what_its_card_says():
    recorded = {key: fmean(values) for key, values in json.loads((SHIPPED / "report.json").read_text())["measured"].items()}
    found = recipe.measure(SHIPPED, 2026, 300)
    assert recorded == pytest.approx(found, abs=0.08)
    assert 0.65 < recorded["clicks"] < recorded["best guess"] and recorded["oracle"] > recorded["clicks"]
    assert (SHIPPED / "README.md").read_text() == recipe.card(SHIPPED)


def test_it_is_stored_at_half_the_size_and_used_at_the_full_one():
    with safe_open(SHIPPED / "model.safetensors", "pt") as stored:
        assert {stored.get_tensor(name).dtype for name in stored.keys()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in load_reward_model(recipe.NAME).parameters()} == {torch.float32}


def test_it_can_be_built_again_and_a_finished_build_is_kept(tmp_path):
    said = []
    built = recipe.build(tmp_path, scale=0.004, say=said.append)
    made, shipped = (json.loads((directory / "recipe.json").read_text()) for directory in (built, SHIPPED))
    same = ("base", "data", "data_seed", "world_hash", "reviewers", "batch_size", "rates")
    assert {key: made[key] for key in same} == {key: shipped[key] for key in same}
    assert (shipped["graded"], shipped["comparisons"]) == (reviewers.GRADED, reviewers.PAIRS)
    before = (built / "model.safetensors").stat().st_mtime_ns
    assert recipe.build(tmp_path, scale=0.004, say=said.append) == built and "is finished" in said[-1]
    assert (built / "model.safetensors").stat().st_mtime_ns == before
