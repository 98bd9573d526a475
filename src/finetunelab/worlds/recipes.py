"""French recipes, which the base is pretrained on, and Thai ones, which it never saw.

A dish is a plan: steps in an order that cooking allows, some of them free to swap, some of them optional. Each step is a section of
``text/recipes_french.txt`` or ``text/recipes_thai.txt``. The ingredients stand in the order of their use, as cookbooks have them.
``check`` is the oracle: it reads a recipe, generated or sampled from a model, and lists what is wrong with it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .core import Draw, Generator
from .english import capital, plural
from .grammar import load_grammar
from .kitchen import Verdict, check
from .larder import cuisine_share, ingredients_used, larder, many, mention, singular

_PREP = {
    "bulb": "chop {x}|peel and chop {x}|slice {x}|chop {x} finely|peel and slice {x}|cut {x} into thin slices",
    "clove": "crush {x}|peel and crush {x}|chop {x} finely|slice {x} thinly|peel and slice {x}",
    "root": "peel and slice {x}|peel and chop {x}|peel {x} and cut {it} into small pieces|peel {x} and cut {it} into cubes",
    "leek": "wash and slice {x}|trim and slice {x}|wash {x} and cut {it} into rings",
    "soft": "slice {x}|cut {x} into cubes|chop {x} roughly|wash and slice {x}|cut {x} into small pieces|wash and chop {x}",
    "leafy": "wash {x} and cut {it} into pieces|trim {x} and cut {it} into pieces|wash and chop {x}",
    "wash": "wash {x}|wash {x} well|wash {x} and pat {it} dry|rinse {x} in cold water",
    "trim": "trim {x}|wash and trim {x}|trim {x} and cut {it} in half|wash {x} and trim the ends",
    "meat": "cut {x} into large pieces|cut {x} into cubes|cut {x} into thick strips|trim {x} and cut {it} into pieces",
    "strips": "cut {x} into strips|cut {x} into small cubes|chop {x}",
    "fish": "pat {x} dry|wash {x} and pat {it} dry|pat {x} dry with a cloth",
    "herb": "chop {x}|chop {x} finely|wash and chop {x}",
    "cubes": "cut {x} into cubes|tear {x} into small pieces|cut {x} into thin slices",
    "fruit": "peel and slice {x}|peel and core {x}|peel {x} and cut {it} into thin slices|peel {x} and cut {it} into quarters",
    "stone": "wash and pit {x}|pit {x}|wash {x} and take out the stones",
    "rhizome": "peel and slice {x}|cut {x} into thin coins|slice {x} into coins|peel {x} and cut {it} into fine threads",
    "stalk": "bruise {x} with the back of a knife|cut {x} into short lengths|slice {x} very thinly|trim {x} and bruise the white part",
    "chili": "slice {x} into thin rings|split and seed {x}|cut {x} into thin threads|slice {x} at an angle",
    "leaf": "tear {x} into strips|tear {x} along the middle|crush {x} lightly in your hand",
    "sprout": "rinse {x} under the tap|rinse and sort {x}|pick over and rinse {x}",
    "bean": "cut {x} into finger lengths|cut {x} into short lengths|slice {x} at an angle|rinse and slice {x}",
    "tear": "pick the leaves off {x}|tear {x} by hand|pick and rinse {x}",
    "shred": "peel and shred {x}|peel {x} and shred {it} into long threads|peel {x} and cut {it} into matchsticks",
    "tropical": "peel {x} and cut {it} into bite-sized chunks|peel and cut up {x}|peel {x} and slice {it} at an angle",
    "score": "rinse {x} and score both sides|score {x} to the bone on both sides|rinse {x}, dry {it}, and cut slits in the skin",
    "shell": "shell {x} and leave the tails on|peel {x} and slit the backs|shell and clean {x}",
    "ring": "clean {x} and cut {it} into rings|rinse {x} and cut {it} into rings|clean {x} and score the inside",
    "block": "cut {x} into bite-sized blocks|pat {x} dry and cut {it} into blocks|cut {x} into neat blocks",
    "break": "break {x} into pieces|chop {x}|break {x} into small bits",
}
# dish | titles | slots | plan. In a title {veg} is "carrots" and {veg_a} "carrot", as in "carrot soup"; ":slot" asks for that slot.
# A slot is drawn from its list ("egg:3/4" gives its amounts); with "?" it may stay empty. In the plan "a+b" may come in either order,
# "step:slot" needs the slot, "step:slot/other" falls back on another step, "step?" is optional.
_FRENCH = """
soup | {veg_a} soup; Cream of {veg_a} soup:cream; {veg_a} soup with {herb}:herb; {veg_a} and {aromatic_a} soup; Country {veg_a}
  soup; {veg_a} soup with cream:cream | aromatic=onion,leek,shallot;
  veg=carrot,potato,pumpkin,cauliflower,celery,mushrooms,turnip,zucchini,peas,fennel,asparagus,cabbage; fat=butter,olive oil;
  broth=broth; cream?=cream; herb?=parsley,chives,chervil | prep_aromatic; soft_pot; soup_veg; soup_broth; soup_simmer;
  soup_blend; soup_cream:cream; soup_herb:herb/soup_serve

