"""The command ``finetunelab compare``: one HTML file that needs nothing else, an interrupt that loses nothing, and bad input in one line."""

import contextlib
import csv
import errno
import html
import io
import os
import re
import shlex
import signal
import sys
import threading
import time

import pytest
from test_comparison import Fake, make_task

from finetunelab import cli, comparison
from finetunelab.comparison.methods import Majority, Words
from finetunelab.comparison.progress import left, watching


def write(path, rows, header=("body", "kind")):
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


@pytest.fixture
def files(tmp_path):
    """Two sound files, and one <b> in a text and in a class: what users write is not HTML."""
    task = make_task(60, 40, ("ham", "<b>spam & co"))
    return [
        write(tmp_path / f"{name}.csv", [(f"{text} <script>x</script>", task.classes[label]) for text, label in zip(part.texts, part.labels, strict=True)])
        for name, part in (("train", task.train), ("test", task.test))
    ]


def call(train, test, out, *more, model="nano"):
    named = ["--text-column", "body", "--label-column", "kind", "--model", model, "--out", out]
    return cli.main([str(word) for word in ("compare", "--train", train, "--test", test, *named, *more)])


@pytest.fixture
def quick(monkeypatch):
    """Compare counting words with the majority class, and with what a test adds."""
    added = []
    monkeypatch.setattr(comparison, "all_methods", lambda model, seed: [Majority(), Words(), *added])
    return added


def test_the_whole_command_runs_on_a_small_model(files, tmp_path, tiny_causal, capsys):
    assert call(*files, tmp_path / "r.html", "--budget-minutes", 0.5, model=tiny_causal) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Take ") and "r.html" in out and "[6/6] full fine-tuning" in err
    page = (tmp_path / "r.html").read_text()
    for name in ("majority class", "TF-IDF + logistic regression", "frozen features + head", "few-shot prompting", "LoRA", "full fine-tuning"):
        assert f"<td>{name}</td>" in page


def test_the_report_needs_nothing_else_and_shows_texts_as_texts(files, tmp_path, quick):
    assert call(*files, tmp_path / "r.html") == 0
    page = (tmp_path / "r.html").read_text()
    assert not re.search(r"(src|href|action|data)\s*=\s*[\"'](?!data:image/png;base64,)", page) and "http" not in page.replace("http-equiv", "")
    assert not re.search(r"<(script|link|iframe|object|embed|form)\b|url\(|@import", page)
    assert "<b>" not in page and "&lt;b&gt;spam &amp; co" in page
    assert page.count("<img") == 2 and re.search(r'alt="Accuracy against cost[^"]+TF-IDF', page)
    assert "Take TF-IDF + logistic regression." in page and re.search(r'alt="Learning curves[^"]+with 30 texts', page)
    # The command in it repeats the comparison.
    again = shlex.split(html.unescape(re.findall(r"<pre[^>]*>(.*?)</pre>", page)[-1]))
    assert again[:2] == ["finetunelab", "compare"] and cli.main(again[1:]) == 0


def test_texts_in_both_files_are_warned_of_and_left_out_in_a_column(files, tmp_path, quick):
    train, test = files
    rows = list(csv.reader(train.open()))[1:]
    spam = [row for row in rows if row[1] != "ham"]
    write(test, [*list(csv.reader(test.open()))[1:], *spam[:10]])
    assert call(train, test, tmp_path / "r.html") == 0
    page = (tmp_path / "r.html").read_text()
    assert "10 of 50 test texts are among the training texts" in page and "Accuracy without copies" in page and "&lt;script&gt;" in page
    # Always "ham", or always the other: half of the 40 new texts, and 20 or 30 of all 50.
    cells = re.findall(r"<td>(.*?)</td>", re.search(r"<td>majority class</td>.*?</tr>", page)[0])
    assert cells[1] in ("40 %", "60 %") and cells[3] == "50 %"


def test_an_interrupt_leaves_a_report_of_what_is_finished(files, tmp_path, quick, capsys):
    quick += [Fake("slow", 0.5, fails=KeyboardInterrupt()), Fake("never", 0.5)]
    assert call(*files, tmp_path / "r.html") == 130
    page, err = (tmp_path / "r.html").read_text(), capsys.readouterr().err
    assert "r.html holds what was finished" in err and "goes on" not in err and "Traceback" not in err
    assert "Stopped from the keyboard" in page and "<td>TF-IDF + logistic regression</td>" in page
    assert page.count("stopped from the keyboard before this was finished") == 2 and "No time was left for TF-IDF" in page


