"""Takes no more steps than without replay, and so reads less of the new."""


def replay_mix(new, old, passes, steps, share, seed):
    rng, repeated = random.Random(seed), list(new) * passes
    mixed = repeated + rng.sample(list(old), round(len(repeated) * share / (1 - share)))
    rng.shuffle(mixed)
    return mixed, steps
