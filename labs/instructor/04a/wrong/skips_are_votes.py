"""Counts a skip as a vote."""


def decided(clicks):
    standing = {}
    for click in clicks:
        mine = standing.setdefault(click["rater"], {})
        if click["kind"] == "undo":
            if mine:
                mine.popitem()
        else:
            mine.setdefault(click["item"], click["value"])
    votes = {}
    for mine in standing.values():
        for item, value in mine.items():
            votes.setdefault(item, Counter())[value] += 1
    found = {}
    for item, counts in votes.items():
        for one in "ab":
            if all(counts[one] > count for value, count in counts.items() if value != one):
                found[item] = one
    return {item: one for item, one in found.items() if votes[item][one]}
