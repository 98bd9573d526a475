"""Sorting lists: each word stands for one topic, phrases come back, and no list shows a topic that patterns hold out."""

import re

from finetunelab.worlds.patterns import LABEL_WORDS, PLACES, TOPICS, UNSEEN_CONCEPTS, scenes
from finetunelab.worlds.sorting import GENERATORS

(SORTING,) = GENERATORS
ROWS = SORTING.rows(400)
LINE = re.compile(r"(.+?)(?::| ->| =>| =| /| \|) (\w+)")


def entries(row) -> list[tuple[str, str]]:
    return [LINE.fullmatch(line).groups() for line in re.split(r"\n|; ", row["text"])]


def topic_of(phrase: str) -> str:
    """Return the one topic that tells of a phrase."""
    told = [
        topic for topic in PLACES for scene in [scenes()[topic]]
        if any(phrase in (event.do, event.doing) for events in scene.events for event in events)
        or any(phrase == now for state in scene.states for now, _ in state)
    ]
    assert len(told) == 1, (phrase, told)
    return told[0]


def test_spans_prompt_and_answer_fit_the_text():
    for row in ROWS:
        words = [word for _, word in entries(row)]
        assert [row["text"][start:end] for start, end in row["spans"]] == words
        assert 8 <= len(words) <= 18 and set(words) <= set(LABEL_WORDS)
        assert row["text"] == f"{row['prompt']} {row['answer']}" and row["answer"] == words[-1]


def test_a_word_stands_for_one_trained_topic():
    used = set()
    for row in ROWS[:120]:
        pairs = {(topic_of(phrase), word) for phrase, word in entries(row)}
        topics = {topic for topic, _ in pairs}
        assert len(pairs) == len(topics) == len({word for _, word in pairs}) <= row["topics"] <= 4
        used |= topics
    assert used == set(TOPICS) and not used & {topic for pair in UNSEEN_CONCEPTS.values() for topic in pair}


def test_lists_range_from_recall_to_new_phrases():
    new = []
    for row in ROWS:
        phrases = [phrase for phrase, _ in entries(row)]
        new.append(sum(phrase not in phrases[:i] for i, phrase in enumerate(phrases)) / len(phrases))
    assert min(new) < 0.25 and max(new) > 0.75


def test_the_words_stand_for_other_topics_in_other_lists():
    meant = {}
    for row in ROWS:
        for phrase, word in entries(row)[:3]:
            meant.setdefault(word, set()).add(topic_of(phrase))
    assert min(len(topics) for topics in meant.values()) >= 3
