"""The recipe of the bases: built end to end at a toy scale, resumed, refused when finished."""

from __future__ import annotations

import dataclasses
import json
import shutil
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

from finetunelab import corpus, models, pretraining, worlds
from finetunelab.errors import UserError
from finetunelab.initialization import Shape, new_model
from finetunelab.pretraining import CONTEXT, Stage, build
from finetunelab.worlds import notes, patterns, sorting

GENERATORS = {generator.name: generator for module in (notes, patterns, sorting) for generator in module.GENERATORS}
STAGES = (
    Stage("1-repeats", {"repeats": 1.0}, 500, 48, 4, 2e-3),
    Stage("2-recall", {"repeats": 0.2, "recall": 0.8}, 500, 48, 4, 2e-3),
    Stage("3-world", {"notes": 0.4, "vignettes": 0.4, "one_topic": 0.2}, 700, 64, 4, 2e-3, schedule="cosine", answer_weight=4.0, around_share=0.3),
)
CONSTANTS = ("STAGES", "SIZES", "DRAWN_WITH", "COMPANY", "TOKENIZER_SIZES", "SHAPES", "VOCABULARY")
SHIPPED = {name: getattr(pretraining, name) for name in CONSTANTS}
DRAWN_WITH = {"one_topic": ("vignettes", {"topic": "stars"})}
SCALE = 0.01
STEPS = [5, 5, 7]


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """A recipe of three stages and a few steps for a model of width 32."""
    monkeypatch.setenv("CI", "1")
    monkeypatch.setattr(worlds, "generators", lambda: GENERATORS)
    monkeypatch.setattr(worlds, "frozen_hash", lambda: "worlds-of-today")
    monkeypatch.setattr(pretraining, "SHAPES", {"base": Shape(32, 2, 2, 64), "small": Shape(16, 1, 1, 32)})
    monkeypatch.setattr(pretraining, "STAGES", STAGES)
    monkeypatch.setattr(pretraining, "SIZES", {"notes": 5_000, "recall": 5_000, "vignettes": 5_000, "one_topic": 5_000})
    monkeypatch.setattr(pretraining, "DRAWN_WITH", DRAWN_WITH)
    monkeypatch.setattr(pretraining, "COMPANY", ("vignettes", "notes"))
    monkeypatch.setattr(pretraining, "TOKENIZER_SIZES", {"notes": 5_000, "vignettes": 5_000})
    monkeypatch.setattr(pretraining, "VOCABULARY", 512)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of one finished build, made by the first test that needs it."""
    return tmp_path_factory.mktemp("build")


@pytest.fixture
def built(kept, toy):
    if not (kept / "nano").exists():
        build("base", kept, SCALE, lambda line: None)
    return kept


def weights(directory):
    return load_file(directory / "nano" / "model.safetensors")


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_build_gives_a_checkpoint_with_its_recipe(built):
    model, tokenizer = models.load_model(str(built / "nano")), models.load_tokenizer(str(built / "nano"))
    assert (model.config.hidden_size, model.config.num_hidden_layers, model.config.vocab_size) == (32, 2, 512)
    assert len(tokenizer) == 512 and tokenizer.model_max_length == 1024 and "generation" in tokenizer.chat_template
    recipe = json.loads((built / "nano" / "recipe.json").read_text())
    pools = corpus.build_pools({"notes": 50, "recall": 50, "vignettes": 50, "one_topic": 50}, tokenizer, drawn_with=DRAWN_WITH)
    assert recipe["data_hash"] == corpus.data_hash(pools)
    assert (recipe["world_hash"], recipe["seed"]) == ("worlds-of-today", 0)
    assert recipe["drawn_with"] == {"one_topic": ["vignettes", {"topic": "stars"}]}
    assert recipe["size"] == {"width": 32, "layers": 2, "heads": 2, "feed_forward": 64}
    assert [stage["name"] for stage in recipe["stages"]] == [stage.name for stage in STAGES]
    assert [stage["cost"]["steps"] for stage in recipe["stages"]] == STEPS
    assert recipe["stages"][2]["mixture"] == {"notes": 0.4, "vignettes": 0.4, "one_topic": 0.2}
    assert recipe["stages"][2]["cost"]["tokens"] == 7 * 4 * 64


def test_training_moved_the_weights_and_each_stage_its_own(built):
    torch.manual_seed(0)
    stages = [new_model(pretraining.SHAPES["base"], 512, CONTEXT).state_dict()]
    stages += [load_file(built / "base" / stage.name / "model.safetensors") for stage in STAGES]
    name = "model.layers.0.mlp.up_proj.weight"
    assert all(not torch.equal(one[name], other[name]) for one, other in pairwise(stages))
    assert torch.equal(weights(built)[name], stages[-1][name])


def test_finished_stages_leave_no_checkpoints(built):
    assert not list((built / "base").glob("*/checkpoint-*"))


def test_a_finished_build_is_left_alone(built, monkeypatch):
    before, said = (built / "nano" / "model.safetensors").stat().st_mtime_ns, []
    monkeypatch.setattr(pretraining, "train", lambda *args, **kwargs: pytest.fail("trained again"))
    assert build("base", built, SCALE, said.append) == built / "nano"
    assert (built / "nano" / "model.safetensors").stat().st_mtime_ns == before
    assert len(said) == 1 and "is finished; remove it" in said[0]


def test_a_build_goes_on_after_its_last_finished_stage(built, tmp_path):
    again, said = tmp_path / "again", []
    shutil.copytree(built, again)
    shutil.rmtree(again / "nano")
    shutil.rmtree(again / "base" / STAGES[-1].name)
    build("base", again, SCALE, said.append)
    assert same(weights(again), weights(built))
    assert [line for line in said if "at most" in line] == ["stage 3-world: at most 7 steps of 4 x 64 tokens"]
    old, new = (json.loads((folder / "nano" / "recipe.json").read_text()) for folder in (built, again))
    for recipe in (old, new):
        for stage in recipe["stages"]:
            del stage["cost"]["seconds"]
    assert new == old


def test_a_build_that_is_stopped_within_a_stage_goes_on_from_its_checkpoint(built, tmp_path, monkeypatch):
    """The stage is cut off after its fourth step, a checkpoint every two: the rest gives the same weights."""
    again, train, ran = tmp_path / "again", pretraining.train, []
    shutil.copytree(built, again)
    shutil.rmtree(again / "nano")
    shutil.rmtree(again / "base" / STAGES[-1].name)

    def often(model, rows, config, *, collate, **rest):
        def count(batch):
            ran.append(1)
            if len(ran) == 6:  # the loader reads one batch ahead
                raise KeyboardInterrupt
            return collate(batch)

        return train(model, rows, dataclasses.replace(config, save_every=2), collate=count, **rest)

    monkeypatch.setattr(pretraining, "train", often)
    with pytest.raises(KeyboardInterrupt):
        build("base", again, SCALE, lambda line: None)
    assert list((again / "base" / STAGES[-1].name).glob("checkpoint-*")) and not (again / "nano").exists()
    build("base", again, SCALE, lambda line: None)
    assert same(weights(again), weights(built))


def test_the_shipped_recipe_fits_its_worlds():
    """What a stage mixes is drawn for the corpus, all of it is pretrained on, and every world of prose trains the tokenizer."""
    drawn = {pool for stage in SHIPPED["STAGES"] for pool in stage.mixture} - {"repeats"}
    assert drawn == set(SHIPPED["SIZES"]) and set(SHIPPED["TOKENIZER_SIZES"]) | set(SHIPPED["COMPANY"]) <= drawn
    drawn = {SHIPPED["DRAWN_WITH"].get(pool, (pool,))[0] for pool in drawn}
    for name in drawn & set(GENERATORS):
        assert GENERATORS[name].pretrained
    assert all(stage.length <= CONTEXT for stage in SHIPPED["STAGES"])
    for size, low, high in (("base", 1e6, 4e6), ("small", 1.5e5, 8e5)):
        assert low < models.count_parameters(new_model(SHIPPED["SHAPES"][size], SHIPPED["VOCABULARY"], CONTEXT)) < high


def test_a_build_does_not_go_on_with_another_world(built, tmp_path, monkeypatch):
    again = tmp_path / "again"
    shutil.copytree(built, again)
    shutil.rmtree(again / "nano")
    monkeypatch.setattr(worlds, "frozen_hash", lambda: "worlds-of-tomorrow")
    with pytest.raises(UserError, match="another world or corpus; choose another directory"):
        build("base", again, SCALE, lambda line: None)


def test_a_stage_of_another_recipe_is_refused(built, tmp_path, monkeypatch):
    again = tmp_path / "again"
    shutil.copytree(built, again)
    shutil.rmtree(again / "nano")
    changed = (*STAGES[:-1], dataclasses.replace(STAGES[-1], learning_rate=1e-3))
    monkeypatch.setattr(pretraining, "STAGES", changed)
    with pytest.raises(UserError, match="another recipe; remove it"):
        build("base", again, SCALE, lambda line: None)


def test_a_shipped_base_says_what_each_draw_gave_and_whether_its_goals_are_reached(tmp_path, monkeypatch):
    from finetunelab import skills

    gave = {1000: (0.97, 0.93), 1001: (0.97, 0.97), 1002: (0.98, 0.98)}

    def report(data_seed, name, say):
        surely, barely = gave[data_seed]
        return {"skills": {"recipe_valid": surely, "fewshot_k8": barely, "notes_4": 0.5}, "perplexity": {"mail": 2.0 * surely}, "step_seconds": surely}

    monkeypatch.setattr(skills, "report", report)
    monkeypatch.setattr(pretraining, "DRAWS", tuple(gave))
    monkeypatch.setattr(pretraining, "CHECKPOINTS", tmp_path / "package")
    monkeypatch.setattr(pretraining, "CHECKSUMS", tmp_path / "package" / "checksums.json")
    (tmp_path / "package" / "nano").mkdir(parents=True)
    (tmp_path / "package" / "nano" / "stale.json").write_text("{}")
    pretraining.CHECKSUMS.write_text('{"another": {}}')
    target = pretraining.ship(build("base", tmp_path / "out", SCALE, say=lambda line: None), say=lambda line: None)
    recorded = json.loads((target / "report.json").read_text())
    assert recorded["draws"]["fewshot_k8"] == [0.93, 0.97, 0.98] and recorded["data_seeds"] == [1000, 1001, 1002]
    assert recorded["skills"]["fewshot_k8"] == 0.96 and recorded["perplexity"] == {"mail": 1.9467} and recorded["step_seconds"] == 0.97
    rows = {line.split(" | ")[0]: line.split(" | ")[-1] for line in (target / "README.md").read_text().splitlines() if " at least " in line}
    assert [verdict.strip(" |") for verdict in rows.values()] == ["yes", "on average", "no"]
    assert set(json.loads(pretraining.CHECKSUMS.read_text())) == {"another", "nano"} and not (target / "stale.json").exists()


def test_what_is_shipped_has_been_measured_on_every_draw(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "CHECKPOINTS", tmp_path / "package")
    monkeypatch.setattr(pretraining, "CHECKSUMS", tmp_path / "checksums.json")
    built, said = tmp_path / "tiny", []
    built.mkdir()
    (built / "model.safetensors").write_bytes(b"weights")
    lies = pretraining.measured(
        built, lambda directory, seed, n: {"found": seed / n}, lambda directory: (directory / "report.json").read_text(), 1_000, said.append
    )
    assert lies == tmp_path / "package" / "tiny" and (lies / "model.safetensors").read_bytes() == b"weights"
    report = json.loads((lies / "report.json").read_text())
    assert report == {"data_seeds": list(pretraining.DRAWS), "measured": {"found": [1.0, 1.001, 1.002, 1.003, 1.004]}, "asked": 1_000}
    assert json.loads((lies / "README.md").read_text()) == report and said == ["found: 1.002"]
    assert json.loads((tmp_path / "checksums.json").read_text())["tiny"]
