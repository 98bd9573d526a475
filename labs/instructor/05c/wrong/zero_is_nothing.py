"""Takes a price of 0 for a retraction."""


def on_day(statements, fact, day, answer):
    said = {}
    for about, value, since in statements:
        if about == fact:
            said[since] = value
    turns = sorted(since for since, value in said.items() if value and since <= day)
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
