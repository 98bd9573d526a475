"""Drops a last row that is exactly full."""


def pack(texts, length, end):
    stream = [token for text in texts for token in (*text, end)]
    return [stream[start : start + length] for start in range(0, len(stream) - length, length)]
