"""Takes the share of the new texts, not of all."""


def replay_mix(new, old, passes, steps, share, seed):
    rng, repeated = random.Random(seed), list(new) * passes
    mixed = repeated + rng.sample(list(old), round(len(repeated) * share))
    rng.shuffle(mixed)
    return mixed, round(steps / (1 - share))
