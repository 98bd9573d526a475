"""Writes the binomial down as it stands, whose coefficients no float can hold."""


def verdict(right, shuffled, least):
    def at_most(successes, n, chance):
        return sum(math.comb(n, i) * chance**i * (1 - chance) ** (n - i) for i in range(successes + 1))

    rescued = sum(a and not b for a, b in zip(right, shuffled))
    spoiled = sum(b and not a for a, b in zip(right, shuffled))
    p = min(1.0, 2 * at_most(min(rescued, spoiled), rescued + spoiled, 0.5)) if rescued + spoiled else 1.0
    if p < 0.05 and rescued > spoiled:
        told = "labels"
    else:
        told = "not the labels" if at_most(rescued, len(right), least) < 0.05 else "cannot tell"
    return (rescued - spoiled) / len(right), p, told
