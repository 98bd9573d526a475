"""Hands the table back as it is."""


def improve(logits, reference, pressed, paid, weight):
    return list(logits)
