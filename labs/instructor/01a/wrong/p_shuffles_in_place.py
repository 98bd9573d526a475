"""Shuffles one sample by itself: the division stays, only its order changes."""


def permutation_p(x, y, distance, permutations, seed):
    rng = np.random.default_rng(seed)
    found, as_great = distance(x, y), 0
    for _ in range(permutations):
        rng.shuffle(x)
        as_great += distance(x, y) >= found - 1e-12
    return float((1 + as_great) / (1 + permutations))
