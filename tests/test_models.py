"""Loading, checking, counting, freezing and saving checkpoints: whole ones, damaged ones, and unknown ones."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from finetunelab import models
from finetunelab.corpus import train_tokenizer
from finetunelab.errors import UserError

REAL_WEIGHTS = Path(os.environ.get("FINETUNELAB_WEIGHTS", Path(__file__).resolve().parents[2] / "shared" / "weights"))
SIZES = {
    "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 48, "max_position_embeddings": 64, "tie_word_embeddings": True, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES))


def qwen() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=16))


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["a cat sat on the mat"] * 3, 300, 64)


@pytest.fixture
def checkpoint(tmp_path, tokenizer) -> Path:
    models.save_model(llama(), tokenizer, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def shipping(tmp_path, tokenizer, monkeypatch) -> Path:
    """A package that ships one checkpoint, "nano"."""
    monkeypatch.setattr(models, "CHECKPOINTS", tmp_path / "shipped")
    monkeypatch.setattr(models, "CHECKSUMS", tmp_path / "shipped" / "checksums.json")
    models.save_model(llama(), tokenizer, tmp_path / "shipped" / "nano")
    models.CHECKSUMS.write_text(json.dumps({"nano": models.checksums(tmp_path / "shipped" / "nano")}))
    return tmp_path / "shipped" / "nano"


def fails(name: str | Path, load=models.load_model) -> str:
    with pytest.raises(UserError) as caught:
        load(str(name))
    message = str(caught.value)
    assert "\n" not in message and ";" in message
    return message


@pytest.mark.parametrize("make", [llama, qwen])
def test_a_directory_of_a_named_architecture_comes_back_as_it_was(make, tmp_path, tokenizer):
    model = make().eval()
    models.save_model(model, tokenizer, tmp_path / "saved")
    loaded = models.load_model(str(tmp_path / "saved"))
    assert type(loaded) is type(model) and not loaded.training
    ids = torch.arange(20)[None]
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    assert models.load_tokenizer(str(tmp_path / "saved"))("a cat")["input_ids"] == tokenizer("a cat")["input_ids"]


def test_weights_are_float32_unless_asked_otherwise(checkpoint):
    half = models.load_model(str(checkpoint), dtype=torch.bfloat16)
    assert next(half.parameters()).dtype == torch.bfloat16
    half.save_pretrained(checkpoint)
    assert next(models.load_model(str(checkpoint)).parameters()).dtype == torch.float32


def test_loading_and_saving_print_nothing(checkpoint, tmp_path, capfd):
    models.save_model(models.load_model(str(checkpoint)), models.load_tokenizer(str(checkpoint)), tmp_path / "copy")
    assert capfd.readouterr() == ("", "")


def test_a_shipped_name_is_its_directory(shipping):
    assert models.shipped() == {"nano": shipping}
    assert models.resolve("nano") == str(shipping)
    assert models.count_parameters(models.load_model()) == models.count_parameters(llama())
    assert models.load_tokenizer().pad_token == "<pad>"


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_an_altered_shipped_file_is_noticed(shipping, file):
    raw = bytearray((shipping / file).read_bytes())
    raw[-2] ^= 1
    (shipping / file).write_bytes(raw)
    assert file in fails("nano") and "altered" in fails("nano")
    (shipping / file).unlink()
    assert file in fails("nano")


def test_a_model_card_beside_shipped_weights_may_change(shipping):
    (shipping / "README.md").write_text("new words")
    (shipping / "report.json").write_text("{}")
    assert models.resolve("nano") == str(shipping)


@pytest.mark.parametrize("keep", [0.0, 0.0001, 0.5, 0.999])
def test_truncated_weights_are_one_line(checkpoint, keep):
    file = checkpoint / "model.safetensors"
    raw = file.read_bytes()
    file.write_bytes(raw[: int(len(raw) * keep)])
    assert "truncated" in fails(checkpoint) and "model.safetensors" in fails(checkpoint)


def test_a_missing_config_is_named(checkpoint):
    (checkpoint / "config.json").unlink()
    assert "config.json is missing" in fails(checkpoint)


def test_a_broken_config_is_one_line(checkpoint):
    (checkpoint / "config.json").write_text("{ not json")
    assert "cannot load the model" in fails(checkpoint)


def test_a_missing_tokenizer_is_one_line(checkpoint):
    for file in checkpoint.glob("token*"):
        file.unlink()
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "invented"}))
    assert "cannot load the tokenizer" in fails(checkpoint, models.load_tokenizer)


def test_pickled_weights_are_refused_even_where_they_are_whole(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    torch.save(llama().state_dict(), checkpoint / "pytorch_model.bin")
    assert "no *.safetensors" in fails(checkpoint)


def test_remote_code_is_not_run(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (checkpoint / "config.json").write_text(json.dumps(config))
    (checkpoint / "evil.py").write_text(f"open({str(checkpoint / 'ran')!r}, 'w')\n")
    fails(checkpoint)
    assert not (checkpoint / "ran").exists()


def test_sharded_weights_load_and_a_lost_shard_is_named(checkpoint, tmp_path, tokenizer):
    model = llama().eval()
    (checkpoint / "model.safetensors").unlink()
    model.save_pretrained(checkpoint, max_shard_size="30KB")
    shards = sorted(checkpoint.glob("*.safetensors"))
    assert len(shards) > 1
    ids = torch.arange(20)[None]
    assert torch.equal(models.load_model(str(checkpoint))(ids).logits, model(ids).logits)
    shards[1].unlink()
    assert shards[1].name in fails(checkpoint)


def test_unknown_names_are_one_line_in_the_nano_profile(shipping):
    assert "did you mean nano?" in fails("nanno")
    assert "shipped: nano" in fails("HuggingFaceTB/SmolLM2-135M") and "FINETUNELAB_PROFILE=colab" in fails("HuggingFaceTB/SmolLM2-135M")


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "some/deep/path", "~/nowhere-at-all"])
def test_a_path_that_is_not_there_is_no_hub_name(name, monkeypatch):
    monkeypatch.setenv("FINETUNELAB_PROFILE", "colab")
    assert "is not a directory" in fails(name)


def test_a_file_is_not_a_checkpoint(checkpoint):
    assert "is not a directory" in fails(checkpoint / "model.safetensors")


def test_the_home_directory_may_be_written_as_a_tilde(checkpoint, monkeypatch):
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    assert models.resolve("~/checkpoint") == str(checkpoint)


def test_hub_names_pass_in_the_larger_profiles(monkeypatch):
    for profile in ("colab", "gpu"):
        monkeypatch.setenv("FINETUNELAB_PROFILE", profile)
        assert models.resolve("HuggingFaceTB/SmolLM2-135M") == "HuggingFaceTB/SmolLM2-135M"
    assert "unknown model" in fails("HuggingFaceTB/SmolLM2-135M", lambda name: models.resolve(name, offline=True))


def test_a_hub_name_loads_from_a_local_directory_in_the_hubs_layout(checkpoint, tmp_path, tokenizer):
    """In a process of its own: the library reads these settings when it is imported."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--small-llama"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    (repository / "snapshots").mkdir()
    checkpoint.rename(repository / "snapshots" / revision)
    code = (
        "from finetunelab import models\n"
        "from finetunelab.errors import UserError\n"
        "print(models.count_parameters(models.load_model('someone/small-llama')), len(models.load_tokenizer('someone/small-llama')))\n"
        "try:\n"
        "    models.load_model('someone/absent')\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "FINETUNELAB_PROFILE": "colab"}
    environment.pop("HF_HUB_CACHE", None)
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=True)
    loaded, absent = run.stdout.splitlines()
    assert loaded == f"{models.count_parameters(llama())} {len(tokenizer)}"
    assert "someone/absent" in absent and ";" in absent


