"""Divides in floats, which have sixteen digits."""


def cheapest(ways, days, asked):
    if not ways or days < 1:
        raise ValueError("no ways or no days")
    lines = {name: (once + days * a_day, days * a_question) for name, (once, a_day, a_question) in ways.items()}

    def best(number):
        return min(lines, key=lambda name: (lines[name][0] + number * lines[name][1], lines[name][1]))

    changes, now = [], best(0)
    while True:
        fixed, slope = lines[now]
        meets = [
            (math.ceil((other - fixed) / (slope - less)), less, place)
            for place, (other, less) in enumerate(lines.values()) if less < slope
        ]
        if not meets:
            return best(asked), changes
        number, _, place = min(meets)
        now = list(lines)[place]
        changes.append((number, now))
