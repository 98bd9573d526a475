"""Slang: turns plain spelling into that of comment pages, as strongly as asked."""

from __future__ import annotations

import random
import re

_WORDS = {
    "you": "u", "your": "ur", "you are": "ur", "are": "r", "and": "n", "for": "4", "to": "2", "please": "pls|plz",
    "thanks": "thx|ty", "thank you": "ty|thx", "because": "cuz|bc", "going to": "gonna", "want to": "wanna", "have to": "gotta",
    "got to": "gotta", "do not": "dont", "does not": "doesnt", "did not": "didnt", "cannot": "cant", "can't": "cant",
    "will not": "wont", "is not": "isnt|aint", "I am": "im", "I'm": "im", "I will": "ill", "I have": "ive", "it is": "its",
    "that is": "thats", "do you know": "dyk", "right now": "rn", "really": "rly", "very": "sooo|so", "so": "sooo|soo",
    "people": "ppl", "someone": "sum1", "something": "smth", "everyone": "every1", "everybody": "every1", "nobody": "no1",
    "about": "abt", "before": "b4", "great": "gr8", "with": "w", "without": "w/o", "though": "tho", "through": "thru",
    "tonight": "2nite", "tomorrow": "tmrw", "today": "2day|tday", "message": "msg", "messages": "msgs", "picture": "pic",
    "pictures": "pics", "favorite": "fav", "friend": "bestie|homie", "friends": "frnds|homies", "brother": "bro", "sister": "sis",
    "dollars": "bucks", "money": "$$|cash", "what": "wat|wut", "good": "gud|good", "love": "luv|loooove", "this": "dis|this",
    "the": "da|the|the", "my": "ma|my|my", "see": "c", "why": "y", "be": "b", "yes": "yeah|yup", "no": "nah|noo",
    "like": "like|liek", "know": "kno", "minutes": "mins", "seconds": "secs", "seriously": "srsly", "probably": "prob",
    "another": "anotha", "them": "em", "hello": "heyyy|yo", "haha": "hahaha|lmao", "until": "til", "always": "alwayz",
    "best": "bestest|best", "check": "chk|check", "subscribe": "sub", "followers": "followerz|followers", "never": "neva|never",
    "just": "jus|just", "let us": "lets", "laughing": "laughin|lolling", "crying": "cryin", "looking": "lookin", "moving": "movin",
    "talking": "talkin", "trying": "tryna",
}
_OPENERS = ("lol", "omg", "ngl", "bruh", "yo", "ok so", "lmao", "guys", "tbh", "wow", "aaah", "nah but")
_CLOSERS = ("lol", "lmao", "ngl", "tbh", "fr", "smh", "haha", "omg", "xoxo", "imo", "no cap", "idk")
_FACES = (":)", ":D", ":P", "<3", "<3 <3", ";)", "xD", ":(", "^^", ":o", "\\o/")
_PROTECTED = re.compile(r"(\S*\.example\S*|[@#]\S+)")
_LEXICON = {phrase.lower(): options.split("|") for phrase, options in _WORDS.items()}
_PHRASE = re.compile(r"\b(" + "|".join(sorted(map(re.escape, _LEXICON), key=len, reverse=True)) + r")\b", re.IGNORECASE)


def slangify(text: str, rng: random.Random, strength: float) -> str:
    """Return ``text`` respelled. ``strength`` 0 leaves it alone, 1 is the full habit of a comment page; links, tags, handles stay."""
    if strength <= 0:
        return text
    lower, shout = rng.random() < 0.55 * strength, rng.random() < 0.06 * strength
    bare, loud = rng.random() < 0.6 * strength, rng.random() < 0.2 * strength
    fluent = strength * rng.choice((0.15, 0.35, 0.6, 0.85))

    def respell(match: re.Match) -> str:
        return rng.choice(_LEXICON[match.group(1).lower()]) if rng.random() < fluent else match.group(0)

    parts = _PROTECTED.split(text)
    for i in range(0, len(parts), 2):
        part = _PHRASE.sub(respell, parts[i])
        if lower or shout:
            part = part.upper() if shout else part.lower()
        if bare:
            part = re.sub(r"\.(?=\s|$)", rng.choice(("", "", "..")), part).replace(", ", " ")
        if loud:
            part = re.sub(r"[.!]+(?=\s|$)", rng.choice(("!!", "!!!", "!")), part)
        parts[i] = part
    text = "".join(parts)
    if rng.random() < 0.25 * strength:
        start = text if text[:2] in ("I ", "I'") or text.isupper() else text[:1].lower() + text[1:]
        text = f"{rng.choice(_OPENERS)} {start}"
    # Tags stay last, as people leave them.
    head, mark, tags = text.partition(" #")
    if rng.random() < 0.3 * strength:
        head = f"{head} {rng.choice(_CLOSERS)}"
    if rng.random() < 0.3 * strength:
        head = f"{head} {rng.choice(_FACES)}"
    return head + mark + tags
