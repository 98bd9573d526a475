"""Every mistake of the kinds the design lists: one line on stderr, cause and mend, exit code 2, and nothing overwritten."""

import errno
import json
import os
import subprocess
import sys

import pytest

from finetunelab import cli, files
from finetunelab.experiments import Claim, Measurement, measures

GOOD = "text,label\n" + "".join(f"message number {i},{'spam' if i % 2 else 'ham'}\n" for i in range(40))


@pytest.fixture
def refused(capsys):
    """Run a command that must fail as bad input does and return its one line."""

    def run(*argv, code=2):
        assert cli.main([str(arg) for arg in argv]) == code
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("finetunelab: error: ") and err.count("\n") == 1 and err.endswith("\n"), err
        assert "; " in err and "Traceback" not in err
        return err

    return run


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_good_file_passes(tmp_path, capsys):
    assert cli.main(["data", "check", str(write(tmp_path / "good.csv", GOOD))]) == 0
    assert "40 rows" in (out := capsys.readouterr().out) and "2 classes" in out and "ready" in out


def test_missing_file(tmp_path, refused):
    write(tmp_path / "messages.csv", GOOD)
    assert "did you mean messages.csv?" in refused("data", "check", tmp_path / "mesages.csv")
    assert "check the path" in refused("data", "check", tmp_path / "nowhere" / "x.csv")


@pytest.mark.parametrize(
    ("name", "content"), [("e.csv", b""), ("e.jsonl", b""), ("e.parquet", b""), ("h.csv", b"text,label\n"), ("n.csv", b"\n\n")],
)
def test_empty_file(tmp_path, refused, name, content):
    line = refused("data", "check", write(tmp_path / name, content))
    assert "is empty" in line or "has no rows" in line


@pytest.mark.parametrize("name", ["picture.csv", "picture.jsonl"])
def test_binary_file(tmp_path, refused, name):
    assert "binary" in refused("data", "check", write(tmp_path / name, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256))))


