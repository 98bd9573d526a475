"""The right profile, device and number format, each with its reason."""

import subprocess
import sys

import pytest

from finetunelab import profiles
from finetunelab.errors import UserError


def test_nano_by_default_then_the_variable_then_the_argument(monkeypatch):
    assert profiles.profile().name == "nano"
    monkeypatch.setenv("FINETUNELAB_PROFILE", "colab")
    assert profiles.profile().name == "colab"
    assert profiles.profile("gpu").name == "gpu"


def test_unknown_profiles_name_near_ones(monkeypatch):
    with pytest.raises(UserError, match="did you mean colab"):
        profiles.profile("collab")
    monkeypatch.setenv("FINETUNELAB_PROFILE", "nono")
    with pytest.raises(UserError, match="FINETUNELAB_PROFILE.*did you mean nano"):
        profiles.profile()


def test_only_nano_stays_off_the_network():
    assert [name for name, profile in profiles.PROFILES.items() if not profile.network] == ["nano"]
    assert all("base" in profile.models for profile in profiles.PROFILES.values())


@pytest.mark.parametrize(
    ("gpu", "dtype", "why"),
    [
        (("Tesla T4", (7, 5)), "float16", "only emulates bfloat16"),
        (("Tesla V100", (7, 0)), "float16", "loss scaling"),
        (("NVIDIA A10G", (8, 6)), "bfloat16", "computes in bfloat16"),
        (("NVIDIA H100", (9, 0)), "bfloat16", "9.0"),
        (("Tesla P100", (6, 0)), "float32", "slow"),
    ],
)
def test_format_of_each_kind_of_gpu(gpu, dtype, why):
    hardware = profiles.choose(gpu)
    assert (hardware.device, hardware.dtype) == ("cuda", dtype)
    assert why in hardware.reason and gpu[0] in hardware.reason and hardware.reason.endswith(".")
    assert gpu[0] in hardware.describe()


def test_without_a_gpu_float32():
    assert (profiles.choose(None).device, profiles.choose(None).dtype) == ("cpu", "float32")
    assert (profiles.choose(None, mps=True).device, profiles.choose(None, mps=True).dtype) == ("mps", "float32")
    assert "no GPU" in profiles.choose(None).reason


def test_this_machine_is_looked_at_and_described(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)  # as torch says of a T4
    profiles.device_and_dtype.cache_clear()
    try:
        hardware = profiles.device_and_dtype()
        assert hardware.torch_dtype is torch.float16
        assert "Tesla T4" in profiles.describe() and "profile  nano" in profiles.describe()
    finally:
        profiles.device_and_dtype.cache_clear()


def test_profiles_do_not_load_torch():
    code = "import sys, finetunelab.profiles, finetunelab.stats, finetunelab.data, finetunelab.evidence; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
