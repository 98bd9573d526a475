"""Chapter 4, where the loop starts: from the base or after supervised fine-tuning, and from a small model or a large one.

Both are about the chain of ``alignment``: the reward model of D2 plays the reviewers, and the true grades say what a response is worth.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from ..assistant import as_conversation
from ..assistant import drawn as conversations
from ..models import load_model, load_tokenizer
from ..ppo import PolicyWithValue, PPOConfig, Score, ppo
from ..preferences.panel import mean_probabilities, panel
from ..sft import PLAIN_TEMPLATE
from ..skills import generate
from . import Claim, Measurement, measures, seed_of_data
from .alignment import KL_WEIGHT, N_TEST, PROMPTS, RATE, TOKENS, Chain, asked, reward_of, spoken, standardized, wins, worth
from .behavior import LENGTH, ROWS, teach
from .reviewers import REVIEWERS, requests

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BASE, SMALL, LARGE = "nano", "nano-small", "nano-chat"
RL_STEPS = 60  # of the arm that starts from the base
SFT_STEPS = 100  # of the other, on rows of text; the tokens that they read are taken off its steps of PPO
STEP_TOKENS = PPOConfig.responses * TOKENS  # a step of PPO is charged for, whether or not responses end early
SPARSE = 1.0  # standard deviations above the mean of written responses: what the sparse reward pays for, and it pays for nothing else
SMALL_STEPS, SMALL_RATE = 1_500, 3e-3
SHOTS = 4


def lessons(n: int, data_seed: int) -> list:
    """Draw ``n`` requests with good responses as conversations."""
    return [as_conversation(row) for row in conversations("responses", n, "train", data_seed)]


def plain(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Return a copy that writes turns as plain text: a base has never met the tokens of a chat template."""
    found = copy.deepcopy(tokenizer)
    found.chat_template = PLAIN_TEMPLATE
    return found


def paid(score: Score, data_seed: int) -> dict[str, Score]:
    """Return the dense reward, the score in standard deviations of written responses, and the sparse one: 1 above ``SPARSE``, else 0."""
    rows = asked(256, "train", data_seed)
    dense = standardized(score, requests(rows), [row["response"] for row in rows])
    return {"dense": dense, "sparse": lambda prompts, texts: [float(value > SPARSE) for value in dense(prompts, texts)]}


@measures(
    *(
        Claim(
            f"D1.{kind}", f"SFT first, then RL, is better than RL from the base ({kind} reward)", metric="true worth of a response",
            unit="share", treatment="SFT first", control="from the base", effect_kind="difference", op=">", threshold=0.0,
        )
        for kind in ("dense", "sparse")
    ),
    id="D1", seeds=5,
)
def sft_first(
    seed: int, data_seed: int, chain: Chain = Chain(), steps: int = RL_STEPS, sft_steps: int = SFT_STEPS, n_test: int = N_TEST,
    base: str = BASE,
) -> Measurement:
    """Train the base by PPO, or first by SFT and then by PPO for as many steps less as the tokens of SFT are worth; under both rewards.

    The rows have what either start is worth before PPO, too.
    """
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(base)
    tests, train, rewards = asked(n_test, "test", drawn), asked(PROMPTS, "train", drawn), paid(reward_of(seed, drawn, chain), drawn)
    taught, _ = teach(load_model(base), tokenizer, lessons(16 * sft_steps, drawn), sft_steps, seed)
    spared = max(1, steps - round(sft_steps * ROWS * LENGTH / STEP_TOKENS))
    starts = {"from the base": (load_model(base), plain(tokenizer), steps), "SFT first": (taught, tokenizer, spared)}
    rows, found = [], {}
    for arm, (start, tokens, left) in starts.items():
        rows.append({"arm": arm, "reward": "", "steps": 0, "worth": fmean(worth(tests, spoken(start, tokens, tests, drawn)))})
        for kind, score in rewards.items():
            policy = PolicyWithValue(copy.deepcopy(start))
            ppo(policy, start, tokens, requests(train), score, PPOConfig(steps=left, learning_rate=RATE, kl_weight=KL_WEIGHT, seed=seed))
            found[arm, kind] = fmean(worth(tests, spoken(policy.model, tokens, tests, drawn)))
            rows.append({"arm": arm, "reward": kind, "steps": left, "worth": found[arm, kind]})
    return Measurement({f"D1.{kind}": {arm: found[arm, kind] for arm in starts} for kind in rewards}, rows)


