"""Remembers only the last choice, so that a second undo finds nothing to take back."""


def decided(clicks):
    standing, last = {}, {}
    for click in clicks:
        rater = click["rater"]
        if click["kind"] == "undo":
            if last.get(rater) is not None:
                standing.pop((rater, last[rater]), None)
            last[rater] = None
        elif (rater, click["item"]) not in standing:
            standing[rater, click["item"]] = click["value"]
            last[rater] = click["item"]
    votes, found = {}, {}
    for (_, item), value in standing.items():
        votes.setdefault(item, Counter())[value] += 1
    for item, counts in votes.items():
        for one, other in ("ab", "ba"):
            if counts[one] > max(counts[other], counts["tie"]):
                found[item] = one
    return found