def test_an_interrupt_before_anything_is_finished_leaves_the_old_report(files, tmp_path, monkeypatch, quick, capsys):
    assert call(*files, tmp_path / "r.html") == 0
    before = (tmp_path / "r.html").read_bytes()
    monkeypatch.setattr(comparison, "all_methods", lambda model, seed: [Fake("slow", 0.5, fails=KeyboardInterrupt())])
    assert call(*files, tmp_path / "r.html") == 130 and "no report was written" in capsys.readouterr().err
    assert (tmp_path / "r.html").read_bytes() == before and not list(tmp_path.glob(".*"))


@pytest.fixture
def refused(files, tmp_path, capsys, monkeypatch):
    """Run the command with something wrong and return its one line; nothing is trained or written."""
    monkeypatch.setattr(comparison, "all_methods", lambda model, seed: pytest.fail("bad input came as far as the methods"))

    def run(*more, train=files[0], test=files[1], out=tmp_path / "r.html", model="nano"):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert call(train, test, out, *more, model=model) == 2
        printed, err = capsys.readouterr()
        assert printed == "" and err.startswith("finetunelab: error: ") and err.count("\n") == 1 and "; " in err, err
        assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        return err

    return run


def test_files_that_are_missing_or_lack_a_column(refused, tmp_path, files):
    assert "did you mean train.csv?" in refused(train=tmp_path / "trian.csv")
    assert "did you mean 'body'?" in refused("--text-column", "bodi")
    assert "no column 'class'" in refused("--label-column", "class")
    assert "for training and for testing" in refused(test=files[0])
    assert cli.main(["compare", "--test", str(files[1])]) == 2


def test_files_whose_rows_cannot_be_used(refused, tmp_path, files):
    rows = [(f"text {i}", "ab"[i % 2]) for i in range(40)]
    bad = tmp_path / "bad.csv"
    assert "row 3 of" in refused(train=write(bad, [*rows[:2], (" ", "a"), *rows[2:]]))
    assert "all labels" in refused(train=write(bad, [(text, "a") for text, _ in rows]))
    assert "too few to learn from" in refused(train=write(bad, rows[:10]))
    assert "without a label" in refused(train=write(bad, [*rows, ("text", "")]))
    assert "class 'c'" in refused(train=write(bad, [*rows, ("text", "c")]))
    assert "labels that no text in" in (line := refused(test=write(bad, [*rows, ("text", "c")]))) and "'a', 'b', 'c'" in line


@pytest.mark.parametrize(("name", "content", "told"), [
    ("empty.csv", b"", "is empty"),
    ("header.csv", b"body,kind\n", "has no rows"),
    ("picture.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary"),
    ("old.csv", "body,kind\ncaf\u00e9,ham\n".encode("latin-1"), "not in UTF-8: byte 0xe9 on line 2"),
    ("wide.csv", "body,kind\na,b\n".encode("utf-16"), "UTF-16"),
    ("long.csv", b"body,kind\n" + b"".join(b"text %d,%s\n" % (i, b"ab"[i % 2 : i % 2 + 1]) for i in range(40)) + b"x" * 10**6 + b",a\n", "more than"),
    ("nan.jsonl", b"".join(b'{"body": "text %d", "kind": %s}\n' % (i, b"NaN" if i == 7 else b"%d" % (i % 2)) for i in range(40)), "first is row 8"),
    ("half.parquet", b"PAR1 and no more", "only part of one"),
    ("data.pkl", b"\x80\x04.", "by its name"),
])
@pytest.mark.parametrize("place", ["train", "test"])
def test_files_of_the_wrong_kind(refused, tmp_path, name, content, told, place):
    (tmp_path / name).write_bytes(content)
    line = refused(**{place: tmp_path / name})
    assert told in line and name in line and len(line) < 500


