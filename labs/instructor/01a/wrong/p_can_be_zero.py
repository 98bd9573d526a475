"""Leaves out the observed division, so that p can be zero."""


def permutation_p(x, y, distance, permutations, seed):
    rng = np.random.default_rng(seed)
    both, found = np.concatenate([x, y]), distance(x, y)
    as_great = 0
    for _ in range(permutations):
        mixed = both[rng.permutation(len(both))]
        as_great += distance(mixed[: len(x)], mixed[len(x) :]) >= found - 1e-12
    return float(as_great / permutations)
