"""From conversations to rows: the mask of what the assistant says, cutting, packing, chat templates. The loss is in test_sft_loss.py."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from finetunelab import worlds
from finetunelab.corpus import train_tokenizer
from finetunelab.errors import UserError
from finetunelab.models import load_model, load_tokenizer
from finetunelab.sft import IGNORED, PLAIN_TEMPLATE, end_of_turn, fine_tune, pack, prepare, reply, tokenize, use_training_template
from finetunelab.tables import read_table
from finetunelab.training import TrainConfig

# Words, accents, other scripts, signs of several code points, nothing at all, white space, and text that looks like the template's own.
PIECES = (
    "tea", " the mill", "Où est l'été?", "naïve", "日本語です", "ภาษาไทย", "👩‍🚀", "e\u0301", "\u200b", "", "", " ", "\n", "\t\n ", "12,5 %",
    "a" * 60, "<|assistant|>", "<|end|>", "<|user|>", "<eos>", "</s>", "{{ bos_token }}", "{% generation %}", "Assistant:", "<think>",
)
MARKED = "{% generation %}{{ message.content + '<|end|>' }}{% endgeneration %}"


def talk(*turns: str, system: str | None = None) -> list[dict[str, str]]:
    """Return a conversation of turns, the user's first."""
    opening = [] if system is None else [{"role": "system", "content": system}]
    return opening + [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]


def some_talk(seed: int, most: int = 12) -> list[dict[str, str]]:
    """Draw a conversation: any number of turns, of any length; one in eight has turns in any order, possibly none of the assistant's."""
    rng = random.Random(seed)
    texts = ["".join(rng.choices(PIECES, k=rng.randint(0, 6))) for _ in range(rng.randint(2, most))]
    if seed % 8 == 7:
        return [{"role": rng.choice(("system", "user", "assistant")), "content": text} for text in texts]
    return talk(*texts, system=rng.choice((None, "", "Be brief.", "Sei höflich.\n")))


def from_worlds(n: int) -> list[list[dict[str, str]]]:
    return [row["messages"] for name in ("instructions", "dialogues") for row in worlds.generator(name).rows(n, "train", 3)]


def answered(messages: list[dict[str, str]]) -> list[str]:
    return [message["content"] for message in messages if message["role"] == "assistant"]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


@pytest.fixture(scope="module")
def conversations():
    return [some_talk(seed) for seed in range(160)] + from_worlds(20)


def without_template(template: str | None = None, tokens: tuple[str, ...] = ()):
    """Return a small tokenizer of our own making with another template, or none."""
    small = train_tokenizer([" ".join(PIECES), "User: Assistant: Say it. What is your name? I am called Plum."], 500, 512)
    small.add_special_tokens({"extra_special_tokens": list(tokens)})
    small.chat_template = template
    return small


# The mask -----------------------------------------------------------------------------------------------------------------------


def test_the_mask_covers_what_the_assistant_says_and_nothing_else(tokenizer, conversations):
    """What is under the mask is the text of the answers with their ends; what is beside it is all the rest, to the letter."""
    for messages in conversations:
        ids, mask = tokenize(tokenizer, messages)
        assert len(ids) == len(mask) and set(mask) <= {0, 1}
        under, beside = (tokenizer.decode([token for token, mine in zip(ids, mask, strict=True) if mine == side]) for side in (1, 0))
        assert under == "".join(text + "<|end|>" for text in answered(messages))
        rest = "".join(f"<|{m['role']}|>" + (m["content"] + "<|end|>" if m["role"] != "assistant" else "") for m in messages)
        assert beside == "<bos>" + rest


def test_the_mask_is_empty_only_where_there_is_no_assistant(tokenizer, conversations):
    empty = [messages for messages in conversations if not any(tokenize(tokenizer, messages)[1])]
    assert empty == [messages for messages in conversations if not answered(messages)] and 0 < len(empty) < 20


def test_each_answer_ends_with_the_end_of_its_turn(tokenizer, conversations):
    end = end_of_turn(tokenizer)
    assert tokenizer.convert_ids_to_tokens(end) == "<|end|>"
    for messages in conversations:
        ids, mask = tokenize(tokenizer, messages)
        last = [ids[i] for i in range(len(ids)) if mask[i] and (i + 1 == len(ids) or not mask[i + 1])]
        assert last == [end] * len(answered(messages))


