"""Load, count, freeze, and save models: the shipped ones, a local checkpoint directory, or a hub name.

Weights are read and written as safetensors only, remote code is never run, and what the package ships is checked
against its recorded checksum before it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError, near
from .profiles import device_and_dtype

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

CHECKPOINTS = Path(str(resources.files("finetunelab"))) / "checkpoints"
CHECKSUMS = CHECKPOINTS / "checksums.json"


def shipped() -> dict[str, Path]:
    """Return the checkpoints that the package carries, by name."""
    if not CHECKSUMS.exists():
        return {}
    return {name: CHECKPOINTS / name for name in json.loads(CHECKSUMS.read_text())}


def checksums(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a checkpoint that decides what the model says, by file name."""
    files = sorted(p for p in directory.iterdir() if p.suffix in {".json", ".jinja", ".safetensors"} and p.name != "report.json")
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def resolve(name: str, *, offline: bool | None = None) -> str:
    """Return what ``from_pretrained`` should be given for a model's name.

    A shipped name ("nano", "nano-small") becomes its directory, after its checksums have been compared; a directory is
    taken as it is, after a look for the files it must have; anything else is a hub name, refused when ``offline`` (by default
    in the nano profile).

    Raises:
        UserError: an altered shipped checkpoint, a directory that is no checkpoint, weights that are not safetensors,
            a truncated file, or a name that cannot be had offline.
    """
    if name in shipped():
        recorded = json.loads(CHECKSUMS.read_text())[name]
        actual = checksums(CHECKPOINTS / name)
        for file, value in recorded.items():
            if actual.get(file) != value:
                raise UserError(f"shipped checkpoint {name!r}: {file} is missing or altered", "reinstall finetunelab")
        return str(CHECKPOINTS / name)
    path = Path(name).expanduser()
    if path.is_dir():
        _check_directory(path)
        return str(path)
    if path.exists() or name.startswith((".", "/", "~")) or os.sep in name.rstrip("/") and name.count("/") > 1:
        raise UserError(f"model {name!r} is not a directory", "name one that holds config.json and model.safetensors")
    if offline is None:
        from .profiles import profile

        offline = not profile().network
    if offline:
        close, known = near(name, shipped()), ", ".join(sorted(shipped())) or "none"
        mend = f"did you mean {' or '.join(close)}?" if close else f"shipped: {known}; or give a checkpoint directory"
        raise UserError(f"unknown model {name!r}", f"{mend} (names on the Hugging Face hub need FINETUNELAB_PROFILE=colab or gpu)")
    return name


def _check_directory(path: Path) -> None:
    """Raise UserError unless ``path`` holds a config and whole safetensors weights, every shard of them."""
    from safetensors import SafetensorError, safe_open

    if not (path / "config.json").is_file():
        raise UserError(f"{path} is not a checkpoint: config.json is missing", "give a directory in Hugging Face layout")
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise UserError(f"{path} has no *.safetensors", "convert its weights first (pickled weights are not loaded)")
    index = path / "model.safetensors.index.json"
    shards = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else set()
    missing = sorted(shards - {file.name for file in weights})
    if missing:
        raise UserError(f"{path} lacks {missing[0]}, which its index names", "copy or download it again")
    for file in weights:
        try:
            with safe_open(str(file), framework="pt") as handle:
                handle.keys()
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file} is truncated or not safetensors ({error})", "copy or download it again") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide the library's notes, and its progress bars over the reading and writing of weights: they differ from run to run."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def loading(what: str, name: str) -> Iterator[None]:
    """Load quietly, and turn the library's paragraphs about what went wrong into one line."""
    try:
        with quiet():
            yield
    except UserError:
        raise
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        cause = f"cannot load the {what} of {name!r}: {reason.rstrip('.')}"
        raise UserError(cause, "check the name, its files, and the network") from error


