"""Counts one too far: reads the state behind the last token."""


def pool(states, mask, pooling):
    if pooling == "mean":
        weights = mask[..., None].to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1)
    places = (torch.arange(mask.shape[1]) * mask).argmax(1)
    return states[torch.arange(len(states)), (places + 1).clamp(max=mask.shape[1] - 1)]
