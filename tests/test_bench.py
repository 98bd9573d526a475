"""The bench: equal work in the arms, what counts as a token, files that keep what they hold, and bad input."""

from __future__ import annotations

import json
import math

import pytest
import torch

from finetunelab import bench, cli, sft
from finetunelab.bench import arms, index, mixture, rl
from finetunelab.corpus import stack
from finetunelab.errors import UserError
from finetunelab.runs import loss_of_rows
from finetunelab.settings import BenchSettings
from finetunelab.stats import median_interval

SMALL = BenchSettings(shape="tiny", examples=120, longest=64, batch_size=4, steps=6, rounds=1, learning_rate=1e-2)


@pytest.fixture(autouse=True)
def no_progress_bars(monkeypatch):
    monkeypatch.setenv("CI", "1")


def changed(**changes) -> BenchSettings:
    return BenchSettings(**{**vars(SMALL), **changes})


def test_a_command_measures_all_arms_and_keeps_other_measurements(tmp_path, capsys):
    file = tmp_path / "bench-cpu.json"
    argv = ["bench", "sft", "--shape", "tiny", "--examples", "120", "--longest", "64", "--steps", "5", "--rounds", "1", "--methods", "full"]
    command = " ".join(["finetunelab", *argv])
    file.write_text(json.dumps([{"command": command, "rows": []}, {"command": "another", "rows": []}]))
    assert cli.main([*argv, "--output", str(tmp_path)]) == 0
    kept, found = json.loads(file.read_text())
    assert kept["command"] == "another" and found["command"] == command
    rows = {row["arm"]: row for row in found["rows"]}
    assert list(rows) == ["ours", "bare", "trl"] and found["model"]["parameters"] == 35_040 and 0.5 < found["data"]["filled"] <= 1
    for row in rows.values():
        assert row["tokens_per_second"] > 0 and row["peak_bytes"] > 100_000 and math.isfinite(row["loss"]) and 0 < row["mfu"] < 1
    assert rows["ours"]["of_bare"][0] == pytest.approx(rows["ours"]["tokens_per_second"] / rows["bare"]["tokens_per_second"])
    assert rows["ours"]["loss"] == pytest.approx(rows["bare"]["loss"], rel=1e-5)
    assert rows["trl"]["dtype"] == "bfloat16" and rows["bare"]["dtype"] == "float32"
    assert "of the peak" in capsys.readouterr().out


def test_the_rl_bench_gives_both_arms_the_same_work(tmp_path, monkeypatch):
    file, scored = tmp_path / "bench-cpu.json", []
    file.write_text(json.dumps([{"command": "another", "rows": []}]))
    call = rl.Scorer.__call__

    def watched(self, prompts, texts):
        scored.append((len(prompts), len(texts), len({turns[0]["content"] for turns in prompts})))
        return call(self, prompts, texts)

    monkeypatch.setattr(rl.Scorer, "__call__", watched)
    argv = ["bench", "rl", "--model", "nano-small", "--responses", "4", "--tokens", "6", "--steps", "4", "--rounds", "1"]
    assert cli.main([*argv, "--output", str(tmp_path)]) == 0
    kept, found = json.loads(file.read_text())
    assert kept["command"] == "another" and found["command"] == " ".join(["finetunelab", *argv]) and found["model"]["name"] == "nano-small"
    assert len(scored) == 2 * 2 * 4 and {(n, m) for n, m, _ in scored} == {(4, 4)} and scored[4][2] == 2, "trl repeats each request"
    rows = {row["arm"]: row for row in found["rows"]}
    for row in rows.values():
        assert 1 <= row["length"] <= 6 and row["seconds"] > 0 and row["generated_per_second"] > row["tokens_per_second"] > 0
        assert row["tokens_per_second"] == pytest.approx(4 * row["length"] / row["seconds"])
    assert sum(rows["ours"]["shares"].values()) == pytest.approx(1) and not rows["rloo"]["shares"]
    assert rows["ours"]["of_rloo"][0] == pytest.approx(rows["rloo"]["seconds"] / rows["ours"]["seconds"])


