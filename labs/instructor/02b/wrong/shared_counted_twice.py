"""Counts what the state dict lists: the matrix that embeddings and next-token layer share stands there twice."""


def freeze_but_last(model, blocks):
    model.requires_grad_(False)
    if blocks:
        for part in (*model.model.layers[-blocks:], model.model.norm):
            part.requires_grad_(True)
    return sum(p.numel() for p in model.parameters() if p.requires_grad), sum(p.numel() for p in model.state_dict().values())
