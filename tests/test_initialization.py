"""The weights that a base starts from: heads that look back, layers that copy, embeddings that know their company."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finetunelab.corpus import PROSE, SPECIAL, Pool
from finetunelab.initialization import COMPANY_SHARE, DISTANCES, EMBEDDING_STD, company, keep_company, new_model
from finetunelab.pretraining import CONTEXT, SHAPES, VOCABULARY

similarity = torch.nn.functional.cosine_similarity


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_new_model_looks_back_from_its_first_layer(shape):
    """Each head of the first layer must see the token at its distance better than any other, wherever it stands."""
    torch.manual_seed(0)
    model = new_model(shape, VOCABULARY, CONTEXT)
    model.set_attn_implementation("eager")
    ids = torch.randint(7, VOCABULARY, (4, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = model(input_ids=ids, output_attentions=True)
    attention = out.attentions[0].mean(0)  # heads, from, to
    for head, distance in enumerate(DISTANCES[-shape.heads :]):
        for at in (12, 25, 39):
            if distance is None:
                assert attention[head, at, at - 11 : at + 1].sum() > 0.6
                assert attention[head, at].max() < 0.4
            else:
                assert attention[head, at].argmax() == at - distance and attention[head, at].max() > 0.5
    assert 0.7 < out.logits.std() < 1.5


def test_later_layers_attend_to_what_is_alike_and_copy_it():
    torch.manual_seed(0)
    layer = new_model(SHAPES["base"], VOCABULARY, CONTEXT).model.layers[1].self_attn
    vectors = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        copied = layer.o_proj(layer.v_proj(vectors))
        scores = layer.q_proj(vectors) @ layer.k_proj(vectors).T
    alike = similarity(copied[:, None], vectors[None], dim=-1)
    assert (alike.argmax(1) == torch.arange(64)).all() and alike.diagonal().mean() > 0.5
    assert scores.diagonal().mean() > 4 * scores[~torch.eye(64, dtype=bool)].std()


def gossip(seed: int = 0) -> Pool:
    """Documents on two subjects: tokens 10 to 19 keep company, 20 to 29 keep company, 30 to 34 are found with both, 40 hardly occurs."""
    rng = np.random.default_rng(seed)
    documents = [
        np.concatenate([[1], rng.choice([*range(start, start + 10), *range(30, 35)], 20), [2]]) for start in rng.choice([10, 20], 600)
    ]
    documents.append(np.array([1, 40, 10, 2]))
    starts = np.cumsum([0, *(len(d) for d in documents)])
    return Pool(np.concatenate(documents).astype(np.uint16), np.full(starts[-1], PROSE), starts)


def test_tokens_found_in_the_same_company_lie_near_each_other():
    vectors = company([gossip()], 50, 8)
    alike = similarity(vectors[:, None], vectors[None], dim=-1)
    within = alike[10:20, 10:20][~torch.eye(10, dtype=bool)]
    assert within.min() > alike[10:20, 20:30].max()
    assert torch.allclose(vectors[10:35].norm(dim=1), torch.full((25,), 8**0.5), atol=1e-4)
    assert not vectors[: len(SPECIAL)].any() and not vectors[45].any()  # special tokens, and what never occurs
    assert torch.equal(vectors, company([gossip()], 50, 8))


def test_company_does_not_reach_over_the_end_of_a_document():
    """Two documents that always follow each other must not look like one."""
    documents = [np.array([1, *np.random.default_rng(i).choice(range(start, start + 5), 6), 2]) for i in range(300) for start in (10, 20)]
    pool = Pool(np.concatenate(documents).astype(np.uint16), np.full(8 * len(documents), PROSE), np.arange(0, 8 * len(documents) + 1, 8))
    vectors = company([pool], 30, 4)
    assert similarity(vectors[10:15, None], vectors[None, 20:25], dim=-1).max() < 0


def test_embeddings_move_towards_their_company_and_keep_an_identity():
    torch.manual_seed(0)
    model = new_model(SHAPES["small"], 100, CONTEXT)
    before = model.get_input_embeddings().weight.detach().clone()
    vectors = torch.zeros(100, SHAPES["small"].width)
    vectors[10:12] = torch.randn(1, SHAPES["small"].width)  # two tokens of the very same company
    keep_company(model, vectors)
    after = model.get_output_embeddings().weight.detach()
    assert torch.equal(after[12:], before[12:]) and torch.equal(after[:10], before[:10])
    assert similarity(after[10], vectors[10], dim=0) == pytest.approx(COMPANY_SHARE**0.5, abs=0.15)
    assert 0.4 < similarity(after[10], after[11], dim=0) < 0.95
    assert after[10].std() == pytest.approx(EMBEDDING_STD, rel=0.3)
