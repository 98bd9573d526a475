"""The engine: runs go on where they stopped, files that were tampered with are caught, the page shows every claim."""

import copy
import json
import math
import random

import pytest

from finetunelab import cli
from finetunelab.errors import UserError
from finetunelab.evidence import check, judge, load, render, run, store
from finetunelab.evidence.render import effect, number, sign, value
from finetunelab.experiments import Claim, Measurement, find, measures, seed_of_data

GAP = Claim("T1.gap", "Posts are harder", "error rate", "fraction", "posts", "mail", "difference", ">=", 0.10)
RATIO = Claim("T1.ratio", "Posts are harder", "error rate", "ratio", "posts", "mail", "log_ratio", ">=", 3.0)
LOSS = Claim("T2", "It forgets", "accuracy lost", "fraction", "loss", None, "value", ">=", 0.03)


def quiet(line):
    pass


@pytest.fixture
def claims(registry):
    """Two experiments: T1 with two claims and a curve, T2 that falls short. ``calls`` records the seeds that were run."""
    calls = []

    @measures(GAP, RATIO, id="T1", seeds=6)
    def shift(seed, data_seed, n=100):
        calls.append(("T1", seed, data_seed))
        rng = random.Random(f"{seed}/{data_seed}")
        arms = {"posts": 0.30 + rng.gauss(0, 0.01), "mail": 0.05 + rng.gauss(0, 0.003)}
        return Measurement({"T1.gap": arms, "T1.ratio": arms}, rows=[{"slang": s, "error": 0.1 * s} for s in (0, 1)])

    @measures(LOSS, id="T2", seeds=5)
    def forgets(seed, data_seed):
        calls.append(("T2", seed, data_seed))
        return Measurement({"T2": {"loss": 0.01 + 0.001 * seed}})

    return calls


@pytest.fixture
def measured(claims, tmp_path):
    out = tmp_path / "nano.json"
    run(None, out, say=quiet)
    return out


def tamper(path, change):
    objects = json.loads(path.read_text())
    change({entry["id"]: entry for entry in objects}, objects)
    path.write_text(json.dumps(objects))
    return check(path)


# Running


def test_run_writes_the_documented_object(measured):
    entries = {entry["id"]: entry for entry in load(measured)}
    assert list(entries) == ["T1.gap", "T1.ratio", "T2"]
    assert tuple(entries["T1.gap"]) == store.KEYS
    gap = entries["T1.gap"]
    assert (gap["holds"], gap["verdict"], gap["n_seeds"], gap["world_hash"], gap["kind"]) == (True, "holds", 6, "w0", "threshold")
    assert gap["command"].startswith("finetunelab evidence run --claim T1 --seeds 6 --data-seed 0 --out ")
    assert set(gap["versions"]) >= {"python", "torch"} and "cpu" in gap["device"] and gap["seconds"] >= 0
    assert (entries["T2"]["holds"], entries["T2"]["verdict"]) == (False, "does not hold")
    assert check(measured) == []


def test_curve_lies_beside_with_its_seeds(measured):
    rows = store.load_rows(measured.with_name("T1.csv"))
    assert len(rows) == 12 and rows[-1] == {"seed": "5", "slang": "1", "error": "0.1"}
    assert not measured.with_name("T2.csv").exists()


def test_run_goes_on_where_it_stopped(claims, tmp_path):
    out, whole = tmp_path / "nano.json", tmp_path / "whole.json"
    run(["T1"], out, seeds=2, say=quiet)
    run(["T1"], out, seeds=5, say=quiet)
    assert [seed for _, seed, _ in claims] == [0, 1, 2, 3, 4]
    run(["T1"], whole, seeds=5, say=quiet)
    assert [e["per_seed"] for e in load(out)] == [e["per_seed"] for e in load(whole)]
    assert len(store.load_rows(out.with_name("T1.csv"))) == 10