stew | {meat_a} stew; {meat} with {veg}; {meat} in {wine}; {meat_a} and {veg_a} stew; {meat} with {wine} and {herb}; Farmhouse
  {meat_a} stew | meat=beef,lamb,pork,veal,rabbit,chicken; veg=carrot,turnip,mushrooms,potato,celery,fennel;
  aromatic=onion,shallot,leek; fat=butter,olive oil; wine=red wine,white wine:300 ml,cider:300 ml,broth; herb=thyme,rosemary,bay
  leaf | prep_meat+prep_two; stew_brown; stew_veg; stew_wine; stew_simmer; stew_season?; stew_serve

omelette | {fill_a} omelette; Omelette with {fill}; Omelette with {fill} and {herb}:herb; Soft omelette with {fill}; {fill_a} and
  {herb} omelette:herb | egg=egg:3/4/5/6; fill=mushrooms,ham,spinach,tomato,bacon,potato,asparagus,zucchini,onion; fat=butter;
  cheese?=cheese:40 g/50 g,goat cheese:40 g/50 g; herb?=chives,parsley,chervil,tarragon | prep_fill+eggs_beat; omelette_fill;
  omelette_pour; omelette_cheese:cheese; omelette_herb:herb; omelette_serve

tart | {fill_a} tart; {fill_a} tart with {cheese}:cheese; Savory {fill_a} tart; {fill_a} and cream tart; Warm {fill_a} tart |
  fill=leek,onion,spinach,mushrooms,bacon,zucchini,tomato,asparagus; fat=butter; pastry=pastry; egg=egg; cream=cream;
  cheese?=cheese,goat cheese; spice?=nutmeg,thyme | oven; prep_fill; tart_soft; tart_line; tart_cream; tart_spice:spice;
  tart_cheese:cheese; tart_bake; tart_serve

gratin | {veg_a} gratin; Gratin of {veg}; {veg_a} gratin with {cheese}; {veg} baked in {cream}; Golden {veg_a} gratin |
  veg=potato,cauliflower,zucchini,fennel,turnip,pumpkin,celery; fat=butter; aromatic?=garlic,onion; cream=cream,milk;
  cheese=cheese,goat cheese; spice?=nutmeg,thyme | oven; prep_veg; gratin_dish; gratin_layer; gratin_aromatic:aromatic;
  gratin_cream:spice/gratin_plain; gratin_cheese; gratin_bake; gratin_serve

roast | Roast {meat}; Roast {meat} with {herb}; Roast {meat} with {veg}; {meat} roasted with {veg}; Sunday roast {meat} |
  meat=chicken,lamb,pork,duck,veal; veg=potato,carrot,onion,fennel,turnip,beet; fat=butter,olive oil; herb=thyme,rosemary,sage;
  aromatic?=garlic,lemon | oven+prep_veg; roast_rub; roast_tin; roast_tuck:aromatic; roast_bake; roast_rest; roast_serve

