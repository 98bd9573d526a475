"""What holds alike of the three worlds that retrieval reads: news, the handbook, and memories."""

import random
import re

import pytest

from finetunelab.worlds import handbook, memories, news
from finetunelab.worlds.core import Draw
from finetunelab.worlds.town import town

each = pytest.mark.parametrize("generator", [module.GENERATORS[0] for module in (handbook, memories, news)], ids=lambda g: g.name)


@each
def test_articles_fit_the_word_that_follows(generator):
    rows = [generator.make(Draw(random.Random(f"t/{i}"), town(0), "train", 0)) for i in range(1500)]
    text = " ".join(row["text"] for row in rows)
    assert not re.search(r"\b[Aa] [aeio]\w+", text) and not re.search(r"\b[Aa]n [^aeiouh\W]", text)


@each
def test_rows_have_the_documented_columns_and_repeat(generator):
    rows = generator.rows(20)
    assert all(set(row) == set(generator.columns) for row in rows)
    assert rows == generator.rows(20)
    assert rows != generator.rows(20, data_seed=1)