def test_interrupted_run_keeps_every_finished_seed(registry, tmp_path):
    out = tmp_path / "nano.json"
    stop = [True]

    @measures(LOSS, id="T2")
    def experiment(seed, data_seed):
        if seed == 3 and stop:
            raise KeyboardInterrupt
        return Measurement({"T2": {"loss": 0.1}}, rows=[{"x": seed}])

    with pytest.raises(KeyboardInterrupt):
        run(["T2"], out, seeds=5, say=quiet)
    assert load(out)[0]["n_seeds"] == 3
    # A row of a seed that the results do not know, as a kill between the two writes leaves it.
    with out.with_name("T2.csv").open("a") as stream:
        stream.write("3,99\n")
    stop.clear()
    run(["T2"], out, seeds=5, say=quiet)
    assert [row["x"] for row in store.load_rows(out.with_name("T2.csv"))] == ["0", "1", "2", "3", "4"]
    assert check(out) == []


def test_other_claims_of_the_file_are_kept(claims, tmp_path):
    out = tmp_path / "nano.json"
    run(["T2"], out, say=quiet)
    before = load(out)[0]
    run(["T1"], out, say=quiet)
    assert before in load(out) and len(load(out)) == 3


def test_one_claims_id_runs_its_experiment(claims, tmp_path):
    run(["T1.gap"], tmp_path / "nano.json", seeds=1, say=quiet)
    assert {entry["id"] for entry in load(tmp_path / "nano.json")} == {"T1.gap", "T1.ratio"}


def test_resuming_what_was_measured_otherwise_is_refused(measured, monkeypatch, claims):
    before = measured.read_text()
    with pytest.raises(UserError, match="data_seed 0 and now it is 1"):
        run(["T1"], measured, data_seed=1, say=quiet)
    monkeypatch.setattr(store, "world_hash", lambda: "w1")
    with pytest.raises(UserError, match="world_hash 'w0'.*--replace"):
        run(["T1"], measured, say=quiet)
    assert measured.read_text() == before
    run(None, measured, replace=True, say=quiet)
    assert check(measured) == [] and load(measured)[0]["world_hash"] == "w1"


def test_moved_threshold_is_refused_on_resume_and_caught(measured, registry):
    registry.pop("T2")
    measures(Claim(**{**LOSS.__dict__, "threshold": 0.005}), id="T2")(lambda seed, data_seed: Measurement({"T2": {"loss": 0.01}}))
    with pytest.raises(UserError, match="threshold"):
        run(["T2"], measured, seeds=7, say=quiet)
    assert any("T2: threshold is 0.03, and 0.005 in the code" in problem for problem in check(measured))


def test_reworded_claim_is_refreshed_without_measuring(measured, registry, claims):
    count = len(claims)
    experiment = registry.pop("T2")
    measures(Claim(**{**LOSS.__dict__, "claim": "Said better", "note": "Because."}), id="T2", seeds=5)(experiment.run_seed)
    command = load(measured)[2]["command"]
    run(["T2"], measured, say=quiet)
    entry = load(measured)[2]
    assert (entry["claim"], entry["note"], entry["command"], len(claims)) == ("Said better", "Because.", command, count)


def test_fault_in_an_experiment_is_not_taken_for_bad_input(registry, tmp_path):
    @measures(LOSS, id="T2")
    def broken(seed, data_seed):
        raise ValueError("shapes do not match")

    with pytest.raises(RuntimeError, match="T2 failed at seed 0"):
        run(["T2"], tmp_path / "nano.json", say=quiet)


def test_missing_arm_is_named(registry, tmp_path):
    measures(LOSS, id="T2")(lambda seed, data_seed: Measurement({"T2": {"gain": 1.0}}))
    with pytest.raises(RuntimeError, match="no arm 'loss'"):
        run(["T2"], tmp_path / "nano.json", say=quiet)


def test_nan_arms_are_kept_as_null_and_pass_the_check(registry, tmp_path):
    measures(LOSS, id="T2")(lambda seed, data_seed: Measurement({"T2": {"loss": math.inf if seed == 2 else 0.5}}))
    run(["T2"], tmp_path / "nano.json", seeds=5, say=quiet)
    entry = load(tmp_path / "nano.json")[0]
    assert entry["per_seed"][2]["arms"]["loss"] is None and entry["holds"] is False and "seed 2" in entry["note"]
    assert check(tmp_path / "nano.json") == []


