"""The tokenizer and its chat template, answer flags, packed rows, the weighted loss, hashes, and the cache of tokenized worlds."""

from __future__ import annotations

import copy
import random
import string
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from finetunelab import corpus, worlds
from finetunelab.corpus import (
    ANSWER,
    AROUND,
    PROSE,
    SPECIAL,
    PackedRows,
    Pool,
    build_pools,
    data_hash,
    encode,
    stack,
    train_tokenizer,
    weighted_next_token_loss,
)
from finetunelab.worlds import notes, patterns, sorting

GENERATORS = {generator.name: generator for module in (notes, patterns, sorting) for generator in module.GENERATORS}


@pytest.fixture(autouse=True)
def few_worlds(monkeypatch):
    """The worlds that these tests draw from, without loading the rest."""
    monkeypatch.setattr(worlds, "generators", lambda: GENERATORS)


@pytest.fixture(scope="module")
def tokenizer():
    texts = [row["text"] for name in ("notes", "patterns") for row in GENERATORS[name].rows(150)]
    return train_tokenizer(texts, 700, 512)


def random_text(rng: random.Random) -> str:
    kind = rng.randrange(3)
    if kind == 0:
        return "".join(rng.choice(string.printable) for _ in range(rng.randint(0, 60)))
    if kind == 1:
        points = (rng.choice((rng.randrange(0x20, 0x7F), rng.randrange(0xA0, 0xD800), rng.randrange(0xE000, 0x110000))) for _ in range(30))
        return "".join(map(chr, points))
    return "".join(rng.choice((" ", "  ", "\n", "\t", " ,", " 's", "n't", "é", "日本", "🙂", "e\u0301", "12", "The")) for _ in range(20))


def test_any_text_comes_back(tokenizer):
    rng = random.Random(0)
    for text in ["", " ", "all ASCII: " + "".join(map(chr, range(128))), *(random_text(rng) for _ in range(400))]:
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids[1:], clean_up_tokenization_spaces=False) == text


def test_digits_stand_alone_and_special_tokens_have_their_ids(tokenizer):
    assert [tokenizer.decode([i]) for i in tokenizer("2048")["input_ids"][1:]] == ["2", "0", "4", "8"]
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL)) == list(range(len(SPECIAL)))
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert len(tokenizer) == 700 and tokenizer.model_max_length == 512


def test_training_a_tokenizer_twice_gives_the_same(tokenizer):
    texts = [row["text"] for name in ("notes", "patterns") for row in GENERATORS[name].rows(150)]
    assert train_tokenizer(texts, 700, 512).get_vocab() == tokenizer.get_vocab()


def conversation(rng: random.Random) -> list[dict[str, str]]:
    messages = [{"role": "system", "content": random_text(rng)}] if rng.random() < 0.5 else []
    for _ in range(rng.randint(1, 3)):
        messages += [{"role": role, "content": f"{role} says {random_text(rng)}"} for role in ("user", "assistant")]
    return messages


def test_the_assistant_mask_marks_its_words_and_its_end_and_nothing_else(tokenizer):
    rng = random.Random(1)
    for _ in range(80):
        messages = conversation(rng)
        out = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        ids, mask = out["input_ids"], out["assistant_masks"]
        # Split by hand: the role token opens a turn, <|end|> closes it.
        expected, found, speaking = [], [], False
        for token in ids:
            expected.append(int(speaking))
            if token == SPECIAL.index("<|assistant|>"):
                speaking = True
            elif token == SPECIAL.index("<|end|>"):
                speaking = False
        assert mask == expected
        run: list[int] = []
        for token, marked in zip(ids, mask, strict=True):
            if marked:
                run.append(token)
            elif run:
                found.append(run)
                run = []
        found += [run] if run else []
        said = [message["content"] + "<|end|>" for message in messages if message["role"] == "assistant"]
        assert [tokenizer.decode(part) for part in found] == said


def test_a_prompt_for_the_assistant_ends_where_it_begins_to_speak(tokenizer):
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good day"}]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    prompt = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert whole == "<bos><|user|>hello<|end|><|assistant|>good day<|end|>"
    assert prompt == "<bos><|user|>hello<|end|><|assistant|>"


