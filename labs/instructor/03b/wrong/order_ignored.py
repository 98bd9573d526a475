"""Takes the items in any order."""


def obeys(items, n, response):
    text = " ".join(response.lower().split()).removesuffix(".").replace(", and ", ", ")
    parts = [part.strip() for part in text.split(",")]
    *first, last = parts
    if last.count(" and ") == 1 and ", and " not in response:
        parts = [*first, *last.split(" and ")]
    return len(parts) == n and len(set(parts)) == n and set(parts) <= set(items)
