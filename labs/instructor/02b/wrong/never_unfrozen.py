"""Freezes the rest, and takes for granted that the last blocks were trainable."""


def freeze_but_last(model, blocks):
    for block in model.model.layers[: len(model.model.layers) - blocks]:
        block.requires_grad_(False)
    model.model.embed_tokens.requires_grad_(False)
    if not blocks:
        model.model.norm.requires_grad_(False)
    return sum(p.numel() for p in model.parameters() if p.requires_grad), sum(p.numel() for p in model.parameters())
