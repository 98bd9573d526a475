"""Takes the perplexity of each text, and then their mean, weighted by tokens."""


def corpus_perplexity(nats, tokens):
    return sum(n * math.exp(loss / n) for loss, n in zip(nats, tokens) if n) / sum(tokens)
