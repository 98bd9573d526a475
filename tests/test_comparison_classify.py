"""``finetunelab classify``: the classifier that a report recommends is trained again, kept without a pickle, and labels new texts; bad input is one line."""

import csv
import errno
import html
import json
import os
import re
import shlex

import numpy as np
import pytest
from test_comparison import make_task
from test_comparison_report import call, write

from finetunelab import cli, comparison
from finetunelab.comparison import classify, learned, report
from finetunelab.comparison.methods import FULL, KEYS, METHODS, Majority, Words, method
from finetunelab.comparison.tuning import compare
from finetunelab.settings import METHODS as KNOWN
from finetunelab.settings import CompareSettings

SETTINGS = {
    "majority": {}, "tfidf": {"C": 10.0}, "frozen": {"layer": 1, "penalty": 0.01}, "few-shot": {"demonstrations": 2},
    "lora": {"learning rate": 1e-2, "steps": 40}, "full": {"learning rate": 1e-2, "steps": 40},
}


def task_of_three():
    """Unlike most: three classes, and words that only some texts of a class have, so that no method is always right."""
    return make_task(66, 45, ("ham", "spam", "other & more"))


@pytest.fixture
def files(tmp_path):
    task = task_of_three()
    return [
        write(tmp_path / f"{name}.csv", [(text, task.classes[label]) for text, label in zip(part.texts, part.labels, strict=True)])
        for name, part in (("train", task.train), ("test", task.test))
    ]


def fit(files, output, *more, model="nano"):
    named = ["--text-column", "body", "--label-column", "kind", "--model", model, "--output", output]
    return cli.main([str(word) for word in ("classify", "fit", "--train", files[0], *named, *more)])


def flags(setting):
    return [word for name, value in setting.items() for word in (f"--{name.replace(' ', '-')}", value)]


def labels(path):
    return [row["kind"] for row in csv.DictReader(path.open(newline=""))]


# The winner again -----------------------------------------------------------------------------------------------------------------


def test_the_command_line_knows_the_methods_and_their_settings():
    assert set(KNOWN) == set(METHODS) == set(KEYS.values()) == set(classify.KINDS) == set(SETTINGS)
    assert all(set(KNOWN[key]) == {name.replace(" ", "_") for name in setting} for key, setting in SETTINGS.items())


@pytest.mark.parametrize("key", SETTINGS)
def test_what_is_kept_answers_as_what_was_learned(key, tmp_path, tiny_causal):
    task = task_of_three()
    fitted = method(key, tiny_causal, 0).fit(task, task.train, SETTINGS[key])
    before = fitted.predict(task.test.texts)
    classify.save(tmp_path / "kept", fitted.predict, {
        "format": 1, "method": key, "classes": task.classes, "text_column": "text", "label_column": "label"})
    kept, facts = classify.load(tmp_path / "kept")
    assert kept(task.test.texts) == before and facts["classes"] == list(task.classes)
    if key == "tfidf":  # here the answers would be the same without the weights of the words
        scores = [found.pipeline.decision_function(task.test.texts) for found in (kept, fitted.predict)]
        assert np.array_equal(*scores)
    assert len(set(before)) > 1 or key in ("majority", "few-shot")
    assert {path.suffix for path in (tmp_path / "kept").rglob("*") if path.is_file()} <= {".json", ".safetensors", ".jinja"}
    assert os.listdir(tmp_path) == ["kept"]