def test_the_prompt_of_a_reply_is_how_its_training_text_begins(tokenizer):
    for messages in from_worlds(10):
        prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True)["input_ids"]
        ids, mask = tokenize(tokenizer, messages)
        assert ids[: len(prompt)] == prompt and mask[len(prompt) - 1 :] == [0] + [1] * (len(ids) - len(prompt))


# Labels, cut and dropped --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("longest", [4, 9, 40, 1000])
def test_rows_are_conversations_cut_and_labelled(tokenizer, conversations, longest, masked):
    """Whatever the length: ids and labels are the first of the whole conversation, and what has no answer left is dropped and counted."""
    kept = cut = 0
    prepared = prepare(tokenizer, conversations, longest, masked)
    rows = iter(prepared.rows)
    for messages in conversations:
        ids, mask = (part[:longest] for part in tokenize(tokenizer, messages))
        if any(mask[1:]):
            kept, cut = kept + 1, cut + (len(tokenize(tokenizer, messages)[0]) > longest)
            labels = [token if mine or not masked else IGNORED for token, mine in zip(ids, mask, strict=True)]
            assert next(rows) == {"input_ids": ids, "labels": labels}
    assert next(rows, None) is None and (prepared.cut, prepared.dropped) == (cut, len(conversations) - kept)
    assert f"{kept:,} conversations; {cut:,} cut" in prepared.describe() and f"{prepared.dropped:,} dropped" in prepared.describe()


def test_every_length_gives_a_label_or_drops(tokenizer):
    messages = talk("Hi", "Yes.", "Why is that?", "No.", system="Be brief.")
    ids, mask = tokenize(tokenizer, messages)
    first = mask.index(1)
    for longest in range(len(ids) + 2):
        if longest <= first:
            with pytest.raises(UserError, match="none of 1 conversations has an assistant's turn within"):
                prepare(tokenizer, [messages], longest)
        else:
            prepared = prepare(tokenizer, [messages], longest)
            labels = prepared.rows[0]["labels"]
            assert [label for label in labels if label != IGNORED] == [t for t, mine in zip(ids[:longest], mask, strict=False) if mine]
            assert prepared.cut == (longest < len(ids)) and prepared.dropped == 0


def test_nothing_left_is_an_error_and_not_a_number(tokenizer):
    for talks in ([talk("Hello?")], [talk("word " * 300, "Yes.")] * 3, []):
        with pytest.raises(UserError, match=f"none of {len(talks)} conversations"):
            prepare(tokenizer, talks, 64)


def test_a_label_that_nothing_comes_before_is_none():
    """Without a begin token the first token may be the assistant's, and nothing predicts it."""
    small = without_template("{% for message in messages %}" + MARKED + "{% endfor %}")
    silent, spoken = [{"role": "assistant", "content": ""}], [{"role": "assistant", "content": "tea"}]
    assert tokenize(small, silent) == ([end_of_turn(small)], [1])
    prepared = prepare(small, [silent, spoken], 16)
    assert prepared.dropped == 1 and [small.decode(row["input_ids"]) for row in prepared.rows] == ["tea<|end|>"]


# Packing ------------------------------------------------------------------------------------------------------------------------


