"""Counts the values of items that were rated once among those that chance deals out."""


def reliability(table):
    units = [[value for value in row if value is not None] for row in table]
    values = [value for unit in units for value in unit]
    n = len(values)
    apart = n**2 - sum(values.count(kind) ** 2 for kind in set(values))
    if not apart:
        return math.nan
    rated = [unit for unit in units if len(unit) > 1]
    return 1 - (n - 1) * sum(sum(a != b for a in unit for b in unit) / (len(unit) - 1) for unit in rated) / apart