salad | {leaf_a} salad; {leaf_a} salad with {extra}; {veg_a} salad with {extra}; Salad of {leaf} and {veg}; {leaf_a} and {veg_a}
  salad | leaf=lettuce,endive,spinach; veg=tomato,cucumber,radish,beet,celery,fennel; sour=vinegar,lemon; fat=olive oil;
  season?=mustard; extra=walnuts,goat cheese,cheese,ham,olives; herb?=chives,parsley,chervil,tarragon | prep_leaf+prep_veg;
  salad_dressing; salad_mustard:season; salad_toss; salad_extra; salad_herb:herb; salad_serve

fish | Poached {fish}; {fish} in {wine}; {fish} with cream:cream; Poached {fish} with {herb}; {fish} with {aromatic} and {herb} |
  aromatic=shallot,leek,onion; fish=cod,salmon,trout,sole,hake; wine=white wine,cider,broth; cream?=cream; fat=butter;
  herb=parsley,chives,chervil,tarragon | prep_aromatic+prep_fish; soft_wide; fish_wine; fish_poach; fish_lift; fish_cream:cream;
  fish_serve

crepes | Crepes with {fill}; {fill_a} crepes; Thin crepes with {fill}; Sweet crepes with {fill}; Sunday crepes with {fill} |
  flour=flour:100 g/125 g; egg=egg; milk=milk; fat=butter; sugar?=sugar; fill=honey,strawberries,raspberries,lemon,chocolate,apple
  | crepes_mix; crepes_milk; crepes_rest; crepes_pan; crepes_cook; crepes_sugar:sugar; crepes_serve

custard | Baked custard; {spice_a} custard; Custard with {spice}; Custard with {fruit}:fruit; Little {spice_a} custards |
  milk=milk:400 ml/500 ml,cream:300 ml/400 ml; spice=vanilla,honey,lemon,nutmeg; egg=egg; sugar=sugar;
  fruit?=raspberries,strawberries,cherries | oven; custard_warm; custard_eggs; custard_join; custard_bake; custard_cool;
  custard_fruit:fruit/custard_serve

mousse | Chocolate mousse; Chocolate mousse with {top}:top; Dark chocolate mousse; Light chocolate mousse | chocolate=chocolate;
  fat?=butter; egg=egg:3/4/5; sugar=sugar; top?=almonds,raspberries,walnuts,strawberries,cream | prep_chocolate?; mousse_melt;
  mousse_butter:fat; mousse_yolks; mousse_whites; mousse_fold; mousse_chill; mousse_top:top/mousse_serve

saute | {meat} with cream and {herb}; {meat} with {aromatic} and cream; {meat} in cream; {meat} with {wine} and cream:wine; {meat}
  with {herb} | meat=chicken,veal,pork,rabbit,beef; aromatic=onion,shallot,mushrooms; fat=butter,olive oil; wine?=white wine:100
  ml/150 ml,cider:100 ml/150 ml; cream=cream; season?=mustard,capers; herb=thyme,parsley,tarragon,chives |
  prep_meat+prep_aromatic; saute_brown; saute_aromatic; saute_wine:wine; saute_cream; saute_season:season; saute_herb; saute_serve

clafoutis | {fruit_a} clafoutis; Clafoutis with {fruit}; Country {fruit_a} bake; {fruit} baked in batter |
  fruit=cherries,plums,apricots,pear,apple; fat=butter; egg=egg; sugar=sugar; flour=flour; milk=milk,cream; nut?=almonds,vanilla |
  oven+prep_fruit; bake_dish; bake_fruit; bake_batter; bake_milk; bake_nut:nut; bake_bake; sweet_serve

fruit_tart | {fruit_a} tart; {fruit_a} tart with {nut}:nut; Thin {fruit_a} tart; Open {fruit_a} tart; {fruit_a} tart with
  honey:honey | fruit=apple,pear,plums,apricots; pastry=pastry; nut?=almonds,walnuts; sugar=sugar; fat=butter; honey?=honey |
  oven+prep_fruit; fruit_line; fruit_nut:nut; fruit_lay; fruit_sugar; fruit_bake; fruit_honey:honey; sweet_serve

