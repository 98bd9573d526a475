"""Raises e to a mean in bits."""


def summarize(nats, texts):
    bits = sum(map(sum, nats)) / math.log(2)
    return math.exp(bits / sum(map(len, nats))), bits / sum(len(text.encode()) for text in texts)