def test_binary_parquet_and_truncated_parquet(tmp_path, refused):
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert "Parquet" in refused("data", "check", write(tmp_path / "noise.parquet", bytes(range(256)) * 4))
    pq.write_table(pa.table({"text": ["x"] * 100}), tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    assert "only part" in refused("data", "check", write(tmp_path / "cut.parquet", whole[: len(whole) // 2]))


def test_pickle_is_not_read(tmp_path, refused):
    assert "by its name" in refused("data", "check", write(tmp_path / "data.pkl", b"\x80\x04."))


def test_folder_in_place_of_a_file(tmp_path, refused):
    assert "is a folder" in refused("data", "check", tmp_path)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_wrong_encoding(tmp_path, refused, encoding):
    line = refused("data", "check", write(tmp_path / "old.csv", (GOOD + "café,spam\n").encode(encoding)))
    assert "0xe9 on line 42" in line and "UTF-8" in line


def test_utf_16(tmp_path, refused):
    assert "UTF-16" in refused("data", "check", write(tmp_path / "wide.csv", GOOD.encode("utf-16")))


def test_lacks_the_text_column(tmp_path, refused):
    line = refused("data", "check", write(tmp_path / "c.csv", GOOD.replace("text,label", "texts,label")))
    assert "no column 'text'" in line and "did you mean 'texts'? It has texts, label" in line


def test_lacks_the_label_column(tmp_path, refused):
    path = write(tmp_path / "c.csv", GOOD)
    assert "no column 'kind' for the label" in refused("data", "check", path, "--label-column", "kind")


def test_one_class(tmp_path, refused):
    assert "all labels" in refused("data", "check", write(tmp_path / "one.csv", GOOD.replace("ham", "spam")))


@pytest.mark.parametrize("hole", ["", "nan", "NaN", "  "])
def test_missing_labels_in_csv(tmp_path, refused, hole):
    line = refused("data", "check", write(tmp_path / "holes.csv", GOOD + f"a text,{hole}\nanother,{hole}\n"))
    assert "2 rows without a label, the first is row 41" in line


@pytest.mark.parametrize("hole", ["NaN", "null"])
def test_nan_labels_in_jsonl(tmp_path, refused, hole):
    rows = "".join(f'{{"text": "row {i}", "label": {i % 2}}}\n' for i in range(40)) + f'{{"text": "row", "label": {hole}}}\n'
    assert "1 rows without a label, the first is row 41" in refused("data", "check", write(tmp_path / "holes.jsonl", rows))


def test_nan_labels_in_parquet(tmp_path, refused):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["x"] * 40, "label": [0.0, 1.0] * 19 + [float("nan"), 1.0]}), tmp_path / "n.parquet")
    assert "without a label, the first is row 39" in refused("data", "check", tmp_path / "n.parquet")


def test_scores_are_not_classes(tmp_path, refused):
    rows = "".join(f'{{"text": "row {i}", "label": {i / 7}}}\n' for i in range(40))
    assert "whole numbers" in refused("data", "check", write(tmp_path / "scores.jsonl", rows))


def test_lists_are_not_classes(tmp_path, refused):
    rows = "".join(f'{{"text": "row {i}", "label": ["a"]}}\n' for i in range(40))
    assert "names or whole numbers" in refused("data", "check", write(tmp_path / "lists.jsonl", rows))


@pytest.mark.parametrize("name", ["long.csv", "long.jsonl"])
def test_million_character_row(tmp_path, refused, name):
    text = "x" * 1_000_000
    content = GOOD + f"{text},spam\n" if name.endswith("csv") else "".join(json.dumps({"text": t}) + "\n" for t in ["a"] * 40 + [text])
    line = refused("data", "check", write(tmp_path / name, content))
    assert "characters" in line and "shorten it" in line and len(line) < 400


def test_quote_left_open(tmp_path, refused):
    assert "quote" in refused("data", "check", write(tmp_path / "q.csv", GOOD + '"never closed,spam\n' + GOOD))


def test_ragged_row(tmp_path, refused):
    line = refused("data", "check", write(tmp_path / "r.csv", GOOD + "one, two, three,spam\n"))
    assert "line 42" in line and "4 fields and the header 2" in line


def test_two_columns_of_one_name(tmp_path, refused):
    assert "two columns named 'text'" in refused("data", "check", write(tmp_path / "d.csv", "text,text\na,b\n"))


def test_empty_text(tmp_path, refused):
    assert "row 41" in refused("data", "check", write(tmp_path / "t.csv", GOOD + '"  ",spam\n'))


def test_numbers_for_text(tmp_path, refused):
    rows = "".join(f'{{"text": {i}}}\n' for i in range(40))
    assert "int instead of text" in refused("data", "check", write(tmp_path / "t.jsonl", rows))


@pytest.mark.parametrize("content", ['{"text": "a"\n', "[1, 2]\n", "text\n", "[" * 100_000 + "\n"])
def test_not_jsonl(tmp_path, refused, content):
    assert "line 1" in refused("data", "check", write(tmp_path / "j.jsonl", content))


def test_mixed_kinds_in_jsonl(tmp_path, refused):
    rows = '{"text": "a", "label": 1}\n{"text": "b", "label": "one"}\n' * 20
    assert "'label'" in refused("data", "check", write(tmp_path / "m.jsonl", rows))


def test_too_few_examples(tmp_path, refused):
    assert "8 examples, too few" in refused("data", "check", write(tmp_path / "few.csv", "".join(GOOD.splitlines(True)[:9])))


def test_too_few_of_one_class(tmp_path, refused):
    assert "class 'rare'" in refused("data", "check", write(tmp_path / "rare.csv", GOOD + "text,rare\n"))


def test_unknown_profile(refused, monkeypatch):
    assert "did you mean colab" in refused("profile", "colabb")
    monkeypatch.setenv("FINETUNELAB_PROFILE", "gpuu")
    assert "FINETUNELAB_PROFILE" in refused("profile")


def test_unknown_claim(registry, refused, tmp_path):
    measures(Claim("A1", "c", "m", "", "t", None, "value"), id="A1")(lambda seed, data_seed: None)
    assert "did you mean A1" in refused("evidence", "run", "--claim", "A11", "--out", tmp_path / "nano.json")
    assert "choose one of A1" in refused("evidence", "run", "--claim", "zebra", "--out", tmp_path / "nano.json")
    assert not (tmp_path / "nano.json").exists()


def test_unknown_world(refused, monkeypatch):
    import finetunelab.worlds

    monkeypatch.setattr(finetunelab.worlds, "generators", lambda: {"mail": None})
    assert "did you mean mail" in refused("world", "show", "mial")


def test_knob_without_a_value(refused, monkeypatch):
    from types import SimpleNamespace

    import finetunelab.worlds

    monkeypatch.setattr(finetunelab.worlds, "generators", lambda: {"mail": SimpleNamespace(rows=lambda *a, **k: [])})
    assert "name=value" in refused("world", "show", "mail", "--knob", "slang")
    assert "at least one" in refused("world", "show", "mail", "-n", "0")


@pytest.mark.parametrize("content", ["", "{", '{"id": 1}', "[1]", '[{"claim": "no id"}]', b"\xff\xfe\x00"])
def test_results_file_that_is_none(tmp_path, refused, content):
    refused("evidence", "check", write(tmp_path / "nano.json", content))


def test_missing_results_file(tmp_path, refused):
    assert "no results file" in refused("evidence", "check", tmp_path / "nano.json")


@pytest.mark.parametrize(
    ("argv", "mend"),
    [
        (["evidence", "run", "--clam", "A1"], "did you mean --claim?"),
        (["evidnce"], "did you mean evidence?"),
        (["evidence", "chek"], "did you mean check?"),
        (["evidence", "run", "--seeds", "five"], "evidence run --help"),
        ([], "finetunelab --help"),
        (["base", "build"], "base build --help"),
    ],
)
def test_wrong_flags_and_commands(refused, argv, mend):
    assert mend in refused(*argv)


@pytest.mark.parametrize("argv", [["--seeds", "0"], ["--data-seed", "-1"]])
def test_numbers_out_of_range(registry, refused, tmp_path, argv):
    refused("evidence", "run", "--out", tmp_path / "nano.json", *argv)


def test_folder_to_write_in_is_missing(registry, refused, tmp_path):
    assert "no folder" in refused("evidence", "render", "--page", tmp_path / "no" / "page.md")
    assert "is a folder" in refused("evidence", "render", "--page", tmp_path)


def full_disk(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_leaves_the_old_file(registry, refused, tmp_path, monkeypatch):
    page = write(tmp_path / "page.md", "the old page")
    monkeypatch.setattr(files.os, "fsync", full_disk)
    line = refused("evidence", "render", "--folder", tmp_path, "--page", page)
    assert "No space left" in line and "make room" in line
    assert page.read_text() == "the old page" and os.listdir(tmp_path) == ["page.md"]


def test_full_disk_between_seeds_keeps_the_seeds_before(registry, tmp_path, monkeypatch, capsys):
    @measures(Claim("A1", "c", "m", "", "t", None, "value"), id="A1")
    def experiment(seed, data_seed):
        if seed == 2:
            monkeypatch.setattr(files.os, "fsync", full_disk)
        return Measurement({"A1": {"t": 0.5}})

    out = tmp_path / "nano.json"
    assert cli.main(["evidence", "run", "--claim", "A1", "--out", str(out)]) == 2
    assert "No space left" in capsys.readouterr().err
    assert [row["seed"] for row in json.loads(out.read_text())[0]["per_seed"]] == [0, 1]
    assert os.listdir(tmp_path) == ["nano.json"]


def test_no_traceback_from_the_installed_command(tmp_path):
    command = [sys.executable, "-m", "finetunelab.cli", "data", "check", str(tmp_path / "x.csv")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1


# Training runs ------------------------------------------------------------------------------------------------------------------

TALK = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]


def jsonl(path, rows):
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def talks(path, *odd, column="messages"):
    return jsonl(path, [{column: TALK}] * 30 + [{column: messages} for messages in odd])


def sft(path, *more):
    return "sft", "--data", path, "--output", path.parent / "out", "--model", "nano-small", "--steps", "2", *more


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ([], "conversation 31 of"),
        (TALK[:1], "no assistant's turn"),
        (TALK[::-1], "the assistant's, where the user's should be"),
        ([TALK[0], *TALK], "message 2 of conversation 31"),
        ([*TALK, {"role": "system", "content": "Be brief."}], "the system's, where the user's should be"),
        ([{"role": "system", "content": "Be brief."}], "no assistant's turn"),
        ([TALK[0], {"role": "assistant", "content": "  "}], "the assistant's, holds no text"),
        ([TALK[0], {"role": "assistant", "content": None}], "the assistant's, holds no text"),
        ([TALK[0], {"role": "asistant", "content": "Me."}], "use assistant"),
        ([TALK[0], {"role": "tool", "content": "Me."}], "use system, user or assistant"),
    ],
)
def test_conversations_that_are_none(tmp_path, refused, odd, told):
    line = refused(*sft(talks(tmp_path / "t.jsonl", odd)))
    assert told in line and "conversation 31" in line and not (tmp_path / "out").exists()


