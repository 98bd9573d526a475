"""Lists every number at which any two lines meet."""


def cheapest(ways, days, asked):
    if not ways or days < 1:
        raise ValueError("no ways or no days")
    lines = {name: (once + days * a_day, days * a_question) for name, (once, a_day, a_question) in ways.items()}
    changes = []
    for fixed, slope in lines.values():
        for name, (other, less) in lines.items():
            if less < slope and other > fixed:
                changes.append((-((fixed - other) // (slope - less)), name))
    return min(lines, key=lambda name: (lines[name][0] + asked * lines[name][1], lines[name][1])), sorted(changes)
