"""Sends the last message even if it does not fit."""


def trim(messages, lengths, longest):
    first = int(messages[0]["role"] == "system" and len(messages) > 1)
    for start in range(first, len(messages)):
        if messages[start]["role"] == "user" and sum(lengths[:first]) + sum(lengths[start:]) <= longest:
            return [*messages[:first], *messages[start:]]
    return [*messages[:first], messages[-1]]
