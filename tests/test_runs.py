"""Training runs from the shell: recipes and flags, the layouts of data, resume, LoRA, held-out loss, and several processes."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from finetunelab import adaptation, cli, runs, settings, training
from finetunelab.conversations import hold_out, load_conversations
from finetunelab.errors import UserError
from finetunelab.models import load_model, load_tokenizer

QUESTIONS = [f"Which number comes after {i}?" for i in range(60)]
ANSWERS = [f"The number {i + 1} does." for i in range(60)]
PAIRS = list(zip(QUESTIONS, ANSWERS, strict=True))
TALKS = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in PAIRS]


@pytest.fixture(autouse=True)
def no_progress_bars(monkeypatch):
    monkeypatch.setenv("CI", "1")


def jsonl(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def talks(tmp_path) -> str:
    return jsonl(tmp_path / "talks.jsonl", [{"messages": talk} for talk in TALKS])


@pytest.fixture
def recipe(tmp_path, talks) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"model: nano-small\ndata: {talks}\nsteps: 12\nbatch_size: 4\nlearning_rate: 1e-3\nlongest: 64\nschedule: constant\n")
    return str(path)


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_model(str(directory)).state_dict()


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(value, second[name]) for name, value in first.items())


def record(directory: Path) -> dict:
    return json.loads((directory / "run.json").read_text())


# Settings -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "kind"), [("sft", settings.SftSettings), ("adapt", settings.AdaptSettings)])
def test_every_setting_is_a_flag_with_help_and_a_key_of_a_recipe(command, kind, capsys, tmp_path):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    fields = dataclasses.fields(kind)
    assert len(fields) > 25
    for field in fields:
        assert f"--{field.name.replace('_', '-')}" in text and len(field.metadata["help"]) > 15
    whole = kind(data="d", output="o")
    (tmp_path / "r.yaml").write_text(settings.write(whole, command) + "output: o\n")
    assert settings.read(kind, {}, tmp_path / "r.yaml") == whole


def test_flags_win_over_the_recipe_and_values_are_read_as_their_kind(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("data: d.csv\noutput: o\nsteps: 5\nlearning_rate: 1e-3\nmasked: false\nlora_rank: 4\nlora_targets: [q_proj, v_proj]\ntest:\n")
    found = settings.read(settings.SftSettings, {"steps": "7", "epochs": "2"}, path)
    assert (found.steps, found.learning_rate, found.epochs, found.masked) == (7, 1e-3, 2.0, False)
    assert found.lora_targets == "q_proj,v_proj" and found.test is None and type(found.steps) is int


def test_help_of_a_run_loads_nothing_heavy():
    code = (
        "import sys\nfrom finetunelab.cli import main\ntry:\n    main(['sft', '--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(bool({'torch', 'numpy', 'datasets', 'transformers', 'accelerate'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


# Data ---------------------------------------------------------------------------------------------------------------------------


def test_all_layouts_become_the_same_conversations(tmp_path):
    both = {
        "pairs": [{"prompt": q, "completion": a} for q, a in PAIRS],
        "alpaca": [{"instruction": q, "input": "", "output": a} for q, a in PAIRS],
        "without_input": [{"instruction": q, "output": a} for q, a in PAIRS],
        "trl": [{"prompt": talk[:1], "completion": talk[1:]} for talk in TALKS],
        "named": [{"messages": [{**message, "name": "x"} for message in talk], "text": "unused"} for talk in TALKS],
        "written": [{"messages": json.dumps(talk)} for talk in TALKS],
    }
    for name, rows in both.items():
        assert load_conversations(jsonl(tmp_path / f"{name}.jsonl", rows)) == TALKS, name
    renamed = jsonl(tmp_path / "renamed.jsonl", [{"messages": "other", "q": q, "a": a} for q, a in PAIRS])
    assert load_conversations(renamed, columns={"prompt": "q", "completion": "a"}) == TALKS
    table = "instruction,input,output\n" + "".join(f'Add one.,"{i}",{i + 1}\n' for i in range(30))
    (tmp_path / "a.csv").write_text(table)
    first = load_conversations(str(tmp_path / "a.csv"), system="Be brief.")[0]
    assert [m["content"] for m in first] == ["Be brief.", "Add one.\n\n0", "1"] and first[0]["role"] == "system"


def test_worlds_and_folders_have_parts(tmp_path):
    assert len(load_conversations("world:dialogues", n=25)) == 25
    assert load_conversations("world:instructions", n=25) != load_conversations("world:instructions", n=25, other="test")
    for name, some in (("train", TALKS[:30]), ("test", TALKS[30:])):
        jsonl(tmp_path / f"{name}.jsonl", [{"messages": talk} for talk in some])
    assert load_conversations(str(tmp_path)) == TALKS[:30] and load_conversations(str(tmp_path), other="test") == TALKS[30:]


def test_copies_of_a_question_stay_on_one_side():
    again = [[talk[0], {"role": "assistant", "content": "Who knows?"}] for talk in TALKS]
    kept, held = hold_out([*TALKS, *again], 0.3, seed=1)
    assert 15 <= len(held) <= 60 and not {t[0]["content"] for t in kept} & {t[0]["content"] for t in held}
    assert len(kept) + len(held) == 120 and hold_out(QUESTIONS, 0.0) == (QUESTIONS, [])
    with pytest.raises(UserError, match="0 to test on"):
        hold_out(QUESTIONS, 1e-9)


# Runs ---------------------------------------------------------------------------------------------------------------------------


def test_a_run_prints_what_happened_and_its_recipe_repeats_it(recipe, tmp_path, capsys):
    one, other = tmp_path / "one", tmp_path / "other"
    assert cli.main(["sft", "--config", recipe, "--steps", "14", "--output", str(one)]) == 0
    out = capsys.readouterr().out
    assert "conversations; 0 cut" in out and "Training on" in out and "used." in out and "Cost: 14 steps" in out and "Held-out loss:" in out
    found = record(one)
    assert found["held_out_loss"]["after"] < found["held_out_loss"]["before"] - 1
    kept, held = hold_out(TALKS, 0.1)
    assert found["data"]["examples"] == len(kept) and found["data"]["held_out"] == len(held)
    assert runs.held_out_loss(load_model(str(one)), load_tokenizer(str(one)), held, 64) == pytest.approx(found["held_out_loss"]["after"], rel=1e-4)
    assert yaml.safe_load((one / "recipe.yaml").read_text())["steps"] == 14
    assert cli.main(["sft", "--config", str(one / "recipe.yaml"), "--output", str(other)]) == 0
    assert same(one, other) and not list(one.glob("checkpoint-*"))


def test_held_out_loss_is_that_of_the_answers_alone(tmp_path):
    model, tokenizer = load_model("nano-small"), load_tokenizer("nano-small")
    some, total, count = TALKS[:5], 0.0, 0
    for talk in some:
        encoded = tokenizer.apply_chat_template(talk, return_dict=True, return_assistant_tokens_mask=True)
        ids, mask = torch.tensor([encoded["input_ids"]]), torch.tensor(encoded["assistant_masks"][1:])
        with torch.inference_mode():
            said = model(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        total, count = total - float((said * mask).sum()), count + int(mask.sum())
    assert runs.held_out_loss(model, tokenizer, some, 64, 2) == pytest.approx(total / count, rel=1e-4)


@pytest.mark.parametrize("lora", [[], ["--lora-rank", "2"]])
def test_a_stopped_run_goes_on_to_the_same_model(recipe, tmp_path, monkeypatch, capsys, lora):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    argv = ["sft", "--config", recipe, "--save-every", "4", *lora, "--output"]
    assert cli.main([*argv, str(whole)]) == 0
    step_end = training.Meter.on_step_end

    def stop_in_step_7(self, args, state, control, **kwargs):
        step_end(self, args, state, control, **kwargs)
        if state.global_step == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.Meter, "on_step_end", stop_in_step_7)
        assert cli.main([*argv, str(stopped)]) == 130
    assert (stopped / "checkpoint-4").is_dir() and not (stopped / "config.json").exists()
    assert cli.main([*argv, str(stopped), "--learning-rate", "0.1"]) == 2
    assert "its learning_rate is 0.001, and 0.1 was asked for" in capsys.readouterr().err
    assert cli.main([*argv, str(stopped)]) == 0
    assert same(whole, stopped) and record(stopped)["cost"]["steps"] == 12 and record(stopped)["cost"]["tokens"] == record(whole)["cost"]["tokens"]


def test_lora_is_merged_into_a_plain_model(recipe, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["sft", "--config", recipe, "--lora-rank", "2", "--lora-alpha", "8", "--lora-targets", "q_proj, v_proj", "--learning-rate", "1e-2"]
    assert cli.main([*argv, "--output", str(out)]) == 0
    assert "merged" in capsys.readouterr().out and not (out / "adapter_config.json").exists()
    before, after = load_model("nano-small").state_dict(), weights(out)
    changed = {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys() and changed == {"q_proj", "v_proj"}
    difference = after["model.layers.0.self_attn.q_proj.weight"] - before["model.layers.0.self_attn.q_proj.weight"]
    assert torch.linalg.matrix_rank(difference, rtol=1e-3) == 2
    assert record(out)["held_out_loss"]["after"] < record(out)["held_out_loss"]["before"]


def test_qlora_is_merged_into_weights_that_were_not_rounded(recipe, tmp_path):
    pytest.importorskip("bitsandbytes", reason="4-bit weights need bitsandbytes: pip install 'finetunelab[qlora]'")
    out, model = tmp_path / "out", "nano"
    argv = ["sft", "--config", recipe, "--model", model, "--four-bit", "--lora-rank", "2", "--learning-rate", "1e-2", "--steps", "6"]
    assert cli.main([*argv, "--output", str(out)]) == 0
    before, after = load_model(model).state_dict(), weights(out)
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3) == 2
    assert record(out)["held_out_loss"]["after"] < record(out)["held_out_loss"]["before"]


def test_adapt_learns_texts_and_replays_old_ones(tmp_path, capsys):
    new = jsonl(tmp_path / "new.jsonl", [{"body": f"{q} {a}"} for q, a in PAIRS])
    old = jsonl(tmp_path / "old.jsonl", [{"body": f"An old text, number {i}."} for i in range(40)])
    argv = ["adapt", "--model", "nano-small", "--data", new, "--text-column", "body", "--replay", old, "--replay-share", "0.25", "--longest", "48"]
    assert cli.main([*argv, "--epochs", "4", "--batch-size", "4", "--output", str(tmp_path / "out")]) == 0
    out, found = capsys.readouterr().out, record(tmp_path / "out")
    kept, held = hold_out([f"{q} {a}" for q, a in PAIRS], 0.1)
    assert f"{len(kept) + round(len(kept) / 3)} texts, {round(len(kept) / 3)} of them old" in out and "Training on" in out
    assert found["held_out_loss"]["after"] < found["held_out_loss"]["before"] - 0.5 and found["data"]["held_out"] == len(held)
    tokens = int(out.split(" of them old; ")[1].split(" tokens")[0].replace(",", ""))
    assert found["cost"]["steps"] == -(-4 * tokens // (48 * 4))


# Several processes --------------------------------------------------------------------------------------------------------------


def test_several_processes_are_given_rows_enough_for_all(monkeypatch):
    asked = []
    monkeypatch.setattr(adaptation, "train", lambda model, rows, config, **options: asked.append(len(rows)))
    for number in ("1", "2"):
        monkeypatch.setenv("WORLD_SIZE", number)
        config = training.TrainConfig(steps=5, batch_size=3, accumulate=2)
        adaptation.continue_training(None, load_tokenizer("nano-small"), QUESTIONS, config, 64)
    assert asked == [30, 60]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_with_batches_twice_as_large(talks, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    argv = ["sft", "--model", "nano-small", "--data", talks, "--longest", "32", "--steps", "20", "--learning-rate", "1e-3", "--save-every", "10"]
    # On a machine without a GPU this is how two processes are asked for: --cpu starts one, however many are named.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
              "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m", "finetunelab.cli"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    alone = subprocess.run(
        [sys.executable, "-m", "finetunelab.cli", *argv, "--batch-size", "2", "--output", str(one)], env=environment, capture_output=True, text=True)
    both = subprocess.run([*launch, *argv, "--batch-size", "1", "--output", str(two)], env=environment, capture_output=True, text=True)
    assert alone.returncode == 0 and both.returncode == 0, both.stderr
    first, second = record(one), record(two)
    assert [entry["step"] for entry in first["history"]] == [10, 20]
    for a, b in zip(first["history"], second["history"], strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4) and b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3)
    assert second["held_out_loss"]["after"] == pytest.approx(first["held_out_loss"]["after"], rel=1e-3)
    assert second["processes"] == 2 and second["cost"]["tokens"] == first["cost"]["tokens"]
    assert second["cost"]["flops"] == pytest.approx(first["cost"]["flops"], rel=0.05)
    for line in ("Training on", "Cost:", "Held-out loss:", "Saved to"):
        assert both.stdout.count(line) == 1
    assert load_model(str(two)) is not None
