"""Takes the share of the new examples, not of the whole list."""


def mix_replay(new, old, share, seed):
    rng = random.Random(seed)
    mixed = [*new, *rng.sample(list(old), round(len(new) * share))]
    rng.shuffle(mixed)
    return mixed
