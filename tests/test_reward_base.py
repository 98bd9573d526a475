"""The recipe of ``nano-reward``: pairs that nobody has to judge, and what it does afterwards."""

from __future__ import annotations

import json
from statistics import fmean

import pytest

from finetunelab import reward_base as recipe
from finetunelab.assistant import drawn
from finetunelab.models import CHECKPOINTS

SHIPPED = CHECKPOINTS / recipe.NAME


def test_a_pair_sets_a_requests_own_response_against_one_on_another_subject():
    rows = drawn("responses", 60, "train", 1)
    topics = {row["response"]: row["topic"] for row in rows}
    pairs = recipe.matching_pairs(rows, 0)
    for row, pair in zip(rows, pairs, strict=True):
        prompt, chosen, rejected = (pair[name][0]["content"] for name in ("prompt", "chosen", "rejected"))
        assert (prompt, chosen) == (row["prompt"], row["response"]) and topics[rejected] != row["topic"]
    assert pairs == recipe.matching_pairs(rows, 0) != recipe.matching_pairs(rows, 1)


def test_it_does_what_its_card_says():
    recorded = json.loads((SHIPPED / "report.json").read_text())["measured"]
    found = recipe.measure(SHIPPED, 2026, 100)
    assert {key: fmean(values) for key, values in recorded.items()} == pytest.approx(found, abs=0.15)
    assert found["told apart"] > 0.9 and found["relevance"] > abs(found["coherence"]) + 0.3, "it judges what a response is about, and not how it is put"
    assert (SHIPPED / "README.md").read_text() == recipe.card(SHIPPED)


def test_it_can_be_built_again_and_a_finished_build_is_kept(tmp_path):
    said = []
    built = recipe.build(tmp_path, scale=0.001, say=said.append)
    made, shipped = (json.loads((directory / "recipe.json").read_text()) for directory in (built, SHIPPED))
    assert {key: made[key] for key in ("base", "data", "data_seed", "world_hash")} == {key: shipped[key] for key in ("base", "data", "data_seed", "world_hash")}
    before = (built / "model.safetensors").stat().st_mtime_ns
    assert recipe.build(tmp_path, scale=0.001, say=said.append) == built and "is finished" in said[-1]
    assert (built / "model.safetensors").stat().st_mtime_ns == before
