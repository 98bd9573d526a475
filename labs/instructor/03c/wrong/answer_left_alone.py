"""Leaves out message by message, so that an answer may stand without its question."""


def trim(messages, lengths, longest):
    first = int(messages[0]["role"] == "system" and len(messages) > 1)
    for start in range(first, len(messages)):
        if sum(lengths[:first]) + sum(lengths[start:]) <= longest:
            return [*messages[:first], *messages[start:]]
    raise ValueError("too long")
