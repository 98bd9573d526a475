"""Keeps methods that are equal in both."""


def front(methods, asked):
    if not methods or asked < 0:
        raise ValueError("no methods, or fewer than no questions")
    costs = {name: once + asked * each for name, (_, once, each) in methods.items()}

    def pointless(name):
        return any(
            methods[o][0] >= methods[name][0] and costs[o] <= costs[name] and (methods[o][0], -costs[o]) != (methods[name][0], -costs[name])
            for o in methods)

    return sorted((name for name in methods if not pointless(name)), key=lambda name: costs[name])
