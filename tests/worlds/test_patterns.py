"""The scenes and the few-shot documents: what they claim to hold, and what they must not give away."""

import re
from collections import Counter
from functools import lru_cache

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from finetunelab.worlds import patterns
from finetunelab.worlds.patterns import CONCEPTS, DOMAINS, GENERATORS, LABEL_WORDS, TRAITS, UNSEEN_CONCEPTS, UNSEEN_DOMAIN, correct
from finetunelab.worlds.town import town

VIGNETTES, PATTERNS = GENERATORS
HELD_OUT = {topic for pair in UNSEEN_CONCEPTS.values() for topic in pair}


@lru_cache(maxsize=None)
def drawn(**knobs):
    return PATTERNS.rows(800, **knobs)


@lru_cache(maxsize=None)
def told():
    return VIGNETTES.rows(1500)


def sentences(row):
    """Return the document's sentences without labels and separators, and its labels."""
    formats = (
        r"^(Text: |Input: |Sentence: |Line: |- )|( ->| =>| =| /| \||:| --| (Label|Output|Class|Word|Answer|Subject|Topic|Kind|Theme|Group):"
        r"| Filed under:| It is| It goes under) \w+$"
    )
    labels = [row["text"][start:end] for start, end in row["spans"]]
    return [re.sub(formats, "", line) for line in row["text"].split("\n")], labels


def words(text):
    return set(re.findall(r"[a-z]+", text.lower()))


def baseline():
    return make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000))


