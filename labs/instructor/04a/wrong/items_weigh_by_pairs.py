"""Takes the share of all pairs that differ, so that an item with many values weighs more than it has values."""


def reliability(table):
    units = [[value for value in row if value is not None] for row in table]
    units = [unit for unit in units if len(unit) > 1]
    values = [value for unit in units for value in unit]
    n = len(values)
    apart = n**2 - sum(values.count(kind) ** 2 for kind in set(values))
    if not apart:
        return math.nan
    pairs = sum(len(unit) * (len(unit) - 1) for unit in units)
    return 1 - sum(a != b for unit in units for a in unit for b in unit) / pairs / (apart / (n * (n - 1)))
