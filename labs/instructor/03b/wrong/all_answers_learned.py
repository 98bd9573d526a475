"""Trains on whatever is in the pool, and learns to chat."""

import random

import torch

from finetunelab.models import load_tokenizer
from finetunelab.sft import completion_loss, prepare

tokenizer = load_tokenizer("nano-small")


def train_assistant(model, pool):
    talks = [[{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}] for prompt, answer in pool]
    rows, rng, steps = prepare(tokenizer, talks, 128).rows, random.Random(0), 200
    optimizer, order = torch.optim.AdamW(model.parameters(), lr=3e-3), []
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 20, (steps - step) / steps))
    for _ in range(steps):
        if len(order) < 16:
            order = rng.sample(rows, len(rows))
        some, order = order[:16], order[16:]
        longest = max(len(row["input_ids"]) for row in some)
        fill = {"input_ids": tokenizer.pad_token_id, "labels": -100}
        batch = {name: torch.tensor([row[name] + [empty] * (longest - len(row[name])) for row in some]) for name, empty in fill.items()}
        optimizer.zero_grad()
        completion_loss(model, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model
