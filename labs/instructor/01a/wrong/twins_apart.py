"""Divides single texts, so that a twin of a training text can be tested on."""


def split(texts, seed):
    order = list(range(len(texts)))
    random.Random(seed).shuffle(order)
    first, second = round(0.6 * len(order)), round(0.8 * len(order))
    return order[:first], order[first:second], order[second:]
