"""Asks the same of every number of methods."""


def ties(marks, costs):
    sizes = {len(found) for found in marks.values()}
    if len(marks) < 2 or len(sizes) != 1 or 0 in sizes:
        raise ValueError("too few methods or texts, or lists of different lengths")
    names = list(marks)
    best = max(names, key=lambda name: (sum(marks[name]), -costs[name]))

    def against(name):
        b = sum(bool(x) and not y for x, y in zip(marks[best], marks[name]))
        c = sum(bool(y) and not x for x, y in zip(marks[best], marks[name]))
        n = b + c
        terms = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(min(b, c) + 1)]
        top = max(terms)
        tail = math.fsum(math.exp(term - top) for term in terms)
        return min(1.0, math.exp(math.log(2) + top + math.log(tail) - n * math.log(2)))

    p = {name: against(name) for name in names if name != best}
    tied = sorted((name for name in p if p[name] >= 0.05), key=lambda name: costs[name])
    return best, tied, p
