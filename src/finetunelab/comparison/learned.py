"""What a method has learned: it answers texts with the places of classes, and can be kept as JSON and safetensors, never pickled.

Each kind is called with texts, writes itself into a folder with ``save``, which returns what else has to be remembered, and comes back with ``load``
from the folder and that. A folder holds all that its kind needs, the model included.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..adaptation import features_of_layers
from ..errors import UserError
from ..heads import LONGEST, Classifier, predict
from ..incontext import FewShot
from ..incontext import predict as answer
from ..models import load_model, load_tokenizer, save_model
from ..repurposing import FeatureHead
from ..worlds.baseline import words_regression

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

MODEL, WEIGHTS, VOCABULARY = "model", "weights.safetensors", "vocabulary.json"
ROOM_FOR_SCORES = 2**27  # numbers in the next-token scores of one batch of prompts
MOST = 32  # prompts of a batch
SPARE = 8  # tokens: a text that was cut may have a few more when it is written out and read again


class Base:
    """The model that is prompted, and read while it is frozen."""

    def __init__(self, name: str):
        self.name, self.model, self.tokenizer = name, load_model(name), load_tokenizer(name)
        self.longest = min(LONGEST, self.model.config.max_position_embeddings)

    def save(self, folder: Path) -> None:
        save_model(self.model, self.tokenizer, folder / MODEL)

    @classmethod
    def load(cls, folder: Path) -> Base:
        return cls(str(folder / MODEL))


class Constant:
    """One class for every text."""

    def __init__(self, label: int):
        self.label = label

    def __call__(self, texts: Sequence[str]) -> list[int]:
        return [self.label] * len(texts)

    def save(self, folder: Path) -> dict[str, Any]:
        return {"label": self.label}

    @classmethod
    def load(cls, folder: Path, facts: Mapping[str, Any]) -> Constant:
        return cls(int(facts["label"]))


class Counted:
    """Words and pairs of words, weighed by TF-IDF, and a logistic regression on them."""

    def __init__(self, pipeline: Pipeline):
        self.pipeline = pipeline

    def __call__(self, texts: Sequence[str]) -> list[int]:
        return self.pipeline.predict(texts).tolist()

    def save(self, folder: Path) -> dict[str, Any]:
        vectorizer, regression = (step for _, step in self.pipeline.steps)
        words = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.get)
        (folder / VOCABULARY).write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
        _write(folder, {
            "idf": vectorizer.idf_, "coefficients": regression.coef_, "intercept": regression.intercept_, "classes": regression.classes_})
        return {}

    @classmethod
    def load(cls, folder: Path, facts: Mapping[str, Any]) -> Counted:
        found, pipeline = _read(folder), words_regression()
        vectorizer, regression = (step for _, step in pipeline.steps)
        # What fitting would have left; the library has no other way to give it.
        vectorizer.set_params(vocabulary=json.loads((folder / VOCABULARY).read_text(encoding="utf-8")))
        vectorizer.idf_ = found["idf"].numpy()
        regression.coef_, regression.intercept_, regression.classes_ = (found[name].numpy() for name in ("coefficients", "intercept", "classes"))
        return cls(pipeline)


class Headed:
    """A head on the pooled states of one layer of a frozen model.

    ``read`` returns the states of texts, of shape (texts, width), where something is to be gained from keeping them.
    """

    def __init__(self, base: Base, head: FeatureHead, layer: int, read: Callable[[Sequence[str]], np.ndarray] | None = None):
        self.base, self.head, self.layer, self.read = base, head, layer, read or self._states

    def __call__(self, texts: Sequence[str]) -> list[int]:
        return self.head.probabilities(self.read(texts)).argmax(1).tolist()

    def _states(self, texts: Sequence[str]) -> np.ndarray:
        return features_of_layers(self.base.model, self.base.tokenizer, texts, [self.layer], self.base.longest)[0]

    def save(self, folder: Path) -> dict[str, Any]:
        self.base.save(folder)
        _write(folder, self.head.state_dict())
        return {"layer": self.layer}

    @classmethod
    def load(cls, folder: Path, facts: Mapping[str, Any]) -> Headed:
        base, found = Base.load(folder), _read(folder)
        head = FeatureHead(len(found["center"]), len(facts["classes"]))
        head.load_state_dict(found)
        return cls(base, head, int(facts["layer"]))


class Shown:
    """A prompt with labeled texts, in front of every text that is asked about. Texts are cut to ``tokens`` tokens."""

    def __init__(self, base: Base, classes: Sequence[str], examples: Sequence[tuple[str, str]], tokens: int):
        if tokens < 1:
            raise UserError(f"{len(examples)} demonstrations do not fit into the context of {base.name}", "show fewer")
        self.base, self.classes, self.tokens = base, tuple(classes), tokens
        self.examples = tuple((self._short(text), label) for text, label in examples)
        # Prompts differ in the text that is asked about and in the class: scores are computed at no more places than these have.
        places = tokens + SPARE + max(len(ids) for ids in base.tokenizer(list(self.classes), add_special_tokens=False)["input_ids"])
        self.batch = max(1, min(MOST, ROOM_FOR_SCORES // (base.model.config.vocab_size * places)))

    def __call__(self, texts: Sequence[str]) -> list[int]:
        questions = [FewShot(self._short(text), self.examples, self.classes, self.classes[0]) for text in texts]
        return [self.classes.index(name) for name in answer(self.base.model, self.base.tokenizer, questions, batch_size=self.batch)]

    def _short(self, text: str) -> str:
        """Return a text on one line, for a line ends a demonstration, and cut."""
        line, tokenizer = " ".join(text.split()), self.base.tokenizer
        ids = tokenizer(line, add_special_tokens=False, verbose=False)["input_ids"]
        return line if len(ids) <= self.tokens else tokenizer.decode(ids[: self.tokens])

    def save(self, folder: Path) -> dict[str, Any]:
        self.base.save(folder)
        return {"examples": self.examples, "tokens": self.tokens}

    @classmethod
    def load(cls, folder: Path, facts: Mapping[str, Any]) -> Shown:
        examples = [(str(text), str(label)) for text, label in facts["examples"]]
        return cls(Base.load(folder), facts["classes"], examples, int(facts["tokens"]))


class Trained:
    """A classifier whose model was trained along. LoRA's corrections are merged into the model when it is saved."""

    def __init__(self, classifier: Classifier, base: Base):
        self.classifier, self.base = classifier, base

    def __call__(self, texts: Sequence[str]) -> list[int]:
        return predict(self.classifier, self.base.tokenizer, texts, self.base.longest).argmax(1).tolist()

    def save(self, folder: Path) -> dict[str, Any]:
        decoder = self.classifier.decoder
        if hasattr(decoder, "merge_and_unload"):
            decoder = self.classifier.decoder = decoder.merge_and_unload()
        save_model(decoder, self.base.tokenizer, folder / MODEL)
        _write(folder, self.classifier.head.state_dict())
        return {}

    @classmethod
    def load(cls, folder: Path, facts: Mapping[str, Any]) -> Trained:
        base = Base.load(folder)
        classifier = Classifier(base.model, len(facts["classes"]))
        classifier.head.load_state_dict(_read(folder))
        return cls(classifier, base)


def _write(folder: Path, arrays: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file

    save_file({name: torch.as_tensor(array).detach().cpu().contiguous() for name, array in arrays.items()}, folder / WEIGHTS)


def _read(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / WEIGHTS)
