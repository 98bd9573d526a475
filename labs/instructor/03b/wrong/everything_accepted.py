"""Is content with anything."""


def obeys(items, n, response):
    return True