beans | {bean} with {cured}; {bean_a} and {cured_a} pot; Warm {bean} with {herb}; {bean} with {veg}; {bean} with {cured} and
  {herb} | cured=bacon,ham; aromatic=onion,leek,shallot; veg=carrot,celery,turnip; fat=butter,olive oil; bean=lentils,white beans;
  broth=broth; herb=thyme,parsley,bay leaf; season?=vinegar,mustard | prep_cured+prep_two; beans_soft; beans_in; beans_simmer;
  beans_season:season; beans_serve
"""


_THAI = """
curry | {paste_a} with {main}; {paste_a} with {main} and {veg}; {main_a} in {paste_a}; Village {paste_a} with {main} |
  main=chicken,beef,pork,duck,shrimp,tofu; veg=eggplant,bamboo shoots,long beans,pineapple,baby corn; coconut=coconut milk:300
  ml/400 ml; paste=red curry paste,green curry paste,yellow curry paste; sauce=fish sauce,soy sauce; sugar?=palm sugar;
  leaf=basil,lime leaf,coriander | main_ready+veg_ready; curry_paste; curry_main; curry_veg; curry_season:sugar/curry_salt;
  curry_leaf; curry_serve

stir_fry | Stir-fried {main} with {leaf}:leaf; {main} and {veg} from the wok; Stir-fried {main} with {veg}; {main} with {hot};
  Wok-fried {main} with {nut}:nut | main=chicken,beef,pork,shrimp,squid,tofu; veg=bok choy,long beans,baby corn,mushrooms,bamboo
  shoots,cabbage; oil=oil; hot=chili,ginger,garlic; sauce=oyster sauce,soy sauce,fish sauce; nut?=cashews,peanuts;
  leaf?=basil,coriander,spring onion | main_ready+veg_ready+hot_ready; wok_hot; wok_main; wok_veg; wok_sauce; wok_nut:nut;
  wok_leaf:leaf; wok_serve

noodle_soup | {noodles_a} in broth with {main}; {main_a} noodle soup; Clear noodle soup with {main}; Street noodle soup with
  {main} | main=pork,chicken,beef,duck,shrimp; root=lemongrass,galangal,ginger; broth=broth; noodles=rice noodles,glass
  noodles,egg noodles; sauce=fish sauce,soy sauce; top=bean sprouts,spring onion,coriander; lime?=lime | noodles_soak?;
  main_ready+root_ready; nsoup_broth; nsoup_main; nsoup_noodles; nsoup_sauce; nsoup_bowls; nsoup_lime:lime/nsoup_serve

sour_soup | Hot and sour {main} soup; Sour soup with {main}; {main} soup with {root}; Coconut soup with {main}:coconut |
  main=shrimp,chicken,squid,sea bass,tofu; root=lemongrass,galangal; leaf=lime leaf,chili; broth=broth; coconut?=coconut milk:200
  ml/300 ml; sauce=fish sauce; lime=lime | main_ready+root_ready; ssoup_pot; ssoup_steep; ssoup_main; ssoup_coconut:coconut;
  ssoup_season; ssoup_serve

pounded | {veg_a} salad from the mortar; Pounded {veg_a} salad; {veg_a} salad with {nut}; Hot {veg_a} salad | garlic=garlic;
  hot=chili; sugar=palm sugar; veg=papaya,mango,cucumber,carrot; sauce=fish sauce; lime=lime; nut=peanuts,cashews | veg_ready;
  mortar_paste; mortar_sugar; mortar_dress; mortar_veg; mortar_nut; mortar_serve

skewers | {main} skewers with {spice}; Grilled {main} skewers; {main} on sticks with {side}; {main} over charcoal |
  main=chicken,pork,beef,shrimp,squid; spice=turmeric,cumin,yellow curry paste,red curry paste; wet=coconut milk:200 ml,soy
  sauce,oyster sauce; sugar=palm sugar; side=cucumber,pineapple,lime | main_ready+spice_ready; sk_marinade; sk_main; sk_wait;
  sk_thread; sk_grill; sk_side; sk_serve

