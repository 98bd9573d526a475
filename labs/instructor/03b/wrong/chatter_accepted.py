"""Looks for the items in the response and does not mind what else it says."""


def obeys(items, n, response):
    text = response.lower()
    found = sorted((text.index(item), item) for item in items if item in text)
    names = [item for _, item in found]
    return len(names) == n and names == sorted(names)
