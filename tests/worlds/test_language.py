"""The invented language: regular, unlike English, and an oracle that knows right from wrong."""

from __future__ import annotations

import re

import pytest

from finetunelab.worlds import language
from finetunelab.worlds.grammar import load_grammar
from finetunelab.worlds.language import adjective, grammatical, lexicon, noun, verb

LANGUAGE = language.GENERATORS[0]


def sentences(text: str) -> list[str]:
    return re.split(r"(?<=\.) ", text)


@pytest.fixture(scope="module")
def rows():
    return LANGUAGE.rows(1500)


def say(order: str = "subject place object verb", **changes: str) -> str:
    """Write "the tired woman bought six big fresh apples in the market" (less "big") in parts that a test can replace."""
    lex = lexicon()
    parts = {
        "subject": f"{noun(lex.nouns['woman'][0], False, 'nom')} {adjective(lex.adjectives['tired'][0], True, False)}",
        "place": noun(lex.nouns["market"][0], False, "loc"),
        "object": f"{lex.numbers['six']} {noun(lex.nouns['apple'][0], True, 'acc')} {adjective(lex.adjectives['fresh'][0], False, True)}",
        "verb": verb(lex.verbs["buy"][0], "past", True, False),
    } | changes
    return " ".join(parts[part] for part in order.split()) + "."


def test_rows_are_well_formed(rows):
    assert all(set(row) == set(LANGUAGE.columns) for row in rows)
    assert all(26 <= len(row["text"].split()) <= 85 and len(row["text"]) <= 900 for row in rows)
    assert not [row for row in rows if re.search(r"[{}\[\]|*?+<=_]", row["text"] + row["gloss"])]
    assert all(row["gloss"][0].isupper() and row["gloss"].endswith(".") and row["text"].isascii() for row in rows)


def test_distinct_and_reproducible(rows):
    assert len({row["text"] for row in rows}) >= 0.98 * len(rows)
    assert LANGUAGE.rows(20) == rows[:20]
    assert LANGUAGE.rows(20, data_seed=1) != rows[:20]


def test_every_sentence_written_is_grammatical(rows):
    assert not [s for row in rows for s in sentences(row["text"]) if not grammatical(s)]


def test_the_dictionary_is_large_and_every_word_form_has_one_reading():
    lex = lexicon()
    assert len(lex.nouns) + len(lex.verbs) + len(lex.adjectives) + len(lex.names) >= 250
    assert len(language.forms()) > 2500


def test_no_word_is_english(rows):
    english = {word for name in ("reviews", "clinic") for frames in load_grammar(name).sections.values() for f in frames
               for word in re.findall(r"[a-z]+", f.lower()) if len(word) > 2}
    words = {word for row in rows for word in re.findall(r"[a-z]+", row["text"].lower())}
    assert len(words) > 700 and not words & english


def test_oracle_accepts_the_model_sentence_whatever_its_case_and_spacing():
    assert grammatical(say())
    assert grammatical("  " + say().upper().replace(" ", "   ").rstrip("."))


@pytest.mark.parametrize("order", ["verb subject place object", "subject verb place object", "subject place verb object",
                                   "object subject place verb", "subject object place verb", "place subject object verb"])
def test_oracle_rejects_wrong_order(order):
    assert not grammatical(say(order))


def test_oracle_rejects_wrong_agreement_case_number_and_valency():
    lex = lexicon()
    apple, woman, buy = lex.nouns["apple"][0], lex.nouns["woman"][0], lex.verbs["buy"][0]
    tired, fresh, six = lex.adjectives["tired"][0], lex.adjectives["fresh"][0], lex.numbers["six"]
    wrong = [
        {"verb": verb(buy, "past", True, True)},
        {"verb": verb(buy, "past", False, False)},
        {"verb": buy},
        {"verb": verb(lex.verbs["sleep"][0], "past", True, False)},
        {"verb": verb(lex.verbs["give"][0], "past", True, False)},
        {"verb": verb(lex.verbs["go"][0], "past", True, False)},
        {"subject": f"{woman} {adjective(tired, False, False)}"},
        {"subject": f"{woman} {adjective(tired, True, True)}"},
        {"subject": f"{adjective(tired, True, False)} {woman}"},
        {"subject": noun(woman, False, "acc")},
        {"object": f"{six} {noun(apple, False, 'acc')}"},
        {"object": f"{noun(apple, True, 'acc')} {six}"},
        {"object": f"{noun(apple, True, 'acc')} {adjective(fresh, True, True)}"},
        {"object": noun(apple, True, "nom")},
        {"object": noun(apple, True, "dat")},
        {"object": noun(apple, True, "gen")},
        {"place": noun(lex.nouns["market"][0], False, "nom")},
        {"place": "market"},
    ]
    assert [change for change in wrong if grammatical(say(**change))] == []
    assert not grammatical(say("subject place verb"))
    assert not grammatical(say("place object verb"))


def test_oracle_rejects_a_time_word_of_another_tense_two_sentences_and_english():
    lex = lexicon()
    assert grammatical(f"{lex.times['past']['yesterday']} {say()}")
    assert not grammatical(f"{lex.times['future']['tomorrow']} {say()}")
    assert not grammatical(f"{say()} {say()}")
    assert not grammatical(f"{say().rstrip('.')} {say()}")
    for text in ("", ".", "The woman bought six apples in the market.", lex.particles["and"]):
        assert not grammatical(text)


def test_joined_clauses_share_their_tense_and_may_share_their_subject():
    lex = lexicon()
    sleep, also = lex.verbs["sleep"][0], lex.particles["and"]
    first = say().rstrip(".")
    assert grammatical(f"{first}, {also} {verb(sleep, 'past', True, False)}.")
    assert not grammatical(f"{first}, {also} {verb(sleep, 'future', True, False)}.")
    assert not grammatical(f"{first}, {also} {verb(sleep, 'past', True, True)}.")


def test_oracle_rejects_words_in_another_order(rows):
    """Reversing a sentence never leaves it right."""
    tried = [" ".join(reversed(s.rstrip(".").lower().replace(",", "").split())) for row in rows[:200] for s in sentences(row["text"])]
    assert not [s for s in tried if grammatical(s)]


def test_gloss_names_the_tense(rows):
    verbs = {form: f for form, f in language.forms().items() if f.part == "verb"}
    for row in rows[:300]:
        tense = verbs[sentences(row["text"])[0].rstrip(".").split()[-1].lower()].tense
        assert (" will " in row["gloss"]) == (tense == "future")
