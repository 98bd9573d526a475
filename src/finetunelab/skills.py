"""What the base can do: the skills that the chapters build on, each measured on texts that it was not trained on."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch

from . import worlds
from .corpus import weighted_next_token_loss
from .models import count_parameters, load_model, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

IN_DOMAIN = ("encyclopedia", "french_recipes", "mail", "reviews", "vignettes")
WORTH_SHARING = 16  # tokens: reading fewer again costs less than copying what was kept of them


class Cloze(Protocol):
    """A question that is answered by continuing ``prompt``; ``distractors`` are wrong answers of the same type."""

    prompt: str
    answer: str
    distractors: tuple[str, ...]


def generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str] | Sequence[list[int]], *, tokens: int,
    temperature: float = 0.0, seed: int = 0, batch_size: int = 64, stop: str | None = None, end: int | None = None,
) -> list[str]:
    """Continue each prompt, a text or its token ids, by at most ``tokens`` tokens; return the continuations alone, in the order of the prompts.

    Temperature zero means greedy decoding. ``stop`` ends a continuation early, at the first occurrence of that text, ``end`` at that token.
    """
    from transformers import GenerationConfig

    # Prompts of like length share a batch, so that little is spent on padding.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    if prompts and isinstance(prompts[0], str):
        prompts = tokenizer(list(prompts))["input_ids"]
    settings = GenerationConfig(
        max_new_tokens=tokens, do_sample=temperature > 0, temperature=temperature if temperature > 0 else None, top_k=0 if temperature > 0 else None,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=[t for t in (tokenizer.eos_token_id, end) if t is not None], bos_token_id=tokenizer.bos_token_id,
        stop_strings=[stop] if stop else None,
    )
    results = [""] * len(prompts)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            batch = tokenizer.pad({"input_ids": [prompts[i] for i in indices]}, return_tensors="pt", padding_side="left")
            with torch.inference_mode():
                out = model.generate(**batch.to(model.device), generation_config=settings, tokenizer=tokenizer)
            for i, text in zip(indices, tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True), strict=True):
                results[i] = text.split(stop)[0] if stop else text
    return results


@torch.inference_mode()
def log_likelihoods(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], continuations: Sequence[str], batch_size: int = 64
) -> list[float]:
    """Return log p(continuation | prompt) in nats, summed over the continuation's tokens, for each pair.

    What several pairs begin with is read once: a prompt with all its continuations of one token, and, if it is long enough and the model keeps all that
    it has read, what all prompts begin with. The scores are the same but for rounding. ``batch_size`` counts rows that are read.
    """
    heads = tokenizer(list(prompts))["input_ids"] if prompts else []
    tails = tokenizer(list(continuations), add_special_tokens=False)["input_ids"] if prompts else []
    start, cache = _shared(model, heads)
    # Nothing is asked about what follows the last token.
    served = _served([(*head, *tail[:-1]) for head, tail in zip(heads, tails, strict=True)])
    order, results = sorted(served, key=len), [0.0] * len(prompts)
    for place in range(0, len(order), batch_size):
        rows = order[place : place + batch_size]
        first = min(len(heads[pair]) for row in rows for pair in served[row]) - start - 1
        # Padding stands on the right, behind everything that is read, so no attention mask is needed.
        read = [torch.tensor(row[start:]) for row in rows]
        ids = torch.nn.utils.rnn.pad_sequence(read, batch_first=True, padding_value=tokenizer.pad_token_id)
        past = {"use_cache": False}
        if cache is not None:
            past = {"past_key_values": copy.deepcopy(cache)}  # the model adds to it what it reads
            past["past_key_values"].batch_repeat_interleave(len(rows))
        logits = model(input_ids=ids.to(model.device), logits_to_keep=ids.shape[1] - first, **past).logits
        for row, found in zip(rows, logits.float().log_softmax(-1).cpu(), strict=True):
            for pair in served[row]:
                begin, tail = len(heads[pair]) - start - 1 - first, tails[pair]
                results[pair] = float(found[range(begin, begin + len(tail)), tail].sum())
    return results


def _served(rows: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], list[int]]:
    """Return the rows that no other one begins with, each with the places of the rows that begin it, its own among them. No row is empty."""
    served: dict[tuple[int, ...], list[int]] = {}
    longest: tuple[int, ...] = ()
    for row, place in sorted(zip(rows, range(len(rows)), strict=True), reverse=True):  # whatever a row begins stands right before it
        if longest[: len(row)] != row:
            longest = row
        served.setdefault(longest, []).append(place)
    return served


def _shared(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> tuple[int, Any]:
    """Return how many tokens all rows begin with, at most all but the last of each, and the model's keys and values of them.

    Zero and None where there are too few to gain by it, or the model keeps its past in another way than all keys and values, such as a window.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    shortest, longest = (min(rows), max(rows)) if len(rows) > 1 else ((), ())  # what the first and the last in order share, all share
    same = next((i for i, (one, other) in enumerate(zip(shortest, longest, strict=False)) if one != other), min(len(shortest), len(longest)))
    count = min([same, *(len(row) - 1 for row in rows)])
    if count < WORTH_SHARING:
        return 0, None
    cache = model(input_ids=torch.tensor([rows[0][:count]], device=model.device), use_cache=True).past_key_values
    if type(cache) is not DynamicCache or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return 0, None
    return count, cache


