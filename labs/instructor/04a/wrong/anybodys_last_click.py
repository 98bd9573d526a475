"""Takes back the last choice of whoever made it."""


def decided(clicks):
    standing = {}
    for click in clicks:
        if click["kind"] == "undo":
            if standing:
                standing.popitem()
        else:
            standing.setdefault((click["rater"], click["item"]), click["value"])
    votes, found = {}, {}
    for (_, item), value in standing.items():
        votes.setdefault(item, Counter())[value] += 1
    for item, counts in votes.items():
        for one, other in ("ab", "ba"):
            if counts[one] > max(counts[other], counts["tie"]):
                found[item] = one
    return found
