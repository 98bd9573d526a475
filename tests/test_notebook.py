"""How labs begin, and what they print at their end: this run beside the recorded results."""

from __future__ import annotations

import gc

import pytest

from finetunelab import notebook
from finetunelab.errors import UserError
from finetunelab.evidence import store


@pytest.fixture
def evidence(tmp_path, monkeypatch):
    entries = [
        {
            "id": "T1", "claim": "One fails", "effect_kind": "log_ratio", "unit": "ratio", "op": ">=", "threshold": 3, "effect": 7.0,
            "ci95": [5.0, 9.0], "verdict": "holds",
        },
        {
            "id": "T2", "claim": "Two gains", "effect_kind": "difference", "unit": "share", "effect": -0.1, "ci95": [-0.2, 0.0],
            "verdict": "does not hold",
        },
    ]
    store.save(tmp_path / "nano.json", entries)
    store.save_rows(tmp_path / "T1.csv", [
        {"seed": 0, "arm": "a", "labels": 100, "score": 0.5}, {"seed": 1, "arm": "a", "labels": 100, "score": 0.7},
        {"seed": 0, "arm": "a", "labels": 20, "score": 0.2}, {"seed": 0, "arm": "b", "labels": 20, "score": 0.9}, {"seed": 0, "arm": "a", "needed": ">"},
    ])
    monkeypatch.setattr(notebook, "EVIDENCE", tmp_path)


def test_a_lab_begins_in_its_profile_and_sets_aside_what_it_has_imported(monkeypatch, capsys):
    monkeypatch.setenv("FINETUNELAB_PROFILE", "nano")
    for change in ("disable_progress_bar", "set_verbosity_error"):
        monkeypatch.setattr(f"transformers.utils.logging.{change}", lambda: None)
    gc.unfreeze()
    assert notebook.begin("gpu").name == "nano", "the environment goes before the notebook"
    assert capsys.readouterr().out.startswith("profile  nano")
    assert gc.get_freeze_count() > 100_000


def test_a_run_is_set_beside_the_record_whatever_its_verdict(evidence, capsys):
    notebook.compare("T1", 6.04, (2, 20))
    notebook.compare("T2", -0.3, (-0.5, 0.5))
    assert capsys.readouterr().out.splitlines() == [
        "T1: One fails", "    asks for at least 3×", "    recorded 7.00× (95% interval 5.00 to 9.00): holds",
        "    this run 6×, where one run should give 2 to 20",
        "T2: Two gains", "    recorded −0.100 (95% interval −0.200 to 0.000): does not hold", "    this run -0.3, where one run should give -0.5 to 0.5",
    ]


def test_a_run_outside_its_range_is_an_error(evidence):
    with pytest.raises(AssertionError, match="T1: 21 is outside"):
        notebook.compare("T1", 21, (2, 20))
    with pytest.raises(AssertionError):
        notebook.compare("T2", float("nan"), (-0.5, 0.5))


def test_a_claim_without_a_record_says_how_to_get_one(evidence):
    with pytest.raises(UserError, match="nothing is recorded of T9"):
        notebook.recorded("T9")


def test_a_recorded_curve_is_the_mean_over_seeds_in_order(evidence):
    assert notebook.recorded_curve("T1", "labels", "score", arm="a") == ([20.0, 100.0], [0.2, 0.6])
