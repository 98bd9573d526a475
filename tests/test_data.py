"""One loader for every source. What is wrong with a file is tested in test_bad_input."""

import json
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finetunelab import data
from finetunelab.errors import UserError


def table(n=60, offset=0):
    return {"sentence": [f"text number {i + offset}" for i in range(n)], "label": [i % 2 for i in range(n)], "idx": list(range(n))}


@pytest.fixture
def hub_folder(tmp_path):
    """A folder as the hub lays it out: two shards of train, one validation, one test."""
    folder = tmp_path / "sst2"
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.table(table(40)), folder / "data" / "train-00000-of-00002.parquet")
    pq.write_table(pa.table(table(40, 40)), folder / "data" / "train-00001-of-00002.parquet")
    pq.write_table(pa.table(table(30, 80)), folder / "data" / "validation-00000-of-00001.parquet")
    pq.write_table(pa.table(table(30, 110)), folder / "test.parquet")
    (folder / "README.md").write_text("a card")
    return folder


@pytest.fixture
def csv_file(tmp_path):
    path = tmp_path / "mine.csv"
    rows = "".join(f'"Message {i}, which has a comma",{"spam" if i < 100 else "ham"}\n' for i in range(200))
    path.write_text("message,kind\n" + rows)
    return path


MAPPING = {"text": "message", "label": "kind"}


def test_folder_in_hub_layout_with_shards_and_mapping(hub_folder):
    train = data.load_data(hub_folder, columns={"text": "sentence", "label": "label"})
    assert train.column_names == ["text", "label", "idx"]
    assert train["text"][:] == [f"text number {i}" for i in range(80)]
    assert len(data.load_data(hub_folder, "validation", columns={"text": "sentence"})) == 30
    assert data.load_data(hub_folder, "test", columns={"text": "sentence"})[0]["text"] == "text number 110"


def test_folder_names_its_splits_when_asked_for_another(hub_folder):
    with pytest.raises(UserError, match="no split 'dev'.*train, validation, test"):
        data.load_data(hub_folder, "dev", columns={"text": "sentence"})


def test_folder_of_a_configuration(hub_folder):
    (hub_folder / "plain").mkdir()
    pq.write_table(pa.table(table(25)), hub_folder / "plain" / "train-00000-of-00001.parquet")
    assert len(data.load_data(hub_folder, columns={"text": "sentence"}, config="plain")) == 25


def test_shards_with_other_columns_are_refused(hub_folder):
    pq.write_table(pa.table({"other": ["x"] * 30}), hub_folder / "data" / "train-00001-of-00002.parquet")
    with pytest.raises(UserError, match="different columns"):
        data.load_data(hub_folder, columns={"text": "sentence"})


def test_folder_without_data(tmp_path):
    (tmp_path / "inner").mkdir()
    with pytest.raises(UserError, match="folders in it: inner"):
        data.load_data(tmp_path)


def test_single_file_is_split_by_content_without_overlap(csv_file):
    parts = {split: set(data.load_data(csv_file, split, columns=MAPPING)["text"]) for split in data.SPLITS}
    assert len(set().union(*parts.values())) == sum(len(part) for part in parts.values()) == 200
    assert 100 < len(parts["train"]) < 140
    assert len(data.load_data(csv_file, "all", columns=MAPPING)) == 200
    with pytest.raises(UserError, match="no split 'dev'"):
        data.load_data(csv_file, "dev", columns=MAPPING)


def test_same_text_twice_falls_into_one_split(tmp_path):
    path = tmp_path / "twice.csv"
    path.write_text("text\n" + "".join(f"line {i % 50}\n" for i in range(100)))
    parts = [set(data.load_data(path, split)["text"]) for split in data.SPLITS]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_n_rows_of_a_sorted_file_hold_both_classes(csv_file):
    some = data.load_data(csv_file, "all", 40, columns=MAPPING)
    assert set(some["label"]) == {"spam", "ham"}
    assert some["text"][:] == data.load_data(csv_file, "all", 40, columns=MAPPING)["text"][:]
    assert some["text"][:] != data.load_data(csv_file, "all", 40, columns=MAPPING, data_seed=1)["text"][:]


