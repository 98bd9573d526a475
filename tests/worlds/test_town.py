"""The town is fixed by its seed, and its names are unambiguous."""

from finetunelab.worlds import town as module
from finetunelab.worlds.town import Person, town


def test_same_seed_same_town_and_another_seed_another():
    town.cache_clear()
    first = town(3)
    town.cache_clear()
    assert town(3) == first
    assert town(4).people != first.people


def test_a_first_name_or_a_place_names_one_thing():
    for seed in range(4):
        place = town(seed)
        assert len({p.first for p in place.people}) == len(place.people) == 88
        assert len({p.name for p in place.people}) == 88
        assert len(set(place.streets)) == 28 and len(set(place.villages)) == 10


def test_first_names_and_pronouns_agree():
    place = town(0)
    assert all(p.first in (module.WOMEN if p.woman else module.MEN) for p in place.people)
    assert {p.woman for p in place.people} == {True, False}
    clara, otto = Person("Clara", "Moss", True), Person("Otto", "Frost", False)
    assert (clara.name, clara.she, clara.her, clara.hers) == ("Clara Moss", "she", "her", "her")
    assert (otto.she, otto.her, otto.hers) == ("he", "him", "his")


def test_name_lists_have_no_doubles_and_do_not_overlap():
    for names in (module.WOMEN, module.MEN, module.LAST, module.STREETS, module.VILLAGES, module.RIVERS, module.TOWN_NAMES):
        assert len(set(names)) == len(names)
    assert not set(module.WOMEN) & set(module.MEN)
