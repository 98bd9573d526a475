"""Expects after the last token what the value head happens to say about the padding."""


def gae(rewards, values, mask, gamma, lam):
    after = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)
    deltas, found = torch.where(mask, rewards + gamma * after - values, 0.0), torch.zeros_like(values)
    for t in reversed(range(mask.shape[1])):
        found[:, t] = deltas[:, t] + (gamma * lam * found[:, t + 1] if t + 1 < mask.shape[1] else 0)
    return torch.where(mask, found, 0.0), torch.where(mask, found + values, 0.0)
