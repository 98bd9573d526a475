"""Chooses the best method, allowed or not."""


def choose(table, situations):
    best = {"classes": "trained", "behavior": "trained", "facts": "retrieval"}
    return [best[situation["need"]] for situation in situations]
