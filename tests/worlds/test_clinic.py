"""The clinic: its facts, its documents, its questions and their oracle."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from finetunelab.worlds import clinic
from finetunelab.worlds.grammar import load_grammar

CLINIC = clinic.GENERATORS[0]


@pytest.fixture(scope="module")
def rows():
    return CLINIC.rows(1500)


def test_columns_and_no_open_slot(rows):
    assert all(set(row) == set(CLINIC.columns) for row in rows)
    assert not [row["text"] for row in rows if re.search(r"[{}\[\]|]", row["text"])]
    assert all(15 <= len(row["text"].split()) <= 110 and len(row["text"]) <= 900 for row in rows)
    assert {row["kind"] for row in rows} == {"leaflet", "entry", *clinic.CHAINS}


def test_distinct_and_reproducible(rows):
    assert len({row["text"] for row in rows}) >= 0.98 * len(rows)
    assert CLINIC.rows(20) == rows[:20]
    assert CLINIC.rows(20, data_seed=1) != rows[:20]


def test_every_entity_has_each_of_its_facts_once():
    facts = clinic.facts(0)
    assert len(facts) == len({(f.entity, f.relation) for f in facts}) == 168
    assert Counter(f.relation for f in facts) == dict.fromkeys(clinic.OF_DISEASE + clinic.OF_DRUG, 24)
    assert len({f.answer for f in facts if f.relation == "treatment"}) == 24


def test_facts_and_names_change_with_the_data_seed():
    first, second = clinic.facts(0), clinic.facts(1)
    assert clinic.facts(0) == first
    assert len({f.entity for f in first} & {f.entity for f in second}) <= 4


def test_documents_teach_every_fact_and_state_no_false_one(rows):
    known = {str(f) for f in clinic.facts(0)}
    stated = Counter(fact for row in rows for fact in row["facts"])
    assert set(stated) == known
    by_entity = {}
    for fact in clinic.facts(0):
        by_entity.setdefault(fact.entity, {})[fact.relation] = fact.answer
    signs = {known["sign"] for known in by_entity.values() if "sign" in known}
    for row in rows:
        text = row["text"].lower()
        named = [entity for entity in by_entity if entity in text]
        # A document is about one disease and its drug: no other name, no other sign.
        assert len(named) <= 2, text
        for entity in named:
            if "sign" in by_entity[entity]:
                assert {sign for sign in signs if sign in text} <= {by_entity[entity]["sign"]}, text


def test_facts_agree_across_documents_of_one_seed():
    facts = {str(f) for f in clinic.facts(3)}
    assert all(set(row["facts"]) <= facts for split in ("train", "test") for row in CLINIC.rows(100, split, data_seed=3))


def test_cloze_asks_each_fact_with_distractors_of_its_type():
    facts = {(f.entity, f.relation): f.answer for f in clinic.facts(0)}
    questions = clinic.cloze(0)
    assert len(questions) == clinic.WORDINGS * len(facts) == len({(q.prompt, q.answer) for q in questions})
    for question in questions:
        assert facts[question.entity, question.relation] == question.answer
        assert question.entity in question.prompt.lower()
        assert question.answer not in question.distractors and len(set(question.distractors)) == clinic.DISTRACTORS
        assert set(question.distractors) <= {a for (_, r), a in facts.items() if r == question.relation}


def test_cloze_wordings_occur_in_no_document(rows):
    text = " ".join(row["text"].lower() for row in rows)
    for section, frames in load_grammar("clinic").sections.items():
        for frame in frames if section.startswith("cloze_") else []:
            for piece in re.split(r"\{e\}|[.:?]", frame.lower()):
                if len(piece.split()) >= 4:
                    assert piece.strip() not in text, piece


def test_oracle_accepts_the_answer_and_only_the_answer():
    for question in clinic.cloze(0):
        answer = question.answer
        assert clinic.correct(question, f" {answer.upper()}, and more.")
        assert clinic.correct(question, f"the {answer}" if not answer.startswith("a ") else answer[2:])
        assert not any(clinic.correct(question, wrong) for wrong in question.distractors)
        assert not clinic.correct(question, f"{question.distractors[0]}, not {answer}")
        assert not clinic.correct(question, "")
        assert not clinic.correct(question, answer[:-1])
        assert not clinic.correct(question, answer + "s")
