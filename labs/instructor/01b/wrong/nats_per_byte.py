"""Leaves the loss in nats."""


def bits_per_byte(nats, texts):
    return sum(nats) / sum(len(text.encode("utf-8")) for text in texts)
