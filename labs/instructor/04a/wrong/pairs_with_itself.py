"""Expects as if a value could be dealt out twice."""


def reliability(table):
    units = [[value for value in row if value is not None] for row in table]
    units = [unit for unit in units if len(unit) > 1]
    values = [value for unit in units for value in unit]
    expected = 1 - sum(values.count(kind) ** 2 for kind in set(values)) / max(1, len(values)) ** 2
    if not expected:
        return math.nan
    return 1 - sum(sum(a != b for a in unit for b in unit) / (len(unit) - 1) for unit in units) / len(values) / expected