# A small aligned model and a large one -------------------------------------------------------------------------------------------


def few_shot(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict], data_seed: int, seed: int) -> list[str]:
    """Let a base answer requests below a few good examples, as text to go on with, at temperature 1."""
    shown = "".join(f"{row['text']}\n\n" for row in conversations("responses", SHOTS, "train", data_seed))
    prompts = [f"{shown}Request: {row['prompt']}\nResponse:" for row in rows]
    return [text.strip() for text in generate(model, tokenizer, prompts, tokens=TOKENS, temperature=1.0, seed=seed, stop="\n")]


def preferred(rows: Sequence[dict], ours: Sequence[str], theirs: Sequence[str], data_seed: int) -> float:
    """Return how often a reviewer drawn from the panel would prefer the first: the expectation, without the noise of clicks."""
    pairs = [row | {"response_a": a, "response_b": b} for row, a, b in zip(rows, ours, theirs, strict=True)]
    return fmean(mean_probabilities(panel(REVIEWERS, data_seed), pairs))


@measures(
    Claim(
        "D5", "A small aligned model is preferred to a large unaligned one", unit="share", treatment="small, PPO", control=None,
        metric="choices of the panel for it over the large base, prompted", effect_kind="value", op=">", threshold=0.5,
    ),
    Claim(
        "D5.sft", "... and to a large one after SFT alone?", metric="choices of the panel for it over the large SFT model", unit="share",
        treatment="small, PPO", control=None, effect_kind="value",
    ),
    id="D5", seeds=5,
)
def small_against_large(
    seed: int, data_seed: int, chain: Chain = Chain(), sft_steps: int = SMALL_STEPS, n_test: int = N_TEST, small: str = SMALL
) -> Measurement:
    """Align a model of a fifth of the base's size; let it, the base with examples, and the assistant answer the same requests."""
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(small)
    tests = asked(n_test, "test", drawn)
    start, _ = teach(load_model(small), tokenizer, lessons(16 * sft_steps, drawn), sft_steps, seed, rate=SMALL_RATE)
    policy, train = PolicyWithValue(copy.deepcopy(start)), asked(PROMPTS, "train", drawn)
    score = paid(reward_of(seed, drawn, chain), drawn)["dense"]
    ppo(policy, start, tokenizer, requests(train), score, PPOConfig(steps=chain.steps, learning_rate=RATE, kl_weight=KL_WEIGHT, seed=seed))
    base, large = (load_model(BASE), load_tokenizer(BASE)), (load_model(LARGE), load_tokenizer(LARGE))
    said = {
        "small, SFT": spoken(start, tokenizer, tests, drawn),
        "small, PPO": spoken(policy.model, tokenizer, tests, drawn),
        "large base, prompted": few_shot(*base, tests, drawn, drawn),
        "large, SFT": spoken(*large, tests, drawn),
    }
    value = {arm: worth(tests, texts) for arm, texts in said.items()}
    against = {arm: preferred(tests, said["small, PPO"], said[arm], drawn) for arm in said}
    rows = [
        {"arm": arm, "worth": fmean(value[arm]), "preferred to it": against[arm], "worth more": wins(value["small, PPO"], value[arm])}
        for arm in said
    ]
    return Measurement({
        "D5": {"small, PPO": against["large base, prompted"]}, "D5.sft": {"small, PPO": against["large, SFT"]},
    }, rows)
