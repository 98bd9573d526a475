"""Names the last number at which the old way was cheaper."""


def cheapest(ways, days, asked):
    if not ways or days < 1:
        raise ValueError("no ways or no days")
    lines = {name: (once + days * a_day, days * a_question) for name, (once, a_day, a_question) in ways.items()}

    def best(number):
        return min(lines, key=lambda name: (lines[name][0] + number * lines[name][1], lines[name][1]))

    changes, now = [], best(0)
    while True:
        fixed, slope = lines[now]
        meets = [(other - fixed) // (slope - less) for other, less in lines.values() if less < slope]
        if not meets:
            return best(asked), changes
        number = min(meets)
        now = best(number + 1)
        changes.append((number, now))
