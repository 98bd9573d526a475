"""Notes and recall: answers stand in the text, can be found only by reading, and are scored strictly."""

import re
from collections import Counter

import pytest

from finetunelab.worlds import notes
from finetunelab.worlds.core import SPLITS
from finetunelab.worlds.notes import FAMILIES, GRAMMAR, PEOPLE, correct

NOTES, RECALL = notes.GENERATORS
ROWS = NOTES.rows(1500)
PAIRS = RECALL.rows(1500)


def parts(row):
    """Split a document of notes into its notes and its (question, answer) pairs."""
    body, first, rest = re.split(r"\n+(Q(?:uestion)?: )", row["text"], maxsplit=1)
    return body, re.findall(r"Q(?:uestion)?: (.*?\?)\s(?:A|Answer): (.*)", first + rest)


@pytest.mark.parametrize(("generator", "rows"), [(NOTES, ROWS), (RECALL, PAIRS)])
def test_columns_shape_and_determinism(generator, rows):
    assert all(list(row) == list(generator.columns) for row in rows)
    assert generator.rows(20) == rows[:20] != generator.rows(20, data_seed=1)
    assert len({row["text"] for row in rows}) >= 0.98 * len(rows)
    assert not any(re.search(r"[{}\[\]|]|  ", row["text"]) or not row["text"].isascii() for row in rows)
    texts = [{row["text"] for row in generator.rows(100, split)} for split in SPLITS]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]


@pytest.mark.parametrize("rows", [ROWS, PAIRS])
def test_prompt_answer_and_spans_fit_the_text(rows):
    for row in rows:
        assert row["text"] == f"{row['prompt']} {row['answer']}"
        assert row["prompt"].endswith(":")
        answers = [row["text"][start:end] for start, end in row["spans"]]
        assert answers[-1] == row["answer"] and all(answers)
        for start, end in row["spans"]:
            assert row["text"][start - 2:start] == ": " and row["text"][end:end + 1] in ("", "\n", ";")


def test_every_answer_stands_in_the_notes_once_among_answers():
    for row in ROWS:
        body, asked = parts(row)
        assert [a for _, a in asked] == [row["text"][start:end] for start, end in row["spans"]]
        assert row["prompt"].endswith(("Answer:", "A:"))
        assert len({q for q, _ in asked}) == len(asked)
        for _, answer in asked:
            assert re.search(rf"\b{answer}\b", body), row["text"]
            assert 1 <= len(answer.split()) <= 3


def test_knobs_set_the_number_of_facts_and_questions():
    for facts in (1, 4, 8, 16):
        for row in NOTES.rows(30, facts=facts, questions=1):
            body, asked = parts(row)
            assert row["n_facts"] == facts and len(asked) == 1
            assert len(re.findall(r"\.(?= |\n|$)", re.sub(r"(?m)^\d+\. ", "", body))) == facts
    assert {len(r["spans"]) for r in NOTES.rows(60, facts=4)} == {1, 2, 3}
    assert {r["n_facts"] for r in ROWS} == set(range(1, 9))
    assert 3.5 <= sum(r["n_facts"] for r in ROWS) / len(ROWS) <= 4.5


@pytest.mark.parametrize("knobs", [{"facts": 0}, {"facts": 17}, {"facts": 2, "questions": 3}, {"questions": 0}])
def test_impossible_knobs_are_refused_in_one_line(knobs):
    with pytest.raises(ValueError, match="ask for 1 to") as error:
        NOTES.rows(1, **knobs)
    assert "\n" not in str(error.value)


def test_documents_stay_short():
    for facts, most in ((4, 90), (8, 170)):
        assert max(len(row["text"].split()) for row in NOTES.rows(150, facts=facts)) <= most
    assert all(20 <= len(row["text"].split()) <= 60 for row in PAIRS)


def test_the_families_are_many_and_well_worded():
    assert len(FAMILIES) >= 12
    for name, family in FAMILIES.items():
        assert len(GRAMMAR.sections[f"{name} note"]) >= 6
        assert len(GRAMMAR.sections[f"{name} question"]) >= 4
        assert family.values == PEOPLE or len(set(GRAMMAR.sections[family.values])) >= 20
        for frame in GRAMMAR.sections[f"{name} note"] + GRAMMAR.sections[f"{name} question"]:
            assert all("{" + slot in frame for slot in family.keys), frame
        assert all("{value" in frame for frame in GRAMMAR.sections[f"{name} note"])
        assert not any("{value" in frame for frame in GRAMMAR.sections[f"{name} question"])
    for title, lines in GRAMMAR.sections.items():
        assert len(set(lines)) == len(lines), title


def test_a_question_has_rivals_of_its_own_family():
    """With four facts, the pool of the asked value most often offers a wrong answer in the same notes."""
    rivals = []
    for row in NOTES.rows(400, facts=4, questions=1):
        body, [(_, answer)] = parts(row)
        words = [GRAMMAR.sections[f.values] for f in FAMILIES.values() if f.values != PEOPLE]
        pools = [pool for pool in words if answer.removesuffix(" dollars") in pool]
        if pools:
            rivals.append(sum(bool(re.search(rf"\b{value}\b", body)) for value in pools[0]) >= 2)
    assert sum(rivals) / len(rivals) >= 0.95


def test_no_answer_can_be_guessed_from_the_question_or_its_place():
    by_question, last = Counter(), 0
    rows = NOTES.rows(1000, data_seed=3, facts=4, questions=1)
    for row in rows:
        body, [(_, answer)] = parts(row)
        by_question[answer] += 1
        last += answer in re.split(r"\.\s", body)[-1]
    assert by_question.most_common(1)[0][1] / len(rows) < 0.04
    assert last / len(rows) < 0.33


def test_oracle_forgives_form_and_nothing_else():
    for row in ROWS[:300]:
        answer = row["answer"]
        assert correct(row, f" {answer}") and correct(row, f" {answer.upper()}.\nQuestion: more")
        assert not correct(row, "") and not correct(row, f" {answer} too") and not correct(row, f" not {answer}")
        assert not correct(row, f" wrong\n{answer}")
    two = [row for row in ROWS if len(row["spans"]) > 1]
    wrong = [(row, row["text"][slice(*row["spans"][0])]) for row in two]
    assert not any(correct(row, answer) for row, answer in wrong if answer != row["answer"])
    assert sum(answer != row["answer"] for row, answer in wrong) > 0.99 * len(wrong)


def test_recall_repeats_each_key_with_its_own_value():
    for row in PAIRS:
        pairs = [tuple(p.split(": ")) for p in re.split(r"\n|; ", row["text"])]
        asked = len(row["spans"])
        known = dict(pairs[:-asked])
        assert 2 <= len(known) == len(pairs) - asked <= 6
        assert len(set(known.values())) == len(known)
        assert all(known[key] == value for key, value in pairs[-asked:])
        assert {key for key, _ in pairs[-asked:]} == set(known) or asked < len(known)
