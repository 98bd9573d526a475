"""Pays the one-off cost every day."""


def cheapest(ways, days, asked):
    if not ways or days < 1:
        raise ValueError("no ways or no days")
    lines = {name: (days * (once + a_day), days * a_question) for name, (once, a_day, a_question) in ways.items()}

    def best(number):
        return min(lines, key=lambda name: (lines[name][0] + number * lines[name][1], lines[name][1]))

    changes, now = [], best(0)
    while True:
        fixed, slope = lines[now]
        meets = [-((fixed - other) // (slope - less)) for other, less in lines.values() if less < slope]
        if not meets:
            return best(asked), changes
        number = min(meets)
        now = best(number)
        changes.append((number, now))
