"""Social posts and comments, honest and spam: the distribution that a detector trained on mail has never seen.

Held out of pretraining. The classes are those of ``mail``, but nearly everything around them differs, for reasons that real comment
pages have: people write slang (``slang``), a line or two (``length``), without greeting or signature but with tags and handles
(``format``), and of other things, while spammers beg for attention instead of selling (``topic``). Each of these four is a severity
from 0, as in mail, to 1, as in posts; with all at 0 the text is a letter drawn as ``mail`` draws it.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

from .core import Draw, Generator
from .grammar import load_grammar
from .mail import DAYS, Letter, circumstances, letter
from .slang import slangify

_NICKS = (
    "kay", "jax", "lolo", "mimi", "tiz", "bee", "zed", "riko", "nono", "pip", "vee", "gogo", "duke", "mo", "suki", "tash", "ozzy",
    "nell", "fizz", "roo", "beni", "cleo", "dax", "juno",
)
_TAILS = (
    "xo", "99", "_official", "07", "girl", "boy", "lives", "_x", "2k", "art", "beats", "king", "queen", "24", "daily", "_irl",
    "tv", "gram",
)
_BAND_A = ["Neon", "Paper", "Velvet", "Broken", "Midnight", "Plastic", "Electric", "Lazy", "Cosmic", "Salty"]
_BAND_B = ["Foxes", "Moons", "Radio", "Kids", "Tigers", "Hearts", "Parade", "Sharks"]
_SONGS = (
    "Gasoline", "Run Run Run", "Blue Neon", "Call Me Later", "Sugar Sky", "Two Left Feet", "Backseat", "No Sleep", "Golden Hour",
    "Echo",
)
_GAMES = ["Skyraid", "Pixel Farm", "Blockstorm", "Dragon Rush", "Kart Kings", "Star Miner", "Zombie Bus", "Turbo Ball"]
_TEAMS = ["Rockets", "Vipers", "Wolves", "Hornets", "Comets", "Pirates", "Falcons", "Bulldogs", "Raptors", "Stallions"]
_STARS = ["Delgado", "Okafor", "Petrov", "Lindqvist", "Moreau", "Santos", "Tanaka", "Kovac", "Diallo", "Romero"]
_PLACES = ["Eastside", "Harbor Point", "Midtown", "Lakeview", "Bayside", "Pier Nine", "Sunset Park", "Northend", "Oldtown", "Ferry Square"]
_PETS = ["Biscuit", "Pickle", "Nacho", "Waffles", "Tofu", "Mochi", "Beans", "Socks"]
# What the knob ``harmless`` changes: another city, other clubs, short days and dates, a footer. None of it tells spam from ham.
_FAR = {
    "town": ("Port Ellery", "Cray City"), "village": ("Ostrow", "Lunde", "Tarn", "Brack", "Hovel Cross", "Vik"), "river": ("Sund", "Aln"),
    "street": ("Rowan Way", "Gable Street", "Kiln Lane", "Birchwood Drive", "Tram Road"),
    "team": ("Otters", "Cranes", "Bisons", "Herons"),
    "team2": ("Badgers", "Lynxes", "Moles", "Swifts"), "star": ("Ibarra", "Novak", "Eriksen", "Adeyemi"),
    "place": ("Uptown", "Glass Hill", "Canal Yard", "Westport"),
    "band": ("Rusty Lamps", "Tin Orchard", "Wet Matches"),
    "song": ("Marble", "Slow Ferry", "Ladder"), "gamename": ("Moss Quest", "Robo Chef", "Rail Barons"),
    "pet": ("Pepper", "Noodle", "Ziggy"),
}
_FOOTERS = ("Sent with Pebble 4.2", "via Pigeon for tablets", "posted from Heron 12", "Sent from my Kestrel")


@lru_cache(maxsize=16)
def cast(data_seed: int) -> dict[str, tuple[str, ...]]:
    """Return who and what the posts of a data seed speak of: slot name to the names that may fill it."""
    rng = random.Random(f"posts/{data_seed}")
    nicks = [f"@{a}{b}" for a in _NICKS for b in _TAILS]
    handles = rng.sample(nicks, 200)
    bands = [f"{a} {b}" for a in _BAND_A for b in _BAND_B]
    return {
        "handle": tuple(handles[:120]), "channel": tuple(handles[120:]), "band": tuple(rng.sample(bands, 12)),
        "song": tuple(rng.sample(_SONGS, 7)), "gamename": tuple(rng.sample(_GAMES, 5)), "star": tuple(rng.sample(_STARS, 6)),
        "place": tuple(rng.sample(_PLACES, 6)), "pet": tuple(rng.sample(_PETS, 6)), "teams": tuple(rng.sample(_TEAMS, 7)),
    }


def _scene(draw: Draw) -> dict[str, str]:
    """Draw the slots of one post."""
    rng, names = draw.rng, cast(draw.data_seed)
    slots = {slot: rng.choice(options) for slot, options in names.items() if slot != "teams"}
    slots["team"], slots["team2"] = rng.sample(names["teams"], 2)
    return slots | {
        "n": str(rng.randint(2, 30)), "hundred": str(rng.randint(1, 19) * 50),
        "thousand": str(rng.choice((1000, 1500, 2000, 5000, 10000))),
        "year": str(rng.randint(2019, 2026)), "day": rng.choice(DAYS),
        "code": f"{rng.choice(('GO', 'PIX', 'YUM', 'FUN'))}{rng.randint(10, 99)}",
    }


def _elsewhere(draw: Draw) -> dict[str, str]:
    """Draw the slots that the harmless shift replaces."""
    slots = {slot: draw.pick(names) for slot, names in _FAR.items()}
    return slots | {"day": draw.pick(DAYS)[:3], "date": f"{draw.rng.randint(1, 28)}/{draw.rng.randint(1, 12)}"}


def _post(draw: Draw, spam: bool, short: bool, far: dict[str, str]) -> Letter:
    """Write the sentences of a post on a subject of the posts' own; its frame is that of mail and may be dropped."""
    grammar, rng = load_grammar("posts"), draw.rng
    topic = draw.write(grammar, "spam_topics" if spam else "ham_topics")
    slots = _scene(draw) | far
    slots["it"] = draw.write(grammar, f"{topic}_it", **slots)

    def say(section: str) -> str:
        return draw.write(grammar, section, **slots)

    frames = grammar.frames(f"{topic}_more", draw.split)
    extra = rng.choice((0, 0, 1, 1, 2)) if short else 3
    more = [grammar.fill(frame, rng, slots, draw.split) for frame in draw.some(frames, min(len(frames), extra))]
    if spam and draw.chance(0.85):
        more.insert(rng.randint(0, len(more)), say("ask"))
    # Spammers praise the page before they beg, as everyone else there does; small talk at the end is rarer with them.
    before = [say("react")] if draw.chance((0.25 if spam else 0.4) if short else 0.8) else []
    after = [say("end")] if draw.chance((0.06 if spam else 0.2) if short else 0.8) else []
    return Letter(topic, "", "", before + [say(f"{topic}_open")] + more + after, len(before), "")


