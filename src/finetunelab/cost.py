"""What training costs: FLOPs counted from the operations, seconds, tokens, and bytes at the peak; kept with each checkpoint."""

from __future__ import annotations

import json
import math
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers import Trainer, TrainerCallback

from .files import write_text
from .models import stored_bytes
from .profiles import processes

COST_FILE = "cost.json"
# The counter knows attention on GPUs, but not the fused operations that take its place on a CPU.
CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda g, q, k, v, *_, **__: sdpa_backward_flop_count(g, q, k, v),
}


@dataclass
class Cost:
    """What a training run cost.

    ``flops`` are counted from the operations of one step of each batch shape; ``seconds`` are wall time in training steps and
    the optimizer; ``tokens`` counts the attended input positions; ``peak_bytes`` is the highest sum of live tensors in a step
    (parameters, gradients, optimizer state, activations), on CUDA the allocator's own maximum; ``optimizer_bytes`` is what the optimizer keeps
    between steps. Of several processes, FLOPs and tokens are summed, and the bytes are those of the one that takes most.
    """

    flops: float = 0.0
    seconds: float = 0.0
    tokens: int = 0
    steps: int = 0
    peak_bytes: int = 0
    trained_parameters: int = 0
    optimizer_bytes: int = 0

    def describe(self) -> str:
        """Return the cost as one line to print."""
        return (
            f"{self.steps} steps, {self.tokens:,} tokens, {self.seconds:.1f} s, {self.flops / 1e12:.3g} TFLOP, "
            f"peak {self.peak_bytes / 2**20:.0f} MiB, {self.trained_parameters:,} parameters trained"
        )


class _LiveTensors(TorchDispatchMode):
    """Follow the bytes of the tensors that operations create, and their maximum at any one time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: weakref.WeakSet = weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        # What an operation is given was there before it: a view of a parameter is no new memory.
        self._seen.update(leaf.untyped_storage() for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor))
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                if storage not in self._seen:
                    self._seen.add(storage)
                    size = storage.nbytes()
                    self.now += size
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._release, size)
        return out

    def _release(self, size: int) -> None:
        self.now -= size


def _formulas() -> dict[Any, Callable[..., int]]:
    """Return how to count the operations that the counter does not know: attention on CPUs, and products with 4-bit weights."""
    if not hasattr(torch.ops.bitsandbytes, "gemm_4bit"):
        return CPU_ATTENTION
    # One operation of its own forward; backward the weights are unpacked and multiplied as usual, and counted.
    return CPU_ATTENTION | {torch.ops.bitsandbytes.gemm_4bit: lambda x, weight, shape, *_, **__: 2 * math.prod(x) * shape[0]}


class _Nowhere:
    """Stands in for what tells the counter of FLOPs which module it is in.

    That one hooks on to tensors and so keeps what checkpointing gives up: at 16 blocks the peak would come out five times too high.
    """

    parents, is_bw = frozenset({"Global"}), False

    def __enter__(self) -> _Nowhere:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def measure_step(loss_of: Callable[[], torch.Tensor], parameters: list[torch.nn.Parameter]) -> tuple[float, int]:
    """Run one forward and backward pass that leaves no trace, and return its FLOPs and its peak bytes of new tensors.

    ``loss_of`` computes the loss. Gradients are returned by ``torch.autograd.grad``, so none is accumulated, and the random state is
    restored: a run with the measurement and one without are the same run.
    """
    live, counter = _LiveTensors(), FlopCounterMode(display=False, custom_mapping=_formulas())
    counter.mod_tracker = _Nowhere()
    # What is compiled is measured as it was before: no operation inside it could be seen.
    with torch.random.fork_rng(), torch.compiler.set_stance("force_eager"), counter, live:
        grads = torch.autograd.grad(loss_of(), parameters, allow_unused=True)
        del grads
    return float(counter.get_total_flops()), live.peak


# What a step costs depends on shapes, not on values: it is measured once, also where many small runs follow one another.
_measured: dict[tuple, tuple[float, int]] = {}


class Meter(TrainerCallback):
    """Collect a run's cost, save it with each checkpoint, and take it up again on resume."""

    def __init__(self, model: torch.nn.Module, kind: tuple = ()):
        trained = [p for p in model.parameters() if p.requires_grad]
        self.cost = Cost(trained_parameters=sum(p.numel() for p in trained))
        self.fixed = stored_bytes(model)
        config = getattr(model, "config", None)
        self.kind = (
            *kind, type(model), repr(model), getattr(config, "_attn_implementation", None),
            tuple((p.shape, p.dtype, p.requires_grad) for p in model.parameters()),
        )
        self._began: float | None = None

    def resume(self, checkpoint: str) -> None:
        if processes()[0] == 0:  # what was saved is the sum of all: the others begin at nothing
            self.cost = Cost(**json.loads((Path(checkpoint) / COST_FILE).read_text()))

    def total(self) -> Cost:
        """Return the cost of all processes together. Each of them has to ask."""
        every = gather_object([self.cost])
        flops, tokens, peak = sum(c.flops for c in every), sum(c.tokens for c in every), max(c.peak_bytes for c in every)
        return replace(every[0], flops=flops, tokens=tokens, peak_bytes=peak)

    def on_train_begin(self, args, state, control, **kwargs):
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def on_step_begin(self, args, state, control, **kwargs):
        self._began = time.perf_counter()

    def on_step_end(self, args, state, control, optimizer=None, **kwargs):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            self.cost.peak_bytes = max(self.cost.peak_bytes, torch.cuda.max_memory_allocated())
        self.cost.seconds += time.perf_counter() - self._began
        self.cost.steps += 1
        if not self.cost.optimizer_bytes:
            kept = tree_leaves(dict(optimizer.state))
            self.cost.optimizer_bytes = sum(leaf.nbytes for leaf in kept if isinstance(leaf, torch.Tensor))

    def on_save(self, args, state, control, **kwargs):
        total = self.total()
        if state.is_world_process_zero:
            write_text(Path(args.output_dir) / f"checkpoint-{state.global_step}" / COST_FILE, json.dumps(asdict(total)))

    def see(self, trainer: Trainer, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> None:
        """Count one batch, measuring a step the first time its shape is met."""
        ids = inputs["input_ids"]
        masks = [value for name, value in inputs.items() if name.endswith("attention_mask")]  # a pair may bring two texts
        self.cost.tokens += sum(int(mask.sum()) for mask in masks) if masks else ids.numel()
        shape = (*self.kind, tuple((name, value.shape) for name, value in inputs.items()))
        if shape not in _measured:
            paused = time.perf_counter()
            trained = [p for p in model.parameters() if p.requires_grad]

            def loss_of() -> torch.Tensor:
                with trainer.compute_loss_context_manager():
                    return trainer.compute_loss(model, inputs)

            flops, peak = measure_step(loss_of, trained)
            # AdamW keeps two moments a trained parameter.
            state = 2 * sum(p.numel() * p.element_size() for p in trained)
            _measured[shape] = flops, peak + self.fixed + state
            self._began += time.perf_counter() - paused
        flops, peak = _measured[shape]
        self.cost.flops += flops
        if not torch.cuda.is_available():  # where the allocator is asked instead
            self.cost.peak_bytes = max(self.cost.peak_bytes, peak)
