"""Asks for more than half of the votes."""


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
            if 2 * counts[one] > counts["a"] + counts["b"] + counts["tie"]:
                found[item] = one
    return found
