"""Chapter 4, where the loop starts: from the base or after supervised fine-tuning, and from a small model or a large one.

Both are about the chain of ``alignment``: the reward model of D2 plays the reviewers, and the true grades say what a response is worth.
Learning rates are the best of ``sweep_starts`` and ``sweep_small``, which let each start please the shipped reward model, on validation requests
of a data seed below 1,000; ``D1-rates.csv`` and ``D5-rates.csv`` in ``book/evidence`` hold what they measured.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from ..assistant import as_conversation
from ..assistant import drawn as conversations
from ..models import load_model, load_tokenizer
from ..ppo import PolicyWithValue, PPOConfig, Score, ppo
from ..preferences.panel import mean_probabilities, panel
from ..reward import load_reward_model
from ..sft import PLAIN_TEMPLATE
from ..skills import generate
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import SWEEP_SEED
from .alignment import KL_WEIGHT, N_TEST, PROMPTS, TOKENS, Chain, asked, reward_of, rewards_by, spoken, standardized, wins, worth
from .behavior import LENGTH, ROWS, teach
from .reviewers import REVIEWERS, requests

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BASE, SMALL, LARGE = "nano", "nano-small", "nano-chat"
REWARDER = "nano-panel"  # whom the sweeps please
RL_STEPS = 120  # of the arm that starts from the base
SFT_STEPS = 300  # of the other, on rows of text; the tokens that they read are taken off its steps of PPO
STEP_TOKENS = PPOConfig.responses * TOKENS  # a step of PPO is charged for, whether or not responses end early
SPARSE = 1.0  # standard deviations above the mean of written responses: what the sparse reward pays for, and it pays for nothing else
FROM_BASE, SFT_FIRST = "from the base", "SFT first"
RATE_SWEEP = (3e-5, 1e-4, 3e-4, 1e-3)  # of PPO, tried with each start and reward
RATES = {(arm, kind): rate for arm, rate in ((FROM_BASE, 3e-5), (SFT_FIRST, 1e-4)) for kind in ("dense", "sparse")}

SMALL_STEPS = 1_500
SMALL_SWEEP = {"SFT": (1e-3, 3e-3, 1e-2), "PPO": (3e-4, 1e-3, 3e-3)}
SMALL_RATES = {"SFT": 3e-3, "PPO": 1e-3}
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


def shipped(rewarder: str) -> Score:
    """Return a shipped reward model as a score function."""
    return rewards_by(load_reward_model(rewarder), load_tokenizer(rewarder))


class Start(NamedTuple):
    """A model that PPO begins with, its tokenizer, and how many steps of PPO it has."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    steps: int

    def improved(self, score: Score, prompts: Sequence[dict], rate: float, seed: int) -> PreTrainedModel:
        """Return a copy that PPO has trained to please a score function; the start itself is the reference."""
        policy, settings = PolicyWithValue(copy.deepcopy(self.model)), PPOConfig(steps=self.steps, learning_rate=rate, kl_weight=KL_WEIGHT, seed=seed)
        ppo(policy, self.model, self.tokenizer, requests(prompts), score, settings)
        return policy.model

    def worth(self, model: PreTrainedModel, rows: Sequence[dict], seed: int) -> float:
        """Return what the responses of a model to requests are worth on average by their true grades."""
        return fmean(worth(rows, spoken(model, self.tokenizer, rows, seed)))


def two_starts(seed: int, data_seed: int, steps: int, sft_steps: int, base: str) -> dict[str, Start]:
    """Return the base with all steps of PPO, and the base after SFT with as many steps less as the tokens of SFT are worth."""
    model, tokenizer = load_model(base), load_tokenizer(base)
    taught, _ = teach(model, tokenizer, lessons(16 * sft_steps, data_seed), sft_steps, seed)
    spared = max(1, steps - round(sft_steps * ROWS * LENGTH / STEP_TOKENS))
    return {FROM_BASE: Start(model, plain(tokenizer), steps), SFT_FIRST: Start(taught, tokenizer, spared)}