def test_messages_that_are_no_list(tmp_path, refused):
    assert "no list of messages" in refused(*sft(jsonl(tmp_path / "t.jsonl", [{"messages": {"role": "user"}}] * 30)))
    assert "is a text, not a list" in refused(*sft(jsonl(tmp_path / "t.jsonl", [{"messages": "Who? Me."}] * 30)))
    assert "no list of messages" in refused(*sft(jsonl(tmp_path / "t.jsonl", [{"messages": ["Who?", "Me."]}] * 30)))


def test_no_usable_columns(tmp_path, refused):
    path = talks(tmp_path / "t.jsonl", column="mesages")
    assert "--messages-column mesages: it has mesages" in refused(*sft(path))
    assert "no column 'mesage' for the messages; did you mean 'mesages'?" in refused(*sft(path, "--messages-column", "mesage"))
    half = jsonl(tmp_path / "half.jsonl", [{"prompt": "Who?"}] * 30)
    assert "nor prompt and completion" in refused(*sft(half))
    assert "no column 'reply' for the completion" in refused(*sft(half, "--completion-column", "reply"))
    assert "no column 'text' for the text" in refused("adapt", *sft(half)[1:])


def test_empty_prompts_and_answers(tmp_path, refused):
    rows = [{"instruction": "Who?", "input": "", "output": "Me."}] * 30
    assert "the assistant's, holds no text" in refused(*sft(jsonl(tmp_path / "t.jsonl", [*rows, {"instruction": "Who?", "input": "", "output": ""}])))
    assert "the user's, holds no text" in refused(*sft(jsonl(tmp_path / "t.jsonl", [*rows, {"instruction": None, "input": "x", "output": "Me."}])))


