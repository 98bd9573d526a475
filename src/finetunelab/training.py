"""The one place that sets up the library trainer: seeds, number format, checkpoints and resume, cost, progress.

Chapters call ``train``. It runs ``transformers.Trainer`` and gives back what the run cost, so that no chapter sets up a
trainer of its own and all costs are counted alike.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import os
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerState

from .errors import UserError
from .files import write_text
from .models import quiet, stored_bytes
from .profiles import device_and_dtype, processes

COST_FILE = "cost.json"
# Late 5.x releases of transformers renamed this argument: the old name warns there, the new one is unknown to earlier releases.
_NEW, _OLD = "activation_checkpointing", "gradient_checkpointing"
CHECKPOINTING = _NEW if _NEW in TrainingArguments.__dataclass_fields__ else _OLD
# Since 5.2 the order of rows is a strategy with a name; before it was a switch.
_STRATEGY, _GROUP = "train_sampling_strategy", "group_by_length"
GROUPING = {_STRATEGY: _GROUP} if _STRATEGY in TrainingArguments.__dataclass_fields__ else {_GROUP: True}
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


@dataclass(frozen=True)
class TrainConfig:
    """How to train. ``steps`` counts optimizer steps; where it is None, ``epochs`` passes are made over the data.

    ``stop_below`` ends the run early, once the loss averaged over ten steps lies below it: curricula move on when a step is learned.
    ``dtype`` names the number format; None leaves it to ``device_and_dtype``. ``group_by_length`` puts rows of like length into one batch, so that
    little is spent on padding; rows must then be dictionaries with "input_ids".
    """

    steps: int | None = None
    epochs: float = 1.0
    batch_size: int = 16
    learning_rate: float = 1e-3
    warmup: int = 20
    schedule: str = "linear"
    weight_decay: float = 0.01
    clip: float = 1.0
    accumulate: int = 1
    checkpointing: bool = False
    seed: int = 0
    save_every: int | None = None
    dtype: str | None = None
    stop_below: float | None = None
    group_by_length: bool = False


@dataclass
class TrainResult:
    """A finished run: its cost and the history of logged values (``step``, ``loss``, ``learning_rate``)."""

    cost: Cost
    history: list[dict[str, float]] = field(default_factory=list)


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


class _Meter(TrainerCallback):
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
        mask = inputs.get("attention_mask")
        self.cost.tokens += int(mask.sum()) if mask is not None else ids.numel()
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


class _Trainer(Trainer):
    """The library's trainer with a loss of our choice and the cost meter looking on."""

    def __init__(self, *args: Any, loss: Callable | None, meter: _Meter, **kwargs: Any):
        self._loss, self._meter = loss, meter
        super().__init__(*args, **kwargs)
        # A loss that takes no count is a mean over its own batch, and the trainer divides by the number of accumulated batches itself.
        self.model_accepts_loss_kwargs = loss is not None and "count" in inspect.signature(loss).parameters

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if self._loss is None:
            outputs = model(**inputs)
            loss = outputs.get("loss")
            if loss is None:
                raise UserError("the model returned no loss", "let collate return labels, or give train a loss function")
        else:
            counted = self.model_accepts_loss_kwargs and num_items_in_batch is not None
            # The library wraps the model's own forward only; a loss may call parts of the model.
            with self.accelerator.autocast():
                outputs, loss = None, self._own_loss(model, inputs, {"count": num_items_in_batch} if counted else {})
            if counted:  # the count is that of all processes together, over which the gradient is averaged
                loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _own_loss(self, model, inputs, options):
        inner = self.model  # the one that was not wrapped: to ask the library for it takes milliseconds
        if inner is model:
            return self._loss(model, inputs, **options)
        # What several processes have to exchange is exchanged around the forward of the model that was wrapped: the loss must run inside it.
        forward = inner.forward

        def run(**batch: torch.Tensor) -> torch.Tensor:
            inner.forward = forward
            return self._loss(inner, batch, **options)

        inner.forward = run
        try:
            return model(**inputs)
        finally:
            inner.forward = forward

    def training_step(self, model, inputs, num_items_in_batch=None):
        if not model.training:  # before the measurement: gradient checkpointing and dropout are off in evaluation mode
            model.train()
        self._meter.see(self, self.model, self._prepare_inputs(inputs))
        return super().training_step(model, inputs, num_items_in_batch)

    def floating_point_ops(self, inputs):
        return 0  # the library's estimate goes over all parameters in every step; the meter counts


class _StopBelow(TrainerCallback):
    """End the run once the logged loss, a mean over ten steps, lies below a target."""

    def __init__(self, target: float):
        self.target = target

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and float(logs.get("loss", self.target)) < self.target:
            control.should_training_stop = True
            control.should_save = args.save_strategy != "no"