@torch.inference_mode()
def surprise(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], batch_size: int = 32
) -> tuple[float, int]:
    """Return the next-token cross-entropy summed over all tokens of ``texts`` in nats, the end token included, and how many those are."""
    total, count = 0.0, 0
    ordered = sorted(texts, key=len)
    for start in range(0, len(ordered), batch_size):
        rows = [ids + [tokenizer.eos_token_id] for ids in tokenizer(ordered[start : start + batch_size], truncation=True)["input_ids"]]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), tokenizer.pad_token_id)
        weights = torch.zeros(ids.shape)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            weights[i, : len(row)] = 1.0
        tokens = int(weights[:, 1:].sum())
        total += float(weighted_next_token_loss(model, {"input_ids": ids.to(model.device), "weights": weights.to(model.device)})) * tokens
        count += tokens
    return total, count


def perplexity(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], batch_size: int = 32) -> float:
    """Return exp of the mean next-token cross-entropy over all tokens of ``texts``, the end token included."""
    total, count = surprise(model, tokenizer, texts, batch_size)
    return float(torch.tensor(total / count).exp())


def bits_per_byte(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], batch_size: int = 32) -> float:
    """Return the cross-entropy of ``texts`` in bits, divided by their UTF-8 bytes. Unlike perplexity, it compares any tokenizers.

    Each text must fit into the model's context: what is cut would count as bytes and not as bits.
    """
    total, _ = surprise(model, tokenizer, texts, batch_size)
    return total / math.log(2) / sum(len(text.encode()) for text in texts)


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits)


def recipe_valid(model, tokenizer, data_seed: int, n: int = 200) -> float:
    """Share of sampled continuations (temperature 0.7) of French recipes that the kitchen's oracle finds valid."""
    from .worlds.recipes import check

    rows = worlds.generator("french_recipes").rows(n, "test", data_seed)
    samples = generate(model, tokenizer, [row["prompt"] for row in rows], tokens=200, temperature=0.7, seed=data_seed, batch_size=100)
    return _share([check(row["prompt"] + sample).valid for row, sample in zip(rows, samples, strict=True)])


def chosen(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[Cloze]) -> list[bool]:
    """Tell of each cloze question whether its answer is a likelier continuation of the prompt than every distractor; a tie is wrong.

    The likelihood is that of the whole answer, a space before it, as it would be written.
    """
    options = [(q.answer, *q.distractors) for q in questions]
    prompts = [q.prompt for q, words in zip(questions, options, strict=True) for _ in words]
    scores = iter(log_likelihoods(model, tokenizer, prompts, [f" {word}" for words in options for word in words]))
    found = [[next(scores) for _ in words] for words in options]
    return [right > max(wrong) for right, *wrong in found]


def recall(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[Cloze]) -> float:
    """Return the share of cloze questions that are answered rightly by choice among the distractors, see ``chosen``."""
    return _share(chosen(model, tokenizer, questions))


def written(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[Cloze], correct: Callable[[Cloze, str], bool]
) -> float:
    """Return the share of cloze questions that greedy decoding completes rightly, by the oracle of their world."""
    samples = generate(model, tokenizer, [q.prompt for q in questions], tokens=8, batch_size=128)
    return _share([correct(q, sample) for q, sample in zip(questions, samples, strict=True)])


def fact_cloze(model, tokenizer) -> float:
    """Share of the town's facts that greedy decoding completes rightly."""
    from .worlds.encyclopedia import cloze, correct

    return written(model, tokenizer, cloze(), correct)


