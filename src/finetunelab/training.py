"""The one place that sets up the library trainer: seeds, number format, checkpoints and resume, cost, progress.

Chapters call ``train``. It runs ``transformers.Trainer`` and gives back what the run cost, so that no chapter sets up a
trainer of its own and all costs are counted alike.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerState

from .cost import COST_FILE, Cost, Meter
from .errors import UserError
from .models import quiet
from .profiles import device_and_dtype

# Late 5.x releases of transformers renamed this argument: the old name warns there, the new one is unknown to earlier releases.
_NEW, _OLD = "activation_checkpointing", "gradient_checkpointing"
CHECKPOINTING = _NEW if _NEW in TrainingArguments.__dataclass_fields__ else _OLD
# Since 5.2 the order of rows is a strategy with a name; before it was a switch.
_STRATEGY, _GROUP = "train_sampling_strategy", "group_by_length"
GROUPING = {_STRATEGY: _GROUP} if _STRATEGY in TrainingArguments.__dataclass_fields__ else {_GROUP: True}


@dataclass(frozen=True)
class TrainConfig:
    """How to train. ``steps`` counts optimizer steps; where it is None, ``epochs`` passes are made over the data.

    ``stop_below`` ends the run early, once the loss averaged over ten steps lies below it: curricula move on when a step is learned.
    ``dtype`` names the number format; None leaves it to ``device_and_dtype``. ``group_by_length`` puts rows of like length into one batch, so that
    little is spent on padding; rows must then be dictionaries with "input_ids". ``bar`` shows a progress bar where those are wanted: turn it off
    where another bar shows the whole of which a run is a part.
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
    bar: bool = True


@dataclass
class TrainResult:
    """A finished run: its cost and the history of logged values (``step``, ``loss``, ``learning_rate``)."""

    cost: Cost
    history: list[dict[str, float]] = field(default_factory=list)


class _Trainer(Trainer):
    """The library's trainer with a loss of our choice and the cost meter looking on."""

    def __init__(self, *args: Any, loss: Callable | None, meter: Meter, **kwargs: Any):
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
        meter = Meter(model, (hardware.device, dtype, config.checkpointing, getattr(loss, "__code__", type(loss))))
        trainer = _Trainer(
            model=model, args=arguments, train_dataset=rows, data_collator=collate, callbacks=[meter], loss=loss, meter=meter,
        )
        trainer.remove_callback(PrinterCallback)
        if config.stop_below is not None:
            trainer.add_callback(_StopBelow(config.stop_below))
        if config.bar and show_progress():
            trainer.add_callback(_Quiet)
        last = last_checkpoint(directory) if save else None
        if last is not None:
            meter.resume(last)
        if last is not None and _finished(last, config):
            # The trainer would take one step more.
            trainer._load_from_checkpoint(last)
            history = TrainerState.load_from_json(str(Path(last) / TRAINER_STATE_NAME)).log_history
        else:
            model.train()  # before the first step is measured: gradient checkpointing and dropout are off in evaluation mode
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
