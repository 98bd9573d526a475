"""The invented town that all texts are about. ``world_seed`` fixes it; the shipped base knows world 0."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

WOMEN = (
    "Ada Alma Anna Bella Bess Carla Clara Cora Daisy Della Dora Edith Ella Elsa Emma Erin Esther Eva Faye Flora Gina Grace "
    "Greta Hana Hazel Helen Ida Inga Iris Ivy Jane Jill Joan Julia Kate Lara Lena Lily Lucy Mabel Maria Marta Mina Mona Nadia "
    "Nina Nora Olga Olive Paula Petra Rita Rosa Ruth Sara Sofia Stella Tess Tina Vera Viola Wanda Zoe"
).split()
MEN = (
    "Abel Adam Alan Albert Amos Arthur Basil Ben Bruno Carl Cecil Clive Colin Conrad Dan David Dean Edgar Eli Emil Eric Felix "
    "Frank Fred George Gus Harold Henry Hugo Ian Ivan Jack Jacob Jasper Joel John Karl Leo Leon Lewis Louis Luke Marco Mark "
    "Martin Max Miles Milo Nils Noah Oscar Otto Owen Paul Peter Ralph Rex Robert Rufus Sam Simon Theo Tom Victor Walter"
).split()
LAST = (
    "Abbot Ames Archer Ash Barlow Bell Birch Blake Bond Booth Brand Brook Burns Carver Chase Clay Cole Cooper Crane Cross Dale "
    "Dean Drake Dyer Eaton Fenn Finch Fisher Flint Foster Fox Frost Gale Gray Green Hale Hall Hart Hayes Heath Hill Holt Hood "
    "Hunt Jarvis Keen Kemp Knight Lamb Lane Leigh Lock Long Marsh Mason May Mills Moss Nash North Oakes Page Park Pike Pond Poole "
    "Potter Price Quinn Reed Rice Rowe Shaw Slade Stone Swan Thorn Tucker Vance Vaughn Wade Walsh Ward Webb West Wood York"
).split()
STREETS = (
    "Abbey Lane|Bakers Row|Bridge Street|Canal Road|Castle Hill|Cherry Lane|Church Street|Copper Lane|Dock Road|Elm Street|"
    "Fountain Square|Garden Row|Hill Road|Kings Road|Lantern Street|Linden Avenue|Long Lane|Maple Street|Market Square|"
    "Meadow Road|Mill Lane|North Gate|Orchard Road|Park Avenue|Potters Row|Quay Street|River Walk|School Lane|Silver Street|"
    "South Gate|Station Road|Tower Street|Union Street|Water Lane|Weavers Row|Willow Street"
).split("|")
VILLAGES = "Ashford Birkdale Colwell Dunmore Elmsby Fernley Garwick Holmby Kelsey Lynton Morwell Netherby Oakham Pelham".split()
TOWN_NAMES = "Wexbridge Harrowby Marlingford Aldermere Brackenford Stanmouth Thornbury Westerleigh".split()
RIVERS = "Brindle Corrin Lindle Merrow Orla Sallow Tamble Wendle".split()


@dataclass(frozen=True)
class Person:
    """A person of the town."""

    first: str
    last: str
    woman: bool

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"

    @property
    def she(self) -> str:
        return "she" if self.woman else "he"

    @property
    def her(self) -> str:
        """The object form: "I saw her", "I saw him"."""
        return "her" if self.woman else "him"

    @property
    def hers(self) -> str:
        """The possessive before a noun: "her house", "his house"."""
        return "her" if self.woman else "his"


@dataclass(frozen=True)
class Town:
    """The fixed facts of one world."""

    seed: int
    name: str
    river: str
    people: tuple[Person, ...]
    streets: tuple[str, ...]
    villages: tuple[str, ...]

    def __hash__(self) -> int:
        return hash(self.seed)  # which decides all else. Towns are keys of caches: to hash all their people takes longer than to look something up


@lru_cache(maxsize=8)
def town(world_seed: int = 0) -> Town:
    """Build the town of a world seed. First names are unique among its people, so that "Clara" names one person."""
    rng = random.Random(f"town/{world_seed}")
    last = rng.sample(LAST, len(LAST))
    women, men = rng.sample(WOMEN, 44), rng.sample(MEN, 44)
    people = [Person(first, last[i % len(last)], i < 44) for i, first in enumerate(women + men)]
    rng.shuffle(people)
    name, river = rng.choice(TOWN_NAMES), rng.choice(RIVERS)
    return Town(world_seed, name, river, tuple(people), tuple(rng.sample(STREETS, 28)), tuple(rng.sample(VILLAGES, 10)))
