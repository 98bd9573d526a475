"""The recipe of ``nano-embedder``: what it is trained on, that it can be built again, and what the shipped one finds."""

from __future__ import annotations

import json
import random
import shutil
from statistics import fmean

import numpy as np
import pytest
import torch
from safetensors import safe_open

from finetunelab import embedder_base as recipe
from finetunelab import models, worlds
from finetunelab.encoders import load_encoder
from finetunelab.errors import UserError
from finetunelab.models import CHECKPOINTS, CHECKSUMS, checksums
from finetunelab.pretraining import DRAWS
from finetunelab.retrieval import embedders
from finetunelab.retrieval.embedders import load_embedder
from finetunelab.worlds import handbook, memories, news

SHIPPED = CHECKPOINTS / recipe.NAME


def test_no_reported_data_seed_is_trained_on(monkeypatch):
    asked = []
    for world, names in ((handbook, ("questions", "passages")), (news, ("questions", "articles")), (memories, ("questions", "users", "adversarial_questions"))):
        for name in names:
            real = getattr(world, name)
            monkeypatch.setattr(world, name, lambda *given, real=real: asked.append(given[-1]) or real(*given))
    kind = type(worlds.generator("notes"))
    rows = kind.rows

    def spied(self, n, split="train", data_seed=0, **knobs):
        assert split == "train"
        asked.append(data_seed)
        return rows(self, n, split, data_seed, **knobs)

    monkeypatch.setattr(kind, "rows", spied)
    batches = [batch for stage in recipe.STAGES.values() for batch in recipe.drawn(stage.shares, 12, 1)]
    assert len(batches) == 24 and len(set(asked)) > 10 and max(asked) < recipe.EDITIONS < min(DRAWS)


def test_batches_are_of_one_kind_and_know_who_answers_whom():
    assert set(recipe.MAKERS) == {kind for stage in recipe.STAGES.values() for kind in stage.shares}
    made = {kind: maker(random.Random(0), 7) for kind, maker in recipe.MAKERS.items()}
    for kind, batch in made.items():
        assert 16 <= len(batch) <= recipe.BATCH and all(pair.asks in pair.states and pair.question and pair.passage for pair in batch), kind
    book = {passage.text: passage for passage in handbook.passages(7)}
    assert all(pair.asks in {fact.key for fact in book[pair.passage].facts} == pair.states for pair in made["handbook"])
    paper = [pair.states for pair in made["news"]]
    assert len({pair.asks for pair in made["news"]}) == len(news.SLOTS) and max(map(len, paper)) == 2, "an article that states two facts answers both"
    assert len({pair.asks for pair in made["memories"]}) < len(made["memories"]), "two users' memories on one subject answer alike"
    assert len({pair.asks for pair in made["signed memories"]}) == len(made["signed memories"]), "signed with a name they do not"
    told = [pair.passage.split(": ")[0] for pair in made["signed memories"]]
    assert all(name in pair.question for name, pair in zip(told, made["signed memories"], strict=True))
    assert all(pair.question.endswith("?") and "nswer" not in pair.question and "Q:" not in pair.passage for pair in made["notes"])


def test_what_is_looked_for_has_an_answer():
    for name, every in recipe.searches(1000, 2).items():
        for questions, passages, right in every:
            assert right.shape == (len(questions), len(passages)) and right.any(1).all(), name
            assert (right.sum(1) == 1).all() or name == "news of a day"
    sizes = {name: (len(every), len(every[0][0]), len(every[0][1])) for name, every in recipe.searches(1000, 2).items()}
    assert sizes == {
        "handbook, in its words": (1, 120, 60), "handbook, in other words": (1, 120, 60), "news of a day": (2, 24, 24), "memories of a user": (2, 12, 12),
        "signed memories of all": (1, 24, 480),
    }


def test_it_can_be_built_again_and_a_finished_build_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "DRAWS", DRAWS[:1])
    monkeypatch.setattr(recipe, "found", lambda embed, seed, n: {"seed": float(seed), "n": n, "width": embed(["a"], ["b"])[0].shape[1]})
    said, places = [], (tmp_path / "one", tmp_path / "two")
    one, two = (recipe.build(place, scale=0.004, say=said.append) for place in places)
    assert checksums(one)["model.safetensors"] == checksums(two)["model.safetensors"] != checksums(SHIPPED)["model.safetensors"]
    assert checksums(one)["tokenizer.json"] == checksums(SHIPPED)["tokenizer.json"] == checksums(CHECKPOINTS / recipe.BASE)["tokenizer.json"]
    made, shipped = (json.loads((directory / "recipe.json").read_text()) for directory in (one, SHIPPED))
    same = ("base", "layers", "parameters", "data_seeds", "seed", "world_hash", "batch", "temperature")
    assert {key: made[key] for key in same} == {key: shipped[key] for key in same}
    assert made["other texts alone"] == {"seed": 1000, "n": 1, "width": 128}
    for name, stage in recipe.STAGES.items():
        assert shipped["stages"][name]["config"]["steps"] == stage.steps and shipped["stages"][name]["shares"] == stage.shares
    before = (one / "model.safetensors").stat().st_mtime_ns
    assert recipe.build(places[0], scale=0.004, say=said.append) == one and "is finished" in said[-1]
    assert (one / "model.safetensors").stat().st_mtime_ns == before


def test_the_shipped_one_is_found_by_name_and_is_what_was_recorded():
    made = load_embedder("nano-embedder")
    found = made.embed(["Where is the guest book kept?", "The guest book lies in the sun room."])
    embedders.checked(found, 2, made)
    assert made.id == "nano-embedder" and made.dimension == 128 and made.checksum == load_embedder(str(SHIPPED)).checksum
    assert json.loads(CHECKSUMS.read_text())[recipe.NAME] == checksums(SHIPPED)
    with safe_open(SHIPPED / "model.safetensors", "pt") as stored:
        assert {stored.get_tensor(name).dtype for name in stored.keys()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in load_encoder(recipe.NAME).model.parameters()} == {torch.float32}
    assert (SHIPPED / "model.safetensors").stat().st_size < 3.5e6


def test_an_altered_one_is_refused(tmp_path, monkeypatch):
    shutil.copytree(CHECKPOINTS / recipe.NAME, tmp_path / recipe.NAME)
    weights = bytearray((tmp_path / recipe.NAME / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / recipe.NAME / "model.safetensors").write_bytes(bytes(weights))
    monkeypatch.setattr(models, "CHECKPOINTS", tmp_path)
    with pytest.raises(UserError, match="'nano-embedder': model.safetensors is missing or altered"):
        load_embedder(recipe.NAME)


def test_it_does_what_its_card_says():
    recorded = {key: fmean(values) for key, values in json.loads((SHIPPED / "report.json").read_text())["measured"].items()}
    found = recipe.measure(SHIPPED, 2026, 1)
    mine = [key for key in found if key.startswith("embedder: handbook")]
    assert len(mine) == 4 and {key: found[key] for key in mine} == pytest.approx({key: recorded[key] for key in mine}, abs=0.06)
    for way in ("in its words", "in other words"):
        key = f"handbook, {way} @5"
        assert found[f"embedder: {key}"] >= 0.95 > found[f"trunk: {key}"] + 0.3, "the goal of E5"
    assert (SHIPPED / "README.md").read_text() == recipe.card(SHIPPED)
    assert np.isfinite(list(recorded.values())).all()