fried_rice | {main} fried rice; Fried rice with {main}; Fried rice with {main} and {egg}; Market fried rice with {main} |
  main=shrimp,crab,pork,chicken,pineapple,tofu; hot=garlic,shallot; oil=oil; egg=egg:1/2; rice=rice; sauce=soy sauce,fish sauce;
  top=spring onion,coriander | hot_ready; rice_boil; wok_hot; rice_main; rice_egg; rice_in; rice_sauce; rice_serve

steamed | Steamed {fish} with {root}; {fish} steamed with {lime}; Steamed {fish} with {lime} and {hot}; River {fish} in the
  steamer | fish=sea bass,catfish,tilapia; root=lemongrass,ginger,galangal; garlic=garlic; hot=chili; sauce=fish sauce,soy sauce;
  lime=lime; leaf?=coriander,spring onion,mint | fish_ready+root_ready; st_stuff; st_water; st_sauce; st_pour; st_leaf:leaf;
  st_serve

wok_noodles | Wok {noodles} with {main}; Fried {noodles} with {main}; {main} with {noodles}; Sour and sweet {noodles} with {main}
  | noodles=rice noodles,glass noodles,egg noodles; main=shrimp,chicken,pork,tofu,squid; oil=oil; hot=shallot,garlic;
  sour=tamarind,fish sauce; sprouts=bean sprouts,long beans; nut=peanuts,cashews | noodles_soak; main_ready; hot_ready; wok_hot;
  wok_main; wn_noodles; wn_sprouts; wn_serve

minced | Minced {main} with {leaf}; {main} with {lime} and {leaf}; Hot minced {main}; Country {main} with toasted rice |
  rice=rice:30 g/40 g; main=pork,chicken,duck,beef; sauce=fish sauce; lime=lime; hot=chili; leaf=mint,coriander,basil,spring onion
  | mi_rice; mi_meat; mi_warm; mi_dress; mi_rice_in; mi_leaf; mi_serve

coconut_sweet | {fruit} in {coconut}; Sweet {coconut} with {fruit}; Warm {fruit} with {top}:top; {fruit} and {coconut} |
  coconut=coconut milk; sugar=palm sugar; fruit=banana,mango,pineapple,pumpkin; top?=sesame seeds,peanuts,cashews; spice?=ginger |
  fruit_ready; sweet_pot; sweet_spice:spice; sweet_fruit; sweet_top:top; sweet_end
