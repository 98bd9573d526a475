"""The kitchen behind the recipes: an oracle that reads a recipe and says what is wrong with it.

The oracle knows no template. It reads the method clause by clause (an action word, what it acts on, the vessel it names), and walks
through it with a few rules of cooking: the oven is heated before anything bakes, nothing fries without fat, nothing simmers without
liquid, nothing is cut once it is in the pan, "the pan" must have been "a pan" before, raw meat is not served, and serving ends it all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .larder import FATS, GENERIC, LIQUIDS, PANTRY, PARTS, PRODUCTS, larder, mention

_KINDS = {
    "prep": "peel wash rinse trim chop slice dice cut grate mince crush bruise shred core pit tear halve pat "
    "break crumble pound split pick clean shell score sort",
    "beat": "beat whisk whip",
    "melt": "melt",
    "heat": "heat warm preheat",
    "fry": "fry brown soften sear sweat stir-fry",
    "toast": "toast",
    "cook": "cook",
    "boil": "boil poach blanch steam bring",
    "simmer": "simmer",
    "bake": "bake roast",
    "grill": "grill",
    "add": "add put pour tip place lay spoon spread fold toss scatter sprinkle drop arrange layer squeeze mix combine rub brush fill line "
    "cover dot tuck ladle press slide thread wrap marinate soak dissolve grease top finish sharpen thin dress lower slip "
    "splash throw crack stuff drizzle strew heap dust",
    "stir": "stir",
    "drain": "drain",
    "lift": "lift remove take strain",
    "blend": "blend",
    "chill": "chill",
    "rest": "cool rest",
    "turn": "turn",
    "other": "season taste keep reduce roll let leave shake tilt separate set swirl scrape check skim carve light start bubble try dry",
    "serve": "serve",
}
VERBS = {verb: kind for kind, verbs in _KINDS.items() for verb in verbs.split()}
# Adjectives, nouns or helpers as well as actions: actions only when an object follows.
_AMBIGUOUS = set("brown heat warm cool rest set cover fold cut slice soften thin top dress light roll".split())
_OBJECT = set("the a an it them both each everything one half in with on together and for gently slowly up well".split())
_OPENERS = set(", ; : and then now next first finally meanwhile last or".split())
_PREPOSITIONS = set("over on in into to under around from through at for onto inside between by beside without".split())
_CONJUNCTIONS = set("until when once while as so if because after before that which".split())
VESSELS = set("pan pot bowl wok mortar tin dish steamer skewers oven basin".split())
_DETERMINERS = {"the": True, "a": False, "an": False, "another": False, "some": False}
_CUTS = set("chop slice dice cut mince grate crush shred pound".split())
HEATING = {"fry", "cook", "boil", "simmer", "bake", "grill", "toast"}
# An action needs one of these to have happened before it.
_NEEDS = {
    "drain": ({"boil", "cook", "simmer", "fry", "prep", "soak"}, "before anything is wet"),
    "blend": ({"simmer", "boil", "cook"}, "before anything is cooked"),
    "fold": ({"beat", "cook", "fry", "bake"}, "before anything is beaten or cooked"),
    "turn": ({"cook", "fry", "grill", "pour", "ladle"}, "before anything is cooking"),
    "chill": ({"beat", "stir", "mix", "fold"}, "before anything is mixed"),
    "rest": (HEATING | {"beat", "mix", "stir", "marinate"}, "before there is anything to leave alone"),
    "grill": ({"thread", "marinate", "rub", "brush"}, "before anything is ready for the fire"),
    "serve": (HEATING | {"chill", "toss", "mix"}, "before anything is made"),
    "carve": ({"bake"}, "before the roast is done"),
}
# Once this has happened, these come too late.
_TOO_LATE = {
    "bake": {"beat", "fry", "cook", "simmer", "boil", "melt", "preheat", "blend", "line", "grease", "heat", "thin"},
    "simmer": {"fry", "beat", "brown"},
    "blend": {"fry", "boil", "simmer", "cook", "prep-main"},
    "chill": {"beat", "fry", "cook", "fold", "stir", "melt", "simmer", "boil", "prep-main", "separate"},
    "toss": {"wash", "rinse"},
    "cool": {"bake", "fry", "cook", "simmer"},
    "grill": {"marinate", "thread", "pound", "toss", "rub"},
    "thread": {"marinate", "rub", "toss", "mix", "stir"},
    "squeeze": {"cook", "simmer", "boil", "fry"},
}
_ONCE = {"preheat", "bake", "blend", "serve", "chill", "simmer", "grill", "drain", "separate", "steam", "poach"}
_RAW_GROUPS = {"meat", "fish", "pastry", "pulse", "noodles", "rice"}
_RAW = {"potato", "flour", "shrimp", "squid", "curry paste"}
# Verbs that need something to go into, when no vessel is named.
_INTO = set("splash throw tip pour sprinkle scatter add crack drop slip slide stir fold dust strew cover top".split())
_AFTER_OVEN = {"herb", "fruit", "nut", "sweet", "season"}
_GARNISH = {"herb", "fruit", "nut", "sweet", "season", "cheese", "fat", "cream"}


@dataclass
class Event:
    """One action of a method: its verb and kind, what it acts on, with, and towards, what it takes for granted, its vessels and words."""

    verb: str
    kind: str
    direct: list[str] = field(default_factory=list)
    it: list[str] = field(default_factory=list)
    using: list[str] = field(default_factory=list)
    toward: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    vessels: list[tuple[str, bool]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    @property
    def theme(self) -> list[str]:
        """What is moved or cooked: "sprinkle with the sugar" moves the sugar."""
        return self.direct + self.it + (self.using if self.kind != "serve" else [])

    @property
    def things(self) -> list[str]:
        return self.direct + self.it + self.using + self.toward

    def absorb(self, other: Event) -> None:
        """Take over what stood before the verb: "In a pan, melt the butter"."""
        self.toward += other.things
        self.assumed += other.assumed
        self.vessels += other.vessels
        self.words += other.words


@dataclass(frozen=True)
class Verdict:
    """What the oracle found: ``valid`` if there are no ``problems``."""

    valid: bool
    problems: list[str]


def events(method: str) -> list[list[Event]]:
    """Read a method into its actions, sentence by sentence."""
    found: list[list[Event]] = []
    for sentence in re.split(r"[.!?]+", method):
        if sentence.strip():
            found.append(_read(_tokens(sentence), found[-1][-1] if found and found[-1] else None))
    return found


def _tokens(sentence: str) -> list[str]:
    pattern, spelled = mention()
    marked = pattern.sub(lambda m: "<" + spelled[m.group(1)].replace(" ", "_") + ">", sentence.lower())
    return re.findall(r"<[a-z_]+>|[a-z]+(?:-[a-z]+)*|\d+|[,;:]", marked)


def _acts(tokens: list[str], i: int, opening: bool) -> bool:
    if tokens[i] not in VERBS or not opening:
        return False
    following = tokens[i + 1] if i + 1 < len(tokens) else ""
    return tokens[i] not in _AMBIGUOUS or following in _OBJECT or following.startswith("<")


def _read(tokens: list[str], before: Event | None) -> list[Event]:
    out: list[Event] = []
    current, opening, mode, letting = Event("", "none"), True, "direct", False
    for i, token in enumerate(tokens):
        let_verb = letting and token in VERBS and tokens[i - 1] not in ("the", "a", "low", "to")
        if let_verb or _acts(tokens, i, opening):
            fresh = Event(token, VERBS[token])
            if let_verb and current.verb in ("let", "leave"):
                # "Let the soup simmer": the action is the second verb, and its object stands before it.
                fresh.direct, fresh.it, fresh.assumed = current.direct, current.it, current.assumed
                fresh.vessels, fresh.words = current.vessels, current.words
            elif current.kind == "none":
                fresh.absorb(current)
            else:
                out.append(current)
            current, mode, opening, letting = fresh, "direct", False, token in ("let", "leave")
            continue
        opening = token in _OPENERS or (opening and token.endswith("ly"))
        current.words.append(token)
        if token in ",;:":
            letting = False
            mode = "direct" if mode == "assumed" else mode
        elif token in _CONJUNCTIONS:
            mode, letting = "assumed", False
        elif token == "with" and mode != "assumed":
            mode = "using"
        elif token in _PREPOSITIONS and mode != "assumed":
            # "Stir in the cream", "pour in the wine": the particle leaves the object direct.
            mode = mode if token in ("in", "over", "on") and current.kind != "none" and current.words == [token] else "toward"
        elif token == "and" and mode == "toward" and current.kind != "none" and tokens[i + 1 : i + 2] == ["the"]:
            mode = "toward"
        elif token.startswith("<"):
            getattr(current, mode).append(token.strip("<>").replace("_", " "))
        elif token in ("it", "them") and mode == "direct" and not current.direct and current.kind != "none":
            previous = out[-1] if out else before
            current.it += (previous.direct or previous.theme) if previous else []
        if token in VESSELS:
            current.vessels.append((token, _definite(tokens, i)))
    out.append(current)
    # "Peel and chop the onion": the first verb shares the object of the second.
    for first, second in zip(out, out[1:]):
        if first.words == ["and"]:
            first.direct, first.it = list(second.direct), list(second.it)
    return out


def _definite(tokens: list[str], i: int) -> bool:
    for token in reversed(tokens[max(0, i - 3) : i]):
        if token in _DETERMINERS:
            return _DETERMINERS[token]
    return False


class _Walk:
    """The state of the kitchen while a method is read, and the problems met."""

    def __init__(self, listed: set[str]):
        self.listed = listed
        self.problems: list[str] = []
        self.done: set[str] = set()
        self.touched: set[str] = set()
        self.vessels: set[str] = set()
        self.vessel = ""
        self.placed: dict[str, set[str]] = {}
        self.cut: set[str] = set()
        self.cooked: set[str] = set()
        self.acted: set[tuple[str, str]] = set()

    def blame(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def step(self, event: Event) -> None:
        """Judge one action and carry it out."""
        if "oven" in (name for name, _ in event.vessels) and (event.verb in ("heat", "preheat", "turn") or "heating" in event.words):
            event.kind = event.verb = "preheat"
        elif "oven" in (name for name, _ in event.vessels) and event.kind == "add":
            event.kind = "bake"
        self._names(event)
        if event.kind == "none":
            return
        if "serve" in self.done:
            self.blame(f'"{event.verb}" comes after serving')
        self._order(event)
        somewhere = event.vessels or event.toward or self.vessel or any(self.placed.values())
        if event.verb in _INTO and event.theme and not somewhere:
            self.blame(f'"{event.verb}" comes before there is anything to put it in')
        for name in event.theme:
            self._move(event, name)
        self._cook(event)
        self.done |= {event.kind, event.verb}
        self.touched |= set(event.things)

    def _names(self, event: Event) -> None:
        for name in event.things + event.assumed:
            groups = GENERIC.get(name)
            if groups and not any(larder()[item].group in groups for item in self.listed):
                self.blame(f"no {name} is listed")
            elif not groups and PARTS.get(name, name) not in self.listed | PANTRY:
                self.blame(f"{name} is not listed")
        for name in event.assumed:
            if name not in self.touched | set(event.things) | PANTRY | set(GENERIC):
                self.blame(f"{name} is spoken of before it is used")
        for word in event.words:
            if any(not (self.touched | set(event.things)) & set(makings) for makings in PRODUCTS.get(word, ())):
                self.blame(f"there is no {word} yet")
        for vessel, definite in event.vessels:
            if definite and vessel != "oven" and vessel not in self.vessels:
                self.blame(f'"the {vessel}" comes before any {vessel}')
            if not definite:
                self.vessels.add(vessel)
            self.vessel = vessel

    def _order(self, event: Event) -> None:
        for key in {event.kind, event.verb}:
            needs, why = _NEEDS.get(key, (None, ""))
            if needs and not needs & self.done and not (key == "rest" and event.assumed):
                self.blame(f'"{event.verb}" comes {why}')
            if key in _ONCE and key in self.done:
                self.blame(f'"{event.verb}" is done twice')
        main = event.kind == "prep" and any(larder()[n].group not in _GARNISH for n in event.direct + event.it if n in larder())
        acts = {event.kind, event.verb} | ({"prep-main"} if main else set())
        for past, late in _TOO_LATE.items():
            if past in self.done and late & acts:
                self.blame(f'"{event.verb}" comes after "{past}"')
        in_reach = self.touched | set(event.things)
        if event.kind in ("fry", "cook") and not self.vessels & {"pan", "pot", "wok"}:
            self.blame(f'"{event.verb}" comes before any pan or pot')
        wet = in_reach & (LIQUIDS | {"water"})
        if event.kind == "bake" and "preheat" not in self.done:
            self.blame("the oven is not heated yet")
        if event.kind in ("fry", "cook") and not in_reach & FATS and not wet:
            self.blame(f'"{event.verb}" comes before any fat is in')
        if event.kind == "fry" and self.touched & {"broth", "white wine", "red wine", "cider"}:
            self.blame(f'"{event.verb}" comes after the liquid is in')
        if event.kind in ("simmer", "boil") and event.verb != "steam" and not wet:
            self.blame(f'"{event.verb}" comes before any liquid is in')
        if event.verb == "steam" and not ("water" in in_reach and "steamer" in self.vessels):
            self.blame("nothing steams without water and a steamer")
        if "separate" not in self.done and set(PARTS) & set(event.things):
            self.blame("yolks and whites come before the eggs are separated")
        # Onions soften and roots cook before the cream goes in and before all of it simmers.
        late = {"aromatic"} if self.vessel and any(self.vessel in self.placed.get(n, ()) for n in ("cream", "milk")) else set()
        late |= {"aromatic", "root"} if "simmer" in self.done else set()
        for name in event.direct + event.it if event.kind in ("add", "stir", "fry", "cook") else ():
            if name in larder() and larder()[name].group in late:
                self.blame(f"{name} goes in after the liquid")

    def _move(self, event: Event, name: str) -> None:
        if event.kind in ("prep", "beat"):
            if name in self.placed and event.verb != "crumble":
                self.blame(f"{name}: \"{event.verb}\" comes after it is in")
            deed = "cut" if event.verb in _CUTS else event.verb
            if (deed, name) in self.acted:
                self.blame(f"{name}: \"{event.verb}\" is done twice")
            self.acted.add((deed, name))
        elif event.kind in ("lift", "drain"):
            self.placed.pop(name, None)
        elif event.kind == "melt":
            if ("melt", name) in self.acted:
                self.blame(f"{name} is melted twice")
            self.acted.add(("melt", name))
            self.placed.setdefault(name, set()).add(self.vessel or "hand")
        elif name in event.it and name not in event.direct + event.using:
            # "It" may be what became of the ingredient: the filled tart, the sauce.
            self.placed.setdefault(name, set())
        elif event.kind == "add" or (event.kind == "stir" and event.words[:1] in (["in"], ["<" + name + ">"])):
            where = self.vessel or "hand"
            if where in self.placed.get(name, ()) and name not in PANTRY | set(GENERIC):
                self.blame(f"{name} is added twice")
            self.placed.setdefault(name, set()).add(where)
            if "bake" in self.done and name in larder() and (larder()[name].group not in _AFTER_OVEN or event.vessels):
                self.blame(f"{name} is added after the baking")
            if "blend" in self.done and name in larder() and larder()[name].group not in _GARNISH:
                self.blame(f"{name} is added after the blending")
        elif event.kind in HEATING - {"toast"}:
            self.placed.setdefault(name, set())

    def _cook(self, event: Event) -> None:
        if event.kind in HEATING:
            self.cooked |= self.touched | set(event.things)
        if event.kind != "serve":
            return
        raw = [n for n in self.touched if n in larder() and n not in self.cooked and (larder()[n].group in _RAW_GROUPS or n in _RAW)]
        for name in sorted(raw):
            self.blame(f"{name} is served raw")


def read_recipe(text: str) -> tuple[str, list[str], str] | None:
    """Return a recipe's title, listed ingredients by name, and method; None if it has not these three parts."""
    match = re.match(r"\s*(.+?)\s*\nIngredients:(.*?)\nMethod:(.*)$", text, re.DOTALL)
    if not match:
        return None
    title, listing, method = match.groups()
    pattern, spelled = mention()
    named = [[spelled[m.group(1)] for m in pattern.finditer(item.lower())] for item in listing.split(",")]
    return title, [names[-1] for names in named if names], method.strip()


