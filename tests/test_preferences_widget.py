"""The rating widget's half in Python, without a browser: messages in, state out, every click in the store."""

import json

import pytest

from finetunelab.errors import UserError
from finetunelab.preferences import widget
from finetunelab.preferences.agreement import reliability
from finetunelab.preferences.store import SCALES, Comparison, Rating, RatingStore
from finetunelab.preferences.widget import HERE, RECORDED, RatingWidget, Session, practice, rate, replay
from finetunelab.worlds.responses import grade

ITEMS = [Comparison(f"What about {i}?", f"This of {i}.", f"That of {i}.") for i in range(5)]
IDS = [one.id for one in ITEMS]


@pytest.fixture
def store(tmp_path):
    return RatingStore(tmp_path / "ratings.sqlite")


@pytest.fixture
def session(store):
    return Session(store, ITEMS, "ann")


def choose(item, choice="a", **more):
    return {"event": "choose", "item": item, "choice": choice, **more}


def test_one_comparison_is_shown_in_the_drawn_order(store, session):
    state = session.state
    assert (state["item"], state["prompt"], state["done"], state["total"]) == (IDS[0], "What about 0?", 0, 5)
    assert state["scales"] == list(SCALES) and state["problem"] == ""
    for item in IDS:
        first, second = session.state["responses"]
        assert first["name"] == store.first("ann", item) != second["name"]
        assert {first["name"]: first["text"], second["name"]: second["text"]} == {
            "a": store.comparisons()[item].response_a, "b": store.comparisons()[item].response_b,
        }
        session.handle(choose(item))
    assert json.loads(json.dumps(state)) == state  # it travels to the browser as JSON


def test_each_click_is_in_the_store_before_the_next(store, session):
    session.handle({"event": "grade", "item": IDS[0], "response": "b", "scale": "coherence", "value": 0.5})
    assert store.given("ann") == ({}, {IDS[0]: {"b": {"coherence": 0.5}}})
    assert session.state["item"] == IDS[0]
    assert {one["name"]: one["grades"] for one in session.state["responses"]} == {"a": {}, "b": {"coherence": 0.5}}
    first = store.first("ann", IDS[0])
    session.handle(choose(IDS[0], "b", seconds=3.25))
    assert store.ratings() == [Rating("ann", IDS[0], "b", {"b": {"coherence": 0.5}}, 3.25, first)]
    assert (session.state["item"], session.state["done"]) == (IDS[1], 1)


def test_tie_skip_undo_and_the_end(store, session):
    for item, choice in zip(IDS, ("tie", "skip", "a", "b", "skip")):
        session.handle(choose(item, choice))
    assert session.state["item"] is None and session.state["done"] == 5 and session.state["skipped"] == 2 and session.state["responses"] == []
    session.handle(choose(None))
    session.handle({"event": "undo"})
    assert session.state["item"] == IDS[4] and session.state["skipped"] == 1 and session.state["problem"] == ""
    for _ in range(6):
        session.handle({"event": "undo"})
    assert session.state["item"] == IDS[0] and session.state["done"] == 0 and session.state["problem"] == "" and store.ratings() == []


def test_an_undone_comparison_comes_back_with_its_grades(session):
    session.handle({"event": "grade", "item": IDS[0], "response": "a", "scale": "relevance", "value": 1})
    session.handle(choose(IDS[0]))
    session.handle({"event": "undo"})
    assert {one["name"]: one["grades"] for one in session.state["responses"]} == {"a": {"relevance": 1.0}, "b": {}}


def test_made_again_it_goes_on_where_the_rater_stopped(store, session, tmp_path):
    session.handle(choose(IDS[0]))
    session.handle(choose(IDS[1], "skip"))
    session.handle({"event": "grade", "item": IDS[2], "response": "a", "scale": "relevance", "value": 0})
    again = Session(RatingStore(tmp_path / "ratings.sqlite"), ITEMS, "ann").state
    assert {**again, "number": 0} == {**session.state, "number": 0} and again["item"] == IDS[2] and again["done"] == 2
    assert Session(store, ITEMS, "bob").state["item"] == IDS[0]
    assert Session(store, ITEMS[2:] + ITEMS[:1], "ann").state["item"] == IDS[2]


