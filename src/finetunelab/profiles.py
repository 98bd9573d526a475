"""Three places to run the same lab: ``nano`` (any CPU, no network), ``colab`` (one T4) and ``gpu`` (24 GB or more).

``FINETUNELAB_PROFILE`` or an argument chooses. Device and number format are chosen once, here, and the choice gives its reason.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

from .errors import unknown

VARIABLE = "FINETUNELAB_PROFILE"


@dataclass(frozen=True)
class Budget:
    """What one lab may spend: wall minutes, training examples at most, tokens per sequence, sequences per step."""

    minutes: float
    examples: int
    context: int
    batch: int


@dataclass(frozen=True)
class Profile:
    """A place to run: its models by role, which column of ``data.CATALOG`` it reads, its budget, whether it may use the network."""

    name: str
    machine: str
    models: dict[str, str]
    datasets: str
    budget: Budget
    network: bool

    @property
    def base(self) -> str:
        """The base model that labs start from."""
        return self.models["base"]


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "nano", "any CPU, 2 cores, no network", {"base": "nano", "small": "nano-small"}, "world", Budget(1.25, 2_000, 256, 16), False,
        ),
        Profile(
            "colab", "one T4 with 16 GB",
            {"base": "HuggingFaceTB/SmolLM2-135M", "medium": "HuggingFaceTB/SmolLM2-360M", "large": "Qwen/Qwen3-0.6B-Base"},
            "hub", Budget(15, 10_000, 512, 16), True,
        ),
        Profile(
            "gpu", "one GPU with 24 GB or more",
            {"base": "Qwen/Qwen3-1.7B-Base", "medium": "Qwen/Qwen3-4B-Base", "large": "Qwen/Qwen3-8B-Base"},
            "hub", Budget(15, 50_000, 1_024, 16), True,
        ),
    )
}


def profile(name: str | None = None) -> Profile:
    """Return the named profile; without a name the one that ``FINETUNELAB_PROFILE`` names, or else nano. UserError if unknown."""
    chosen = name or os.environ.get(VARIABLE) or "nano"
    if chosen not in PROFILES:
        raise unknown("profile" if name else f"profile in {VARIABLE}", chosen, PROFILES)
    return PROFILES[chosen]


def processes() -> tuple[int, int]:
    """Return the number of this process and how many there are, as ``accelerate launch`` sets them: (0, 1) for one that was started by itself.

    Number 0 is the main one: it alone prints and writes.
    """
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


@dataclass(frozen=True)
class Hardware:
    """The device ("cpu", "cuda", "mps"), the number format ("float32", "float16", "bfloat16"), why, as a sentence, and its name."""

    device: str
    dtype: str
    reason: str
    name: str = ""

    def describe(self) -> str:
        """Return what results were measured on, such as "cuda (Tesla T4), float16"."""
        return f"{self.device} ({self.name or f'{os.cpu_count()} cores'}), {self.dtype}"

    @property
    def torch_dtype(self):
        """The format as a ``torch.dtype``."""
        import torch

        return getattr(torch, self.dtype)


def choose(cuda: tuple[str, tuple[int, int]] | None, mps: bool = False) -> Hardware:
    """Choose device and format from what a machine has: ``cuda`` is a GPU's name and compute capability, or None.

    The capability decides, not ``torch.cuda.is_bf16_supported()``: that one says yes on a T4, which only emulates the format.
    """
    if cuda is not None:
        name, capability = cuda
        version = ".".join(str(part) for part in capability)
        if capability >= (8, 0):
            return Hardware("cuda", "bfloat16", f"{name} (compute capability {version}) computes in bfloat16, so bfloat16 is used.", name)
        if capability >= (7, 0):
            return Hardware(
                "cuda", "float16",
                f"{name} (compute capability {version}) only emulates bfloat16, so float16 with loss scaling is used.", name,
            )
        return Hardware("cuda", "float32", f"{name} (compute capability {version}) is slow in 16-bit formats, so float32 is used.", name)
    if mps:
        return Hardware("mps", "float32", "There is an Apple GPU; training in 16-bit formats is not dependable there, so float32 is used.")
    return Hardware("cpu", "float32", "There is no GPU; in float32 all CPUs agree to a few digits, so float32 is used.")


@lru_cache(maxsize=1)
def device_and_dtype() -> Hardware:
    """Look at this machine once and return its device and number format with the reason."""
    import torch

    if torch.cuda.is_available():
        return choose((torch.cuda.get_device_name(), torch.cuda.get_device_capability()))
    return choose(None, mps=torch.backends.mps.is_available())


def describe(name: str | None = None) -> str:
    """Return the profile, its models and budget, and this machine's device, format and reason as lines to print."""
    chosen, hardware = profile(name), device_and_dtype()
    budget = chosen.budget
    return "\n".join(
        [
            f"profile  {chosen.name} ({chosen.machine})",
            "models   " + ", ".join(f"{role}: {model}" for role, model in chosen.models.items()),
            f"data     {'public hub datasets' if chosen.network else 'the offline world'}",
            f"budget   {budget.minutes:g} minutes a lab, {budget.examples:,} texts of {budget.context} tokens, batches of {budget.batch}",
            f"device   {hardware.device}, {hardware.dtype}. {hardware.reason}",
        ]
    )
