"""Weighs each by how often they side with the vote, and leaves it at that."""


def settle(clicks):
    votes, sides = {}, {}
    for _, item, value in clicks:
        votes.setdefault(item, Counter())[value] += 1
    for reviewer, item, value in clicks:
        sides.setdefault(reviewer, []).append(value == votes[item].most_common(1)[0][0])
    weight = {reviewer: sum(mine) / len(mine) - 0.6 for reviewer, mine in sides.items()}  # a vote has one's own click in it
    lead = dict.fromkeys(votes, 0.0)
    for reviewer, item, value in clicks:
        lead[item] += weight[reviewer] if value == "a" else -weight[reviewer]
    return {item: "a" if ahead > 0 else "b" for item, ahead in lead.items()}
