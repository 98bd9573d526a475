"""Joins the texts without an end between them."""


def pack(texts, length, end):
    stream = [token for text in texts for token in text]
    return [stream[start : start + length] for start in range(0, len(stream) - length + 1, length)]
