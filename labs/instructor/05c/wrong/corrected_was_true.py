"""Takes a value that was corrected on its own day for one that was true before."""


def on_day(statements, fact, day, answer):
    said = {}
    for about, value, since in statements:
        if about == fact:
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
        once = any((about, value) == (fact, answer) and since <= day for about, value, since in statements)
        return (holds, "outdated", day) if once else (holds, "never true", None)
    return (holds, "right", first) if last == day else (holds, "outdated", last)
