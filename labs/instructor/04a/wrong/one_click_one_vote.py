"""Takes a vote."""


def settle(clicks):
    votes = {}
    for _, item, value in clicks:
        votes.setdefault(item, Counter())[value] += 1
    return {item: counts.most_common(1)[0][0] for item, counts in votes.items()}
