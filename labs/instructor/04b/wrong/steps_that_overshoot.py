"""Takes steps as large with a large charge as without one, and large ones."""


def improve(logits, reference, pressed, paid, weight):
    table, start = torch.tensor(logits).double(), torch.tensor(reference).double()
    pressed, paid = torch.tensor(pressed), torch.tensor(paid).double()
    rewards = paid - weight * (table.log_softmax(0) - start.log_softmax(0))[pressed]
    advantages = rewards - rewards.mean()
    return (table + 3 * ((torch.eye(len(table)).double()[pressed] - table.softmax(0)) * advantages[:, None]).mean(0)).tolist()
