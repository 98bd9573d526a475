"""What tests share: real data, and a registry of claims that a test can fill without touching the book's."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

REAL_DATA = Path(os.environ.get("FINETUNELAB_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True)
def nano_profile(monkeypatch):
    """Run every test in the default profile, whatever the shell that runs it has set."""
    monkeypatch.delenv("FINETUNELAB_PROFILE", raising=False)
    monkeypatch.delenv("FINETUNELAB_DEBUG", raising=False)


@pytest.fixture(autouse=True, scope="module")
def what_was_imported_is_no_garbage():
    """Let the garbage collector pass over all that is alive between two modules, which is what was imported.

    The trainer collects at the start of every run. To look each time at a million objects of the libraries took a third of the tests' time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def real_data() -> Path:
    """The folder of real corpora; the test is skipped where there is none."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real corpora at {REAL_DATA}; set FINETUNELAB_DATA to their folder")
    return REAL_DATA


@pytest.fixture
def real_folder(real_data, monkeypatch) -> Path:
    """The same folder, named to the package as well, with the weights beside it; the test is skipped where there is none."""
    monkeypatch.setenv("FINETUNELAB_DATA", str(real_data))
    if "FINETUNELAB_WEIGHTS" not in os.environ:
        monkeypatch.setenv("FINETUNELAB_WEIGHTS", str(real_data.parent / "weights"))
    return real_data


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> str:
    """The directory of a BERT of one layer with random weights and a vocabulary of a few words: a sentence encoder to test with."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    path = tmp_path_factory.mktemp("tiny") / "encoder"
    words = "a and at call check click free home http letter now out please prize see video we win won you your".split()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, ",", "!", "."]
    path.mkdir()
    (path / "vocab.txt").write_text("\n".join(vocabulary))
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=160,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(path)
    BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    return str(path)


@pytest.fixture
def registry(monkeypatch):
    """An empty registry of claims, and frozen worlds that hash to "w0"."""
    from finetunelab import experiments
    from finetunelab.evidence import store

    monkeypatch.setattr(experiments, "_registry", {})
    monkeypatch.setattr(experiments.pkgutil, "iter_modules", lambda path: [])
    monkeypatch.setattr(store, "world_hash", lambda: "w0")
    return experiments._registry


@pytest.fixture(scope="session")
def tiny_causal(tmp_path_factory) -> str:
    """The directory of a causal language model of one block with random weights and the tokenizer of nano."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from finetunelab.models import load_tokenizer, save_model

    tokenizer = load_tokenizer("nano")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=128, pad_token_id=tokenizer.pad_token_id, initializer_range=0.2,
        ))
    directory = tmp_path_factory.mktemp("bases") / "tiny"
    save_model(model, tokenizer, directory)
    return str(directory)
