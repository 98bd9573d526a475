"""Stops at the first stretch in which the answer held."""


def on_day(statements, fact, day, answer):
    said = {}
    for about, value, since in statements:
        if about == fact:
            said[since] = value
    turns = sorted(since for since, value in said.items() if value is not None and since <= day)
    holds = said[turns[-1]] if turns else None
    for start, following in zip(turns, [*turns[1:], None]):
        if said[start] == answer:
            if holds == answer:
                return holds, "right", start
            if said[following] != answer:
                return holds, "outdated", following - 1
    return holds, "never true", None