@pytest.mark.parametrize("winner", [name for name in KEYS if KEYS[name] != "majority"])
def test_the_reported_command_trains_the_classifier_of_the_report(winner, files, tmp_path, tiny_causal, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = CompareSettings(train="train.csv", test="test.csv", text_column="body", label_column="kind", model=tiny_causal, seed=3)
    task = comparison.read_task(asked)
    candidate = next(found for found in comparison.all_methods(tiny_causal, 3) if found.name == winner)
    # As many steps as fit into the time would differ between two runs of this test.
    if hasattr(candidate, "steps"):
        monkeypatch.setattr(type(candidate), "_speed", lambda self, task, rate: (1.0, 0.0, 0.0))
    found = compare(task, [candidate], 200.0, lambda line: None).results[0]
    command = shlex.split(report.winner_command(asked, found))
    assert command[0] == "finetunelab" and cli.main(command[1:]) == 0
    right = sum(found.right)
    assert f"right on {100 * right / 45:.3g} % of the 45 test texts" in capsys.readouterr().out
    # Not only as many: the same.
    assert classify.load("classifier")[0](task.test.texts) == list(found.answers)
    # Another seed is another classifier, where chance has a say.
    if winner == FULL:
        other = method("full", tiny_causal, 4).fit(task, task.train, found.setting)
        mine = method("full", tiny_causal, 3).fit(task, task.train, found.setting)
        weights = [fitted.predict.classifier.head.weight for fitted in (other, mine)]
        assert not weights[0].equal(weights[1])


def test_the_report_says_how_to_train_and_use_the_winner(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(comparison, "all_methods", lambda model, seed: [Majority(), Words()])
    assert call("train.csv", "test.csv", "r.html") == 0
    page = (tmp_path / "r.html").read_text()
    first, second, again = (shlex.split(html.unescape(line)) for line in re.findall(r"<pre[^>]*>(.*?)</pre>", page))
    write(tmp_path / "new.csv", [("a letter, \"quoted\"\nof two lines", "1"), ("a prize", "2"), ("a recipe", "3")], ("body", "number"))
    assert cli.main(first[1:]) == 0 and cli.main(second[1:]) == 0
    rows = list(csv.DictReader((tmp_path / "labeled.csv").open(newline="")))
    assert [row["kind"] for row in rows] == ["ham", "spam", "other & more"] and [row["number"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["body"] == "a letter, \"quoted\"\nof two lines" and again[1] == "compare"
    assert json.loads((tmp_path / "classifier" / "classifier.json").read_text())["training_texts"] == 66


def test_a_report_without_a_winner_has_no_command_for_one(files, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "all_methods", lambda model, seed: [Majority()])
    assert call(*files, tmp_path / "r.html") == 0
    assert "classify fit" not in (tmp_path / "r.html").read_text()


def test_without_a_test_file_nothing_is_tested(files, tmp_path, capsys):
    assert fit(files, tmp_path / "kept", "--method", "tfidf", "--C", 1) == 0
    out = capsys.readouterr().out
    assert "learned from 66 texts" in out and "right on" not in out


@pytest.mark.parametrize("name", ["new.jsonl", "new.parquet"])
def test_labels_come_in_the_format_that_the_file_is_named_for(name, files, tmp_path):
    from finetunelab.tables import read_table

    assert fit(files, tmp_path / "kept", "--method", "tfidf", "--C", 10) == 0
    (tmp_path / "new.jsonl").write_text('{"words": "a letter", "tags": ["x"]}\n{"words": "a prize", "tags": []}\n')
    out = tmp_path / f"out-{name}"
    asked = ["--data", tmp_path / "new.jsonl", "--text-column", "words", "--label-column", "said", "--out", out]
    assert cli.main([str(word) for word in ("classify", "predict", tmp_path / "kept", *asked)]) == 0
    assert read_table(out).to_pylist() == [
        {"words": "a letter", "tags": ["x"], "said": "ham"}, {"words": "a prize", "tags": [], "said": "spam"}]


# Bad input ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def refused(tmp_path, capsys):
    """Run a command that must fail with one line and leave everything as it was."""

    def run(*argv):
        before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
        assert cli.main([str(word) for word in argv]) == 2
        printed, err = capsys.readouterr()
        assert printed == "" and err.startswith("finetunelab: error: ") and err.count("\n") == 1 and "; " in err, err
        assert before == {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
        return err

    return run


def test_fits_that_are_refused(files, tmp_path, refused, monkeypatch):
    monkeypatch.setattr(classify, "method", lambda *_: pytest.fail("bad input came as far as the training"))
    good = ["classify", "fit", "--train", files[0], "--text-column", "body", "--label-column", "kind", "--output", tmp_path / "kept"]
    assert "tfidf needs --C" in refused(*good, "--method", "tfidf")
    assert "--steps is no setting of tfidf" in refused(*good, "--method", "tfidf", "--C", 1, "--steps", 5)
    assert "did you mean lora" in refused(*good, "--method", "lorra")
    assert "no method was named" in refused(*good)
    assert "above 0" in refused(*good, "--method", "tfidf", "--C", 0)
    assert "no column 'text'" in refused(*good[:4], "--method", "majority", "--output", tmp_path / "kept")
    assert "for training and for testing" in refused(*good, "--method", "majority", "--test", files[0])
    assert "holds something already" in refused(*good[:-1], tmp_path, "--method", "majority")
    assert "is a file" in refused(*good[:-1], files[1], "--method", "majority")
    assert "there is no folder" in refused(*good[:-1], tmp_path / "no" / "kept", "--method", "majority")


def test_settings_that_a_model_cannot_have(files, tmp_path, refused, tiny_causal):
    good = ["classify", "fit", "--train", files[0], "--text-column", "body", "--label-column", "kind", "--model", tiny_causal, "--output", tmp_path / "kept"]
    assert "there is no layer 7" in refused(*good, "--method", "frozen", "--layer", 7, "--penalty", 0)
    assert "do not fit into the context" in refused(*good, "--method", "few-shot", "--demonstrations", 60)
    assert "cannot be drawn from 66" in refused(*good, "--method", "few-shot", "--demonstrations", 67)
    assert "did you mean nano" in refused(*good[:-4], "--model", "nanno", "--output", tmp_path / "kept", "--method", "full", "--learning-rate", 1, "--steps", 1)


@pytest.fixture
def kept(files, tmp_path, tiny_causal, capsys):
    assert fit(files, tmp_path / "kept", "--method", "full", "--learning-rate", 1e-2, "--steps", 2, model=tiny_causal) == 0
    capsys.readouterr()
    return tmp_path / "kept"


def test_texts_that_cannot_be_labeled(kept, files, tmp_path, refused):
    write(tmp_path / "new.csv", [("a letter",)], ("body",))
    asked = ["classify", "predict", kept, "--out", tmp_path / "out.csv", "--data"]
    assert "no data was named" in refused(*asked[:-1])
    assert "did you mean new.csv" in refused(*asked, tmp_path / "nwe.csv")
    assert "has a column 'kind' already" in refused(*asked, files[1])
    assert "no column 'text'" in refused(*asked, tmp_path / "new.csv", "--text-column", "text")
    assert "exists" in refused(*asked[:3], "--out", files[1], "--data", tmp_path / "new.csv")
    assert "by its name" in refused(*asked[:3], "--out", tmp_path / "out.txt", "--data", tmp_path / "new.csv")
    assert "there is no folder" in refused(*asked[:3], "--out", tmp_path / "no" / "out.csv", "--data", tmp_path / "new.csv")
    assert "row 2 of" in refused(*asked, write(tmp_path / "hole.csv", [("a",), (" ",)], ("body",)))


def test_directories_that_are_no_whole_classifier(kept, tmp_path, refused, tiny_causal):
    write(tmp_path / "new.csv", [("a letter",)], ("body",))
    rest = ["--data", tmp_path / "new.csv", "--out", tmp_path / "out.csv"]

    def why(directory=kept):
        return refused("classify", "predict", directory, *rest)

    assert "there is no directory" in why(tmp_path / "nowhere")
    assert "classifier.json is missing" in why(tiny_causal)
    assert "classifier.json is missing" in why(tmp_path / "new.csv")
    for name in ("model/model.safetensors", "weights.safetensors", "model/config.json"):
        whole = (kept / name).read_bytes()
        (kept / name).write_bytes(whole[: len(whole) // 2])
        assert f"{name} is altered or cut short" in why()
        (kept / name).unlink()
        assert f"{name} is missing" in why()
        (kept / name).write_bytes(whole)
    record = kept / "classifier.json"
    whole = record.read_text()
    facts = json.loads(whole)
    for text in (whole[: len(whole) // 2], "[]", "{}", json.dumps(facts | {"method": "magic"}), json.dumps(facts | {"classes": 3})):
        record.write_text(text)
        assert "is no record of a classifier" in why()
    record.write_text(json.dumps(facts | {"format": 2}))
    assert "another version" in why()
    # What fits together by its checksums, and not in itself.
    record.write_text(json.dumps(facts | {"classes": ["a", "b"]}))
    assert "does not hold what its classifier.json says" in why()
    record.write_text(whole)
    assert cli.main([str(word) for word in ("classify", "predict", kept, *rest)]) == 0


def test_a_full_disk_leaves_nothing_behind(files, tmp_path, monkeypatch, refused):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(learned, "_write", full)
    named = ["--text-column", "body", "--label-column", "kind", "--method", "tfidf", "--C", 1, "--output", tmp_path / "kept"]
    assert "No space left" in refused("classify", "fit", "--train", files[0], *named)


def test_an_interrupt_leaves_nothing_behind(files, tmp_path, monkeypatch, capsys):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(learned, "_write", stop)
    assert fit(files, tmp_path / "kept", "--method", "tfidf", "--C", 1) == 130
    assert sorted(os.listdir(tmp_path)) == ["test.csv", "train.csv"]
