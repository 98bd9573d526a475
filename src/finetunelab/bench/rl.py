"""How fast the loop of reinforcement learning is: our PPO beside trl's RLOO trainer, on the same model, requests, score, and number of responses.

Both arms run in one process, in short rounds that alternate. A round begins at the same weights; one pass is made over what was sampled, in one
batch. Both call the same score function once a step, and the clock runs from one call to a later one: what lies between is a whole step.
"""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import worlds
from ..dpo import through_trl
from ..models import count_parameters, load_model, load_tokenizer
from ..ppo import PolicyWithValue, PPOConfig, ppo
from ..profiles import device_and_dtype
from ..settings import RlBenchSettings
from ..sft import Conversation, use_training_template
from ..stats import median_interval
from ..worlds.responses import grade, reward
from . import circumstances, results_file, write_results

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WARM = 2  # steps of a round that are not timed
RATE = 1e-7  # so low that responses stay as long as they were


class Scorer:
    """The score function of both arms, which notes when it is called."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, float]] = []

    def __call__(self, prompts: Sequence[Conversation], texts: Sequence[str]) -> list[float]:
        self.calls.append((time.perf_counter(), time.process_time()))
        return [reward(grade(turns[0]["content"], text)) for turns, text in zip(prompts, texts, strict=True)]

    def summary(self, responses: int, tokens: Sequence[int], generating: Sequence[float]) -> dict[str, float]:
        """Return what the timed steps took on average, given the tokens that each step generated, and in how many seconds."""
        steps, made = len(self.calls) - WARM, sum(tokens[WARM:])
        seconds, cpu_seconds = (self.calls[-1][clock] - self.calls[WARM - 1][clock] for clock in range(2))
        return {
            "seconds": seconds / steps, "cpu_seconds": cpu_seconds / steps, "tokens_per_second": made / seconds,
            "generated_per_second": made / sum(generating[WARM:]), "length": made / steps / responses,
        }


def ours(asked: RlBenchSettings, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[Conversation]) -> dict[str, Any]:
    """Take the steps of a round by ``ppo.ppo``."""
    score = Scorer()
    config = PPOConfig(
        steps=asked.steps, responses=asked.responses, tokens=asked.tokens, epochs=1, minibatches=1, learning_rate=RATE,
        kl_weight=asked.kl_weight,
    )
    history = ppo(PolicyWithValue(copy.deepcopy(model)), model, tokenizer, prompts, score, config)
    found = score.summary(asked.responses, [entry["tokens"] for entry in history], [entry["generation"] for entry in history])
    spent = {phase: sum(entry[phase] for entry in history[WARM:]) for phase in ("generation", "scoring", "update")}
    return found | {f"share_{phase}": seconds / sum(spent.values()) for phase, seconds in spent.items()}


def rloo(asked: RlBenchSettings, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[Conversation]) -> dict[str, Any]:
    """Take them by trl's ``RLOOTrainer``, with two responses to a request, which are the fewest it can do with."""
    score = Scorer()
    history = through_trl(
        "rloo", copy.deepcopy(model), tokenizer, prompts, score, steps=asked.steps, responses=asked.responses, group=2, tokens=asked.tokens,
        learning_rate=RATE, kl_weight=asked.kl_weight,
    )
    return score.summary(asked.responses, [entry["tokens"] for entry in history], [entry["generation"] for entry in history])


ARMS: dict[str, Callable[..., dict[str, Any]]] = {"ours": ours, "rloo": rloo}


def run_bench(asked: RlBenchSettings, say: Callable[[str], None] = print) -> Path:
    """Measure both arms, write the results into ``bench-DEVICE.json``, and return that file.

    Raises UserError for a model that does not exist, and as ``results_file`` does.
    """
    from datasets import disable_progress_bars

    disable_progress_bars()
    path, before = results_file(asked.output)
    model, tokenizer = load_model(asked.model), use_training_template(load_tokenizer(asked.model))
    prompts = [[{"role": "user", "content": row["prompt"]}] for row in worlds.generator("responses").rows(500, "train", 0)]
    say(f"Measuring on {device_and_dtype().describe()}: {asked.rounds} rounds of {asked.steps} steps for each arm, after one that is not timed.")
    rounds: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for number in range(asked.rounds + 1):
        for arm in list(ARMS) if number % 2 == 0 else list(ARMS)[::-1]:
            found = ARMS[arm](asked, model, tokenizer, prompts)
            if number:
                rounds[arm].append(found)
            gc.collect()
    rows = [_row(arm, rounds, say) for arm in ARMS]
    name = {"model": {"name": asked.model, "parameters": count_parameters(model), "attention": model.config._attn_implementation}}
    write_results(path, before, circumstances(asked, "rl") | name | {"rows": rows})
    say(f"Written to {path}.")
    return path


def _row(arm: str, rounds: dict[str, list[dict[str, Any]]], say: Callable[[str], None]) -> dict[str, Any]:
    """Return what one arm gave: medians over the rounds, and how many times as fast as the others it was, round by round."""
    mine = rounds[arm]
    middle = {name: median_interval([found[name] for found in mine]).estimate for name in mine[0]}
    speed = median_interval([found["seconds"] for found in mine])
    shares = {name.removeprefix("share_"): middle.pop(name) for name in list(middle) if name.startswith("share_")}
    row: dict[str, Any] = {"arm": arm, **middle, "interval": [speed.low, speed.high], "shares": shares, "rounds": [found["seconds"] for found in mine]}
    said = f"{arm}: {row['seconds']:.2f} s a step, {row['cpu_seconds']:.2f} s of CPU time, {row['generated_per_second']:,.0f} tokens/s while generating"
    said += "".join(f", {share:.0%} {phase}" for phase, share in shares.items())
    for other in rounds:
        if other != arm:
            for name, kind in (("of", "seconds"), ("cpu_of", "cpu_seconds")):
                ratio = median_interval([its[kind] / own[kind] for own, its in zip(mine, rounds[other], strict=True)])
                row[f"{name}_{other}"] = [ratio.estimate, ratio.low, ratio.high]
            said += f"; {row[f'of_{other}'][0]:.2f} times as fast as {other}, by CPU time {row[f'cpu_of_{other}'][0]:.2f}"
    say(said)
    return row
