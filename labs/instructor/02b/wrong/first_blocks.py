"""Leaves the first blocks trainable in place of the last."""


def freeze_but_last(model, blocks):
    for number, block in enumerate(model.model.layers):
        block.requires_grad_(number < blocks)
    model.model.embed_tokens.requires_grad_(False)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trained, sum(p.numel() for p in model.parameters())
