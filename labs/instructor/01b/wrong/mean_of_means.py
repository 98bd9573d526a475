"""Takes the mean loss of each text, and then the mean of those."""


def corpus_perplexity(nats, tokens):
    means = [loss / n for loss, n in zip(nats, tokens) if n]
    return math.exp(sum(means) / len(means))
