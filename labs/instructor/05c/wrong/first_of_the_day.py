"""Keeps the first statement of a day, and ignores its correction."""


def on_day(statements, fact, day, answer):
    said = {}
    for about, value, since in statements:
        if about == fact:
            if value is None or said.get(since) is None:
                said[since] = value
    turns = sorted(since for since, value in said.items() if value is not None and since <= day)
    holds = said[turns[-1]] if turns else None
    ends = [following - 1 for following in turns[1:]] + [day]
    first = last = None
    for start, end in zip(turns, ends):
        if said[start] != answer:
            continue
        if last is None or last < start - 1:
            first = start
        last = end
    if last is None:
        return holds, "never true", None
    return (holds, "right", first) if last == day else (holds, "outdated", last)
