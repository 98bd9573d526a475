"""Takes the first size at which training is ahead on average."""


def crossing(sizes, shown, trained):
    ahead = np.flatnonzero((trained - shown).mean(0) > 0)
    return float(sizes[ahead[0]]) if len(ahead) else math.inf