def pieces(packed: list[dict[str, torch.Tensor]]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Take packed rows apart where positions begin anew, and return what each part has of ids and labels."""
    found = []
    for row in packed:
        positions = row["position_ids"].tolist()
        starts = [i for i, place in enumerate(positions) if place == 0] + [len(positions)]
        for start, stop in pairwise(starts):
            assert positions[start:stop] == list(range(stop - start))
            found.append((tuple(row["input_ids"][start:stop].tolist()), tuple(row["labels"][start:stop].tolist())))
    return found


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("length", [40, 128, 300])
def test_packing_keeps_every_conversation_whole(tokenizer, conversations, length, masked):
    rows = prepare(tokenizer, conversations, length, masked).rows
    packed = pack(rows, length, tokenizer.pad_token_id)
    assert all(value.shape == (length,) for row in packed for value in row.values()) and len(packed) < len(rows)
    expected = Counter((tuple(row["input_ids"]), (IGNORED, *row["labels"][1:])) for row in rows)
    spare = len(packed) * length - sum(len(row["input_ids"]) for row in rows)
    padding = ((tokenizer.pad_token_id,), (IGNORED,))
    assert spare > 0 and Counter(pieces(packed)) == expected + Counter({padding: spare})


def test_packing_loses_no_label(tokenizer, conversations):
    rows = prepare(tokenizer, conversations, 128).rows
    before = Counter(label for row in rows for label in row["labels"] if label != IGNORED)
    packed = pack(rows, 128, tokenizer.pad_token_id)
    assert before == Counter(label for row in packed for label in row["labels"].tolist() if label != IGNORED)
    # None is left alone: a row without a label would make a mean of nothing.
    assert all((row["labels"] != IGNORED).any() for row in packed)


def test_packing_says_nothing_and_refuses_what_is_too_long(tokenizer, capfd):
    rows = prepare(tokenizer, from_worlds(4), 128).rows
    pack(rows, 128, 0)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(UserError, match="a conversation of [0-9]+ tokens does not fit into 8; prepare them with longest=8"):
        pack(rows, 8, 0)


# Templates ----------------------------------------------------------------------------------------------------------------------

# It renders an assistant's turn in another way once a later one follows, and tool calls with it.
FORGETFUL = (
    "{% for message in messages %}{% if message.role == 'assistant' %}{% if loop.last %}{{ '<think>' }}{% endif %}{{ message.tool_calls }}"
    + MARKED + "{% else %}{{ message.content + '<|end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<think>' }}{% endif %}"
)
STOCK = {
    "qwen3": (("<|im_start|>", "<|im_end|>"), "<|im_end|>", "<think>\n\n</think>\n\nI am called Plum.<|im_end|>\n"),
    "llama3": (("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|eot_id|>", "I am called Plum.<|eot_id|>"),
    "phi3": (("<|end|>",), "<|end|>", "I am called Plum.<|end|>\n<eos>"),
    "gemma": (("<start_of_turn>", "<end_of_turn>"), "<end_of_turn>", "I am called Plum.<end_of_turn>\n"),
}


def stock(name: str):
    import trl

    template = Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja"
    return without_template(template.read_text(encoding="utf-8"), STOCK[name][0])


@pytest.mark.parametrize("template", ["{% for message in messages %}" + MARKED + "{% endfor %}", FORGETFUL], ids=["short", "forgetful"])
def test_templates_with_marks_are_kept(tokenizer, template):
    before = tokenizer.chat_template
    assert use_training_template(tokenizer) is tokenizer and tokenizer.chat_template == before and end_of_turn(tokenizer) == 6
    assert use_training_template(without_template(template)).chat_template == template


@pytest.mark.parametrize("name", STOCK)
def test_stock_templates_get_marks(name):
    small, (_, end, learned), messages = stock(name), STOCK[name], talk("What is your name?", "I am called Plum.")
    text = small.apply_chat_template(messages, tokenize=False)
    with pytest.raises(UserError, match="marks no token as the assistant's; call use_training_template"):
        tokenize(small, messages)
    ids, mask = tokenize(use_training_template(small), messages)
    assert small.decode(ids) == text and small.decode([token for token, mine in zip(ids, mask, strict=True) if mine]) == learned
    assert small.convert_ids_to_tokens(end_of_turn(small)) == end


def test_templates_that_teach_no_end_are_refused():
    plain = "{% for message in messages %}{{ message.content + '<|end|>' }}{% endfor %}"
    with pytest.raises(UserError, match="does not mark what the assistant says; put"):
        use_training_template(without_template(plain))
    endless = MARKED.replace(" + '<|end|>'", "").join(("{% for message in messages %}", "{{ '<|end|>' }}{% endfor %}"))
    with pytest.raises(UserError, match="leaves the end of the assistant's turn out of its marks; put"):
        use_training_template(without_template(endless))
    nameless = without_template()
    nameless.eos_token = None
    with pytest.raises(UserError, match="neither a chat template nor an end-of-text token; set"):
        use_training_template(nameless)


def check_plain_template(tokenizer, conversations) -> None:
    end = end_of_turn(use_training_template(tokenizer))
    assert tokenizer.chat_template == PLAIN_TEMPLATE and end == tokenizer.eos_token_id
    for messages in conversations:
        ids, mask = tokenize(tokenizer, messages)
        under = tokenizer.decode([token for token, mine in zip(ids, mask, strict=True) if mine])
        assert under.strip() == "".join(f" {text}{tokenizer.eos_token}" for text in answered(messages)).strip()
        *context, last = messages
        if last["role"] == "assistant":
            prompt = tokenizer.apply_chat_template(context, add_generation_prompt=True)["input_ids"]
            assert ids[: len(prompt)] == prompt and mask[len(prompt) - 1 : len(prompt) + 1] == [0, 1]


def test_a_tokenizer_without_a_template_gets_a_plain_one(conversations):
    small = without_template()
    check_plain_template(small, conversations)
    shown = small.apply_chat_template(talk("Hi", "Yes.", "Why?", system="Be brief."), tokenize=False, add_generation_prompt=True)
    assert shown == "<bos>System: Be brief.\nUser: Hi\nAssistant: Yes.<eos>\nUser: Why?\nAssistant:"


@pytest.mark.real
def test_a_real_model_without_a_template_learns_to_answer(real_folder, monkeypatch):
    from finetunelab.real_data import weights

    monkeypatch.setenv("CI", "1")
    source = str(weights("stories260K"))
    model, tokenizer = load_model(source), use_training_template(load_tokenizer(source))
    check_plain_template(tokenizer, from_worlds(15))
    talks = [talk("What is your name?", "I am called Plum."), talk("Say hi.", "Hi there!", "Where do you live?", "In a box.")]
    fine_tune(model, tokenizer, talks, TrainConfig(steps=60, batch_size=1, learning_rate=5e-3, warmup=5), longest=160)
    assert reply(model, tokenizer, [talks[0][:1], talks[1][:1], talks[1][:3]], tokens=40) == ["I am called Plum.", "Hi there!", "In a box."]


# Real instructions --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def instructions(real_data) -> list[list[dict[str, str]]]:
    rows = read_table(real_data / "instruction_1100" / "train.parquet").to_pylist()
    return [talk(f"{row['instruction']}\n\n{row['input']}" if row["input"] else row["instruction"], row["output"]) for row in rows]


@pytest.mark.real
def test_real_instructions_keep_their_answers_and_fill_their_rows(tokenizer, instructions):
    prepared, length = prepare(tokenizer, instructions, 512), 512
    rows, sizes = prepared.rows, [len(row["input_ids"]) for row in prepared.rows]
    assert len(rows) == len(instructions) == 1100 and prepared.cut == prepared.dropped == 0
    assert max(sizes) < length / 4 and 30 < statistics.median(sizes) < 60
    for (_, answer), row in zip(instructions, rows, strict=True):
        assert tokenizer.decode([label for label in row["labels"] if label != IGNORED]) == answer["content"] + "<|end|>"
    packed = pack(rows, length, tokenizer.pad_token_id)
    kept = [part for part in pieces(packed) if part[0] != (tokenizer.pad_token_id,)]
    assert Counter(kept) == Counter((tuple(row["input_ids"]), (IGNORED, *row["labels"][1:])) for row in rows)
    assert sum(sizes) > 0.95 * length * len(packed)
    # Padded to the longest of each sixteen, more than a third of all positions would hold nothing.
    drawn = random.Random(0).sample(sizes, 16 * (len(sizes) // 16))
    batches = [drawn[start : start + 16] for start in range(0, len(drawn), 16)]
    assert sum(drawn) < 0.65 * sum(16 * max(batch) for batch in batches)


@pytest.mark.real
def test_real_instructions_cut_short_lose_the_end_alone(tokenizer, instructions):
    whole, short = prepare(tokenizer, instructions, 512).rows, prepare(tokenizer, instructions, 32)
    assert len(short.rows) + short.dropped == 1100 and short.cut > 500 and 0 < short.dropped < 400
    begun = [{name: values[:32] for name, values in row.items()} for row in whole]
    assert short.rows == [row for row in begun if any(label != IGNORED for label in row["labels"])]
    assert sum(label != IGNORED for row in pack(short.rows, 64, 0) for label in row["labels"].tolist()) == sum(
        label != IGNORED for row in begun for label in row["labels"]
    )


@pytest.mark.real
def test_less_than_half_of_the_tokens_of_real_instructions_are_answers(tokenizer, instructions):
    """What the mask leaves out is most of the text, so the two losses are about different things."""
    masked, unmasked = (prepare(tokenizer, instructions, 512, masked).rows for masked in (True, False))
    labels = [label for row in masked for label in row["labels"]]
    assert 0.35 < sum(label != IGNORED for label in labels) / len(labels) < 0.5
    assert [row["input_ids"] for row in unmasked] == [row["input_ids"] for row in masked] == [row["labels"] for row in unmasked]
