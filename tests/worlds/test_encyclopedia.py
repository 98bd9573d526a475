"""The encyclopedia: facts fixed by the world seed, stated truly, and asked by cloze."""

import re
from collections import Counter

import pytest

from finetunelab.worlds import encyclopedia
from finetunelab.worlds.core import SPLITS
from finetunelab.worlds.encyclopedia import KINDS, cloze, correct, entities

GENERATOR = encyclopedia.GENERATORS[0]
ROWS = GENERATOR.rows(1500)
CLOZES = cloze()


@pytest.fixture(scope="module")
def stated():
    """The facts that documents state, over 6,000 documents, and all their text."""
    rows = GENERATOR.rows(6000, data_seed=1)
    return Counter((f["entity"], f["relation"], f["value"]) for r in rows for f in r["facts"]), "\n".join(r["text"] for r in rows)


def test_columns_shape_and_determinism():
    assert all(list(row) == list(GENERATOR.columns) for row in ROWS)
    assert GENERATOR.rows(20) == ROWS[:20]
    assert GENERATOR.rows(20, data_seed=1) != ROWS[:20]
    assert len({row["text"] for row in ROWS}) >= 0.98 * len(ROWS)
    for row in ROWS:
        assert row["text"].isascii() and 30 <= len(row["text"].split()) <= 110 and len(row["text"]) <= 900
        assert not re.search(r"[{}\[\]|]|  |\bA [aeiou]", row["text"])
        assert re.fullmatch(r"[A-Z].*[.?]", row["text"])


def test_what_can_be_known_is_every_value_of_its_facts():
    for row in ROWS:
        marked = [row["text"][start:end] for start, end in row["known"]]
        assert set(marked) == {fact["value"] for fact in row["facts"]}, row


def test_splits_share_no_document():
    texts = [{row["text"] for row in GENERATOR.rows(300, split)} for split in SPLITS]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]


def test_world_has_the_promised_size_and_is_fixed_by_its_seed():
    everything = entities(0)
    assert 90 <= len(everything) <= 110
    assert 300 <= sum(len(e.facts) for e in everything) <= 400
    assert all(tuple(e.facts) == KINDS[e.kind] for e in everything)
    assert len({e.name for e in everything}) == len(everything)
    assert entities(1) != everything
    entities.cache_clear()
    assert entities(0) == everything


def test_documents_state_true_facts_in_words():
    truth = {(e.name, r): v for e in entities() for r, v in e.facts.items()}
    for row in ROWS:
        assert row["entity"].lower() in row["text"].lower()
        for fact in row["facts"]:
            assert truth[fact["entity"], fact["relation"]] == fact["value"]
            assert fact["value"] in row["text"]


def test_pronouns_agree_with_the_person():
    people = {e.name: e.person for e in entities() if e.person}
    for row in ROWS:
        person, facts = people.get(row["entity"]), {f["entity"] for f in row["facts"]}
        if person and len(facts) == 1:
            wrong = r"\b(he|his|him|himself)\b" if person.woman else r"\b(she|her|herself)\b"
            text = row["text"].replace("Like his father", "").replace("Like her mother", "")
            assert not re.search(wrong, text, re.IGNORECASE), row["text"]


def test_every_fact_is_stated_often_enough_to_be_learned(stated):
    counts, _ = stated
    facts = [(e.name, r, v) for e in entities() for r, v in e.facts.items()]
    assert min(counts[fact] for fact in facts) >= 20
    assert set(counts) == set(facts)


def test_cloze_asks_each_fact_in_a_seen_and_in_a_new_wording(stated):
    _, text = stated
    assert Counter((c.entity, c.relation) for c in CLOZES) == {(e.name, r): 2 for e in entities() for r in e.facts}
    assert sum(c.seen_wording for c in CLOZES) * 2 == len(CLOZES)
    assert all(c.prompt not in text for c in CLOZES if not c.seen_wording)


def test_seen_wordings_open_a_frame_and_new_ones_open_none():
    def plain(frame):
        return re.sub(r"\{(who|name)(\|cap)?\}", "X", frame)

    sections = encyclopedia.GRAMMAR.sections
    for kind, relations in KINDS.items():
        frames = [plain(f) for f in sections[kind] + sections[f"{kind} after"]]
        for relation in relations:
            for sort in ("seen", "new"):
                for wording in sections[f"cloze {kind} {relation} {sort}"]:
                    assert any(f.startswith(f"{plain(wording)} {{{relation}") for f in frames) == (sort == "seen"), wording


def test_a_seen_wording_is_answered_by_nothing_but_the_answer(stated):
    _, text = stated
    for c in (c for c in CLOZES if c.seen_wording):
        for match in re.finditer(re.escape(c.prompt) + " ", text):
            assert correct(c, text[match.end():match.end() + 40]), (c.prompt, text[match.end():match.end() + 40])


def test_distractors_are_wrong_answers_of_the_same_relation():
    kinds, values = {e.name: e.kind for e in entities()}, {}
    for c in CLOZES:
        values.setdefault((kinds[c.entity], c.relation), set()).add(c.answer)
    for c in CLOZES:
        assert len(set(c.distractors)) == len(c.distractors) >= 3
        assert c.answer not in c.distractors
        assert set(c.distractors) <= values[kinds[c.entity], c.relation]
        assert not any(correct(c, f" {d}.") for d in c.distractors)


def test_oracle_forgives_form_and_nothing_else():
    for c in CLOZES:
        assert correct(c, f" {c.answer}.") and correct(c, f" {c.answer.upper()} and more")
        assert not correct(c, "") and not correct(c, f" not {c.answer}") and not correct(c, f" {c.answer}s")
    work = next(c for c in CLOZES if c.relation == "work")
    assert correct(work, work.answer.split()[-1])
    owner = next(c for c in CLOZES if c.relation == "owner")
    assert not correct(owner, owner.answer.split()[0])