def test_saving_overwrites_nothing(checkpoint, tokenizer):
    before = {file.name: file.read_bytes() for file in checkpoint.iterdir()}
    with pytest.raises(UserError, match="already holds a checkpoint"):
        models.save_model(qwen(), tokenizer, checkpoint)
    assert {file.name: file.read_bytes() for file in checkpoint.iterdir()} == before


def test_a_save_that_fails_leaves_no_checkpoint(tmp_path, tokenizer, monkeypatch):
    """config.json is what marks a checkpoint: it must not be there before the rest is."""
    model = llama()

    def full(directory):
        Path(directory, "config.json").write_text("{}")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(model, "save_pretrained", full)
    with pytest.raises(UserError, match="No space left on device; make room") as caught:
        models.save_model(model, tokenizer, tmp_path / "saved")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "saved").iterdir()) == []
    models.save_model(llama(), tokenizer, tmp_path / "saved")
    assert models.count_parameters(models.load_model(str(tmp_path / "saved"))) > 0


def test_saved_files_are_those_of_the_layout(checkpoint):
    names = {file.name for file in checkpoint.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= names
    assert not any(name.startswith(".") or name.endswith((".bin", ".pt", ".pkl")) for name in names)


def test_counting_freezing_and_unfreezing():
    model = llama()
    embedding, layer = 300 * 32, 32 * (32 + 16 + 16 + 32) + 3 * 32 * 48 + 2 * 32
    assert models.count_parameters(model) == embedding + 2 * layer + 32  # tied, so that the head counts once
    models.freeze(model.parameters())
    assert models.count_parameters(model, trainable=True) == 0
    models.unfreeze(model.model.layers[1].parameters())
    assert models.count_parameters(model, trainable=True) == layer
    assert models.count_parameters(model) == embedding + 2 * layer + 32
    model(torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
    assert model.model.embed_tokens.weight.grad is None and model.model.layers[1].mlp.up_proj.weight.grad is not None


@pytest.mark.real
def test_real_weights_tell_a_story():
    path = REAL_WEIGHTS / "stories260K"
    if not path.is_dir():
        pytest.skip(f"no real weights at {path}; set FINETUNELAB_WEIGHTS to their folder")
    from finetunelab.skills import generate

    model, tokenizer = models.load_model(str(path)), models.load_tokenizer(str(path))
    assert tokenizer.pad_token_id is not None
    story = generate(model, tokenizer, ["Once upon a time"], tokens=60)[0]
    assert story.strip().startswith(", there was a little girl named Lily.")
    words = [word.strip(".,!\"'").lower() for word in story.split()]
    assert len(words) > 25 and len(set(words)) > 0.4 * len(words)
