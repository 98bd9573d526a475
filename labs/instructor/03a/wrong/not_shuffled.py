"""Leaves the old texts at the end of the list."""


def replay_mix(new, old, passes, steps, share, seed):
    rng, repeated = random.Random(seed), list(new) * passes
    mixed = repeated + rng.sample(list(old), round(len(repeated) * share / (1 - share)))
    return mixed, round(steps / (1 - share))
