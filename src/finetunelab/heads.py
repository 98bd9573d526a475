"""Heads: small layers that turn a model's states into something other than the next token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from .errors import UserError, unknown
from .training import TrainConfig, TrainResult, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

POOLINGS = ("mean", "last")
LONGEST = 256  # tokens of a text that are read; what stands behind is cut


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Reduce states of shape (batch, length, width) to one vector a text, of shape (batch, width).

    "mean" averages over the text's tokens; "last" takes the state of its last token, the only one that has seen all of a text.
    ``mask`` of shape (batch, length) is 1 on tokens and 0 on padding, which may stand on either side.
    """
    if pooling == "mean":
        weights = mask[..., None].to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1)
    if pooling == "last":
        # The last column may be padding, so the place of the last token is looked up.
        places = torch.arange(mask.shape[1], device=mask.device) * mask
        return states[torch.arange(len(states), device=states.device), places.argmax(1)]
    raise unknown("pooling", pooling, POOLINGS)


class Classifier(torch.nn.Module):
    """A language model with a linear layer on its pooled states, in place of its next-token layer. An encoder works too.

    Args:
        model: a causal language model, whose decoder is taken over, or an encoder, which is its own; it is trained along unless frozen.
        classes: number of classes.
        pooling: "mean" or "last", see ``pool``.
        seed: draws the weights of the new layer.
    """

    def __init__(self, model: PreTrainedModel, classes: int, pooling: str = "mean", seed: int = 0):
        super().__init__()
        if pooling not in POOLINGS:
            raise unknown("pooling", pooling, POOLINGS)
        self.decoder, self.pooling, self.config = model.get_decoder(), pooling, model.config
        self.head = torch.nn.Linear(model.config.hidden_size, classes).to(model.device)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(self.head.weight.shape, generator=generator) * 0.02)
            self.head.bias.zero_()

    def gradient_checkpointing_enable(self, **settings: Any) -> None:
        """Do what ``activation_checkpointing_enable`` does, under the name by which earlier releases of the trainer call it."""
        self.decoder.gradient_checkpointing_enable(**settings)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Return "logits" of shape (batch, classes), and with labels of shape (batch,) the cross-entropy in nats as "loss"."""
        states = self.decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        logits = self.head(pool(states, attention_mask, self.pooling).to(self.head.weight.dtype))
        outputs = {"logits": logits}
        if labels is not None:
            outputs["loss"] = torch.nn.functional.cross_entropy(logits.float(), labels)
        return outputs

    def activation_checkpointing_enable(self, activation_checkpointing_kwargs: dict | None = None, **settings: Any) -> None:
        """Compute the activations of each block anew in the backward pass, in place of keeping them; the trainer asks for it."""
        self.decoder.activation_checkpointing_enable(activation_checkpointing_kwargs, **settings)


def tokenized(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], longest: int = LONGEST) -> list[list[int]]:
    """Return the token ids of each text, its end token included, so that "last" means the same in every text.

    An encoder's tokenizer has no end token; it closes each text by itself.
    """
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    ids = tokenizer(list(texts), truncation=True, max_length=longest - len(end))["input_ids"]
    return [[*row, *end] for row in ids]


def padded(rows: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    """Stack rows of token ids, padded on the right, as "input_ids" and "attention_mask" of shape (batch, width).

    The width is that of the longest row, rounded up to a multiple of eight: hardware likes that, and few different shapes are met.
    """
    width = -(-max(map(len, rows)) // 8) * 8
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def batches(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], device: torch.device, longest: int = LONGEST, batch_size: int = 64
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Yield the places of some texts and the texts as a batch. Texts of like length share one, so that little is spent on padding."""
    rows = tokenized(tokenizer, texts, longest)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        batch = padded([rows[i] for i in places], tokenizer.pad_token_id)
        yield places, {key: value.to(device) for key, value in batch.items()}


def _check(texts: Sequence[str], labels: Sequence[int], classes: int) -> None:
    if len(texts) != len(labels) or not texts:
        raise UserError(f"there are {len(texts)} texts and {len(labels)} labels", "give at least one text, and one label each")
    check_labels(labels, classes)


def check_labels(labels: Sequence[int], classes: int) -> None:
    """Raise UserError unless there are labels and each is a class, a whole number from 0."""
    strange = sorted({label for label in labels if label not in range(classes)})
    if strange or not len(labels):
        found = f"found {strange[:5]}" if strange else "found none"
        raise UserError(f"labels must be whole numbers from 0 to {classes - 1}, {found}", "number the classes from 0")


def fit(
    classifier: Classifier, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], labels: Sequence[int], config: TrainConfig,
    longest: int = LONGEST,
) -> TrainResult:
    """Train a classifier in place on labelled texts, of which ``longest`` tokens are read, and return what it cost.

    Raises UserError when there are none, texts and labels differ in number, or a label is not one of the classes.
    """
    _check(texts, labels, classifier.head.out_features)
    rows = [{"input_ids": ids, "label": label} for ids, label in zip(tokenized(tokenizer, texts, longest), labels, strict=True)]

    def collate(batch):
        return padded([row["input_ids"] for row in batch], tokenizer.pad_token_id) | {"labels": torch.tensor([row["label"] for row in batch])}

    return train(classifier, rows, config, collate=collate)


@torch.inference_mode()
def predict(
    classifier: Classifier, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], longest: int = LONGEST
) -> torch.Tensor:
    """Return the probability of every class for every text, of shape (texts, classes), on the CPU."""
    classifier.eval()
    found = torch.empty(len(texts), classifier.head.out_features)
    for places, batch in batches(tokenizer, texts, classifier.head.weight.device, longest):
        found[places] = classifier(**batch)["logits"].float().softmax(-1).cpu()
    return found


def accuracy(
    classifier: Classifier, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], labels: Sequence[int], longest: int = LONGEST
) -> float:
    """Return the share of texts whose likeliest class is their label. Raises UserError as ``fit`` does."""
    _check(texts, labels, classifier.head.out_features)
    return float((predict(classifier, tokenizer, texts, longest).argmax(1) == torch.tensor(labels)).float().mean())
