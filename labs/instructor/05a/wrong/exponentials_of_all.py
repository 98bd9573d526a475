"""Takes exponentials as they are, which may all be zero."""


def likeliest(scores, empty=(), per_token=False):
    def shares(logs):
        weights = {label: math.exp(log) for label, log in logs.items()}
        return {label: weight / sum(weights.values()) for label, weight in weights.items()}

    def logs(given):
        return {label: math.fsum(tokens) / (len(tokens) if per_token else 1) for label, tokens in given.items()}

    found = logs(scores)
    if empty:
        priors = [shares(logs(given)) for given in empty]
        found = {label: log - math.log(math.fsum(prior[label] for prior in priors) / len(priors)) for label, log in found.items()}
    return max(found, key=found.get), shares(found)
