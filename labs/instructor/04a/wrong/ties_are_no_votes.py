"""Leaves ties out, as if they were skips."""


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
    return {item: "a" if counts["a"] > counts["b"] else "b" for item, counts in votes.items() if counts["a"] != counts["b"]}