def load_tokenizer(name: str = "nano") -> PreTrainedTokenizerBase:
    """Load the tokenizer that belongs to a model. Pads with its own pad token, or with end-of-text where it has none."""
    from transformers import AutoTokenizer

    with loading("tokenizer", name):
        tokenizer = AutoTokenizer.from_pretrained(resolve(name), trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    name: str = "nano", *, dtype: torch.dtype | None = None, device: str | torch.device | None = None, four_bit: bool = False
) -> PreTrainedModel:
    """Load a causal language model in evaluation mode.

    ``name`` is a shipped checkpoint, a directory in Hugging Face layout, or (outside the nano profile) a hub name. ``dtype``
    defaults to float32, ``device`` to the one that ``device_and_dtype`` chooses.

    With ``four_bit`` the matrices of the blocks are stored in 4 bit (NF4 with double quantization, Dettmers et al. 2023, arXiv:2305.14314,
    section 3) and multiplied in ``dtype``, in which the embeddings are kept too; here it defaults to what ``device_and_dtype`` chooses.
    Nothing in such a model is trainable: train a head on it, or the corrections that ``lora.add_lora`` sets beside its matrices.

    Raises UserError as ``resolve`` does, for a checkpoint that the library cannot load, and for ``four_bit`` without bitsandbytes.
    """
    import torch
    from transformers import AutoModelForCausalLM

    hardware = device_and_dtype()
    with loading("model", name):
        source, options = resolve(name), {"use_safetensors": True, "trust_remote_code": False}
        if four_bit:
            dtype, place = dtype or hardware.torch_dtype, {"": device or hardware.device}
            options |= {"quantization_config": _four_bit(dtype), "device_map": place}
            model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **options)
            return _prepare_four_bit(model).eval()
        model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype or torch.float32, **options)
    return model.to(device or hardware.device).eval()


def _four_bit(dtype: torch.dtype) -> BitsAndBytesConfig:
    """Return the library's settings for 4-bit weights that are multiplied in ``dtype``."""
    from transformers import BitsAndBytesConfig
    from transformers.utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise UserError("4-bit weights need the package bitsandbytes 0.46.1 or newer", 'pip install "finetunelab[qlora]"')
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def _prepare_four_bit(model: PreTrainedModel) -> PreTrainedModel:
    """Freeze a model with 4-bit weights and make it one that adapters can be trained in.

    peft's ``prepare_model_for_kbit_training`` does nearly the same, but turns the embeddings to float32 too: 2.5 GB more for Qwen3-8B.
    """
    freeze(model.parameters())
    for name, parameter in model.named_parameters():
        if "norm" in name:  # in float32 the sums that run past all blocks are float32 as well: float16 on a T4 would overflow there
            parameter.data = parameter.data.float()
    for module in model.modules():
        # On CPUs with AVX512-BF16 a layer repacks itself in evaluation mode, rounds its constants, and lets no gradient through after.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    head = model.get_output_embeddings()
    head.register_forward_pre_hook(lambda layer, inputs: (inputs[0].to(layer.weight.dtype),))
    model.get_decoder().is_loaded_in_4bit = True  # peft goes by this mark, and the library sets it on the whole model only
    return model


def count_parameters(model: torch.nn.Module, *, trainable: bool = False) -> int:
    """Count the parameters, tied ones once; with ``trainable`` those alone that receive gradients."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def stored_bytes(model: torch.nn.Module) -> int:
    """Return the bytes of all parameters and buffers, and of the constants that go with 4-bit weights; what is shared counts once."""
    tensors = [*model.parameters(), *model.buffers()]
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        while state is not None:  # with double quantization the constants have constants of their own
            tensors += [tensor for tensor in (state.absmax, state.code, state.offset) if tensor is not None]
            state = state.state2
    return sum({tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors}.values())


def weights_checksum(model: torch.nn.Module) -> str:
    """Return the SHA-256 of a model's parameters and buffers with their names, shapes, and number formats, wherever they lie."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def freeze(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Exclude parameters from training."""
    for parameter in parameters:
        parameter.requires_grad_(False)


def unfreeze(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Include parameters in training."""
    for parameter in parameters:
        parameter.requires_grad_(True)


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Save weights (safetensors), config, and tokenizer to ``directory``, which must not hold another checkpoint.

    The files are written beside it and moved in at the end, config.json last: where that file is, the checkpoint is whole.

    Raises:
        UserError: the directory has a config.json already (nothing is overwritten), or the disk is full or read-only.
    """
    directory = Path(directory)
    if (directory / "config.json").exists():
        raise UserError(f"{directory} already holds a checkpoint", "choose another directory or remove it first")
    partial = None
    try:
        directory.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".saving-", dir=directory))
        with quiet():
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
        for file in sorted(partial.iterdir(), key=lambda path: path.name == "config.json"):
            file.replace(directory / file.name)
    except OSError as error:
        mend = "make room or choose another place, then save again"
        raise UserError(f"cannot write {directory}: {error.strerror or error}", mend) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