def test_too_few_conversations(tmp_path, refused):
    assert "5 examples, too few" in refused(*sft(jsonl(tmp_path / "t.jsonl", [{"messages": TALK}] * 5)))
    # Thirty copies of one question cannot stand on both sides.
    assert "leaves 30 to learn from and 0 to test on" in refused(*sft(talks(tmp_path / "t.jsonl")))


def test_text_longer_than_the_row(tmp_path, refused):
    long = [{"role": "user", "content": "very " * 100}, TALK[1]]
    line = refused(*sft(jsonl(tmp_path / "t.jsonl", [{"messages": long}] * 30), "--test-share", "0", "--longest", "32"))
    assert "none of 30 conversations has an assistant's turn within 32 tokens" in line
    texts = jsonl(tmp_path / "u.jsonl", [{"text": f"text {i}"} for i in range(30)] + [{"text": "very " * 100}])
    assert "and a row 32" in refused("adapt", *sft(texts, "--test-share", "0", "--longest", "32")[1:])
    assert "longer than this model's context" in refused(*sft(talks(tmp_path / "v.jsonl"), "--test-share", "0", "--longest", "5000"))


def test_output_that_holds_something(tmp_path, refused):
    data, out = talks(tmp_path / "t.jsonl"), tmp_path / "out"
    out.mkdir()
    write(out / "config.json", "{}")
    assert "already holds a finished model" in refused(*sft(data)) and os.listdir(out) == ["config.json"]
    (out / "config.json").rename(out / "recipe.yaml")
    write(out / "recipe.yaml", "steps: 3\n")
    assert "the recipe of another run" in refused(*sft(data, "--test-share", "0"))
    assert (out / "recipe.yaml").read_text() == "steps: 3\n" and os.listdir(out) == ["recipe.yaml"]
    assert "is a file" in refused(*sft(data, "--output", data))


