"""Cuts every "and" out of the text, also out of a hand and a band."""


def obeys(items, n, response):
    text = " ".join(response.lower().replace("and", ",").split()).removesuffix(".")
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return len(parts) == n and set(parts) <= set(items) and parts == sorted(set(parts))