def labelled(concept, n, **knobs):
    """Return sentences of a concept and the class each belongs to."""
    classes = CONCEPTS.get(concept) or UNSEEN_CONCEPTS[concept]
    pairs = [pair for row in PATTERNS.rows(n // 8, k=7, concept=concept, labels="meaningful", **knobs) for pair in zip(*sentences(row))]
    return [sentence for sentence, _ in pairs], [classes.index(label) for _, label in pairs]


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda g: g.name)
def test_rows_are_complete_and_the_same_every_time(generator):
    rows = generator.rows(40, "test", data_seed=3)
    assert rows == generator.rows(40, "test", data_seed=3)
    assert rows != generator.rows(40, "test", data_seed=4)
    assert all(set(row) == set(generator.columns) for row in rows)


def test_nothing_is_left_unfilled_and_texts_differ():
    for rows in (drawn() + drawn(unseen=True), told()):
        assert not [row["text"] for row in rows if re.search(r"[{}\[\]<;!]\s*[a-z]|  ", re.sub("! ", "", row["text"]))]
        assert all(row["text"].isascii() for row in rows)
        assert len({row["text"] for row in rows}) >= 0.98 * len(rows)
    assert max(len(row["text"]) for row in told()) <= 900
    assert max(len(row["text"]) for row in drawn()) <= 1100


def test_verbs_with_a_short_vowel_double_their_consonant():
    verbs = {event for scene in patterns.scenes().values() for frame in scene.events for event in frame}
    short = [e for e in verbs if re.match(r"[^aeiou\W]+[aeiou][bdgmnptz]\b", e.do)]
    assert short and not [e for e in short if e.did.split()[0] == e.do.split()[0] + "ed"]
    assert {"pruned the roses", "dug for worms", "strapped on a helmet", "carried the telescope up the hill"} <= {e.did for e in verbs}
    assert {"pruning the roses", "lying awake until two", "tying a hook to the line"} <= {e.doing for e in verbs}


def test_spans_prompt_and_answer_agree():
    for row in drawn():
        labels = [row["text"][start:end] for start, end in row["spans"]]
        assert len(labels) == row["k"] + 1 == row["text"].count("\n") + 1
        assert row["text"] == f"{row['prompt']} {row['answer']}"
        assert labels[-1] == row["answer"] != row["other"]
        assert set(labels) == {row["answer"], row["other"]}  # k >= 2: both classes stand among them


def test_each_label_stands_for_one_class():
    """The same document with the classes' names as labels must label the same sentences alike."""
    named = PATTERNS.rows(200, labels="meaningful", concept="feeling")
    pleased = [s for row in named for s, label in zip(*sentences(row)) if label == "pleased"]
    annoyed = [s for row in named for s, label in zip(*sentences(row)) if label == "annoyed"]
    smiling, swearing = re.compile("with a smile|gladly|delighted|beaming"), re.compile("scowl|and swore|in a temper|grumbling")
    assert any(map(smiling.search, pleased)) and not any(map(smiling.search, annoyed))
    assert any(map(swearing.search, annoyed)) and not any(map(swearing.search, pleased))


def test_a_label_can_be_known_where_it_names_its_class():
    assert all(row["known"] == row["spans"] for row in PATTERNS.rows(20, labels="meaningful"))
    assert not any(row["known"] for row in [*drawn(), *PATTERNS.rows(20, labels="meaningful", shuffled=True)])


def test_balance():
    rows = drawn()
    position = [sentences(row)[1][0] == row["answer"] for row in rows]
    assert 0.44 < np.mean(position) < 0.56  # the first label says nothing about the last
    assert 0.44 < np.mean([sentences(row)[1][-2] == row["answer"] for row in rows]) < 0.56
    assert set(Counter(row["answer"] for row in rows)) == set(LABEL_WORDS)
    sides = [row["answer"] == CONCEPTS[row["concept"]][0] for row in PATTERNS.rows(800, labels="meaningful")]
    assert 0.44 < np.mean(sides) < 0.56
    assert {row["k"] for row in rows} == set(range(2, 13))
    assert np.mean([4 <= row["k"] <= 8 for row in rows]) > 0.6


def test_label_words_stand_in_no_sentence():
    vocabulary = set().union(*(words(s) for row in drawn() for s in sentences(row)[0]), *(words(row["text"]) for row in told()))
    assert not vocabulary & set(LABEL_WORDS)
    assert 55 <= len(set(LABEL_WORDS)) == len(LABEL_WORDS)


def test_what_is_held_out():
    seen, unseen = drawn(), drawn(unseen=True)
    assert {row["domain"] for row in seen} == set(DOMAINS)
    assert not {topic for row in seen for topic in CONCEPTS[row["concept"]]} & HELD_OUT
    assert {row["concept"] for row in unseen} == set(UNSEEN_CONCEPTS)
    assert {row["domain"] for row in unseen} == {UNSEEN_DOMAIN}
    assert HELD_OUT < {row["topic"] for row in told()}  # what belongs to these topics is learned from scenes
    held_out = {e.do for topic in HELD_OUT for frame in patterns.scenes()[topic].events for e in frame}
    assert not [row for row in seen if any(do in row["text"] for do in held_out)]


def test_scenes_teach_the_words_of_the_patterns():
    taught = set().union(*(words(row["text"]) for row in VIGNETTES.rows(2500)))
    asked = set().union(*(words(s) for row in drawn(unseen=True) for s in sentences(row)[0]))
    assert len(asked - taught) / len(asked) < 0.1


def test_a_scene_says_what_it_is_about_in_two_of_three():
    for row in told():
        assert all(row["text"][start:end] == row["topic"] for start, end in row["known"])
        assert all(end + 2 >= len(row["text"]) for _, end in row["known"])
    named = [row["topic"] in words(row["text"]) for row in told() if row["topic"] in ("birds", "court", "smithing")]
    assert 0.45 < np.mean([bool(row["known"]) for row in told()]) < 0.55 and np.mean(named) > 0.6


def test_a_legend_says_which_word_stands_for_which_class():
    for row in PATTERNS.rows(200, legend=True):
        first, *rest = row["text"].split("\n")
        assert len(rest) == row["k"] + 1 and row["prompt"].startswith(first)
        sides = CONCEPTS[row["concept"]]
        # Read as a person would: class and word follow each other, in either order, and then the other two.
        told = sorted([*sides, row["answer"], row["other"]], key=lambda word: re.search(rf"\b{word}\b", first).start())
        pairs = [set(told[:2]), set(told[2:])]
        assert all(len(pair & set(sides)) == 1 for pair in pairs), first
        if row["concept"] == "speech":
            for text, (start, end) in zip(rest, row["spans"], strict=True):
                assert {"question" if "?" in text else "statement", row["text"][start:end]} in pairs, row["text"]


def test_knobs():
    assert {row["k"] for row in PATTERNS.rows(20, k=0)} == {0}
    assert {row["concept"] for row in PATTERNS.rows(20, concept="who")} == {"who"}
    assert {row["domain"] for row in PATTERNS.rows(20, concept="who", unseen=True)} == {UNSEEN_DOMAIN}
    agree = {False: [], True: []}
    for shuffled, found in agree.items():
        for row in PATTERNS.rows(150, k=8, concept="weather", labels="meaningful", shuffled=shuffled):
            rainy = re.compile("rain|clouds|downpour|storm|soaked|drizzle|wet|umbrella|thunder|showers|fog")
            texts, labels = sentences(row)
            found += [(label == "rain") for text, label in zip(texts[:-1], labels) if rainy.search(text.split(" ", 3)[-1])]
    assert np.mean(agree[False]) > 0.85 and 0.4 < np.mean(agree[True]) < 0.6
    for bad in ({"k": -1}, {"k": 99}, {"concept": "luck"}, {"labels": "none"}):
        with pytest.raises(ValueError, match=str(next(iter(bad.values())))):
            PATTERNS.rows(1, **bad)
    with pytest.raises(ValueError, match="unknown topic"):
        VIGNETTES.rows(1, topic="luck")


def test_many_demonstrations_can_always_be_drawn():
    assert all(row["k"] == 32 for row in PATTERNS.rows(60, k=32))


def test_oracle():
    for row in drawn()[:200]:
        assert correct(row, row["answer"]) and correct(row, f" {row['answer'].upper()}.\nNora dug")
        for wrong in (row["other"], "", row["answer"] + " " + row["other"], row["answer"][:-1], "x" + row["answer"]):
            assert not correct(row, wrong)


def test_classes_are_real_but_demonstrations_alone_do_not_give_them_away():
    for concept, knobs in (("baking/cycling", {"unseen": True}), ("feeling", {}), ("who", {})):
        texts, sides = labelled(concept, 1200, **knobs)
        assert baseline().fit(texts[:800], sides[:800]).score(texts[800:], sides[800:]) > 0.8
        lengths = np.array([[len(text.split()), len(text)] for text in texts])
        assert LogisticRegression().fit(lengths[:800], sides[:800]).score(lengths[800:], sides[800:]) < 0.7
    for knobs in ({}, {"unseen": True}):
        right = []
        for row in PATTERNS.rows(100, k=8, **knobs):
            texts, labels = sentences(row)
            right.append(baseline().fit(texts[:-1], labels[:-1]).predict(texts[-1:])[0] == row["answer"])
        assert np.mean(right) < 0.75


def test_one_person_and_the_right_pronoun():
    first = "|".join(person.first for person in town(0).people)
    for row in told():
        named = set(re.findall(r"\w+", re.sub(rf"\b({first}) [A-Z]\w+", r"\1", row["text"])))  # without last names
        women, men = ({p.first for p in town(0).people if p.woman is woman} & named for woman in (True, False))
        assert len(women) <= 1 and len(men) <= 1, row["text"]
        assert women or not re.search(r"\b(she|hers?)\b", row["text"].lower()), row["text"]
        assert men or not re.search(r"\b(he|him|his)\b", row["text"].lower().replace("shook his head", "")), row["text"]


def test_trait_sides_are_documented():
    for name, (one, other, _) in TRAITS.items():
        assert CONCEPTS[name] == (one, other)
        assert len(patterns._bank(one)) >= 6 and len(patterns._bank(other)) >= 6
