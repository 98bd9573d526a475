"""Gives each answer the message before it, and nothing further back."""


def pairs(messages):
    return [(list(messages[i - 1 : i]) if i else [], message["content"]) for i, message in enumerate(messages) if message["role"] == "assistant"]
