"""The rating widget: one comparison at a time in a notebook, every click at once in the store.

``Session`` is all that happens in Python: it says what is to be shown and takes messages, each of which is one click. ``RatingWidget`` puts
it on the screen, with ``widget.js`` and ``widget.css``. ``replay`` gives it recorded clicks, where nobody can click.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ..errors import UserError, unknown
from ..worlds import generators
from .store import SCALES, Comparison, RatingStore

HERE = Path(__file__).parent
RECORDED = HERE / "clicks_of_a_simulated_reviewer.jsonl"
"""Twenty choices with their grades, one message a line, on the comparisons of ``practice``. No person made them: they are a draw of
``panel.Reviewer``, with times drawn too."""
EVENTS = ("choose", "grade", "undo")


def practice() -> list[dict[str, Any]]:
    """Return the twenty comparisons of the world that ``RECORDED`` is about."""
    return generators()["comparisons"].rows(20, "validation")


class Session:
    """One rater at work on a list of comparisons. Made again, it goes on with the first that the rater has not yet rated.

    Args:
        store: where the clicks go; it is given the comparisons too.
        items: the comparisons, or rows with "prompt", "response_a" and "response_b"; copies are shown once.
        rater: the rater's name.
        grades: whether the three graded scales are shown.

    Raises:
        UserError: no comparisons, one that cannot be rated, a rater without a name, or a store that cannot be written.
    """

    def __init__(self, store: RatingStore, items: Iterable[Comparison | Mapping[str, Any]], rater: str, grades: bool = True):
        self.store, self.rater, self.grades = store, rater, grades
        self.items = {one.id: one for one in map(Comparison.of, items)}
        if not self.items:
            raise UserError("there are no comparisons to rate", "give at least one")
        store.add(self.items.values())
        self._problem, self._number = "", 0
        self.state = self._state()

    def handle(self, message: object) -> None:
        """Do what one click asks for, and bring ``state`` up to date.

        A message is {"event": "choose", "item": ID, "choice": "a", "b", "tie" or "skip", "seconds": 4.2}, or {"event": "grade", "item": ID,
        "response": "a", "scale": "relevance", "value": .5}, or {"event": "undo"}. A click on an item that is no longer shown, as in a
        double click, changes nothing. What goes wrong is told in ``state["problem"]``, and nothing raised: there is nobody to catch it.
        """
        self._problem = ""
        try:
            self._do(message)
        except UserError as problem:
            self._problem = str(problem)
        try:
            self.state = self._state()
        except UserError as problem:  # the store cannot even be read: what is on the screen stays
            self._number += 1
            self.state = {**self.state, "number": self._number, "problem": str(problem)}

    def _do(self, message: object) -> None:
        if not isinstance(message, Mapping):
            raise UserError("the notebook sent something that is no click", "run the cell again")
        event = message.get("event")
        if event not in EVENTS:
            raise unknown("event", str(event), EVENTS)
        if event == "undo":
            self.store.undo(self.rater, self.items)
        elif message.get("item") is None or message["item"] != self.state["item"]:
            return
        elif event == "choose":
            self.store.choose(self.rater, message["item"], message.get("choice"), message.get("seconds"))
        else:
            self.store.grade(self.rater, message["item"], message.get("response"), message.get("scale"), message.get("value"))

    def _state(self) -> dict[str, Any]:
        """Return what is to be shown, as plain data: the comparison, its grades so far, the progress."""
        chosen, graded = self.store.given(self.rater)
        done = [item for item in self.items if item in chosen]
        item = next((item for item in self.items if item not in chosen), None)
        self._number += 1
        state = {
            "number": self._number, "item": item, "done": len(done), "total": len(self.items), "problem": self._problem, "rater": self.rater,
            "skipped": sum(chosen[item] == "skip" for item in done), "scales": list(SCALES) if self.grades else [], "responses": [],
        }
        if item is not None:
            one, first = self.items[item], self.store.first(self.rater, item)
            texts = {"a": one.response_a, "b": one.response_b}
            order = (first, "b" if first == "a" else "a")
            state["prompt"] = one.prompt
            state["responses"] = [{"name": name, "text": texts[name], "grades": graded.get(item, {}).get(name, {})} for name in order]
        return state


class RatingWidget(anywidget.AnyWidget):
    """A session on the screen of a notebook: buttons and keys in the browser, and each click a message to Python."""

    _esm = HERE / "widget.js"
    _css = HERE / "widget.css"
    state = traitlets.Dict().tag(sync=True)

    def __init__(self, session: Session):
        super().__init__(state=session.state)
        self.session = session
        self.on_msg(self._clicked)

    def _clicked(self, _: Any, message: object, __: Sequence[bytes]) -> None:
        self.session.handle(message)
        self.state = self.session.state


def replay(session: Session, clicks: str | Path | Iterable[Mapping[str, Any]]) -> int:
    """Give recorded clicks, or a JSONL file of them, to a session, and return how many; those on items rated before are left out.

    Raises UserError for a file that is missing or holds no clicks, for a click that the session refuses, and where comparisons are left
    without a choice: the clicks are of others then.
    """
    recorded = _read(Path(clicks)) if isinstance(clicks, (str, Path)) else list(clicks)
    rated, given = set(session.store.given(session.rater)[0]), 0
    for click in recorded:
        if isinstance(click, Mapping) and click.get("item") in rated:
            continue
        session.handle(click)
        given += 1
        if session.state["problem"]:
            raise UserError(f"recorded click {given} was refused: {session.state['problem']}", "record the clicks again")
    if session.state["item"] is not None:
        left = session.state["total"] - session.state["done"]
        raise UserError(f"the recorded clicks leave {left} of these comparisons without a choice", "give the clicks that were recorded on them")
    return given


def _read(path: Path) -> list[Any]:
    if not path.is_file():
        raise UserError(f"there is no file of recorded clicks {path}", "check the path")
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError:
        raise UserError(f"{path} holds no recorded clicks", "give one JSON object a line") from None


def rate(
    store: RatingStore, items: Iterable[Comparison | Mapping[str, Any]], rater: str, clicks: str | Path | None = None, grades: bool = True,
) -> RatingWidget | None:
    """Return a widget to rate the comparisons with, as the last line of a cell; run the cell again to go on another day.

    Where nobody can click, outside a notebook and under ``CI``, recorded ``clicks``, if given, are replayed in its place: this is
    printed, and None returned. Raises UserError as ``Session`` and ``replay`` do.
    """
    session = Session(store, items, rater, grades)
    if clicks is None or _somebody_can_click():
        return RatingWidget(session)
    replay(session, clicks)
    told = f"{session.state['done']} of {session.state['total']} comparisons are rated, {session.state['skipped']} of them skipped."
    print(f"Nobody can click here, so recorded clicks stand in for {rater}. {told}")
    return None


def _somebody_can_click() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return not os.environ.get("CI") and getattr(shell, "kernel", None) is not None
