"""Divides by the number of tokens, asked or not."""


def likeliest(scores, empty=(), per_token=False):
    def shares(logs):
        highest = max(logs.values())
        weights = {label: math.exp(log - highest) for label, log in logs.items()}
        return {label: weight / sum(weights.values()) for label, weight in weights.items()}

    def logs(given):
        return {label: math.fsum(tokens) / len(tokens) for label, tokens in given.items()}

    found = logs(scores)
    if empty:
        priors = [shares(logs(given)) for given in empty]
        found = {label: log - math.log(math.fsum(prior[label] for prior in priors) / len(priors)) for label, log in found.items()}
    return max(found, key=found.get), shares(found)