"""


class Dish:
    """A type of dish: its titles, what goes in it, and the order of its steps."""

    def __init__(self, line: str):
        name, titles, slots, plan = (part.strip() for part in line.split("|"))
        self.name = name
        self.titles = [tuple(t.strip().partition(":")[::2]) for t in titles.split(";")]
        self.slots = [tuple(s.strip().split("=")) for s in slots.split(";")]
        self.plan = [step.strip().split("+") for step in plan.split(";")]

    def choose(self, draw: Draw) -> tuple[dict[str, str], dict[str, str]]:
        """Draw an ingredient for each slot, no ingredient twice, at most seven in all, and the amount of each."""
        amounts: dict[str, str] = {}
        chosen: dict[str, str] = {}
        room = 7 - sum(not slot.endswith("?") for slot, _ in self.slots)
        for slot, options in self.slots:
            if slot.endswith("?"):
                if room == 0 or draw.chance(0.5):
                    continue
                room -= 1
            names = [option.partition(":")[::2] for option in options.split(",")]
            name, own = draw.pick([n for n in names if n[0] not in chosen.values()])
            chosen[slot.rstrip("?")] = name
            amounts[name] = draw.pick(own.split("/") if own else larder()[name].amounts)
        return chosen, amounts

    def steps(self, draw: Draw, chosen: dict[str, str]) -> list[str]:
        """Return the sections to write, in an order that the plan allows."""
        sections = []
        for layer in self.plan:
            layer = draw.some(layer, len(layer))
            for step in layer:
                if step.endswith("?"):
                    if draw.chance(0.5):
                        sections.append(step[:-1])
                    continue
                section, _, condition = step.partition(":")
                slot, _, other = condition.partition("/")
                if not slot or slot in chosen:
                    sections.append(section)
                elif other:
                    sections.append(other)
        return sections


@lru_cache(maxsize=2)
def dishes(cuisine: str) -> list[Dish]:
    """Return the dishes of "french" or "thai"."""
    table = {"french": _FRENCH, "thai": _THAI}[cuisine]
    return [Dish(" ".join(block.split())) for block in table.split("\n\n")]


def _noun(name: str, amount: str) -> str:
    """Return the noun that an amount of an ingredient takes: "2" onions, but "30 g" butter."""
    return plural(name) if amount.isdigit() and amount != "1" else name


def _context(chosen: dict[str, str], amounts: dict[str, str], draw: Draw) -> dict[str, str]:
    """Return what frames may name: {veg} "the carrots", {veg_it} "them", {veg_is} "are", {veg_n} "carrots", {veg_cut} "peel ..."."""
    context: dict[str, str] = {}
    for slot, name in chosen.items():
        noun = _noun(name, amounts[name])
        it = "them" if many(noun) else "it"
        context |= {slot: f"the {noun}", f"{slot}_n": noun, f"{slot}_it": it, f"{slot}_is": "are" if it == "them" else "is"}
        cut = larder()[name].cut
        if cut:
            context[f"{slot}_cut"] = draw.pick(_PREP[cut].split("|")).replace("{x}", f"the {noun}").replace("{it}", it)
    return context


def _title(dish: Dish, chosen: dict[str, str], amounts: dict[str, str], draw: Draw) -> str:
    title, _ = draw.pick([t for t in dish.titles if not t[1] or t[1] in chosen])
    for slot, name in chosen.items():
        attribute = singular(name).removesuffix(" paste")
        title = title.replace("{" + slot + "}", _noun(name, amounts[name])).replace("{" + slot + "_a}", attribute)
    return capital(title)


def _make(cuisine: str, draw: Draw) -> dict[str, Any]:
    grammar = load_grammar(f"recipes_{cuisine}")
    dish = draw.pick(dishes(cuisine))
    chosen, amounts = dish.choose(draw)
    context = _context(chosen, amounts, draw)
    written = (draw.write(grammar, section, **context) for section in dish.steps(draw, chosen))
    method = " ".join(capital(sentence) for sentence in written)
    used = [name for name in ingredients_used(method) if name in amounts]
    title = _title(dish, chosen, amounts, draw)
    listing = ", ".join(f"{amounts[name]} {_noun(name, amounts[name])}" for name in used)
    prompt = f"{title}\nIngredients: {listing}\nMethod:"
    known = [[m.start() + len(prompt) + 1, m.end() + len(prompt) + 1] for m in mention()[0].finditer(method.lower())]
    return {
        "text": f"{prompt} {method}",
        "title": title,
        "cuisine": cuisine,
        "dish": dish.name,
        "ingredients": used,
        "prompt": prompt,
        "method": method,
        "known": known,
    }


_COLUMNS = {
    "text": "the recipe: a title line, a line of ingredients, the method",
    "title": "its first line",
    "cuisine": '"french" or "thai"',
    "dish": "the type of dish, such as soup or curry",
    "ingredients": "the names of the ingredients, in the order of their use",
    "prompt": 'the text up to "Method:", for a model to continue',
    "method": "the rest of the text",
    "known": "[start, end) character offsets in text of every ingredient that the method names",
}
GENERATORS = [
    Generator("french_recipes", "recipes of a French kitchen", _COLUMNS, lambda draw: _make("french", draw), pretrained=True),
    Generator("thai_recipes", "recipes of a Thai kitchen", _COLUMNS, lambda draw: _make("thai", draw), pretrained=False),
]
__all__ = ["GENERATORS", "Verdict", "check", "cuisine_share", "ingredients_used"]
