"""The common failures, at a scale that takes seconds: each shows its symptom, and its mend removes it; and the page that shows them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from finetunelab.evidence.render import render
from finetunelab.evidence.store import save_rows
from finetunelab.experiments import failures, failures_in_use
from finetunelab.models import load_model, load_tokenizer
from finetunelab.sft import IGNORED, end_of_turn, prepare

BOOK = Path(__file__).resolve().parents[1] / "book"


# In use ------------------------------------------------------------------------------------------------------------------------


def test_an_assistant_follows_by_its_own_template_and_not_by_others():
    found = failures_in_use.wrong_template(0, 0, n=16)
    followed = found.arms["G1.other"]
    assert followed[failures_in_use.OWN] >= 0.5
    assert all(followed[arm] <= 0.2 for arm in failures_in_use.TEMPLATES if arm != failures_in_use.OWN)
    assert len({row["request"] for row in found.rows}) == 1 and len({row["response"] for row in found.rows}) > 1


def test_the_templates_write_the_same_words():
    tokenizer, asked = load_tokenizer("nano-sft"), [{"role": "user", "content": "Say hello."}]
    for arm, template in failures_in_use.TEMPLATES.items():
        text = tokenizer.apply_chat_template(asked, chat_template=template, add_generation_prompt=True, tokenize=False)
        assert text.count("Say hello.") == 1, arm
    other = tokenizer.apply_chat_template(asked, chat_template=failures_in_use.CHATML, add_generation_prompt=True, tokenize=False)
    assert other == "<|im_start|>user\nSay hello.<|im_end|>\n<|im_start|>assistant\n"


def test_a_score_read_at_the_last_column_depends_on_the_padding_and_at_the_last_token_does_not():
    found = failures_in_use.read_at_padding(0, 0, n=16, pads=(0, 3, 9))
    assert found.arms["G2.company"][failures_in_use.LAST_TOKEN] == 0 < found.arms["G2.company"][failures_in_use.LAST_COLUMN]
    scores = {
        arm: [row["score"] for row in found.rows if row["arm"] == arm and "pads" in row]
        for arm in (failures_in_use.LAST_TOKEN, failures_in_use.LAST_COLUMN)
    }
    assert scores[failures_in_use.LAST_TOKEN] == pytest.approx([scores[failures_in_use.LAST_TOKEN][0]] * 3, abs=1e-4)
    assert scores[failures_in_use.LAST_COLUMN][0] == pytest.approx(scores[failures_in_use.LAST_TOKEN][0], abs=1e-4), "nothing to misread"
    assert min(abs(score - scores[failures_in_use.LAST_COLUMN][0]) for score in scores[failures_in_use.LAST_COLUMN][1:]) > 0.05


def test_a_test_with_training_texts_flatters_what_remembers_them():
    train, test = (["a", "b", "c"], [0, 1, 2]), (["d", "e", "f"], [3, 4, 5])
    assert failures_in_use.leaked(train, test, 0.0) == test
    assert failures_in_use.leaked(train, test, 1 / 3) == (["a", "e", "f"], [0, 4, 5])
    arms = failures_in_use.trained_on_the_test(0, 0, n=300, n_test=200).arms["G6.misled"]
    gains = {arm: arms[f"{arm}, 40% copied"] - arms[f"{arm}, 0% copied"] for arm in failures_in_use.PENALTIES}
    assert gains[failures_in_use.REMEMBERS] > gains[failures_in_use.HELD_BACK] > 0
    assert gains[failures_in_use.REMEMBERS] > 0.08


def test_a_stale_index_gives_old_answers_until_it_is_renewed():
    found = failures_in_use.stale_index(0, 0, n=8)
    assert found.arms["G7.stale"][failures_in_use.STALE] >= 0.75 and found.arms["G7.right"][failures_in_use.STALE] <= 0.25
    assert found.arms["G7.stale"][failures_in_use.RENEWED] == 0 and found.arms["G7.right"][failures_in_use.RENEWED] >= 0.75
    before, after = found.rows
    assert before["renewed"] == 0 < after["renewed"] and before["answer"] != after["answer"]


# In training -------------------------------------------------------------------------------------------------------------------


def test_only_the_end_of_turn_is_taken_from_the_targets():
    tokenizer = load_tokenizer(failures.BASE)
    data, _ = failures.sets(3, 0, 0, failures.KINDS)
    rows, end = prepare(tokenizer, failures.conversations(data), 64).rows, end_of_turn(tokenizer)
    for row, fewer in zip(rows, failures.without_end(rows, end), strict=True):
        assert fewer["input_ids"] == row["input_ids"] and row["labels"].count(end) == 1
        assert [label for label in fewer["labels"] if label != IGNORED] == [label for label in row["labels"] if label not in (IGNORED, end)]


def test_without_the_end_of_turn_responses_run_on():
    found = failures.no_end_of_turn(0, 0, steps=50, n_test=12)
    words, losses = found.arms["G3.words"], found.arms["G3.loss"]
    assert words[failures.WITHOUT_END] > 1.5 * words[failures.WITH_END]
    assert losses[failures.WITHOUT_END] < losses[failures.WITH_END], "and the loss does not tell"


def test_a_rate_too_high_leaves_the_loss_high():
    found = failures.rate_too_high(0, 0, steps=20, factors=(1, 30))
    last = found.arms["G4.thirty"]
    assert last["30 times"] > 2 * last["tuned rate"]
    assert [row["step"] for row in found.rows] == [10, 20, 10, 20]


def test_a_batch_without_a_target_is_nan_and_what_that_does_depends_on_the_loss():
    batch = {"input_ids": torch.tensor([[1, 5, 6]]), "attention_mask": torch.ones(1, 3, dtype=torch.long), "labels": torch.full((1, 3), IGNORED)}
    gradients = {}
    for loss in (failures.written_out, failures.of_the_library):
        model = load_model(failures.BASE)
        value = loss(model, batch)
        value.backward()
        assert value.isnan()
        gradients[loss] = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    assert gradients[failures.written_out].isnan().any()
    assert not gradients[failures.of_the_library].any(), "the step is for nothing"
    labelled = batch | {"labels": batch["input_ids"]}
    assert failures.written_out(model, labelled).item() == pytest.approx(failures.of_the_library(model, labelled).item(), abs=1e-5)


def test_rows_that_lost_their_answer_destroy_a_model_and_dropping_them_saves_it(monkeypatch):
    monkeypatch.setattr(failures, "CUT", failures.CUTS[0])  # so short that two such rows soon meet
    found = failures.no_labels(0, 0, steps=20)
    learned = found.arms["G5.learned"]
    assert learned[failures.KEPT] < 1 == learned[failures.DROPPED] == learned[failures.LIBRARY]
    finite = {row["arm"]: row["finite weights"] for row in found.rows if "finite weights" in row}
    assert finite == {failures.KEPT: False, failures.DROPPED: True, failures.LIBRARY: True}
    lost = [row["lost"] for row in found.rows if "longest" in row]
    assert lost == sorted(lost, reverse=True) and lost[0] == found.arms["G5.lost"]["lost"] > 0.5
    assert [row["loss"] for row in found.rows if row.get("arm") == failures.KEPT and row.get("step") == 20] == [0.0], "what the log shows"


# The page ----------------------------------------------------------------------------------------------------------------------


def test_the_checks_of_the_page_run_and_say_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", (BOOK / "failures.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    exec("\n".join(blocks), {})
    said = capsys.readouterr().out
    assert "['<bos>', '<|user|>'" in said and "'<|assistant|>']" in said
    assert "'<|end|>']\nTrue" in said
    assert "1 conversations; 0 cut to the row's length, 0 dropped" in said and "1 of 2" in said
    assert float(re.search(r"tensor\(([\d.e-]+)", said)[1]) < 1e-4


def test_the_evidence_page_has_them_under_a_heading_of_their_own():
    assert "\n## Common failures\n" in render(BOOK / "evidence")[0]


def test_tables_of_failures_have_means_over_seeds_and_the_sample_of_the_first(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK / "_ext"))
    import measured
    import measured_failures as tables

    monkeypatch.setattr(measured, "BOOK", tmp_path)
    (tmp_path / "evidence").mkdir()
    assert {table() for table in tables.TABLES} == {measured.NOT_YET}

    def saved(name: str, *rows: dict) -> None:
        save_rows(tmp_path / "evidence" / f"{name}.csv", [
            {"seed": seed} | {key: value + 0.2 * seed if isinstance(value, float) else value for key, value in row.items()}
            for seed in (0, 1) for row in rows
        ])

    saved("G1", {"arm": "its own", "followed": 0.5, "request": "Say *hi*.", "response": ""})
    assert tables.asked_wrongly().startswith(r"Asked: “Say \*hi\*.”") and "| its own | 0.60 | (nothing) |" in tables.asked_wrongly()
    saved("G2", {"arm": "last token", "right": 0.5, "right alone": 0.6, "changed": 0.0}, {"arm": "last token", "pads": 1, "score": 3.0})
    assert "| the last token | 0.60 | 0.70 | 0.10 |" in tables.read_at_padding()
    saved("G3", {"arm": "end counted", "words": 3.0, "loss": 0.5, "request": "a", "response": "cow,\n cow"})
    assert "| end counted | 3.1 | 0.60 | “cow, cow” |" in tables.no_end()
    saved("G3", {"arm": "end masked", "words": 3.0, "loss": 0.5, "request": "a", "response": "cow, " * 30})
    assert ":::" not in tables.no_end(), "a long sample wraps"
    saved("G5", {"longest": 24, "lost": 0.5}, {"arm": "kept", "step": 10, "loss": 1.5, "gradient": float("nan")}, {"arm": "kept", "finite weights": False})
    assert "| no target left | 0.60 |" in tables.lost_answers()
    assert "| 10 | 1.5, nan |" in tables.what_the_log_shows()
    saved("G7", {"arm": "index renewed", "right": 0.5, "stale": 0.1, "question": "What?", "answer": "form F"})
    assert "| index renewed | 0.60 | 0.20 | “form F” |" in tables.old_answers()
