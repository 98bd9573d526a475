"""Averages the logarithms of the shares over the queries that say nothing."""


def likeliest(scores, empty=(), per_token=False):
    def shares(logs):
        highest = max(logs.values())
        weights = {label: math.exp(log - highest) for label, log in logs.items()}
        return {label: weight / sum(weights.values()) for label, weight in weights.items()}

    def logs(given):
        return {label: math.fsum(tokens) / (len(tokens) if per_token else 1) for label, tokens in given.items()}

    found = logs(scores)
    if empty:
        priors = [shares(logs(given)) for given in empty]
        found = {label: log - math.fsum(math.log(prior[label]) for prior in priors) / len(priors) for label, log in found.items()}
    return max(found, key=found.get), shares(found)
