"""Questions with choices: what the directive writes, what it refuses, and those at the end of the chapters."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = [path for path in sorted((ROOT / "book").glob("0*.md")) if "\n## Check yourself\n" in path.read_text(encoding="utf-8")]
QUIZ = re.compile(r"^:::\{quiz\} .+\n((?:.*\n)*?):::$", re.MULTILINE)
OPTION = re.compile(r"^- \[(.)\] (.*)$", re.MULTILINE)

PAGE = """# Page

```{glossary}
Shift
  A change.
```

:::{quiz} Is {{ share }} of $x^2$ *much*?
- [ ] Yes, $x$ is.

  One may think so. See [below](#more), {term}`Shift`, {{ share }}, and $x$.

  - A list.
- [x] No.

  It is **not**.
:::

:::{quiz} And now?
- [x] First.

  ```
  code comes first
  ```
- [ ] Second
  and on.

  Why not?
:::

## More
"""


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Build one page with one builder: what it says, and the warnings."""
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_ext"))
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace

    settings = {"extensions": ["myst_parser", "quiz"], "myst_enable_extensions": ["colon_fence", "dollarmath", "substitution"],
                "myst_heading_anchors": 2, "myst_substitutions": {"share": "a third"}, "nitpicky": True, "html_theme": "basic"}

    def built(page: str, builder: str = "html") -> tuple[str, str]:
        (tmp_path / "index.md").write_text(page)
        warnings = io.StringIO()
        with docutils_namespace():
            app = Sphinx(tmp_path, None, tmp_path / builder, tmp_path / f"{builder}-trees", builder, settings, status=None, warning=warnings, freshenv=True)
            app.build(force_all=True)
        written = next(path for path in (tmp_path / builder).iterdir() if path.name in ("index.html", "index.txt") or path.suffix == ".tex")
        return written.read_text(), warnings.getvalue()

    return built


def test_a_question_is_a_fieldset_with_feedback_for_each_option(build):
    text, warnings = build(PAGE)
    page = BeautifulSoup(text, "html.parser")
    first, second = page.find_all("fieldset", class_="quiz")
    assert not warnings
    assert first.legend.get_text().strip().startswith("Is a third of") and first.legend.em
    buttons = page.find_all("input", type="radio")
    assert len({button["id"] for button in buttons}) == len(buttons) == 4
    assert len({button["name"] for button in first.find_all("input")}) == 1
    assert {button["name"] for button in first.find_all("input")}.isdisjoint(button["name"] for button in second.find_all("input"))
    for fieldset in (first, second):
        options = fieldset.find_all("div", class_="quiz-option", recursive=False)
        assert len(options) == 2
        assert [len(option.find_all("div", class_="quiz-feedback")) for option in options] == [1, 1]
        assert [option.label["for"] for option in options] == [option.input["id"] for option in options]
        assert len(fieldset.find_all(class_="quiz-right")) == len(fieldset.find_all(class_="quiz-wrong")) == 1
    assert second.find_all("label")[1].get_text() == "Second\nand on."
    says = [box.get_text().split()[0] for box in page.find_all("div", class_="quiz-feedback")]
    assert says == ["Wrong.", "Right.", "Right.", "Wrong."], "in words, not in color alone"
    assert "[x]" not in page.get_text() and "[ ]" not in page.get_text() and not page.find_all("label", string=re.compile(r"^\["))
    assert not first.find("script")


def test_markup_works_in_the_feedback(build):
    page = BeautifulSoup(build(PAGE)[0], "html.parser")
    feedback = page.find("div", class_="quiz-feedback")
    assert {link["href"] for link in feedback.find_all("a")} == {"#more", "#term-Shift"}
    assert "a third" in feedback.get_text() and feedback.find(class_="math") and feedback.li.get_text().strip() == "A list."


@pytest.mark.parametrize("builder", ["text", "latex"])
def test_other_builders_write_a_list(build, builder):
    text, warnings = build(PAGE, builder)
    assert not warnings
    at = [text.index(part) for part in ("Is a third of", "Yes,", "Wrong.", "No.", "Right.", "And now?", "First.", "comes", "Second", "Why not?")]
    assert at == sorted(at)


GOOD = ["- [x] One.\n\n  Because.\n", "- [ ] Two.\n\n  No.\n"]


@pytest.mark.parametrize(("options", "says"), [
    (["- [ ] One.\n\n  Because.\n", GOOD[1]], "exactly one option must be marked as right"),
    ([GOOD[0], GOOD[0]], "exactly one option must be marked as right"),
    ([GOOD[0], "- [ ] Two.\n"], "an option has no feedback.*Two"),
    ([GOOD[0], "- Two.\n\n  No.\n"], "must begin with"),
    ([GOOD[0], "- \n"], "must begin with"),
    ([GOOD[0]], "one list of two or more options"),
    (["Words first.\n\n", *GOOD], "one list of two or more options"),
    (["Words alone.\n"], "one list of two or more options"),
])
def test_a_question_with_mistakes_is_an_error(build, options, says):
    text, warnings = build("# Page\n\nText.\n\n:::{quiz} What?\n" + "".join(options) + ":::\n")
    assert re.search(f"index.md:5: ERROR: .*(?:{says})", warnings), warnings
    assert "<fieldset" not in text


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_each_chapter_asks_at_least_four_questions(path):
    text = path.read_text(encoding="utf-8")
    section = text.split("\n## Check yourself\n")[1].split("\n## ")[0]
    questions = [OPTION.findall(options) for options in QUIZ.findall(section)]
    assert len(questions) >= 4
    assert len(questions) == len(re.findall(r"\{quiz\}", text)), "all of them stand in this section, as colon fences"
    places, longest = set(), 0
    for options in questions:
        marks = [mark for mark, _ in options]
        assert len(options) == 3 and sorted(marks) == [" ", " ", "x"]
        places.add(marks.index("x"))
        longest += len(options[marks.index("x")][1]) == max(len(said) for _, said in options)
    assert len(places) > 1, "the right option always stands at the same place"
    assert longest <= len(questions) / 2, "the right option is too often the longest"
