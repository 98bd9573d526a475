"""Ratings in SQLite: nothing is lost, several write at once, undo is honest, and trl's format out and in."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from finetunelab import cli
from finetunelab.errors import UserError
from finetunelab.preferences.exchange import Exported, export_preferences, import_preferences
from finetunelab.preferences.store import Comparison, Rating, RatingStore, preference

ITEMS = [Comparison(f"What about number {i}?", f"Of {i} I like this.", f"Of {i} I like that.") for i in range(20)]
IDS = [one.id for one in ITEMS]

# A rater in a process of its own: adds the comparisons, then rates them, and tells of each choice once it has returned.
RATER = """
import sys
from finetunelab.preferences.store import Comparison, RatingStore
path, rater, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = RatingStore(path)
ids = store.add(Comparison(f"What about number {i}?", f"Of {i} I like this.", f"Of {i} I like that.") for i in range(n))
for i, item in enumerate(ids):
    store.grade(rater, item, "a", "relevance", 0.5)
    store.choose(rater, item, "ab"[i % 2], 1.5)
    print(item, flush=True)
sys.stdin.read()
"""


def rater(path, name, n):
    command = [sys.executable, "-c", RATER, str(path), name, str(n)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def store(tmp_path):
    store = RatingStore(tmp_path / "ratings.sqlite")
    store.add(ITEMS)
    return store


def test_a_killed_process_loses_nothing(tmp_path):
    path = tmp_path / "ratings.sqlite"
    process = rater(path, "ann", 2000)
    told = [process.stdout.readline().strip() for _ in range(5)]
    process.send_signal(signal.SIGKILL)  # in the middle of writing: 2,000 take a while
    told += process.stdout.read().split()
    assert process.wait() == -signal.SIGKILL and 5 <= len(told) < 2000
    found = RatingStore(path).ratings()
    assert [rating.item for rating in found][: len(told)] == told and len(found) <= len(told) + 1
    assert all(rating.grades == {"a": {"relevance": 0.5}} for rating in found)


def test_several_processes_make_and_write_one_store_at_once(tmp_path):
    path = tmp_path / "ratings.sqlite"
    processes = [rater(path, name, 15) for name in ("ann", "bob", "cid")]
    for process in processes:
        assert process.communicate("")[0].split() == IDS[:15] and process.returncode == 0
    found = RatingStore(path).ratings()
    assert len(found) == 45 and {rating.rater for rating in found} == {"ann", "bob", "cid"}
    assert list(RatingStore(path).comparisons()) == IDS[:15]


def test_another_thread_may_write(store):
    problems = []

    def work(name):
        try:
            for item in IDS:
                store.choose(name, item, "a")
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems and len(store.ratings()) == 40


def test_a_click_does_not_wait_for_who_reads(tmp_path, store):
    reader = sqlite3.connect(tmp_path / "ratings.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM items").fetchone()
    began = time.monotonic()
    store.choose("ann", IDS[0], "a")
    assert time.monotonic() - began < 10 and len(store.ratings()) == 1
    reader.execute("ROLLBACK")


def test_ids_depend_on_the_texts_alone():
    assert ITEMS[0].id == Comparison.of(dict(vars(ITEMS[0]), topic="soup")).id == "3dbcfc346cfd453d"
    assert len({one.id for one in ITEMS} | {Comparison(ITEMS[0].prompt, ITEMS[0].response_b, ITEMS[0].response_a).id}) == 21


def test_adding_again_changes_nothing(store):
    assert store.add([ITEMS[3]]) == [IDS[3]]
    assert list(store.comparisons()) == IDS and store.comparisons()[IDS[3]] == ITEMS[3]


def test_a_rating_is_read_as_it_was_clicked(store):
    store.grade("ann", IDS[0], "a", "coherence", 1)
    store.grade("ann", IDS[0], "a", "coherence", 0.5)
    store.grade("ann", IDS[0], "b", "relevance", 1)
    store.grade("ann", IDS[0], "b", "relevance", None)
    assert store.ratings() == []  # grades alone are no rating yet
    assert store.given("ann") == ({}, {IDS[0]: {"a": {"coherence": 0.5}}})
    first = store.first("ann", IDS[0])
    store.choose("ann", IDS[0], "tie", 2.5)
    store.choose("bob", IDS[0], "skip")
    assert store.ratings() == [
        Rating("ann", IDS[0], "tie", {"a": {"coherence": 0.5}}, 2.5, first), Rating("bob", IDS[0], "skip"),
    ]
    assert store.ratings(["bob"]) == [Rating("bob", IDS[0], "skip")]
    with pytest.raises(UserError, match="unknown rater 'bib'; did you mean bob"):
        store.ratings(["bib"])


def test_undo_takes_back_the_raters_own_last_choice_and_keeps_the_record(store):
    assert store.undo("ann") is None
    store.choose("ann", IDS[0], "a")
    store.choose("ann", IDS[1], "b")
    store.choose("bob", IDS[2], "a")
    assert store.undo("ann") == IDS[1] and store.undo("ann") == IDS[0] and store.undo("ann") is None
    assert [rating.rater for rating in store.ratings()] == ["bob"]
    store.choose("ann", IDS[0], "b")
    assert [rating.choice for rating in store.ratings(["ann"])] == ["b"]
    log = [(click["kind"], click["item"], click.get("value")) for click in store.clicks("ann")]
    assert log == [
        ("choice", IDS[0], "a"), ("choice", IDS[1], "b"), ("undo", IDS[1], None), ("undo", IDS[0], None), ("choice", IDS[0], "b"),
    ]
    assert store.undo("ann", among=IDS[1:]) is None and store.undo("ann", among=IDS[:1]) == IDS[0]


def test_a_choice_that_stands_is_not_overwritten(store):
    store.choose("ann", IDS[0], "a")
    with pytest.raises(UserError, match="already; undo"):
        store.choose("ann", IDS[0], "b")
    assert [rating.choice for rating in store.ratings()] == ["a"]


def test_sides_are_drawn_by_seed_for_each_rater_and_kept(tmp_path, store):
    sides = {name: [store.first(name, item) for item in IDS] for name in ("ann", "bob")}
    assert sides["ann"] != sides["bob"] and all(5 <= found.count("a") <= 15 for found in sides.values())
    other = RatingStore(tmp_path / "other.sqlite", seed=1)
    other.add(ITEMS)
    assert [other.first("ann", item) for item in IDS] != sides["ann"]
    same = RatingStore(tmp_path / "same.sqlite")
    same.add(ITEMS)
    assert [same.first("ann", item) for item in IDS] == sides["ann"]
    again = RatingStore(tmp_path / "ratings.sqlite", seed=1)  # drawn already: another seed does not turn what was shown
    assert [again.first("ann", item) for item in IDS] == sides["ann"]


def test_ratings_are_added_all_or_none(store):
    found = [Rating("panel 1", IDS[0], "a", {"b": {"relevance": 1.0}}), Rating("panel 1", IDS[1], "tie")]
    store.add_ratings(found)
    assert store.ratings() == found
    with pytest.raises(UserError, match="already"):
        store.add_ratings([Rating("panel 1", IDS[2], "a"), Rating("panel 1", IDS[0], "b")])
    assert store.ratings() == found


@pytest.mark.parametrize(
    ("call", "cause"),
    [
        (lambda s: s.choose("ann", IDS[0], "left"), "unknown choice 'left'"),
        (lambda s: s.choose("ann", "nowhere", "a"), "no comparison 'nowhere'"),
        (lambda s: s.choose("ann", ["x"], "a"), "no comparison"),
        (lambda s: s.choose(" ", IDS[0], "a"), "no name of a rater"),
        (lambda s: s.choose("ann", IDS[0], "a", float("nan")), "no number of seconds"),
        (lambda s: s.choose("ann", IDS[0], "a", "4"), "no number of seconds"),
        (lambda s: s.grade("ann", IDS[0], "c", "relevance", 1), "unknown response"),
        (lambda s: s.grade("ann", IDS[0], "a", "style", 1), "unknown scale 'style'"),
        (lambda s: s.grade("ann", IDS[0], "a", "relevance", 0.7), "0.7 is no grade"),
        (lambda s: s.grade("ann", IDS[0], "a", "relevance", True), "True is no grade"),
        (lambda s: s.add([{"prompt": "Why?", "response_a": "So."}]), "no text as its response_b"),
        (lambda s: s.add([{"prompt": "Why?", "response_a": "So.", "response_b": "So."}]), "are the same"),
    ],
)
def test_what_does_not_exist_is_refused(store, call, cause):
    with pytest.raises(UserError, match=cause):
        call(store)
    assert store.ratings() == [] and store.clicks("ann") == []


def test_files_that_are_no_store_are_refused_and_left_alone(tmp_path):
    text = tmp_path / "notes.sqlite"
    text.write_text("these are my notes\n" * 200)
    with pytest.raises(UserError, match="file is not a database; name another file"):
        RatingStore(text)
    foreign = sqlite3.connect(tmp_path / "foreign.sqlite")
    foreign.execute("CREATE TABLE items (x)")
    foreign.close()
    before = (tmp_path / "foreign.sqlite").read_bytes()
    with pytest.raises(UserError, match="another program"):
        RatingStore(tmp_path / "foreign.sqlite")
    assert text.read_text() == "these are my notes\n" * 200 and (tmp_path / "foreign.sqlite").read_bytes() == before
    with pytest.raises(UserError, match="is a folder"):
        RatingStore(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        RatingStore(tmp_path / "nowhere" / "ratings.sqlite")
    with pytest.raises(UserError, match="did you mean notes.sqlite"):
        RatingStore(tmp_path / "note.sqlite", existing=True)
    assert not (tmp_path / "note.sqlite").exists()


def test_a_store_of_another_version_is_refused(tmp_path):
    RatingStore(tmp_path / "ratings.sqlite").close()
    database = sqlite3.connect(tmp_path / "ratings.sqlite")
    database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(UserError, match="version 2, and this is version 1; use the version"):
        RatingStore(tmp_path / "ratings.sqlite")


def test_a_full_disk_loses_only_the_click_that_met_it(store):
    store.choose("ann", IDS[0], "a")
    pages = store._database.ask("PRAGMA page_count")[0][0]
    store._database.ask(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(UserError, match="full; make room"):
        store.add(Comparison("p" * 5000, f"{i}", "b") for i in range(20))
    store._database.ask(f"PRAGMA max_page_count = {pages + 1000}")
    assert len(store.ratings()) == 1 and list(store.comparisons()) == IDS
    store.choose("ann", IDS[1], "a")
    assert len(store.ratings()) == 2


def test_a_store_that_cannot_be_written_says_so(store):
    store._database.ask("PRAGMA query_only = ON")
    with pytest.raises(UserError, match="make the file and its folder writable"):
        store.choose("ann", IDS[0], "a")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(UserError, match="make the file and its folder writable"):
        RatingStore(folder / "ratings.sqlite")


def test_what_the_disk_refuses_is_told(tmp_path):
    if not os.path.isdir("/proc/self"):
        pytest.skip("no folder here that even root cannot write in")
    with pytest.raises(UserError, match="make the file and its folder writable"):
        RatingStore("/proc/self/ratings.sqlite")


# trl's format -------------------------------------------------------------------------------------------------------------------


def vote(store, item, choices):
    for number, choice in enumerate(choices):
        store.choose(f"rater {number}", item, choice)


@pytest.fixture
def voted(store):
    for item, choices in zip(IDS, (["a"], ["b", "b", "a"], ["a", "b"], ["tie", "tie", "a"], ["a", "tie"], ["skip", "b"], ["skip"])):
        vote(store, item, choices)
    return store


def test_export_writes_what_most_raters_chose(voted, tmp_path):
    path = tmp_path / "preferences.jsonl"
    assert export_preferences(voted, path) == Exported(written=3, tied=3, unrated=14)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    one, two, six = ITEMS[0], ITEMS[1], ITEMS[5]
    assert rows == [
        preference(one.prompt, one.response_a, one.response_b), preference(two.prompt, two.response_b, two.response_a),
        preference(six.prompt, six.response_b, six.response_a),
    ]
    assert rows[0]["prompt"] == [{"role": "user", "content": one.prompt}] and rows[0]["chosen"][0]["role"] == "assistant"
    assert export_preferences(voted, tmp_path / "first.jsonl", ["rater 0"]).written == 4


def test_export_overwrites_nothing(voted, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("mine")
    voted.choose("eve", IDS[8], "tie")
    with pytest.raises(UserError, match="exists already"):
        export_preferences(voted, path)
    with pytest.raises(UserError, match="no comparison in"):
        export_preferences(voted, tmp_path / "none.jsonl", ["eve"])
    assert path.read_text() == "mine" and not (tmp_path / "none.jsonl").exists()


def test_export_and_import_are_a_round_trip(voted, tmp_path):
    export_preferences(voted, tmp_path / "out.jsonl")
    other = RatingStore(tmp_path / "other.sqlite")
    other.add([Comparison(ITEMS[0].prompt, ITEMS[0].response_b, ITEMS[0].response_a), ITEMS[1]])  # found, whichever way round they are
    assert import_preferences(other, tmp_path / "out.jsonl", "class") == 3
    assert len(other.comparisons()) == 3 and {rating.rater for rating in other.ratings()} == {"class"}
    assert export_preferences(other, tmp_path / "back.jsonl").written == 3
    assert (tmp_path / "back.jsonl").read_text() == (tmp_path / "out.jsonl").read_text()
    with pytest.raises(UserError, match="class has rated comparison .* already"):
        import_preferences(other, tmp_path / "out.jsonl", "class")
    assert import_preferences(other, tmp_path / "out.jsonl", "others") == 3


def test_an_import_does_not_betray_the_choice_by_the_place(tmp_path):
    rows = [preference(f"Question {i}?", f"{i % 2} said", f"{1 - i % 2} said") for i in range(10)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows + rows[:2]))  # copies count once
    store = RatingStore(tmp_path / "ratings.sqlite")
    assert import_preferences(store, tmp_path / "in.jsonl", "ann") == 10
    assert sorted(rating.choice for rating in store.ratings()) == ["a"] * 5 + ["b"] * 5


ROW = preference("Why?", "So.", "No.")


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        ([{"prompt": ROW["prompt"], "chosen": ROW["chosen"]}], "no column 'rejected'"),
        ([ROW, {**ROW, "chosen": "So."}], "mixes kinds"),
        ([{**ROW, "prompt": ROW["prompt"] * 2}], "prompt in row 1 of .* is not one message"),
        ([{**ROW, "chosen": [{"role": "user", "content": "So."}]}], "row 1 of .*chosen.* is the user's"),
        ([ROW, {**ROW, "rejected": [{"role": "assistant", "content": " "}]}], "row 2 of .*rejected.* holds no text"),
        ([{**ROW, "rejected": ROW["chosen"]}], "chosen and rejected are the same in row 1"),
        ([ROW, preference("Why?", "No.", "So.")], "rows 1 and 2 .* prefer opposite"),
    ],
)
def test_import_refuses_what_is_no_preference_and_takes_nothing(store, tmp_path, rows, cause):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=cause):
        import_preferences(store, path, "ann")
    assert list(store.comparisons()) == IDS and not store.ratings()


@pytest.mark.slow
def test_trl_reads_the_export(voted, tmp_path):
    from datasets import load_dataset
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    from finetunelab.models import load_tokenizer
    from finetunelab.sft import tokenize

    export_preferences(voted, tmp_path / "out.jsonl")
    rows = load_dataset("json", data_files=str(tmp_path / "out.jsonl"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == ["prompt", "chosen", "rejected"]
    tokenizer = load_tokenizer("nano-sft")
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "policy")  # DPO reads its reference model from there again
    asked = {"report_to": "none", "use_cpu": True, "bf16": False}
    reward = RewardTrainer(
        model=LlamaForSequenceClassification(config), processing_class=tokenizer, train_dataset=rows,
        args=RewardConfig(output_dir=str(tmp_path / "reward"), **asked),
    )
    dpo = DPOTrainer(
        model=str(tmp_path / "policy"), processing_class=tokenizer, train_dataset=rows,
        args=DPOConfig(output_dir=str(tmp_path / "dpo"), **asked),
    )
    assert len(reward.train_dataset) == len(dpo.train_dataset) == 3
    one, seen, split = ITEMS[0], reward.train_dataset[0], dpo.train_dataset[0]
    for side, text in (("chosen_ids", one.response_a), ("rejected_ids", one.response_b)):
        ours = tokenize(tokenizer, [{"role": "user", "content": one.prompt}, {"role": "assistant", "content": text}])[0]
        assert seen[side] == ours == split["prompt_ids"] + split[side]


# The command line ---------------------------------------------------------------------------------------------------------------


def test_commands_export_import_and_report(voted, tmp_path, capsys):
    path, out, other = (str(tmp_path / name) for name in ("ratings.sqlite", "out.jsonl", "other.sqlite"))
    assert cli.main(["ratings", "export", path, out]) == 0
    assert "3 preferences; 3 comparisons left out as tied, 14 as unrated" in capsys.readouterr().out
    assert cli.main(["ratings", "import", out, other, "--rater", "ann"]) == 0 and "3 choices of ann" in capsys.readouterr().out
    assert cli.main(["ratings", "agreement", path, "--rater", "rater 0", "--rater", "rater 1"]) == 0
    told = capsys.readouterr().out
    assert "2 raters" in told and "rater 0" in told and "rater 2" not in told


@pytest.mark.parametrize(
    ("argv", "cause"),
    [
        (["agreement", "ratings.sqlit"], "there is no store of ratings ratings.sqlit; did you mean ratings.sqlite?"),
        (["agreement", "notes.sqlite"], "file is not a database"),
        (["agreement", "ratings.sqlite", "--rater", "nobody"], "unknown rater 'nobody'"),
        (["export", "ratings.sqlite", "notes.sqlite"], "notes.sqlite exists already"),
        (["export", "nowhere.sqlite", "out.jsonl"], "there is no store of ratings nowhere.sqlite"),
        (["import", "nowhere.jsonl", "new.sqlite", "--rater", "ann"], "there is no file nowhere.jsonl"),
        (["import", "notes.sqlite", "ratings.sqlite", "--rater", "ann"], "is not a CSV, JSONL or Parquet file"),
    ],
)
def test_commands_refuse_bad_input(voted, tmp_path, monkeypatch, capsys, argv, cause):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.sqlite").write_text("notes " * 200)
    before = len(voted.ratings())
    assert cli.main(["ratings", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == "" and cause in err and err.count("\n") == 1 and "; " in err
    assert len(voted.ratings()) == before and (tmp_path / "notes.sqlite").read_text() == "notes " * 200
    assert not (tmp_path / "nowhere.sqlite").exists() and not (tmp_path / "out.jsonl").exists()
