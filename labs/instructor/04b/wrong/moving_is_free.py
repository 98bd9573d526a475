"""Forgets the charge."""


def improve(logits, reference, pressed, paid, weight):
    table, pressed, paid = torch.tensor(logits).double(), torch.tensor(pressed), torch.tensor(paid).double()
    advantages = paid - paid.mean()
    return (table + ((torch.eye(len(table)).double()[pressed] - table.softmax(0)) * advantages[:, None]).mean(0)).tolist()