@pytest.mark.parametrize("name", ["notes", "patterns", "recall", "sorting"])
def test_exactly_the_answers_that_stand_earlier_are_flagged(tokenizer, name):
    rows = GENERATORS[name].rows(60, "validation", 3)
    pool = encode(rows, tokenizer)
    assert len(pool) == len(rows)
    new = 0
    for index, row in enumerate(rows):
        ids, kinds = pool.document(index)
        flags = kinds == ANSWER
        assert (kinds[~flags] == AROUND).all()
        assert tokenizer.decode(ids[1:-1]) == row["text"] and (ids[0], ids[-1]) == (1, 2)
        # Walk through the text: the characters of flagged tokens must be those of the spans, give or take the space before.
        position, flagged = 0, set()
        for token, flag in zip(ids[1:-1], flags[1:-1], strict=True):
            piece = tokenizer.decode([token])
            assert row["text"].startswith(piece, position)
            if flag:
                flagged |= set(range(position, position + len(piece)))
            position += len(piece)
        known = [(start, end) for start, end in row["spans"] if row["text"][start:end] in row["text"][:start]]
        new += len(row["spans"]) - len(known)
        wanted = {i for start, end in known for i in range(start, end)}
        assert wanted <= flagged
        assert {row["text"][i] for i in flagged - wanted} <= {" "} and len(flagged - wanted) <= len(row["spans"])
        assert not flags[0] and not flags[-1]
    # The words of patterns and sorting are new once each; what notes and recall ask for has always been told.
    assert (new > 60) == (name in ("patterns", "sorting"))


def test_rows_without_answers_have_no_flags(tokenizer):
    assert (encode([{"text": "plain prose"}, {"text": "more of it", "spans": []}], tokenizer).kinds == PROSE).all()


def test_a_large_vocabulary_keeps_its_token_ids(tokenizer):
    large = copy.deepcopy(tokenizer)
    large.add_tokens([f"<more {i}>" for i in range(70_000)])
    pool = encode([{"text": "one <more 69999>"}], large)
    assert int(pool.tokens.max()) == large.convert_tokens_to_ids("<more 69999>") > 2**16
    assert data_hash({"pool": pool}) != data_hash({"pool": Pool(pool.tokens - (pool.tokens >= 2**16) * np.uint32(2**16), pool.kinds, pool.starts)})


def test_what_can_be_known_is_flagged_in_prose_wherever_it_stands(tokenizer):
    text = "The baker lives on Mill Lane."
    ids, kinds = encode([{"text": text, "known": [[19, 28]]}], tokenizer).document(0)
    assert tokenizer.decode(ids[kinds == ANSWER]).strip() == "Mill Lane"
    assert (kinds[kinds != ANSWER] == PROSE).all()


def pool_of(*documents: tuple[list[int], list[int]]) -> Pool:
    starts = np.cumsum([0, *(len(ids) for ids, _ in documents)])
    return Pool(
        np.concatenate([np.array(ids, dtype=np.uint16) for ids, _ in documents]),
        np.concatenate([np.array(kinds, dtype=np.uint8) for _, kinds in documents]), starts,
    )


POOLS = {
    "prose": pool_of(([1, 10, 11, 12, 2], [PROSE, PROSE, ANSWER, PROSE, PROSE]), ([1, 13, 2], [PROSE] * 3)),
    "asked": pool_of(([1, 20, 21, 22, 2], [AROUND, AROUND, AROUND, ANSWER, AROUND])),
}
MIXTURE = {"prose": 0.4, "asked": 0.4, "repeats": 0.2}


def packed(**changes) -> PackedRows:
    return PackedRows(POOLS, MIXTURE, **{"rows": 40, "length": 50, "vocab": 100, "seed": 7} | changes)


