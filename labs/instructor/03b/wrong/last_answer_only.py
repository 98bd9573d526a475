"""Labels the last answer and forgets those before it."""


def answer_labels(ids, assistant, end):
    if assistant not in ids:
        return [-100] * len(ids)
    start = len(ids) - ids[::-1].index(assistant)
    stop = ids.index(end, start) + 1 if end in ids[start:] else len(ids)
    return [-100] * start + ids[start:stop] + [-100] * (len(ids) - stop)
