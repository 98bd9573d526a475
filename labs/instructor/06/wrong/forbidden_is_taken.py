"""Takes a method that is not allowed."""


def lost(table):
    if not table:
        raise ValueError("no situations")

    def regret(quality, allowed, choice):
        possible = {name: value for name, value in quality.items() if name in allowed or name == "as it is"}
        return max(possible.values()) - quality.get(choice, quality["as it is"])

    def mean(choices):
        return math.fsum(regret(quality, allowed, choice) for (quality, allowed, _), choice in zip(table, choices)) / len(table)

    constants = {name: mean([name] * len(table)) for name in sorted({name for quality, _, _ in table for name in quality})}
    least = min(constants.values())
    best = next(name for name, value in constants.items() if value < least + 1e-9)
    return mean([advice for _, _, advice in table]), best, constants[best]
