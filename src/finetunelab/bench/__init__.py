"""How fast supervised fine-tuning is: our entry point beside a bare PyTorch loop and beside trl's defaults, on the same model and the same data.

All arms run in one process, in short rounds that alternate, because what else a machine does would otherwise be taken for a difference.
A round trains from the same weights; the clock runs from the start of one step to the start of a later one, so that loading of data,
logging, and all else that a trainer does between steps is in it. What is done once, such as building a trainer, is not.
"""

from __future__ import annotations

import gc
import json
import re
import time
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..corpus import stack
from ..errors import UserError, unknown
from ..evidence.run import commit, versions
from ..files import write_text
from ..models import count_parameters
from ..profiles import device_and_dtype
from ..runs import loss_of_rows
from ..settings import BenchSettings
from ..stats import median_interval
from .arms import ARMS, METHODS, Bench, Clock, real_tokens, set_up


def run_bench(asked: BenchSettings, say: Callable[[str], None] = print) -> Path:
    """Measure all arms and methods, write the results into ``bench-DEVICE.json``, and return that file.

    Raises UserError for an unknown arm or method, for an output that is no folder, and as ``set_up`` does.
    """
    arms, methods = _chosen("arm", asked.arms, ARMS), _chosen("method", asked.methods, METHODS)
    if "bare" in arms and "ours" not in arms:
        raise UserError("the bare loop follows the order of rows of ours", "measure both: --arms ours,bare")
    path, before = results_file(asked.output)
    bench, hardware = set_up(asked), device_and_dtype()
    say(f"Measuring on {hardware.describe()}: {hardware.reason} {asked.rounds} rounds of {asked.steps} steps for each arm, after one that is not timed.")
    peaks: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    for method in methods:
        rows += _measure(bench, method, arms, peaks, say)
        found = _facts(bench, peaks) | {"rows": rows}  # after each method, so that a run that is stopped has not been for nothing
        write_results(path, before, found)
    say(f"Written to {path}.")
    return path


def results_file(output: str) -> tuple[Path, list[dict[str, Any]]]:
    """Return the file of this device in a folder, and the measurements it holds. UserError if there is no such folder, and as ``load`` does."""
    hardware = device_and_dtype()
    slug = re.sub(r"[^a-z0-9]+", "-", (hardware.name or hardware.device).lower()).strip("-")
    path = Path(output) / f"bench-{slug}.json"
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {output}", "make it first, or name another with --output")
    return path, load(path) if path.exists() else []


def write_results(path: Path, before: list[dict[str, Any]], found: dict[str, Any]) -> None:
    """Write a measurement behind those that were there before, except those of the same command."""
    write_text(path, json.dumps([*(entry for entry in before if entry["command"] != found["command"]), found], indent=1) + "\n")


def load(path: str | Path) -> list[dict[str, Any]]:
    """Return the measurements of a file. UserError if it holds none."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(entry, dict) and {"command", "rows"} <= set(entry) for entry in found):
        raise UserError(f"{path} holds no measurements", "remove it, or name another folder with --output")
    return found


def _chosen(kind: str, names: str, known: Collection[str]) -> list[str]:
    """Return those of the known names that were asked for, in their own order."""
    asked = [name.strip() for name in names.split(",") if name.strip()]
    for name in asked:
        if name not in known:
            raise unknown(kind, name, known)
    if not asked:
        raise UserError(f"no {kind} was named", f"choose some of {', '.join(known)}, with commas")
    return [name for name in known if name in asked]


def matmul_peak(dtype: str, size: int | None = None) -> float:
    """Return the FLOPs in a second of a large matrix product on this device: the best of six."""
    device = device_and_dtype().device
    size = size or (8192 if device == "cuda" else 1024)
    a, b = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        began = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def _measure(bench: Bench, method: str, arms: list[str], peaks: dict[str, float], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Run the arms of one method in turn, round after round, and return a row for each."""
    asked, cuda, needed = bench.asked, torch.cuda.is_available(), 0.0
    speeds: dict[str, list[float]] = {arm: [] for arm in arms}
    effort: dict[str, list[float]] = {arm: [] for arm in arms}
    facts: dict[str, dict[str, Any]] = {arm: {"peak_bytes": 0} for arm in arms}
    for number in range(asked.rounds + 1):
        # Every other round runs backward: what slows the machine down for a while then hits each arm alike.
        for arm in arms if number % 2 == 0 else arms[::-1]:
            clock, fact = Clock(asked.steps), facts[arm]
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            left = ARMS[arm](bench, method, clock, number == 0)
            fact["peak_bytes"] = max(fact["peak_bytes"], torch.cuda.max_memory_allocated() if cuda else left.peak_bytes)
            fact["dtype"] = left.dtype or bench.dtype
            if number == 0:
                fact["loss"] = loss_of_rows(left.model.eval(), bench.held_out)
            else:
                speeds[arm].append(clock.tokens / clock.seconds)
                effort[arm].append(clock.tokens / clock.cpu_seconds)
            if arm == "ours":
                needed = left.flops / sum(real_tokens(stack([bench.packed[place]])) for place in bench.order)
            del left
            gc.collect()
        for dtype in {fact["dtype"] for fact in facts.values()}:
            peaks[dtype] = max(peaks.get(dtype, 0.0), matmul_peak(dtype))
    return [_row(arm, method, facts[arm], speeds, effort, needed, peaks, say) for arm in arms]


