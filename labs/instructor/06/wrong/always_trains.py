"""Trains wherever it is allowed."""


def choose(table, situations):
    return ["trained" if "trained" in allowed(situation) else allowed(situation)[-1] for situation in situations]
