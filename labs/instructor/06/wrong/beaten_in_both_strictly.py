"""Leaves out only what is beaten in both."""


def front(methods, asked):
    if not methods or asked < 0:
        raise ValueError("no methods, or fewer than no questions")
    costs = {name: once + asked * each for name, (_, once, each) in methods.items()}
    kept = [name for name in methods if not any(methods[o][0] > methods[name][0] and costs[o] < costs[name] for o in methods)]
    return sorted(kept, key=lambda name: costs[name])