def _row(
    arm: str, method: str, fact: dict[str, Any], speeds: dict[str, list[float]], effort: dict[str, list[float]], needed: float,
    peaks: dict[str, float], say: Callable[[str], None],
) -> dict[str, Any]:
    """Return what one arm gave: medians over the rounds, with intervals, and its ratios to the other arms, round by round.

    ``needed`` are the FLOPs that the model takes for a token that is not padding; what an arm computes beyond that is no use of its hardware.
    """
    speed = median_interval(speeds[arm])
    row: dict[str, Any] = {
        "arm": arm, "method": method, **fact, "tokens_per_second": speed.estimate, "interval": [speed.low, speed.high],
        "tokens_per_cpu_second": median_interval(effort[arm]).estimate, "flops_per_token": needed,
        "mfu": speed.estimate * needed / peaks[fact["dtype"]] if needed else None, "rounds": speeds[arm],
    }
    said = f"{method}, {arm}: {speed.estimate:,.0f} tokens/s, {row['peak_bytes'] / 2**20:,.0f} MiB, loss {row['loss']:.4f}"
    if needed:
        said += f", {row['mfu']:.0%} of the peak"
    for other in speeds:
        if other != arm:
            for name, kind in (("of", speeds), ("cpu_of", effort)):
                ratio = median_interval([mine / its for mine, its in zip(kind[arm], kind[other], strict=True)])
                row[f"{name}_{other}"] = [ratio.estimate, ratio.low, ratio.high]
            low, high = row[f"of_{other}"][1:]
            said += f"; {row[f'of_{other}'][0]:.2f} ({low:.2f} to {high:.2f}) of {other}, by CPU time {row[f'cpu_of_{other}'][0]:.2f}"
    say(said)
    return row


def _facts(bench: Bench, peaks: dict[str, float]) -> dict[str, Any]:
    """Return what was measured on what, with the command that repeats it."""
    asked = bench.asked
    return circumstances(asked, "sft") | {
        "model": {
            "name": asked.shape or asked.model, "parameters": count_parameters(bench.base), "attention": bench.base.config._attn_implementation,
        },
        "data": {
            "name": "lengths of 1,100 instructions" if asked.shape else asked.data, "conversations": len(bench.rows),
            "tokens": sum(len(row["input_ids"]) for row in bench.rows), "rows": len(bench.packed), "longest": asked.longest,
            "filled": sum(real_tokens(stack([row])) for row in bench.packed) / (len(bench.packed) * asked.longest),
            "conversations_a_step": bench.conversations,
        },
        "peak_flops_per_second": peaks,
    }


def circumstances(asked: Any, command: str) -> dict[str, Any]:
    """Return where and how something was measured: device, versions, commit, settings, and the command that repeats it."""
    flags = []
    for name, value in asdict(asked).items():
        if value != getattr(type(asked)(), name) and name != "output":
            flag = name.replace("_", "-")
            flags.append(f"--{flag}" if value is True else f"--no-{flag}" if value is False else f"--{flag} {value}")
    return {
        "device": device_and_dtype().describe(), "threads": torch.get_num_threads(), "versions": versions(), "commit": commit(),
        "command": " ".join([f"finetunelab bench {command}", *flags]), "settings": asdict(asked),
    }