class _Quiet(ProgressCallback):
    """The library's progress bar without its printed logs: the history keeps them, the reader's page need not."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.training_bar is not None and logs and "loss" in logs:
            self.training_bar.set_postfix(loss=f"{float(logs['loss']):.3g}")


def show_progress() -> bool:
    """Return whether progress bars are wanted: on, except under ``CI`` and where nobody watches the output."""
    return not os.environ.get("CI") and (sys.stderr.isatty() or "ipykernel" in sys.modules)


def train(
    model: torch.nn.Module,
    rows: Any,
    config: TrainConfig,
    *,
    collate: Callable[[list[Any]], dict[str, torch.Tensor]],
    loss: Callable[..., torch.Tensor] | None = None,
    output: str | Path | None = None,
    announce: bool = False,
) -> TrainResult:
    """Train ``model`` in place on ``rows`` and return the cost and history.

    Args:
        model: any module; its ``forward`` takes what ``collate`` returns.
        rows: a map-style dataset (``len`` and ``[]``); the order is drawn from ``config.seed``.
        collate: makes a batch with at least ``input_ids`` of shape (batch, length) from a list of rows.
        loss: ``loss(model, batch) -> scalar``; without it the model's own ``loss`` output is used. One that takes a ``count`` is given the number
            of labels in all batches of a step, those of other processes included, to divide its sum by.
        output: a directory for checkpoints, one every ``config.save_every`` steps. A run that was killed goes on from the last one,
            on CPU bit for bit as if it had not been.
        announce: print the device, the number format, and why.

    Raises:
        UserError: no rows, nothing to train, or no loss.
    """
    if len(rows) == 0:
        raise UserError("there are no training examples", "give at least one")
    if not any(p.requires_grad for p in model.parameters()):
        raise UserError("every parameter is frozen", "unfreeze some, or add a head that is not")
    hardware = device_and_dtype()
    dtype = config.dtype or hardware.dtype
    if announce:
        print(f"Training on {hardware.device} in {dtype}: {hardware.reason if config.dtype is None else 'it was asked for.'}")
    set_seed(config.seed)
    save = output is not None and config.save_every is not None
    with contextlib.ExitStack() as stack:
        stack.enter_context(quiet())
        directory = str(output) if output is not None else None
        if directory is None:  # the trainer insists on one
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="finetunelab-", ignore_cleanup_errors=True))
        arguments = TrainingArguments(
            output_dir=directory,
            max_steps=config.steps if config.steps is not None else -1,
            num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.accumulate,
            learning_rate=config.learning_rate,
            lr_scheduler_type=config.schedule,
            warmup_steps=config.warmup,
            weight_decay=config.weight_decay,
            max_grad_norm=config.clip,
            optim="adamw_torch_fused",
            bf16=dtype == "bfloat16",
            fp16=dtype == "float16",
            use_cpu=hardware.device == "cpu",
            seed=config.seed,
            save_strategy="steps" if save else "no",
            save_steps=config.save_every or 500,
            save_total_limit=2,
            logging_steps=10,
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=hardware.device == "cuda",
            ddp_find_unused_parameters=False,  # looking for some costs each step a pass over the graph; there are none in our losses
            **{CHECKPOINTING: config.checkpointing},
            **(GROUPING if config.group_by_length else {}),
        )
        cached = getattr(getattr(model, "config", None), "use_cache", None)
        meter = _Meter(model, (hardware.device, dtype, config.checkpointing, getattr(loss, "__code__", type(loss))))
        trainer = _Trainer(
            model=model, args=arguments, train_dataset=rows, data_collator=collate, callbacks=[meter], loss=loss, meter=meter,
        )
        trainer.remove_callback(PrinterCallback)
        if config.stop_below is not None:
            trainer.add_callback(_StopBelow(config.stop_below))
        if show_progress():
            trainer.add_callback(_Quiet)
        last = last_checkpoint(directory) if save else None
        if last is not None:
            meter.resume(last)
        if last is not None and _finished(last, config):
            # The trainer would take one step more.
            trainer._load_from_checkpoint(last)
            history = TrainerState.load_from_json(str(Path(last) / TRAINER_STATE_NAME)).log_history
        else:
            trainer.train(resume_from_checkpoint=last)
            history = trainer.state.log_history
        if cached is not None:
            model.config.use_cache = cached  # the trainer turns it off, and generation wants it
        model.eval()
        return TrainResult(meter.total(), [entry for entry in history if "loss" in entry])


def last_checkpoint(directory: str | Path) -> str | None:
    """Return the newest whole checkpoint under ``directory``. The cost is written last: where it is missing, saving was cut short."""
    whole = [file.parent for file in Path(directory).glob(f"checkpoint-*/{COST_FILE}")]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def _finished(checkpoint: str, config: TrainConfig) -> bool:
    """Tell whether a checkpoint stands at the end of its run: at the last step, or where ``stop_below`` ended it."""
    state = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
    losses = [entry["loss"] for entry in state.log_history if entry.get("step") == state.global_step and "loss" in entry]
    stopped = config.stop_below is not None and any(loss < config.stop_below for loss in losses)
    return stopped or state.global_step >= (state.max_steps if config.steps is None else config.steps)