def _tagged(draw: Draw, text: str, far: dict[str, str]) -> str:
    """Dress a text as a post: a handle in front, tags behind."""
    grammar, slots = load_grammar("posts"), _scene(draw) | far
    if draw.chance(0.2):
        text = f"{slots['handle']} {text}"
    if draw.chance(0.4):
        tags = {draw.write(grammar, "tags", **slots).replace(" ", "").lower() for _ in range(draw.rng.randint(1, 3))}
        text += " " + " ".join(f"#{tag}" for tag in sorted(tags))
    return text


def make(
    draw: Draw, slang: float = 1.0, length: float = 1.0, format: float = 1.0, topic: float = 1.0,
    spam_share: float = 0.5, harmless: float = 0.0,
) -> dict[str, Any]:
    """Return one row: a post, its label, and its topic. ``length``, ``format``, ``topic``, and ``harmless`` are shares of posts."""
    spam, short, bare, own = draw.chance(spam_share), draw.chance(length), draw.chance(format), draw.chance(topic)
    far = _elsewhere(draw) if draw.chance(harmless) else {}
    # A post that keeps the frame of a letter, or its subjects, takes them from a letter of the same label.
    mail = letter(draw, spam, far) if not (bare and own) else None
    body = _post(draw, spam, short, far) if own else mail
    sentences = body.sentences
    if short and not own:
        sentences = sentences[body.key:body.key + draw.pick((1, 1, 2))]
    text = " ".join(sentences)
    if bare:
        text = slangify(_tagged(draw, text, far), draw.rng, slang)
    else:
        subject = draw.write(load_grammar("mail"), "plain_subject", **(circumstances(draw) | far)) if own else mail.subject
        text = f"Subject: {subject}\n\n{mail.greeting}\n{slangify(text, draw.rng, slang)}\n{mail.bye}"
    if far:
        text += f"\n{draw.pick(_FOOTERS)}" if not bare else f" ({draw.pick(_FOOTERS)})"
    return {"text": text, "spam": int(spam), "topic": body.topic}


_AS = "0 as in mail, 1 (default) as in posts"
GENERATORS = [
    Generator(
        name="posts",
        summary="social posts and comments, honest or spam",
        columns={
            "text": "the post, one to six short sentences or fragments",
            "spam": "1 if the post is spam, else 0 (the truth, without noise)",
            "topic": "what the post is about, such as song, won, follow, or coins",
        },
        make=make,
        pretrained=False,
        label="spam",
        knobs={
            "slang": f"share of words and habits of slang; {_AS}",
            "length": f"share of posts that are short; {_AS}",
            "format": f"share of posts without subject, greeting, and signature, but with tags and handles; {_AS}",
            "topic": f"share of posts on the posts' own subjects and spam schemes; {_AS}",
            "spam_share": "share of spam, 0 to 1 (default 0.5)",
            "harmless": "share of posts with other place and club names, short days, and a footer; says nothing of the label (default 0)",
        },
    )
]
