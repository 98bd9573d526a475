"""Leaves the earlier answers, and the system, out of the context."""


def pairs(messages):
    return [
        ([before for before in messages[:i] if before["role"] == "user"], message["content"])
        for i, message in enumerate(messages) if message["role"] == "assistant"
    ]
