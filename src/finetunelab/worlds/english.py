"""Small English helpers that every generator shares: articles, plurals, lists, capitals.

Only the regular cases and the exceptions that the worlds actually use are covered; this is a writer's
toolbox for texts we author ourselves, not a general inflection library.
"""

from __future__ import annotations

_AN_EXCEPTIONS = ("hour", "honest", "honor", "heir")
_A_EXCEPTIONS = ("one", "once", "uni", "use", "usu", "eu", "ute")
_IRREGULAR = {
    "man": "men", "woman": "women", "child": "children", "person": "people", "mouse": "mice", "goose": "geese",
    "tooth": "teeth", "foot": "feet", "leaf": "leaves", "loaf": "loaves", "knife": "knives", "shelf": "shelves",
    "half": "halves", "wife": "wives", "life": "lives", "calf": "calves", "potato": "potatoes",
    "tomato": "tomatoes", "sheep": "sheep", "fish": "fish",
}
_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
).split()


def article(noun: str) -> str:
    """Return ``noun`` with the indefinite article its first sound asks for: "a pear", "an egg"."""
    word = noun.lower()
    vowel = word[:1] in "aeiou" and not word.startswith(_A_EXCEPTIONS)
    return f"{'an' if vowel or word.startswith(_AN_EXCEPTIONS) else 'a'} {noun}"


def plural(noun: str) -> str:
    """Return the plural of a noun; of a phrase, the plural of its last word."""
    head, _, last = noun.rpartition(" ")
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif last.endswith(("s", "x", "z", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{head} {last}".strip()


def listing(items: list[str], last: str = "and") -> str:
    """Join items as a sentence does: "a", "a and b", "a, b, and c"."""
    if len(items) < 3:
        return f" {last} ".join(items)
    return ", ".join(items[:-1]) + f", {last} {items[-1]}"


def capital(text: str) -> str:
    """Capitalize the first letter and leave the rest as it is."""
    return text[:1].upper() + text[1:]


def number(value: int) -> str:
    """Spell a number up to twenty; keep digits above."""
    return _NUMBERS[value] if 0 <= value <= 20 else str(value)