def test_checkpoints_of_another_run(tmp_path, refused):
    data, out = talks(tmp_path / "t.jsonl"), tmp_path / "out"
    (out / "checkpoint-2").mkdir(parents=True)
    write(out / "checkpoint-2" / "cost.json", "{}")
    assert "checkpoints of another run" in refused(*sft(data, "--test-share", "0"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("step: 3\n", "did you mean steps"),
        ("per_device_train_batch_size: 3\n", "it is called batch_size here"),
        ("steps: many\n", "give a whole number"),
        ("steps: 2.5\n", "give a whole number"),
        ("steps: 0\n", "give a number at least 1"),
        ("learning_rate: -1\n", "above 0"),
        ("learning_rate: .nan\n", "give a number"),
        ("test_share: 1\n", "at least 0 and below 1"),
        ("masked: maybe\n", "true or false"),
        ("schedule: cosin\n", "did you mean cosine"),
        ("model: {}\n", "give a name"),
        ("steps: [\n", "not readable as YAML near line 2"),
        ("- steps\n", "holds no settings"),
        ("", "holds no settings"),
        ("model: \xe9\n".encode("latin-1"), "UTF-8"),
        ("data: d.csv\n", "no output was named"),
        ("output: o\n", "no data was named"),
        ("data: d\noutput: o\nfour_bit: true\n", "--lora-rank 8"),
        ("data: d\noutput: o\nlora_alpha: 2\n", "lora_alpha was given without a rank"),
    ],
)
def test_recipes_that_are_none(tmp_path, refused, content, told):
    assert told in refused("sft", "--config", write(tmp_path / "recipe.yaml", content))


def test_recipe_that_is_missing(tmp_path, refused):
    write(tmp_path / "recipe.yaml", "steps: 3\n")
    assert "did you mean recipe.yaml?" in refused("sft", "--config", tmp_path / "recipes.yaml")
    assert "is a folder" in refused("sft", "--config", tmp_path)


def test_runs_that_cannot_be(tmp_path, refused):
    data = talks(tmp_path / "t.jsonl")
    some = sft(data, "--test-share", "0")
    assert "did you mean --steps" in refused(*some, "--step", "3")
    assert "did you mean q_proj" in refused(*some, "--lora-rank", "2", "--lora-targets", "q_prj")
    assert "no rank of these matrices" in refused(*some, "--lora-rank", "5000")
    assert "did you mean nano" in refused(*some, "--model", "nan")
    texts = jsonl(tmp_path / "u.jsonl", [{"text": f"text {i}"} for i in range(30)])
    adapt = ("adapt", *sft(texts, "--test-share", "0")[1:])
    assert "replay needs 90 old examples" in refused(*adapt, "--replay", texts, "--replay-share", "0.75")
    assert "there is no file" in refused(*adapt, "--replay", tmp_path / "old.jsonl")
    assert not (tmp_path / "out").exists()


def test_one_of_several_processes_tells_of_bad_input(refused, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert cli.main(["sft", "--steps", "0"]) == 2 and capsys.readouterr().err == ""
    monkeypatch.setenv("RANK", "0")
    assert "at least 1" in refused("sft", "--steps", "0")


@pytest.mark.parametrize("flag", ["--numbers", "--page"])
def test_rendering_over_results_is_refused(tmp_path, refused, flag):
    results = write(tmp_path / "nano.json", "[]\n")
    assert "holds results" in refused("evidence", "render", flag, results, "--folder", tmp_path)
    assert results.read_text() == "[]\n"