def test_a_double_click_rates_one_comparison(store, session):
    for _ in range(2):
        session.handle(choose(IDS[0]))
    assert [rating.item for rating in store.ratings()] == [IDS[0]] and session.state["problem"] == ""


def test_two_windows_of_one_rater_do_not_overwrite_each_other(store, session):
    other = Session(store, ITEMS, "ann")
    session.handle(choose(IDS[0], "a"))
    other.handle(choose(IDS[0], "b"))
    assert "already" in other.state["problem"] and [rating.choice for rating in store.ratings()] == ["a"]
    assert other.state["item"] == IDS[1]  # and it goes on


def test_undo_leaves_other_sets_alone(store, session):
    session.handle(choose(IDS[0]))
    Session(store, ITEMS[3:], "ann").handle({"event": "undo"})
    assert [rating.item for rating in store.ratings()] == [IDS[0]]


@pytest.mark.parametrize(
    "message",
    [
        None, 7, "choose", ["choose"], {}, {"event": "delete", "item": IDS[0]}, {"event": ["choose"], "item": IDS[0]},
        {"event": "choose", "item": IDS[0]}, choose(IDS[0], "left"), choose(IDS[0], ["a"]), choose(IDS[0], "a", seconds="4"),
        choose(IDS[0], "a", seconds=-1), choose(IDS[0], "a", seconds=[]),
        {"event": "grade", "item": IDS[0], "response": "a", "scale": "relevance", "value": 2},
        {"event": "grade", "item": IDS[0], "response": "a", "scale": "style", "value": 1},
        {"event": "grade", "item": IDS[0], "response": {}, "scale": "relevance", "value": 1},
    ],
)
def test_a_malformed_message_is_told_and_changes_nothing(store, session, message):
    before = session.state
    session.handle(message)
    assert session.state["problem"] and store.clicks("ann") == []
    assert {**session.state, "number": 0, "problem": ""} == {**before, "number": 0} and session.state["number"] > before["number"]
    session.handle(choose(IDS[0]))
    assert session.state["problem"] == "" and len(store.ratings()) == 1


@pytest.mark.parametrize("item", [IDS[1], "nowhere", None, {}])
def test_a_click_on_what_is_not_shown_changes_nothing(store, session, item):
    session.handle(choose(item))
    assert store.clicks("ann") == [] and session.state["item"] == IDS[0]


def test_what_the_store_refuses_reaches_the_screen(store, session):
    store._database.ask("PRAGMA query_only = ON")
    session.handle(choose(IDS[0]))
    assert "writable" in session.state["problem"] and session.state["item"] == IDS[0]
    store._database.ask("PRAGMA query_only = OFF")
    session.handle(choose(IDS[0]))
    assert session.state["problem"] == "" and session.state["item"] == IDS[1]


def test_a_store_that_is_gone_reaches_the_screen_too(store, session):
    store.close()
    session.handle(choose(IDS[0]))
    assert "closed" in session.state["problem"] and session.state["item"] == IDS[0] and session.state["number"] == 2


def test_scales_can_be_turned_off(store):
    assert Session(store, ITEMS, "ann", grades=False).state["scales"] == []


def test_nothing_to_rate_is_refused(store):
    with pytest.raises(UserError, match="no comparisons to rate"):
        Session(store, [], "ann")
    with pytest.raises(UserError, match="no name of a rater"):
        Session(store, ITEMS, "")