def test_progress_and_cpu_time_are_said(claims, tmp_path):
    lines = []
    run(["T2"], tmp_path / "nano.json", say=lines.append)
    assert "T2: seed 0" in lines[0] and "1 of 5 seeds" in lines[0] and "left" in lines[0]
    assert lines[-1].startswith("CPU time now: ")


def test_real_claims_live_in_their_own_file(registry, tmp_path):
    real = Claim("T2.real", "c", "m", "", "loss", None, "value", ">=", 0.03, dataset="ucirvine/sms_spam")
    measures(real, id="T2.real")(lambda seed, data_seed: Measurement({"T2.real": {"loss": 0.1 + seed / 100}}))
    with pytest.raises(UserError, match="does not belong in nano.json"):
        run(["T2.real"], tmp_path / "nano.json", say=quiet)
    run(None, tmp_path / "real.json", say=quiet)
    entry = load(tmp_path / "real.json")[0]
    assert entry["dataset"] == "ucirvine/sms_spam" and entry["world_hash"] is None and check(tmp_path / "real.json") == []
    (tmp_path / "nano.json").write_text("[]")
    assert check(tmp_path / "nano.json") == []


def test_data_seeds_differ_for_every_repetition_and_from_pretraining():
    drawn = {seed_of_data(seed, data_seed) for seed in range(20) for data_seed in range(5)}
    assert len(drawn) == 100 and min(drawn) >= 1_000


# Checking


def test_claims_not_measured_are_listed(claims, tmp_path):
    (tmp_path / "nano.json").write_text("[]")
    problems = check(tmp_path / "nano.json")
    assert [problem.split(":")[0] for problem in problems] == ["T1.gap", "T1.ratio", "T2"] and "missing" in problems[0]


def test_honest_shortfall_passes(measured, capsys):
    assert cli.main(["evidence", "check", str(measured)]) == 0
    assert "3 claims" in capsys.readouterr().out


