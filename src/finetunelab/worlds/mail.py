"""Letters of the town, honest and spam: the task that a detector is first trained on.

Each letter has one subject matter and keeps to it. A fifth of the spam hides behind the tone of a neighbor, and a third of the honest
letters speak of money, prizes, offers, passwords, or gifts, so no single word settles the question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .core import Draw, Generator
from .grammar import load_grammar

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]
CUES = (
    "free", "win", "won", "winner", "prize", "claim", "cash", "loan", "lottery", "bonus", "offer", "sale", "guaranteed", "urgent",
    "password", "verify", "bank", "card", "account", "invoice", "fee", "charge", "congratulations", "money", "click", "link", "reply",
)
_OFFICIAL = {"payment", "offer", "account", "order", "collect"}
_MEETING = {"work", "club", "invite", "travel", "fair", "family"}


@dataclass(frozen=True)
class Letter:
    """The parts of a letter; ``text`` puts them together. ``sentences[key]`` is the one that states the matter."""

    topic: str
    subject: str
    greeting: str
    sentences: list[str]
    key: int
    bye: str

    @property
    def text(self) -> str:
        return f"Subject: {self.subject}\n\n{self.greeting}\n{' '.join(self.sentences)}\n{self.bye}"


def cues(text: str) -> list[str]:
    """Return the words of ``text`` that stand in ``CUES`` (words that spam filters watch), in their order, lower-cased.

    They are hints, not proof: honest mail about a prize at the fair shows them too. The truth is the column ``spam``.
    """
    words = (word.strip(".,!?;:()\"'") for word in text.lower().split())
    return [word for word in words if word in CUES]


def circumstances(draw: Draw) -> dict[str, str]:
    """Draw the people, places, days, and sums that one document speaks of, as slots for its frames."""
    rng, town = draw.rng, draw.town
    reader, writer, friend, other = rng.sample(town.people, 4)
    day, day2 = rng.sample(DAYS, 2)
    hour = rng.randint(7, 20)
    return {
        "person": reader.name, "first": reader.first, "last": reader.last, "title": "Ms." if reader.woman else "Mr.",
        "mefull": writer.name, "me": writer.first,
        "friend": friend.first, "fshe": friend.she, "fher": friend.her, "fhis": friend.hers, "other": other.first,
        "town": town.name, "river": town.river, "street": rng.choice(town.streets), "village": rng.choice(town.villages),
        "day": day, "day2": day2, "date": f"{rng.choice(MONTHS)} {rng.randint(1, 28)}",
        "time": f"{hour}:{rng.choice(('00', '15', '30', '45'))}" if rng.random() < 0.6 else f"{hour % 12 or 12} o'clock",
        "small": f"${rng.choice((rng.randint(3, 60), rng.randint(12, 99), rng.randint(3, 30) * 5))}",
        "big": f"${rng.choice((rng.randint(1, 9) * 100, rng.randint(1, 40) * 500, rng.randint(1, 90) * 10000)):,}",
        "num": str(rng.randint(1000, 99999)), "phone": f"555-0{rng.randint(100, 199)}",
    }


def letter(draw: Draw, spam: bool, context: dict[str, str] | None = None, topic: str | None = None) -> Letter:
    """Write one letter. ``context`` overrides slots of ``circumstances``; ``topic`` fixes the subject matter."""
    grammar = load_grammar("mail")
    kind = "spam" if spam else "ham"
    topic = topic or draw.write(grammar, f"{kind}_topics")
    slots = circumstances(draw) | (context or {})
    slots["it"] = draw.write(grammar, f"{topic}_it", **slots)

    def say(section: str) -> str:
        return draw.write(grammar, section, **slots)

    # Some spam is dressed as a private letter: its greeting, subject, and signature are those of honest mail.
    dressed = spam and (topic == "friendly" or draw.chance(0.15))
    frames = grammar.frames(f"{topic}_more", draw.split)
    frames = draw.some(frames, min(len(frames), draw.pick((1, 2, 2, 3))))
    sentences = [say("hello")] if draw.chance(0.2 if spam and not dressed else 0.35) else []
    key = len(sentences)
    sentences.append(say(f"{topic}_open"))
    sentences += [grammar.fill(frame, draw.rng, slots, draw.split) for frame in frames]
    if spam:
        push = [say("spam_push")] if draw.chance(0.2 if dressed else 0.45) else []
        ask = [say("spam_ask")] if draw.chance(0.5 if topic == "friendly" else 0.8) or not push else []
        sentences += push + ask if draw.chance(0.5) else ask + push
    elif draw.chance(0.75):
        sentences.append(say("ham_meet" if topic in _MEETING and draw.chance(0.5) else "ham_end"))
    if draw.chance(0.3 if spam and not dressed else 0.06):
        sentences = [s[:-1] + "!" if s.endswith(".") and draw.chance(0.5) else s for s in sentences]
    private = not spam or dressed
    official = topic in _OFFICIAL and draw.chance(0.4)
    return Letter(
        topic,
        say("plain_subject" if draw.chance(0.6 if dressed else 0.25) else f"{topic}_subject"),
        say("ham_greeting" if private and not (official and draw.chance(0.4)) else "spam_greeting"),
        sentences,
        key,
        say("office_bye" if official else "ham_bye" if private else "spam_bye").replace("|", "\n"),
    )


def make(draw: Draw, spam_share: float = 0.5) -> dict[str, Any]:
    """Return one row: a letter with its subject line, its label, and its topic."""
    spam = draw.chance(spam_share)
    mail = letter(draw, spam)
    return {"text": mail.text, "spam": int(spam), "topic": mail.topic, "subject": mail.subject}


GENERATORS = [
    Generator(
        name="mail",
        summary="letters of the town, honest or spam",
        columns={
            "text": "subject line, greeting, two to seven sentences, sign-off",
            "spam": "1 if the letter is spam, else 0 (the truth, without noise)",
            "topic": "what the letter is about, such as work, fair, prize, or loan",
            "subject": "the subject line alone",
        },
        make=make,
        pretrained=True,
        label="spam",
        knobs={"spam_share": "share of spam, 0 to 1 (default 0.5)"},
    )
]