def notes(model, tokenizer, data_seed: int, facts: int, n: int = 200) -> float:
    """Share of questions about ``facts`` notes that greedy decoding answers exactly."""
    from .worlds.notes import correct

    rows = worlds.generator("notes").rows(n, "test", data_seed, facts=facts, questions=1)
    samples = generate(model, tokenizer, [row["prompt"] for row in rows], tokens=10)
    return _share([correct(row, sample) for row, sample in zip(rows, samples, strict=True)])


def fewshot(model, tokenizer, data_seed: int, k: int, n: int = 300, unseen: bool = False) -> float:
    """Share of pattern documents with ``k`` demonstrations where the right label word is the likelier of the two."""
    rows = worlds.generator("patterns").rows(n, "test", data_seed, k=k, unseen=unseen)
    prompts = [row["prompt"] for row in rows for _ in range(2)]
    labels = [f" {label}" for row in rows for label in (row["answer"], row["other"])]
    scores = log_likelihoods(model, tokenizer, prompts, labels)
    return _share([right > wrong for right, wrong in zip(scores[::2], scores[1::2], strict=True)])


def step_seconds(model, batch: int = 16, length: int = 128, repeats: int = 3) -> float:
    """Median wall seconds of a full training step (forward, backward, AdamW) on ``batch`` x ``length`` tokens."""
    model = copy.deepcopy(model).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    ids = torch.randint(7, model.config.vocab_size, (batch, length), generator=torch.Generator().manual_seed(0)).to(model.device)
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        weighted_next_token_loss(model, {"input_ids": ids, "weights": torch.ones(ids.shape, device=ids.device)}).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - began)
    return sorted(seconds[1:])[repeats // 2]


def report(data_seed: int = 1000, name: str = "nano", scale: float = 1.0, say: Callable[[str], None] = lambda line: None) -> dict:
    """Measure every skill of a base and return ``{"skills": ..., "perplexity": ..., "step_seconds": ...}``.

    Args:
        data_seed: draws the texts; the shipped base was trained on seed 0, and the town's facts stay the town's.
        name: a shipped base or a checkpoint directory with the course's tokenizer.
        scale: share of the full sample sizes, for quick checks.
        say: told each result as it comes.
    """
    model, tokenizer = load_model(name), load_tokenizer(name)

    def some(n: int) -> int:
        return max(8, round(n * scale))

    measures: dict[str, Callable[[], float]] = {
        "recipe_valid": lambda: recipe_valid(model, tokenizer, data_seed, some(200)),
        "fact_cloze": lambda: fact_cloze(model, tokenizer),
        "notes_4": lambda: notes(model, tokenizer, data_seed, 4, some(200)),
        "notes_8": lambda: notes(model, tokenizer, data_seed, 8, some(200)),
        "notes_16": lambda: notes(model, tokenizer, data_seed, 16, some(100)),
        # Chance needs the most documents, and prompts without demonstrations are the cheapest.
        "fewshot_k0": lambda: fewshot(model, tokenizer, data_seed, 0, some(1500)),
        "fewshot_k8": lambda: fewshot(model, tokenizer, data_seed, 8, some(300)),
        "fewshot_unseen_k8": lambda: fewshot(model, tokenizer, data_seed, 8, some(400), unseen=True),
    }
    skills = {}
    for skill, measure in measures.items():
        began = time.perf_counter()
        skills[skill] = round(measure(), 4)
        say(f"{skill:18} {skills[skill]:.3f}   ({time.perf_counter() - began:.1f} s)")
    held_out = sorted(g.name for g in worlds.generators().values() if not g.pretrained)
    texts = {d: [row["text"] for row in worlds.generator(d).rows(some(64), "test", data_seed)] for d in (*IN_DOMAIN, *held_out)}
    # The domains that it was trained on, taken together: what each held-out domain is compared with.
    texts = {"in_domain": [text for domain in IN_DOMAIN for text in texts[domain]]} | texts
    perplexities = {}
    for domain, documents in texts.items():
        perplexities[domain] = round(perplexity(model, tokenizer, documents), 3)
        say(f"perplexity on {domain:16} {perplexities[domain]:.2f}")
    seconds = round(step_seconds(model), 4)
    say(f"one training step of 16 x 128 tokens takes {seconds:.3f} s; {count_parameters(model):,} parameters")
    return {"skills": skills, "perplexity": perplexities, "step_seconds": seconds}
