"""Draws old texts with repetition."""


def replay_mix(new, old, passes, steps, share, seed):
    rng, repeated = random.Random(seed), list(new) * passes
    mixed = repeated + rng.choices(list(old), k=round(len(repeated) * share / (1 - share)))
    rng.shuffle(mixed)
    return mixed, round(steps / (1 - share))
