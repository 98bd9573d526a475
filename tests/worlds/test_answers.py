from finetunelab.worlds.answers import ask, reply, same


def test_prompt_form():
    assert ask("Who leads the council?") == "Question: Who leads the council? Answer:"


def test_same_is_fair_about_case_space_and_article():
    for text in ("map room", " The Map  Room.", "the map room\nQuestion: Who?", "map room. It is cold.", "map room Question: Who?"):
        assert same("map room", text), text


def test_same_is_strict_about_the_rest():
    for text in ("", "map", "map room or bindery", "the bindery. The map room", "not the map room", "\n"):
        assert not same("map room", text), text
    assert not same("", "")


def test_reply_stops_at_the_first_sentence():
    assert reply(" six o'clock. Then nothing") == "six o'clock"
