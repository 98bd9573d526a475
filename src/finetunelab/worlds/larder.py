"""What there is to cook with in the two kitchens, and how a text names it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from .english import plural

# name = amounts @ ways to cut it. A bare number counts pieces ("2 onions"); a unit makes a quantity ("30 g butter").
_BOTH = """
aromatic: onion = 1,2 @ bulb; shallot = 2,3,4 @ bulb; garlic = 1 clove,2 cloves,3 cloves @ clove
root: carrot = 2,3,4 @ root; cabbage = 300 g,400 g @ leafy; pumpkin = 500 g,600 g @ root
green: eggplant = 1,2 @ soft; cucumber = 1 @ soft; tomato = 2,3,4 @ soft; mushrooms = 150 g,200 g,250 g @ soft; spinach = 200 g,300 g @ wash
meat: chicken = 400 g,500 g,600 g @ meat; beef = 400 g,500 g,600 g @ meat; pork = 400 g,500 g,600 g @ meat; duck = 500 g,600 g @ meat
egg: egg = 2,3,4
sweet: sugar = 40 g,50 g,60 g,80 g
liquid: broth = 500 ml,600 ml,750 ml
"""
_FRENCH = """
aromatic: leek = 1,2,3 @ leek
root: potato = 3,4,5,6 @ root; turnip = 2,3,4 @ root; beet = 2,3 @ root; fennel = 300 g,400 g @ soft
root: celery = 200 g,250 g @ soft; cauliflower = 400 g,500 g @ leafy
green: zucchini = 300 g,400 g @ soft; peas = 200 g,300 g @ wash; green beans = 200 g,300 g @ trim; asparagus = 300 g,400 g @ trim
green: lettuce = 150 g,200 g @ wash; endive = 2,3,4 @ wash; radish = 6,8,10 @ trim
pulse: lentils = 200 g,250 g,300 g; white beans = 250 g,300 g
meat: lamb = 500 g,600 g,700 g @ meat; veal = 400 g,500 g @ meat; rabbit = 600 g,800 g @ meat
cured: ham = 80 g,100 g,120 g @ strips; bacon = 80 g,100 g,150 g @ strips
fish: cod = 400 g,500 g @ fish; salmon = 400 g,500 g @ fish; trout = 400 g,500 g @ fish; sole = 400 g,500 g @ fish
fish: hake = 400 g,500 g @ fish
fat: butter = 20 g,30 g,40 g,50 g; olive oil = 2 spoons,3 spoons
herb: thyme = 2 sprigs,3 sprigs; parsley = 10 g,20 g @ herb; tarragon = 10 g,15 g @ herb; chives = 10 g,15 g @ herb
herb: chervil = 10 g,15 g @ herb
herb: rosemary = 1 sprig,2 sprigs; sage = 5 g,10 g @ herb; bay leaf = 1,2
cream: cream = 100 ml,150 ml,200 ml; milk = 200 ml,250 ml,300 ml
liquid: white wine = 100 ml,150 ml,200 ml; red wine = 200 ml,300 ml; cider = 150 ml,200 ml,300 ml
cheese: cheese = 60 g,80 g,100 g,120 g; goat cheese = 80 g,100 g,120 g
dry: flour = 60 g,80 g,100 g,125 g
pastry: pastry = 200 g,250 g,300 g
season: mustard = 1 spoon,2 spoons; vinegar = 1 spoon,2 spoons; nutmeg = 1 pinch; capers = 20 g,30 g; olives = 50 g,60 g,80 g
sweet: honey = 2 spoons,3 spoons; vanilla = 1 pinch,2 pinches; chocolate = 100 g,150 g,200 g @ break; almonds = 40 g,50 g,60 g
nut: walnuts = 40 g,50 g,60 g
fruit: lemon = 1; apple = 3,4,5 @ fruit; pear = 3,4 @ fruit; cherries = 300 g,400 g @ stone; plums = 300 g,400 g @ stone
fruit: apricots = 300 g,400 g @ stone; strawberries = 200 g,250 g @ wash; raspberries = 150 g,200 g
"""
_THAI = """
aromatic: ginger = 20 g,30 g @ rhizome; galangal = 20 g,30 g @ rhizome; lemongrass = 1 stalk,2 stalks,3 stalks @ stalk
chili: chili = 1,2,3,4 @ chili; lime leaf = 3,4,5 @ leaf
paste: red curry paste = 2 spoons,3 spoons; green curry paste = 2 spoons,3 spoons; yellow curry paste = 2 spoons,3 spoons
season: fish sauce = 1 spoon,2 spoons,3 spoons; soy sauce = 1 spoon,2 spoons,3 spoons; oyster sauce = 1 spoon,2 spoons,3 spoons
season: tamarind = 2 spoons,3 spoons; turmeric = 1 pinch,2 pinches; cumin = 1 pinch,2 pinches; shrimp paste = 1 spoon
liquid: coconut milk = 200 ml,300 ml,400 ml
fat: oil = 1 spoon,2 spoons,3 spoons
sweet: palm sugar = 1 spoon,2 spoons,3 spoons
rice: rice = 200 g,250 g,300 g; sticky rice = 200 g,250 g
noodles: rice noodles = 150 g,200 g,250 g; glass noodles = 100 g,150 g,200 g; egg noodles = 150 g,200 g,250 g
green: bean sprouts = 100 g,150 g @ sprout; long beans = 100 g,150 g,200 g @ bean; bamboo shoots = 100 g,150 g @ sprout
green: baby corn = 100 g,150 g @ bean
green: bok choy = 200 g,250 g @ bean; papaya = 1 @ shred
herb: basil = 10 g,15 g,20 g @ tear; coriander = 10 g,15 g @ tear; mint = 10 g,15 g @ tear
herb: spring onion = 2,3,4 @ bean
nut: peanuts = 30 g,40 g,50 g; cashews = 30 g,40 g,50 g; sesame seeds = 1 spoon,2 spoons
fruit: lime = 1,2,3; mango = 1,2 @ tropical; pineapple = 200 g,300 g @ tropical; banana = 3,4,5 @ tropical
fish: sea bass = 500 g,600 g @ score; catfish = 500 g,600 g @ score; tilapia = 500 g,600 g @ score
fish: shrimp = 200 g,250 g,300 g @ shell; squid = 200 g,250 g,300 g @ ring; crab = 150 g,200 g
tofu: tofu = 200 g,250 g,300 g @ block
"""
LIQUIDS = {"broth", "white wine", "red wine", "cider", "cream", "milk", "coconut milk"}
FATS = {"butter", "olive oil", "oil"}
# Always at hand, so a method may use them unlisted.
PANTRY = {"salt", "pepper", "water"}
# Words that stand for any ingredient of a group; a method that says "the fish" needs a fish on its list.
GENERIC = {"fish": ("fish",), "meat": ("meat", "cured"), "herbs": ("herb",), "fruit": ("fruit",)}
# Parts of an ingredient, and things that a cook makes: each from one of every group.
PARTS = {"yolks": "egg", "whites": "egg"}
PRODUCTS = {
    "batter": (("flour",), ("milk", "cream")), "foam": (("whites",),), "dressing": (("vinegar", "lemon", "lime"),), "crepe": (("flour",),),
    "crepes": (("flour",),), "custard": (("egg",),), "tart": (("pastry",),), "omelette": (("egg",),), "filling": (("pastry",),),
    "marinade": (("palm sugar",),), "powder": (("rice",),), "paste": (("garlic", "chili"),),
}


@dataclass(frozen=True)
class Ingredient:
    """One thing to cook with: its group, the amounts it comes in, the way it is cut, the cuisines that use it."""

    name: str
    group: str
    amounts: tuple[str, ...]
    cut: str
    cuisines: tuple[str, ...]


@lru_cache(maxsize=1)
def larder() -> dict[str, Ingredient]:
    """Return every ingredient of both cuisines by name."""
    found: dict[str, Ingredient] = {}
    for table, cuisines in ((_BOTH, ("french", "thai")), (_FRENCH, ("french",)), (_THAI, ("thai",))):
        for line in table.strip().splitlines():
            group, _, entries = line.partition(": ")
            for entry in entries.split("; "):
                name, _, rest = entry.partition(" = ")
                amounts, _, cut = rest.partition(" @ ")
                found[name] = Ingredient(name, group, tuple(amounts.split(",")), cut.strip(), cuisines)
    return found


def singular(name: str) -> str:
    """Return an ingredient in the singular: "plum" for "plums"."""
    if not many(name):
        return name
    return name[:-3] + "y" if name.endswith("ies") else name[:-1]


def many(name: str) -> bool:
    """Return whether the name is a plural."""
    return name.endswith("s") and not name.endswith("ss") and name != "asparagus"


def forms(name: str) -> set[str]:
    """Return the spellings of an ingredient, singular and plural."""
    return {name, singular(name) if many(name) else plural(name)}


@lru_cache(maxsize=1)
def mention() -> tuple[re.Pattern, dict[str, str]]:
    """Return the pattern that finds every mention of a larder item in lower-case text, and the item each spelling stands for."""
    spelled = {form: name for name in larder() for form in forms(name)}
    spelled.update({word: word for word in PANTRY})
    spelled.update({word: word for word in (*GENERIC, *PARTS)})
    longest_first = sorted(spelled, key=len, reverse=True)
    return re.compile(r"\b(" + "|".join(map(re.escape, longest_first)) + r")\b"), spelled


def ingredients_used(text: str) -> list[str]:
    """Return the ingredients that a text mentions, of either cuisine, by name, in order of first mention; salt, pepper and water aside."""
    pattern, spelled = mention()
    names = [PARTS.get(spelled[m.group(1)], spelled[m.group(1)]) for m in pattern.finditer(text.lower())]
    return [n for n in dict.fromkeys(names) if n in larder()]


# Tools and techniques that belong to one kitchen; shared ones (pan, chop, simmer) tell nothing.
_MARKS = {
    "french": set("oven bake roast degrees whisk poach tin gratin omelette tart crepes mousse custard stew".split()),
    "thai": set("wok mortar pestle stir-fry steamer skewers curry charcoal pound".split()),
}


def cuisine_share(text: str) -> float:
    """Return how Thai a text is: of its words that belong to one kitchen only, the share that is Thai, from 0 (French) to 1 (Thai).

    Each mention of an ingredient, tool or technique of one kitchen counts; those of both (onion, salt, pan) do not. Without any, 0.5.
    """
    lowered = text.lower()
    pattern, spelled = mention()
    items = [larder().get(spelled[m.group(1)]) for m in pattern.finditer(lowered)]
    votes = [item.cuisines[0] for item in items if item and len(item.cuisines) == 1]
    words = re.findall(r"[a-z-]+", pattern.sub(" ", lowered))
    votes += [cuisine for word in words for cuisine, marks in _MARKS.items() if word in marks]
    return votes.count("thai") / len(votes) if votes else 0.5