def test_a_step_is_timed_from_one_call_of_the_score_to_the_next():
    score = rl.Scorer()
    score.calls = [(0.0, 0.0), (9.0, 8.0), (11.0, 9.0), (14.0, 10.0)]  # the first two steps warm up
    found = score.summary(4, [100, 100, 20, 30], [50.0, 50.0, 0.5, 0.75])
    assert found == {"seconds": 2.5, "cpu_seconds": 1.0, "tokens_per_second": 10.0, "generated_per_second": 40.0, "length": 6.25}


def test_the_index_bench_measures_each_size_beside_comparing_all(tmp_path, monkeypatch, capsys):
    from finetunelab.retrieval import derived, indexes

    monkeypatch.setattr(indexes, "FLAT_MOST", 500)
    monkeypatch.setattr(derived, "FLAT_MOST", 500)
    monkeypatch.setattr(indexes, "IVF_MOST", 1500)
    monkeypatch.setattr(index, "COMPARED", 1000)
    made = mixture.load()
    monkeypatch.setattr(index, "load", lambda: mixture.Mixture(made.mean, made.topics, made.groups, made.own, {"1000": made.neighbors["1000"]}))
    argv = ["bench", "index", "--sizes", "2000,100,1_000", "--queries", "10"]
    assert cli.main([*argv, "--output", str(tmp_path)]) == 0
    [found] = json.loads((tmp_path / "bench-cpu.json").read_text())
    assert found["command"] == " ".join(["finetunelab", *argv]) and set(found["neighbors"]) == {"real", "mixture", "noise"}
    rows = found["rows"]
    assert [(row["vectors"], row["kind"]) for row in rows] == [(100, "flat"), (1000, "ivf"), (2000, "hnsw")]
    for row in rows:
        assert 0.9 <= row["recall"] <= 1 and row["bytes_a_vector"] > 4 * 384 * (1 if row["kind"] == "flat" else 2)
        assert all(row[name]["per_second"] > 0 for name in ("one", "one_exact", "with_texts", "filtered"))
        assert row["of_exact"] == pytest.approx(row["one"]["per_second"] / row["one_exact"]["per_second"]) and row["add_seconds"] > 0 < row["delete_seconds"]
    assert rows[0]["recall"] == 1 and "2,000 vectors, hnsw:" in capsys.readouterr().out


def test_vectors_of_the_mixture_have_the_neighbors_of_real_ones_and_noise_has_not():
    made = mixture.load()
    for size, real in made.neighbors.items():
        drawn = mixture.neighbors(made.draw(int(size), 5))
        assert all(abs(a - b) < 0.1 for mine, its in zip(drawn, real, strict=True) for a, b in zip(mine, its, strict=True))
    noise = mixture.draw_noise(1000, len(made.mean))
    assert mixture.neighbors(noise)[0][-1] < made.neighbors["1000"][0][0]
    one, other = made.draw(50, 1), made.draw(50, 2)
    assert (one == made.draw(50, 1)).all() and not (one == other).any() and one.dtype == "float32" and abs((one**2).sum(1) - 1).max() < 1e-5


def test_a_mixture_is_fitted_to_what_it_was_drawn_from(tmp_path):
    made = mixture.load()
    again = mixture.fit(made.draw(3000, 1))
    assert (again.own**2).sum() == pytest.approx((made.own**2).sum(), rel=0.35) and (again.topics**2).sum() == pytest.approx((made.topics**2).sum(), rel=0.6)
    (tmp_path / "m.json").write_text(mixture.dumps(again))
    assert mixture.load(tmp_path / "m.json").mean == pytest.approx(again.mean, rel=1e-3)


