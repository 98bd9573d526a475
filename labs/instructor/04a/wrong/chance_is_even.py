"""Takes all categories for equally likely."""


def reliability(table):
    units = [[value for value in row if value is not None] for row in table]
    units = [unit for unit in units if len(unit) > 1]
    values = [value for unit in units for value in unit]
    kinds = len(set(values))
    if kinds < 2:
        return math.nan
    apart = sum(sum(a != b for a in unit for b in unit) / (len(unit) - 1) for unit in units) / len(values)
    return 1 - apart / (1 - 1 / kinds)
