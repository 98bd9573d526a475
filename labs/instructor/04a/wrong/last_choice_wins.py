"""Lets a later choice on the same item replace the one that stands."""


def decided(clicks):
    standing, order = {}, {}
    for click in clicks:
        rater = click["rater"]
        mine = order.setdefault(rater, [])
        if click["kind"] == "undo":
            if mine:
                standing.pop((rater, mine.pop()), None)
        else:
            if (rater, click["item"]) not in standing:
                mine.append(click["item"])
            standing[rater, click["item"]] = click["value"]
    votes, found = {}, {}
    for (_, item), value in standing.items():
        votes.setdefault(item, Counter())[value] += 1
    for item, counts in votes.items():
        for one, other in ("ab", "ba"):
            if counts[one] > max(counts[other], counts["tie"]):
                found[item] = one
    return found
