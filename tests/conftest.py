"""What tests share: real data, and a registry of claims that a test can fill without touching the book's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REAL_DATA = Path(os.environ.get("FINETUNELAB_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True)
def nano_profile(monkeypatch):
    """Run every test in the default profile, whatever the shell that runs it has set."""
    monkeypatch.delenv("FINETUNELAB_PROFILE", raising=False)
    monkeypatch.delenv("FINETUNELAB_DEBUG", raising=False)


@pytest.fixture
def real_data() -> Path:
    """The folder of real corpora; the test is skipped where there is none."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real corpora at {REAL_DATA}; set FINETUNELAB_DATA to their folder")
    return REAL_DATA


@pytest.fixture
def real_folder(real_data, monkeypatch) -> Path:
    """The same folder, named to the package as well, with the weights beside it; the test is skipped where there is none."""
    monkeypatch.setenv("FINETUNELAB_DATA", str(real_data))
    if "FINETUNELAB_WEIGHTS" not in os.environ:
        monkeypatch.setenv("FINETUNELAB_WEIGHTS", str(real_data.parent / "weights"))
    return real_data


@pytest.fixture
def registry(monkeypatch):
    """An empty registry of claims, and frozen worlds that hash to "w0"."""
    from finetunelab import experiments
    from finetunelab.evidence import store

    monkeypatch.setattr(experiments, "_registry", {})
    monkeypatch.setattr(experiments.pkgutil, "iter_modules", lambda path: [])
    monkeypatch.setattr(store, "world_hash", lambda: "w0")
    return experiments._registry
