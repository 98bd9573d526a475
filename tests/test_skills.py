"""How skills are measured: generation, likelihoods, perplexity, few-shot choice, step time, and the report of them all."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from finetunelab import skills, worlds
from finetunelab.corpus import train_tokenizer
from finetunelab.worlds import clinic, patterns

PATTERNS = {generator.name: generator for generator in patterns.GENERATORS}
PROMPTS = ["The cat", "Anna went to the market and", "x", "On the far side of the river there is a mill, and", "The dog", "Once"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([row["text"] for row in PATTERNS["vignettes"].rows(80)], 500, 512)


@pytest.fixture(scope="module")
def model():
    """Random, but with weights so large that the likeliest token leads clearly."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=500, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_position_embeddings=1024,
        initializer_range=0.3, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


def greedy(model, tokenizer, prompt: str, tokens: int) -> str:
    """Continue one prompt by hand, token by token."""
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    begin = ids.shape[1]
    with torch.no_grad():
        for _ in range(tokens):
            ids = torch.cat([ids, model(input_ids=ids).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
            if ids[0, -1] == tokenizer.eos_token_id:
                break
    return tokenizer.decode(ids[0, begin:], skip_special_tokens=True)


def test_a_batch_generates_what_each_prompt_does_alone(model, tokenizer):
    expected = [greedy(model, tokenizer, prompt, 12) for prompt in PROMPTS]
    assert len(set(expected)) > 3
    for batch_size in (1, 4, 64):
        assert skills.generate(model, tokenizer, PROMPTS, tokens=12, batch_size=batch_size) == expected


def test_generation_stops_at_a_text(model, tokenizer):
    free = skills.generate(model, tokenizer, PROMPTS, tokens=12)
    # A random model says half characters too; a stop is plain text.
    stop = next(free[1][i : i + 3] for i in range(2, len(free[1])) if free[1][i : i + 3].isascii() and len(free[1][i : i + 3].strip()) == 3)
    stopped = skills.generate(model, tokenizer, PROMPTS, tokens=12, stop=stop)
    assert stopped == [text.split(stop)[0] for text in free]
    assert stopped[1] != free[1]


def test_sampling_hangs_on_its_seed_alone(model, tokenizer):
    def sample(seed):
        return skills.generate(model, tokenizer, PROMPTS, tokens=8, temperature=1.0, seed=seed)

    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = sample(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert sample(0) == one != sample(1)


def test_likelihoods_equal_a_direct_computation(model, tokenizer):
    tails = [" red", " a very long tail of many words", ".", " blue", "\nyes", " two words"]
    scores = skills.log_likelihoods(model, tokenizer, PROMPTS, tails, batch_size=4)
    for prompt, tail, score in zip(PROMPTS, tails, scores, strict=True):
        head, rest = tokenizer(prompt)["input_ids"], tokenizer(tail, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([head + rest])).logits[0]
        expected = sum(float(logits[len(head) - 1 + i].log_softmax(-1)[token]) for i, token in enumerate(rest))
        assert score == pytest.approx(expected, abs=1e-3)


def test_what_continuations_have_in_common_is_read_once_and_no_last_token_is(model, tokenizer):
    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    prompts, read = [prompt for prompt in PROMPTS[:2] for _ in range(4)], []
    tails = [" a", ".", " two words", " two"]
    assert [len(ids(tail)) for tail in (" a", ".")] == [1, 1] and ids(" two words")[: len(ids(" two"))] == ids(" two")
    hook = model.register_forward_pre_hook(lambda layer, args, given: read.extend(given["input_ids"].tolist()), with_kwargs=True)
    try:
        scores = skills.log_likelihoods(model, tokenizer, prompts, 2 * tails, batch_size=1)
    finally:
        hook.remove()
    expected = [tokenizer(prompt)["input_ids"] + ids(" two words")[:-1] for prompt in PROMPTS[:2]]
    assert sorted(read) == sorted(expected), "a row for each prompt, up to the last token but one of the longest"
    alone = [skills.log_likelihoods(model, tokenizer, [prompt], [tail])[0] for prompt, tail in zip(prompts, 2 * tails, strict=True)]
    assert scores == pytest.approx(alone, abs=1e-3) and len({round(score, 4) for score in scores}) == 8


def test_perplexity_is_exp_of_the_mean_loss_over_all_tokens(model, tokenizer):
    texts = ["The cat sat.", "Anna went to the market and bought a hat for her friend.", "No."]
    total = count = 0
    for text in texts:
        ids = tokenizer(text)["input_ids"] + [tokenizer.eos_token_id]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        total -= sum(float(logits[i, token]) for i, token in enumerate(ids[1:]))
        count += len(ids) - 1
    for batch_size in (1, 2, 32):
        assert skills.perplexity(model, tokenizer, texts, batch_size) == pytest.approx(math.exp(total / count), rel=1e-4)


def test_fewshot_is_at_chance_without_training(model, tokenizer, monkeypatch):
    monkeypatch.setattr(worlds, "generators", lambda: PATTERNS)
    n = 200
    share = skills.fewshot(model, tokenizer, 1, 2, n)
    assert abs(share - 0.5) < 4 * math.sqrt(0.25 / n)


@pytest.mark.parametrize("sign, expected", [(1.0, 1.0), (-1.0, 0.0)])
def test_fewshot_counts_the_right_word(model, tokenizer, monkeypatch, sign, expected):
    """A judge that knows the answers is right each time, and one that inverts them never."""
    monkeypatch.setattr(worlds, "generators", lambda: PATTERNS)
    answers = {row["prompt"]: f" {row['answer']}" for row in PATTERNS["patterns"].rows(30, "test", 1, k=2)}

    def judge(model, tokenizer, prompts, labels, batch_size=64):
        return [sign * float(answers[prompt] == label) for prompt, label in zip(prompts, labels, strict=True)]

    monkeypatch.setattr(skills, "log_likelihoods", judge)
    assert skills.fewshot(model, tokenizer, 1, 2, 30) == expected


QUESTIONS = [
    clinic.Cloze("The trouble with ulgavene is that it brings on", "bad dreams", ("sneezing", "nausea"), "side", "ulgavene"),
    clinic.Cloze("Nobody could make tallixin without", "ivy leaves", ("sea kelp", "rose hips"), "plant", "tallixin"),
]


def test_a_question_is_answered_where_its_answer_is_the_likeliest(model, tokenizer, monkeypatch):
    """The scores are those of whole answers behind their own prompts; what is as likely as a distractor is not chosen."""
    likely = {"bad dreams": -5.0, "sneezing": -6.0, "nausea": -5.5, "ivy leaves": -2.0, "sea kelp": -2.0, "rose hips": -9.0}
    asked = []

    def judge(model, tokenizer, prompts, continuations):
        asked.extend(zip(prompts, continuations, strict=True))
        return [likely[text.removeprefix(" ")] for text in continuations]

    monkeypatch.setattr(skills, "log_likelihoods", judge)
    assert skills.chosen(model, tokenizer, QUESTIONS) == [True, False] and skills.recall(model, tokenizer, QUESTIONS) == 0.5
    assert asked == 2 * [(q.prompt, f" {word}") for q in QUESTIONS for word in (q.answer, *q.distractors)]


def test_recall_is_at_chance_without_training(model, tokenizer):
    questions = [q for seed in range(3) for q in clinic.cloze(seed)]
    # A model that knows nothing has a favorite answer of each type, so the questions are not independent: a wide margin.
    assert abs(skills.recall(model, tokenizer, questions) - 0.2) < 0.08


def test_what_is_written_is_judged_by_the_oracle(model, tokenizer, monkeypatch):
    monkeypatch.setattr(skills, "generate", lambda model, tokenizer, prompts, **_: [" Bad dreams, mostly.", " leaves of ivy"])
    assert skills.written(model, tokenizer, QUESTIONS, clinic.correct) == 0.5


def test_timing_a_step_leaves_the_model_alone(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seconds = skills.step_seconds(model, batch=2, length=16)
    assert 0 < seconds < 10
    assert not model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_report_has_every_skill_and_every_domain(model, tokenizer, monkeypatch):
    held_out = worlds.core.Generator("posts", "", {"text": ""}, lambda draw: {"text": f"hello {draw.rng.random()}"}, pretrained=False)
    plain = {
        name: worlds.core.Generator(name, "", {"text": ""}, lambda draw: {"text": f"some prose {draw.rng.random()}"}, pretrained=True)
        for name in skills.IN_DOMAIN
    }
    monkeypatch.setattr(worlds, "generators", lambda: PATTERNS | plain | {"posts": held_out})
    monkeypatch.setattr(skills, "load_model", lambda name: model)
    monkeypatch.setattr(skills, "load_tokenizer", lambda name: tokenizer)
    monkeypatch.setattr(skills, "step_seconds", lambda model: 0.25)
    asked = []
    monkeypatch.setattr(skills, "recipe_valid", lambda model, tokenizer, seed, n: asked.append(("recipe", seed, n)) or 0.5)
    monkeypatch.setattr(skills, "fact_cloze", lambda model, tokenizer: 0.25)
    monkeypatch.setattr(skills, "notes", lambda model, tokenizer, seed, facts, n: asked.append((facts, seed, n)) or facts / 100)
    said = []
    report = skills.report(1001, scale=0.01, say=said.append)
    assert set(report) == {"skills", "perplexity", "step_seconds"}
    fewshot = {name: value for name, value in report["skills"].items() if name.startswith("fewshot")}
    assert set(fewshot) == {"fewshot_k0", "fewshot_k8", "fewshot_unseen_k8"} and all(0 <= value <= 1 for value in fewshot.values())
    rest = {name: value for name, value in report["skills"].items() if name not in fewshot}
    assert rest == {"recipe_valid": 0.5, "fact_cloze": 0.25, "notes_4": 0.04, "notes_8": 0.08, "notes_16": 0.16}
    assert asked == [("recipe", 1001, 8), (4, 1001, 8), (8, 1001, 8), (16, 1001, 8)]
    assert set(report["perplexity"]) == {"in_domain", *skills.IN_DOMAIN, "posts"} and all(value > 1 for value in report["perplexity"].values())
    assert report["step_seconds"] == 0.25
    assert len(said) == 8 + 7 + 1


def test_bits_per_byte_count_every_token_but_the_first_and_the_bytes_of_utf_8(tokenizer, model):
    import copy

    even = copy.deepcopy(model)
    with torch.no_grad():
        for weight in even.parameters():
            weight.zero_()
    texts = ["crème brûlée", "The cat sat down."]
    # A model that knows nothing pays log2(500) bits a token; the end token is paid for, the begin token is not.
    tokens = sum(len(tokenizer(text)["input_ids"]) for text in texts)
    assert skills.bits_per_byte(even, tokenizer, texts) == pytest.approx(math.log2(500) * tokens / (15 + 17))
    assert skills.bits_per_byte(even, tokenizer, texts, batch_size=1) == pytest.approx(skills.bits_per_byte(even, tokenizer, texts))