TAMPERED = {
    "effect": lambda by_id, objects: by_id["T2"].update(effect=0.05),
    "effect to null": lambda by_id, objects: by_id["T2"].update(effect=None),
    "interval": lambda by_id, objects: by_id["T2"].update(ci95=[0.031, 0.05]),
    "interval to a word": lambda by_id, objects: by_id["T2"].update(ci95="wide"),
    "one seed's arm": lambda by_id, objects: by_id["T2"]["per_seed"][0]["arms"].update(loss=0.5),
    "arm made text": lambda by_id, objects: by_id["T2"]["per_seed"][0]["arms"].update(loss="0.5"),
    "arm made true": lambda by_id, objects: by_id["T2"]["per_seed"][0]["arms"].update(loss=True),
    "arm renamed": lambda by_id, objects: by_id["T2"]["per_seed"][0].update(arms={"gain": 0.5}),
    "seed repeated": lambda by_id, objects: by_id["T2"]["per_seed"].append(by_id["T2"]["per_seed"][0]),
    "seed removed": lambda by_id, objects: by_id["T2"]["per_seed"].pop(),
    "count of seeds": lambda by_id, objects: by_id["T2"].update(n_seeds=50),
    "verdict": lambda by_id, objects: by_id["T2"].update(verdict="holds"),
    "holds": lambda by_id, objects: by_id["T2"].update(holds=True),
    "holds and verdict": lambda by_id, objects: by_id["T2"].update(holds=True, verdict="holds"),
    "holds to one": lambda by_id, objects: by_id["T1.gap"].update(holds=1),
    "threshold": lambda by_id, objects: by_id["T2"].update(threshold=0.001),
    "op": lambda by_id, objects: by_id["T2"].update(op="<="),
    "kind": lambda by_id, objects: by_id["T2"].update(kind="estimate"),
    "world hash": lambda by_id, objects: by_id["T2"].update(world_hash="older"),
    "world hash to null": lambda by_id, objects: by_id["T2"].update(world_hash=None),
    "claim removed": lambda by_id, objects: objects.remove(by_id["T2"]),
    "claim twice": lambda by_id, objects: objects.append(copy.deepcopy(by_id["T2"])),
    "claim invented": lambda by_id, objects: objects.append({**by_id["T2"], "id": "T99"}),
    "key removed": lambda by_id, objects: by_id["T2"].pop("seconds"),
    "per_seed to null": lambda by_id, objects: by_id["T2"].update(per_seed=None),
    "real data claimed": lambda by_id, objects: by_id["T2"].update(dataset="sst2"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_tampered_file_is_caught(measured, how):
    assert check(measured) == []
    assert tamper(measured, TAMPERED[how])
    assert cli.main(["evidence", "check", str(measured)]) == 1


def test_seed_taken_out_of_one_claim_with_everything_recomputed(measured):
    """Dropping an unwelcome seed and recomputing the rest is consistent in itself; its sister claim gives it away."""

    def drop(by_id, objects):
        entry = by_id["T1.gap"]
        entry["per_seed"].pop()
        judgment = judge(GAP, entry["per_seed"])
        entry.update(n_seeds=5, effect=judgment.effect, ci95=list(judgment.ci95), holds=judgment.holds, verdict=judgment.verdict)

    assert any("different seeds" in problem for problem in tamper(measured, drop))


def test_too_few_seeds_are_not_evidence(claims, tmp_path):
    run(None, tmp_path / "nano.json", seeds=3, say=quiet)
    assert all("3 seeds of at least 5" in problem for problem in check(tmp_path / "nano.json"))


def test_worlds_that_changed_make_every_claim_stale(measured, monkeypatch):
    monkeypatch.setattr(store, "world_hash", lambda: "w1")
    assert len([problem for problem in check(measured) if "w1" in problem]) == 3


# Registering


@pytest.mark.parametrize(
    "change",
    [
        {"effect_kind": "ratio"}, {"op": "=="}, {"op": None}, {"threshold": None}, {"control": None}, {"trials": "n"}, {"margin": 0.1},
        {"effect_kind": "log_ratio", "threshold": 0},
    ],
)
def test_claims_that_make_no_sense_are_refused(change):
    with pytest.raises(ValueError, match="T1.gap is not well formed"):
        Claim(**{**GAP.__dict__, **change})


def test_registering_twice_or_with_too_few_seeds_is_refused(registry):
    measures(GAP, id="T1")(lambda seed, data_seed: None)
    for arguments, options in (((GAP,), {"id": "T1"}), ((), {"id": "T5"}), ((LOSS,), {"id": "T5"}), ((LOSS,), {"id": "T2", "seeds": 3})):
        with pytest.raises(ValueError, match="T1|T5|T2"):
            measures(*arguments, **options)(lambda seed, data_seed: None)
    with pytest.raises(UserError, match="did you mean T1"):
        find(["T1.gapp"])


# Rendering


def test_page_and_numbers(measured, registry):
    real = Claim(**{**RATIO.__dict__, "id": "T1.real", "dataset": "sms_spam", "beside": "T1.ratio"})

    @measures(real, id="T1.real", seeds=5)
    def on_real(seed, data_seed):
        return Measurement({"T1.real": {"posts": 0.02 + seed / 1000, "mail": 0.1}})

    run(["T1.real"], measured.with_name("real.json"), say=quiet)
    page, numbers = render(measured.parent)
    row = next(line for line in page.splitlines() if line.startswith("| [T1.ratio]"))
    assert "| + | − |" in row and "does not hold (sms_spam)" in row
    assert "not measured here" in next(line for line in page.splitlines() if line.startswith("| [T2]"))
    assert all(f"(claim-{name})=" in page for name in ("t1-gap", "t1-ratio", "t2", "t1-real"))
    assert "4 claims; holds: 2, does not hold: 2." in page
    gap = next(entry for entry in load(measured) if entry["id"] == "T1.gap")
    assert numbers["T1_gap_value"] == number(gap["effect"])
    assert numbers["T1_gap_effect"] == f"{number(gap['effect'])} (95% interval {number(gap['ci95'][0])} to {number(gap['ci95'][1])})"
    assert numbers["T1_gap_again"] == numbers["T1_gap_effect"].replace("95% interval ", "")
    assert numbers["T1_ratio_value"].endswith("×") and numbers["T1_gap_seeds"] == "6" and numbers["T1_gap_arm_mail"].startswith("0.0")
    assert numbers["T2_verdict"] == "does not hold" and numbers["T1_ratio_threshold"] == "at least 3×"
    assert all(name.isidentifier() for name in numbers)


def test_two_real_claims_beside_one_are_both_in_its_row(measured, registry):
    for name, posts in (("mail", 0.02), ("video", 0.4)):
        claim = Claim(**{**RATIO.__dict__, "id": f"T1.{name}", "dataset": f"{name}_spam", "beside": "T1.ratio"})
        arms = {claim.id: {"posts": posts, "mail": 0.1}}
        measures(claim, id=claim.id, seeds=5)(lambda seed, data_seed, arms=arms: Measurement(arms))
        run([claim.id], measured.with_name("real.json"), say=quiet)
    page, _ = render(measured.parent)
    row = next(line for line in page.splitlines() if line.startswith("| [T1.ratio]"))
    assert "| − + |" in row and "does not hold (mail_spam); " in row and "holds (video_spam) |" in row


def test_estimates_are_tallied_as_such(registry, tmp_path):
    claim = Claim(**{**RATIO.__dict__, "id": "T3", "op": None, "threshold": None})
    measures(claim, id="T3", seeds=5)(lambda seed, data_seed: Measurement({"T3": {"posts": 0.2 + seed / 1000, "mail": 0.1}}))
    run(["T3"], tmp_path / "nano.json", say=quiet)
    assert "1 claims; estimates: 1." in render(tmp_path)[0] and "**Higher.**" in render(tmp_path)[0]


def test_unmeasured_claims_are_on_the_page_and_say_so(claims, tmp_path):
    page, numbers = render(tmp_path)
    assert page.count("not measured yet") >= 3 and "### T1.gap" in page
    assert numbers["T1_gap_effect"] == numbers["T2_arm_loss"] == "not measured yet"


def test_an_interval_without_width_is_not_called_one():
    entry = {"effect": 0.25, "effect_kind": "difference", "unit": "share", "ci95": [0.25, 0.25]}
    assert effect(entry) == effect(entry, named=False) == "0.250 (the same with every seed)"
    assert effect(entry | {"ci95": [None, None]}) == "0.250 (no interval)"


def test_sign_needs_the_whole_interval():
    entry = {"effect_kind": "difference", "ci95": [0.1, 0.2]}
    assert sign(entry) == "+" and sign({**entry, "ci95": [-0.2, -0.1]}) == "−" and sign({**entry, "ci95": [-0.1, 0.1]}) == "0"
    assert sign({**entry, "ci95": [None, None]}) == "0" and sign({**entry, "effect_kind": "value"}) == "" and sign(None) == ""
    assert sign({"effect_kind": "log_ratio", "ci95": [0.5, 0.9]}) == "−"


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.95312, "0.953"), (12.449, "12.4"), (1234.6, "1,230"), (-0.5, "−0.500"), (0, "0.000"), (0.00012, "0.00012"), (3.4159, "3.42"),
        (-6.48e-05, "−0.000065"), (3e-07, "3e−07"), (None, "–"),
    ],
)
def test_numbers_have_three_digits(x, text):
    assert number(x) == text


def test_a_unit_that_says_nothing_is_left_out():
    entry = {"effect": 0.4394, "effect_kind": "value", "unit": "correlation"}
    assert value(entry) == "0.439" and value(entry | {"unit": "tasks"}) == "0.439 tasks"
