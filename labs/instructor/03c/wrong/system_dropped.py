"""Treats the message of the system like the others: it is the oldest, and goes first."""


def trim(messages, lengths, longest):
    for start in range(len(messages)):
        if messages[start]["role"] != "assistant" and sum(lengths[start:]) <= longest:
            return list(messages[start:])
    raise ValueError("too long")