def test_messages_of_the_browser_reach_the_session(store, session):
    shown = RatingWidget(session)
    assert shown.state["item"] == IDS[0] and "addEventListener" in str(shown._esm) and ".ftl-rating" in str(shown._css)
    shown._handle_custom_msg(choose(IDS[0], "b"), [])  # what ipywidgets calls when a message arrives
    assert shown.state["item"] == IDS[1] and shown.get_state("state")["state"]["done"] == 1
    assert [rating.choice for rating in store.ratings()] == ["b"]


def test_the_browsers_half_asks_nobody_for_anything():
    for name in ("widget.js", "widget.css"):
        text = (HERE / name).read_text()
        assert "http" not in text and "import " not in text and "innerHTML" not in text


def test_recorded_clicks_are_twenty_choices_of_one_who_reads(store):
    rows = {Comparison.of(row).id: row for row in practice()}
    session = Session(store, practice(), "simulated")
    assert replay(session, RECORDED) == 140 and session.state["item"] is None and session.state["done"] == 20
    found = store.ratings()
    assert [rating.item for rating in found] == list(rows) and all(rating.seconds > 0 for rating in found)
    assert 14 <= sum(rating.choice == rows[rating.item]["better"] for rating in found) < 20
    oracle = [
        Rating("oracle", item, "tie", {name: grade(row, row[f"response_{name}"])._asdict() for name in "ab"}) for item, row in rows.items()
    ]
    for scale in SCALES:
        assert 0.5 < reliability([*found, *oracle], scale, resamples=10).estimate < 1


def test_replay_goes_on_and_refuses_clicks_on_other_comparisons(store, session):
    clicks = [choose(item) for item in IDS]
    session.handle(clicks[0])
    assert replay(session, clicks) == 4 and replay(session, clicks) == 0 and len(store.ratings()) == 5
    fresh = Session(store, ITEMS, "bob")
    with pytest.raises(UserError, match="leave 5 of these comparisons without a choice"):
        replay(fresh, RECORDED)
    with pytest.raises(UserError, match="click 1 was refused: unknown choice"):
        replay(fresh, [choose(IDS[0], "left")])


def test_replay_repeats_an_undo(store, session):
    replay(session, [choose(IDS[0], "a"), {"event": "undo"}, *(choose(item, "b") for item in IDS)])
    assert [rating.choice for rating in store.ratings()] == ["b"] * 5 and len(store.clicks("ann")) == 7


@pytest.mark.parametrize(("content", "cause"), [(None, "no file of recorded clicks"), (b"a click", "holds no"), (b"\xff\xfe", "holds no")])
def test_a_file_that_holds_no_clicks_is_refused(session, tmp_path, content, cause):
    if content is not None:
        (tmp_path / "clicks.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=cause):
        replay(session, tmp_path / "clicks.jsonl")


def test_rate_replays_where_nobody_can_click(store, capsys, monkeypatch):
    monkeypatch.setattr(widget, "_somebody_can_click", lambda: False)
    said = []
    for _ in range(2):  # a second run says the same
        assert rate(store, practice(), "you", clicks=RECORDED) is None
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "recorded clicks stand in for you. 20 of 20" in said[0] and len(store.ratings()) == 20


def test_rate_shows_the_widget_where_somebody_can(store, monkeypatch):
    class Shell:
        kernel = None

    import IPython

    monkeypatch.setattr(IPython, "get_ipython", Shell)
    monkeypatch.delenv("CI", raising=False)
    assert rate(store, practice(), "you", clicks=RECORDED) is None  # a terminal
    monkeypatch.setattr(Shell, "kernel", object())
    shown = rate(store, practice(), "me", clicks=RECORDED)
    assert isinstance(shown, RatingWidget) and shown.state["done"] == 0
    assert isinstance(rate(store, ITEMS, "me"), RatingWidget)
    monkeypatch.setenv("CI", "1")
    assert rate(store, practice(), "me", clicks=RECORDED) is None and len(store.ratings(["me"])) == 20