@pytest.mark.parametrize("sizes", ["", "ten", "5", "1000,-3"])
def test_sizes_that_are_none_are_refused(sizes, tmp_path, capsys):
    assert cli.main(["bench", "index", "--sizes", sizes, "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", arms.METHODS)
def test_the_bare_loop_does_the_work_of_ours(method):
    made = arms.set_up(SMALL)
    before = loss_of_rows(made.base, made.held_out)
    clocks = {name: arms.Clock(SMALL.steps) for name in ("ours", "bare")}
    left = {name: arms.ARMS[name](made, method, clocks[name], False) for name in clocks}
    losses = {name: loss_of_rows(found.model.eval(), made.held_out) for name, found in left.items()}
    assert losses["ours"] == pytest.approx(losses["bare"], rel=1e-5) and losses["ours"] != pytest.approx(before, rel=1e-6)
    for one, other in zip(left["ours"].model.parameters(), left["bare"].model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-5)
    clock = clocks["bare"]
    # The clock may have ticked once more in ours, where the first step of a shape is measured.
    assert clock.step == SMALL.steps and clock.tokens > 0 and clock.seconds > 0


def test_real_tokens_are_those_that_are_not_padding():
    rows = arms.random_rows(40, 500, 64)
    packed = sft.pack(rows, 64, 0)
    total = sum(len(row["input_ids"]) for row in rows)
    assert sum(arms.real_tokens(stack([row])) for row in packed) == total < 64 * len(packed)
    assert arms.real_tokens(arms.flat(packed)) == total
    assert arms.real_tokens({"attention_mask": torch.tensor([[1, 1, 0], [1, 0, 0]])}) == 3


def test_lengths_are_those_of_real_instructions():
    rows = arms.random_rows(3000, 500, 4096)
    answers = sorted(sum(label != sft.IGNORED for label in row["labels"]) for row in rows)
    lengths = sorted(len(row["input_ids"]) for row in rows)
    assert answers[1500] == pytest.approx(math.exp(3.706) / 4 + 2, abs=1) and 28 < lengths[1500] < 38 and lengths[-1] > 80
    assert rows == arms.random_rows(3000, 500, 4096) and max(len(row["input_ids"]) for row in arms.random_rows(500, 500, 30)) == 30


@pytest.mark.real
def test_the_distribution_of_lengths_fits_the_corpus(real_data):
    import statistics

    import pyarrow.parquet as pq

    rows = pq.read_table(real_data / "instruction_1100" / "train.parquet").to_pylist()
    prompts = [math.log(len(row["instruction"]) + (len(row["input"]) + 2 if row["input"] else 0)) for row in rows]
    said = [math.log(len(row["output"])) for row in rows if row["output"]]
    for values, fit in ((prompts, arms.PROMPT), (said, arms.ANSWER)):
        assert fit == pytest.approx((statistics.fmean(values), statistics.pstdev(values)), abs=2e-3)


def test_rows_end_to_end_have_the_same_loss_as_rows_in_a_batch():
    made = arms.set_up(SMALL)
    one, other = (float(sft.completion_loss(made.base, collate(made.packed[:4])).detach()) for collate in (stack, arms.flat))
    assert one == pytest.approx(other, rel=1e-5)
    assert arms.collate_of(changed(attention="flash_attention_2")) is arms.flat and arms.collate_of(SMALL) is stack


def test_shapes_are_those_of_the_models_they_are_named_after():
    from transformers import AutoModelForCausalLM, Qwen3Config

    for name, parameters in (("qwen3-0.6b", 596_049_920), ("qwen3-1.7b", 1_720_574_976)):
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(Qwen3Config(**arms.SHAPES[name]))
        assert sum(p.numel() for p in model.parameters()) == parameters


def test_peak_of_a_matrix_product():
    assert 1e8 < bench.matmul_peak("float32", 256) < 1e15


def test_median_interval():
    found = median_interval([5, 1, 4, 2, 3, 6, 7, 8, 9, 10])
    assert (found.estimate, found.low, found.high) == (5.5, 2, 9)  # Conover's table: the second of ten, from either end, holds 97.9 %
    assert (median_interval([3, 1, 2]).low, median_interval([3, 1, 2]).high) == (1, 3) and not median_interval([]).finite


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--arms", "our"], "did you mean ours"), (["--methods", "loraa"], "did you mean lora"), (["--arms", ","], "no arm was named"),
        (["--arms", "bare"], "--arms ours,bare"), (["--shape", "qwen3-0.6"], "did you mean qwen3-0.6b"), (["--steps", "1"], "at least 4"),
        (["--output", "nowhere"], "no folder nowhere"), (["--shape", "tiny", "--examples", "20"], "give more --examples"),
    ],
)
def test_bad_input(flags, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "sft", "--output", ".", *flags]) == 2
    out, err = capsys.readouterr()
    assert told in err and err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_file_that_holds_no_measurements_is_left_alone(tmp_path):
    (tmp_path / "bench-cpu.json").write_text("{}")
    with pytest.raises(UserError, match="holds no measurements"):
        bench.run_bench(changed(output=str(tmp_path)))
    assert (tmp_path / "bench-cpu.json").read_text() == "{}"