def test_rows_are_the_same_whenever_asked_for_and_exactly_as_long():
    rows, others = packed(), packed(seed=8)
    backward = [rows[i] for i in reversed(range(len(rows)))][::-1]
    assert len(rows) == 40
    for i, row in enumerate(backward):
        assert row["input_ids"].shape == row["weights"].shape == (50,)
        assert row["input_ids"].dtype == torch.int64 and row["weights"].dtype == torch.float32
        assert all(torch.equal(row[key], rows[i][key]) for key in row)
    assert len({tuple(row["input_ids"].tolist()) for row in backward}) == 40
    assert any(not torch.equal(rows[i]["input_ids"], others[i]["input_ids"]) for i in range(3))


def test_answers_weigh_more_and_few_of_the_tokens_around_them_count():
    rows = packed(answer_weight=4.0, around_share=0.25, rows=200)
    weights = {token: [] for token in (10, 11, 12, 20, 21, 22)}
    for i in range(len(rows)):
        # A string that repeats may hold any token: only whole documents are looked at.
        text = rows[i]["input_ids"].tolist()
        for at in range(len(text) - 4):
            if text[at : at + 5] in ([1, 10, 11, 12, 2], [1, 20, 21, 22, 2]):
                for token, weight in zip(text[at + 1 : at + 4], rows[i]["weights"][at + 1 : at + 4].tolist(), strict=True):
                    weights[token].append(weight)
    assert set(weights[10]) == set(weights[12]) == {1.0} and set(weights[11]) == set(weights[22]) == {4.0}
    assert set(weights[20]) == set(weights[21]) == {0.0, 1.0}
    assert 0.2 < np.mean(weights[20] + weights[21]) < 0.3
    only = PackedRows(POOLS, {"asked": 1.0}, rows=1, length=5, vocab=100, seed=0, answer_weight=3.0, around_share=0.0)[0]
    assert only["weights"].tolist() == [0.0, 0.0, 0.0, 3.0, 0.0]


def test_the_mixture_decides_how_often_a_pool_is_drawn():
    rows = PackedRows(POOLS, {"prose": 0.9, "asked": 0.1}, rows=200, length=50, vocab=100, seed=0)
    ids = torch.cat([rows[i]["input_ids"] for i in range(200)])
    asked, all_documents = int((ids == 22).sum()), int((ids == 2).sum())
    assert 0.05 < asked / all_documents < 0.15


def test_repeats_weigh_nothing_until_they_can_be_known():
    """Follow each row as a reader would: a token counts just where the token before it has been seen with it."""
    rows = PackedRows({}, {"repeats": 1.0}, rows=60, length=100, vocab=5_000, seed=0)
    counted, distances = 0, set()
    for i in range(60):
        ids, weights = rows[i]["input_ids"].tolist(), rows[i]["weights"].tolist()
        followers, last = {}, {}
        for at, (token, weight) in enumerate(zip(ids, weights, strict=True)):
            before = ids[at - 1]
            assert (token == 1) == (at == 0) and (at == 0 or token >= len(SPECIAL))
            if weight:
                assert weight == 1.0 and token in followers[before]
                counted += 1
                distances.add(at - last[token])
            followers.setdefault(before, set()).add(token)
            last[token] = at
    assert counted > 0.3 * 60 * 100
    assert len(distances) > 20  # never from one fixed distance


class Table(torch.nn.Module):
    """A model whose hidden states at each position are parameters, and its logits."""

    def __init__(self, batch: int, length: int, vocab: int):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.randn(batch, length, vocab, generator=torch.Generator().manual_seed(0)))

    def get_decoder(self):
        return lambda input_ids, use_cache: SimpleNamespace(last_hidden_state=self.logits)

    def get_output_embeddings(self):
        return torch.nn.Identity()