def test_a_checkpoint_that_was_cut_short(refused, tmp_path, tiny_causal):
    import shutil

    shutil.copytree(tiny_causal, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "truncated" in refused(model=tmp_path / "cut")
    weights.unlink()
    assert "has no *.safetensors" in refused(model=tmp_path / "cut")


def test_a_full_disk_keeps_the_old_report(files, tmp_path, quick, monkeypatch, capsys):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert call(*files, tmp_path / "r.html") == 0
    before = (tmp_path / "r.html").read_bytes()
    capsys.readouterr()
    monkeypatch.setattr("finetunelab.files.os.fsync", full)
    assert call(*files, tmp_path / "r.html", "--seed", 1) == 2
    out, err = capsys.readouterr()
    assert out == "" and "No space left" in err.splitlines()[-1] and "Traceback" not in err
    assert (tmp_path / "r.html").read_bytes() == before and not list(tmp_path.glob(".*"))


def test_reports_that_cannot_be_written(refused, tmp_path, files):
    (tmp_path / "folder").mkdir()
    assert "is a folder" in refused(out=tmp_path / "folder")
    assert "there is no folder" in refused(out=tmp_path / "nowhere" / "r.html")
    assert "is no report of this command" in refused(out=files[0])


def test_models_and_budgets_that_do_not_exist(refused):
    assert "did you mean nano" in refused(model="nanno")
    assert "above 0" in refused("--budget-minutes", "0")


def test_labels_are_the_same_class_in_csv_and_parquet(files, tmp_path, quick):
    import pyarrow as pa
    import pyarrow.parquet

    task = make_task(60, 40, ("0", "1"))
    train = write(tmp_path / "numbers.csv", zip(task.train.texts, task.train.labels, strict=True))
    table = pa.table({"body": list(task.test.texts), "kind": [float(label) for label in task.test.labels]})
    pa.parquet.write_table(table, tmp_path / "numbers.parquet")
    assert call(train, tmp_path / "numbers.parquet", tmp_path / "r.html") == 0
    assert "100 %" in (tmp_path / "r.html").read_text()


def test_a_class_may_be_rare_in_the_test_file(files, tmp_path, quick):
    train, test = files
    rows = list(csv.reader(test.open()))[1:]
    write(test, [row for row in rows if row[1] == "ham"] + [row for row in rows if row[1] != "ham"][:2] + [("one more text", "ham")] * 3)
    assert call(train, test, tmp_path / "r.html") == 0
    assert "Too few examples: fewer than 20 test texts for “&lt;b&gt;spam &amp; co” (2)" in (tmp_path / "r.html").read_text().replace(" and ", ", ")


# Progress -----------------------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """What a terminal is shown."""

    def isatty(self):
        return True


def test_a_terminal_is_shown_a_bar_with_the_time_that_is_left(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    before = threading.active_count()  # other tests of the process, and what runs them in parallel, have threads of their own
    with watching(120.0) as say:
        say("[1/6] majority class")
        say("    50 % of the test texts")
        time.sleep(1.7)
    shown = sys.stderr.getvalue()
    assert "\n    50 % of the test texts\n" in shown or "\r    50 % of the test texts\n" in shown
    assert "[1/6] majority class:   0 % of the time |" in shown and "2:00 left" in shown and "1:59 left" in shown
    assert shown.rstrip(" ").endswith("\r") and "[1/6]" not in shown.rsplit("\n", 1)[1].rsplit("\r", 2)[1], "it is wiped at the end"
    with pytest.raises(KeyboardInterrupt), watching(1.0):
        raise KeyboardInterrupt
    assert threading.active_count() <= before + 1, "no clock is left behind"  # tqdm keeps one of its own


@pytest.mark.parametrize("ci", ["1", ""])
def test_where_nobody_watches_there_are_lines_and_no_bar(ci, monkeypatch):
    monkeypatch.setenv("CI", ci)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # what a test before this one may have loaded
    monkeypatch.setattr(sys, "stderr", Terminal() if ci else io.StringIO())
    with watching(120.0) as say:
        say("[1/6] majority class")
    assert sys.stderr.getvalue() == "[1/6] majority class\n"


def test_what_is_left_is_never_less_than_nothing():
    assert [left(seconds) for seconds in (605.4, 59.6, 0.2, -3)] == ["10:05 left", "1:00 left", "0:00 left", "0:00 left"]


# An interrupt at any moment -----------------------------------------------------------------------------------------------------


def test_an_interrupt_while_the_report_is_drawn_does_not_cost_it(files, tmp_path, quick, monkeypatch):
    drawn = comparison.report.page

    def page(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return drawn(*args)

    monkeypatch.setattr(comparison.report, "page", page)
    handler = signal.getsignal(signal.SIGINT)
    assert call(*files, tmp_path / "r.html") == 0 and "Take TF-IDF" in (tmp_path / "r.html").read_text()
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("said", ["[2/2] TF-IDF", "    100 %", "learning curve"])
def test_an_interrupt_between_two_steps_leaves_a_report(said, files, tmp_path, quick, monkeypatch):
    @contextlib.contextmanager
    def watched(seconds):
        def say(line):
            if line.startswith(said):
                raise KeyboardInterrupt
        yield say

    monkeypatch.setattr(comparison, "watching", watched)
    assert call(*files, tmp_path / "r.html") == 130
    assert "Stopped from the keyboard" in (tmp_path / "r.html").read_text()


def test_an_interrupt_before_the_first_method_says_that_there_is_no_report(files, tmp_path, quick, monkeypatch, capsys):
    def stop(task):
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "warnings_of", stop)
    assert call(*files, tmp_path / "r.html") == 130 and "no report was written" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()