def sweep_starts(
    rates: Sequence[float] = RATE_SWEEP, n: int = 300, steps: int = RL_STEPS, sft_steps: int = SFT_STEPS, base: str = BASE,
    rewarder: str = REWARDER,
) -> list[dict[str, Any]]:
    """Return what validation responses are worth for each learning rate of PPO from each start and by each reward."""
    rows, train, found = asked(n, "validation", SWEEP_SEED), asked(PROMPTS, "train", SWEEP_SEED), []
    for arm, start in two_starts(0, SWEEP_SEED, steps, sft_steps, base).items():
        for kind, score in paid(shipped(rewarder), SWEEP_SEED).items():
            for rate in rates:
                reached = start.worth(start.improved(score, train, rate, 0), rows, SWEEP_SEED)
                found.append({"seed": SWEEP_SEED, "arm": arm, "reward": kind, "rate": rate, "worth": reached})
    return found


@measures(
    *(
        Claim(
            f"D1.{kind}", f"SFT first, then RL, is better than RL from the base ({kind} reward)", metric="true worth of a response",
            unit="share", treatment=SFT_FIRST, control=FROM_BASE, effect_kind="difference", op=">", threshold=0.0,
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
    drawn = seed_of_data(seed, data_seed)
    tests, train, rewards = asked(n_test, "test", drawn), asked(PROMPTS, "train", drawn), paid(reward_of(seed, drawn, chain), drawn)
    rows, found = [], {}
    for arm, start in two_starts(seed, drawn, steps, sft_steps, base).items():
        rows.append({"arm": arm, "reward": "", "steps": 0, "worth": start.worth(start.model, tests, drawn)})
        for kind, score in rewards.items():
            found[kind, arm] = start.worth(start.improved(score, train, RATES[arm, kind], seed), tests, drawn)
            rows.append({"arm": arm, "reward": kind, "steps": start.steps, "worth": found[kind, arm]})
    return Measurement({f"D1.{kind}": {arm: found[kind, arm] for arm in (FROM_BASE, SFT_FIRST)} for kind in rewards}, rows)


# A small aligned model and a large one -------------------------------------------------------------------------------------------


def small_start(seed: int, data_seed: int, steps: int, sft_steps: int, small: str, rate: float = SMALL_RATES["SFT"]) -> Start:
    """Return the small model after SFT."""
    tokenizer = load_tokenizer(small)
    taught, _ = teach(load_model(small), tokenizer, lessons(16 * sft_steps, data_seed), sft_steps, seed, rate=rate)
    return Start(taught, tokenizer, steps)


def sweep_small(
    rates: Mapping[str, Sequence[float]] = SMALL_SWEEP, n: int = 300, steps: int = Chain.steps, sft_steps: int = SMALL_STEPS, small: str = SMALL,
    rewarder: str = REWARDER,
) -> list[dict[str, Any]]:
    """Return what validation responses of the small model are worth for each learning rate of its SFT, and of PPO after SFT at the rate in use."""
    rows, train, found = asked(n, "validation", SWEEP_SEED), asked(PROMPTS, "train", SWEEP_SEED), []
    for rate in rates["SFT"]:
        start = small_start(0, SWEEP_SEED, steps, sft_steps, small, rate)
        found.append({"seed": SWEEP_SEED, "arm": "SFT", "rate": rate, "worth": start.worth(start.model, rows, SWEEP_SEED)})
    start, score = small_start(0, SWEEP_SEED, steps, sft_steps, small), paid(shipped(rewarder), SWEEP_SEED)["dense"]
    for rate in rates["PPO"]:
        reached = start.worth(start.improved(score, train, rate, 0), rows, SWEEP_SEED)
        found.append({"seed": SWEEP_SEED, "arm": "PPO", "rate": rate, "worth": reached})
    return found


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
    drawn = seed_of_data(seed, data_seed)
    tests, start = asked(n_test, "test", drawn), small_start(seed, drawn, chain.steps, sft_steps, small)
    score = paid(reward_of(seed, drawn, chain), drawn)["dense"]
    aligned = start.improved(score, asked(PROMPTS, "train", drawn), SMALL_RATES["PPO"], seed)
    base, large = (load_model(BASE), load_tokenizer(BASE)), (load_model(LARGE), load_tokenizer(LARGE))
    said = {
        "small, SFT": spoken(start.model, start.tokenizer, tests, drawn),
        "small, PPO": spoken(aligned, start.tokenizer, tests, drawn),
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
