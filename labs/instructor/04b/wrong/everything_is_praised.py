"""Has no baseline."""


def improve(logits, reference, pressed, paid, weight):
    table, start = torch.tensor(logits).double(), torch.tensor(reference).double()
    pressed, paid = torch.tensor(pressed), torch.tensor(paid).double()
    rewards = paid - weight * (table.log_softmax(0) - start.log_softmax(0))[pressed]
    gradient = ((torch.eye(len(table)).double()[pressed] - table.softmax(0)) * rewards[:, None]).mean(0)
    return (table + gradient / (1 + weight)).tolist()