def test_the_weighted_loss_by_hand_and_no_gradient_from_weight_zero():
    table = Table(2, 4, 5)
    ids = torch.tensor([[1, 3, 2, 4], [0, 2, 2, 1]])
    weights = torch.tensor([[9.0, 1.0, 0.0, 2.0], [9.0, 0.5, 0.0, 0.25]])
    loss = weighted_next_token_loss(table, {"input_ids": ids, "weights": weights})
    total = mass = 0.0
    for row in range(2):
        for at in range(1, 4):
            scores = table.logits[row, at - 1].detach()
            total += float(weights[row, at]) * -float(scores[ids[row, at]] - scores.exp().sum().log())
            mass += float(weights[row, at])
    assert mass == 3.75 and loss.item() == pytest.approx(total / mass, rel=1e-5)
    loss.backward()
    # Position 1 predicts token 2, which weighs nothing; the last position predicts nothing at all.
    touched = table.logits.grad.abs().sum(-1) > 0
    assert touched.tolist() == [[True, False, True, False]] * 2


def test_a_batch_without_weight_gives_zero_and_not_nan():
    loss = weighted_next_token_loss(Table(1, 3, 5), {"input_ids": torch.tensor([[1, 2, 3]]), "weights": torch.zeros(1, 3)})
    assert loss.item() == 0.0


def test_stack_makes_a_batch():
    batch = stack([packed()[0], packed()[1]])
    assert {key: tuple(value.shape) for key, value in batch.items()} == {"input_ids": (2, 50), "weights": (2, 50)}
    assert torch.equal(batch["input_ids"][1], packed()[1]["input_ids"])


def test_the_hash_changes_with_one_token_and_with_a_name():
    def pools(last: int, name: str = "a") -> dict[str, Pool]:
        return {name: pool_of(([1, 5, last], [PROSE] * 3)), "b": POOLS["asked"]}

    one = data_hash(pools(6))
    assert one == data_hash(dict(reversed(pools(6).items())))
    assert len({one, data_hash(pools(7)), data_hash(pools(6, "c"))}) == 3


def test_pools_are_drawn_once_and_read_again(tokenizer, tmp_path, monkeypatch):
    drawn = build_pools({"notes": 12, "patterns": 5}, tokenizer, tmp_path / "cache")
    assert [len(pool) for pool in drawn.values()] == [12, 5]
    assert data_hash(drawn) == data_hash(build_pools({"notes": 12, "patterns": 5}, tokenizer))
    monkeypatch.setattr(corpus, "encode", lambda *_: pytest.fail("drawn anew"))
    again = build_pools({"notes": 12, "patterns": 5}, tokenizer, tmp_path / "cache")
    for name, pool in drawn.items():
        for part in ("tokens", "kinds", "starts"):
            assert np.array_equal(getattr(pool, part), getattr(again[name], part))


@pytest.mark.parametrize("change", [{"data_seed": 1}, {"sizes": {"notes": 6}}])
def test_another_seed_or_size_is_another_cache(tokenizer, tmp_path, change):
    one = build_pools({"notes": 5}, tokenizer, tmp_path)
    other = build_pools(change.get("sizes", {"notes": 5}), tokenizer, tmp_path, change.get("data_seed", 0))
    assert data_hash(one) != data_hash(other)


def test_a_write_that_is_killed_leaves_no_half_file(tokenizer, tmp_path, monkeypatch):
    def killed(file, **arrays):
        file.write_bytes(b"half of")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", killed)
        with pytest.raises(KeyboardInterrupt):
            build_pools({"notes": 5}, tokenizer, tmp_path)
    assert not list(tmp_path.glob("notes-5-0.npz"))
    assert len(build_pools({"notes": 5}, tokenizer, tmp_path)["notes"]) == 5
    assert len(build_pools({"notes": 5}, tokenizer, tmp_path)["notes"]) == 5


def test_a_pool_can_be_drawn_with_knobs(tokenizer):
    drawn_with = {"one": ("patterns", {"concept": ["weather", "gardening/fishing"], "k": 2})}
    pools = build_pools({"one": 6, "notes": 3}, tokenizer, drawn_with=drawn_with)
    rows = GENERATORS["patterns"].rows(6, concept=["weather", "gardening/fishing"], k=2)
    assert {row["concept"] for row in rows} == {"weather", "gardening/fishing"}
    assert [tokenizer.decode(pools["one"].document(i)[0][1:-1]) for i in range(6)] == [row["text"] for row in rows]
    assert len(pools["notes"]) == 3