def check(text: str) -> Verdict:
    """Judge a recipe of either cuisine from its text alone, title line to last sentence.

    Returns a Verdict; ``problems`` names, in plain words, each ingredient that is used but not listed or listed but not used, each
    step that comes too early, too late or twice, and a method that is empty, breaks off, or does not end by serving.
    Salt, pepper and water need not be listed.
    """
    parts = read_recipe(text)
    if parts is None:
        return Verdict(False, ["it has no title, ingredients and method"])
    title, listed, method = parts
    walk = _Walk(set(listed))
    if len(set(listed)) < len(listed):
        walk.blame("an ingredient is listed twice")
    if not method:
        return Verdict(False, ["the method is empty"])
    if not re.search(r"[.!?]$", method):
        walk.blame("it breaks off")
    pattern, spelled = mention()
    for name in (spelled[m.group(1)] for m in pattern.finditer(title.lower())):
        if name in larder() and name not in listed:
            walk.blame(f"{name} of the title is not listed")
    sentences = events(method)
    for sentence in sentences:
        for event in sentence:
            walk.step(event)
    written = [s.strip().lower() for s in re.split(r"[.!?]+", method) if s.strip()]
    for sentence in sorted({s for s in written if written.count(s) > 1}):
        walk.blame(f"it says twice: {sentence}")
    used = {PARTS.get(spelled[m.group(1)], spelled[m.group(1)]) for m in pattern.finditer(method.lower())}
    for name in listed:
        if name not in used | PANTRY:
            walk.blame(f"{name} is listed but not used")
    if not sentences or not any(event.kind == "serve" for event in sentences[-1]):
        walk.blame("it does not end by serving")
    return Verdict(not walk.problems, walk.problems)