def test_jsonl_and_parquet_of_the_user_give_the_same(tmp_path):
    rows = [{"text": f"row {i}", "label": ["a", "b"][i % 2]} for i in range(30)]
    (tmp_path / "mine.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "mine.parquet")
    assert data.load_data(tmp_path / "mine.jsonl", "all").to_list() == rows
    assert data.load_data(tmp_path / "mine.parquet", "all").to_list() == rows


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbftext,label\r\n" + b"".join(f'"Caf\u00e9 {i}\r\nsecond line",{i % 2}\r\n'.encode() for i in range(30)))
    rows = data.load_data(path, "all")
    assert rows.column_names == ["text", "label"] and rows[0]["text"] == "Café 0\r\nsecond line"


def test_renaming_onto_a_taken_name_replaces_it(tmp_path):
    path = tmp_path / "mail.jsonl"
    path.write_text("\n".join(json.dumps({"text": "subject and body", "message": f"body {i}"}) for i in range(30)))
    rows = data.load_data(path, "all", columns={"text": "message"})
    assert rows.column_names == ["text"] and rows[3]["text"] == "body 3"


def test_swapped_columns_are_swapped(tmp_path):
    path = tmp_path / "swapped.csv"
    path.write_text("label,text\n" + "".join(f"words of row {i},{i % 2}\n" for i in range(30)))
    row = data.load_data(path, "all", columns={"text": "label", "label": "text"})[1]
    assert row == {"text": "words of row 1", "label": "1"}


def test_more_rows_than_there_are(csv_file):
    with pytest.raises(UserError, match="500 rows were asked for.*200"):
        data.load_data(csv_file, "all", 500, columns=MAPPING)
    with pytest.raises(UserError, match="at least one"):
        data.load_data(csv_file, "all", 0, columns=MAPPING)


def test_worlds_by_either_name_with_mapping_and_knobs(monkeypatch):
    from datasets import Dataset

    asked = []

    def load(n, split, data_seed, **knobs):
        asked.append((n, split, data_seed, knobs))
        return Dataset.from_dict({"text": ["a"] * n, "sentiment": [1] * n, "label": [0] * n})

    monkeypatch.setattr(data, "_worlds", lambda: {"reviews": SimpleNamespace(load=load, label="sentiment")})
    rows = data.load_data("world:reviews", "test", 3, columns={"text": "text", "label": "sentiment"}, data_seed=7, noise=0.1)
    assert asked == [(3, "test", 7, {"noise": 0.1})] and rows["label"][:] == [1, 1, 1]
    whole = data.load_data("reviews")
    assert len(whole) == data.WORLD_EXAMPLES and whole["label"][0] == 1  # the label of the world's task, and not its column "label"
    for name in ("reveiws", "world:reveiws"):
        with pytest.raises(UserError, match="did you mean reviews"):
            data.load_data(name)


def test_hub_names_are_refused_in_nano_and_loaded_elsewhere(monkeypatch):
    import datasets

    with pytest.raises(UserError, match="network.*FINETUNELAB_PROFILE to colab or gpu"):
        data.load_data("stanfordnlp/sst2", columns={"text": "sentence"})
    asked = []

    def load_dataset(name, config, split):
        asked.append((name, config, split))
        return datasets.Dataset.from_dict(table())

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    rows = data.load_task("sentiment", "validation", 10, profile="colab")
    assert asked == [("stanfordnlp/sst2", None, "validation")] and rows.column_names[:2] == ["text", "label"] and len(rows) == 10


def test_hub_failures_are_one_line(monkeypatch):
    import datasets

    def load_dataset(*args, **kwargs):
        raise ConnectionError("no route to the hub\nwith a long story")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError, match="cannot load some/thing.*no route") as problem:
        data.load_data("some/thing", profile="gpu")
    assert "\n" not in str(problem.value) and "long story" not in str(problem.value)


def test_label_names_of_the_hub_survive(tmp_path):
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    folder = tmp_path / "named"
    folder.mkdir()
    rows = {"text": [f"row {i}" for i in range(30)], "label": [i % 2 for i in range(30)]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(folder / "train.parquet"))
    assert data.load_data(folder).features["label"].names == ["neg", "pos"]


def test_every_task_has_a_source_in_every_profile():
    from finetunelab.profiles import PROFILES

    for sources in data.CATALOG.values():
        assert set(sources) == {profile.datasets for profile in PROFILES.values()}
    with pytest.raises(UserError, match="did you mean sentiment"):
        data.load_task("sentiments")


@pytest.mark.parametrize("task", data.CATALOG)
def test_every_task_loads_offline(task):
    rows = data.load_task(task, "test", 12, data_seed=3)
    assert len(rows) == 12 and set(data.CATALOG[task]["hub"].columns) <= set(rows.column_names)


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "split", "columns", "rows"),
    [
        ("sst2", "validation", {"text": "sentence", "label": "label"}, 872),
        ("sms_spam", "train", {"text": "sms", "label": "label"}, 5_574),
        ("youtube_spam", "psy", {"text": "CONTENT", "label": "CLASS"}, 350),
        ("ultrafeedback_binarized", "test", {"chosen": "chosen", "rejected": "rejected"}, 200),
        ("xquad_en", "validation", {"text": "context", "question": "question"}, 1_190),
    ],
)
def test_real_corpora_load(real_data, folder, split, columns, rows):
    found = data.load_data(real_data / folder, split, columns=columns)
    assert len(found) == rows and list(columns) == found.column_names[: len(columns)]
