"""Takes a gap for one more category."""


def reliability(table):
    units = [list(row) for row in table if len(row) > 1]
    values = [value for unit in units for value in unit]
    n = len(values)
    apart = n**2 - sum(values.count(kind) ** 2 for kind in set(values))
    if not apart:
        return math.nan
    return 1 - (n - 1) * sum(sum(a != b for a in unit for b in unit) / (len(unit) - 1) for unit in units) / apart
