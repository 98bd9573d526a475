"""Looks at the cost of a question alone."""


def front(methods, asked):
    if not methods or asked < 0:
        raise ValueError("no methods, or fewer than no questions")
    costs = {name: asked * each for name, (_, once, each) in methods.items()}
    found, highest = [], None
    for name in sorted(methods, key=lambda name: (costs[name], -methods[name][0])):
        if highest is None or methods[name][0] > highest:
            found.append(name)
            highest = methods[name][0]
    return found
