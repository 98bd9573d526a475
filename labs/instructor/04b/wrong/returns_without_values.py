"""Hands the advantages back as returns."""


def gae(rewards, values, mask, gamma, lam):
    rewards, values = torch.where(mask, rewards, 0.0), torch.where(mask, values, 0.0)
    after = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)
    deltas, found = torch.where(mask, rewards + gamma * after - values, 0.0), torch.zeros_like(values)
    for t in reversed(range(mask.shape[1])):
        found[:, t] = deltas[:, t] + (gamma * lam * found[:, t + 1] if t + 1 < mask.shape[1] else 0)
    found = torch.where(mask, found, 0.0)
    return found, found.clone()
