"""Takes the share of the perplexities themselves."""


def skill_kept(before, after, novice):
    return (novice - after) / (novice - before)
