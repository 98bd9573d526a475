"""Counts on turns that alternate."""


def pairs(messages):
    start = 1 + (messages[0]["role"] == "system")
    return [(list(messages[:i]), messages[i]["content"]) for i in range(start, len(messages), 2)]
