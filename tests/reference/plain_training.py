"""The obvious training loop: one network, `torch.optim`, autograd, one batch after the other.

Shares with the library only the names of the random streams, which are its contract, and the
optimizers of `gengap.optim`, which have their own twins.
"""

import copy
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from gengap import optim
from gengap._streams import derive_seed, streams

OF_THREE = {
    "median_of_three": optim.MedianOfThree,
    "rolling_median_of_three": optim.RollingMedianOfThree,
    "mean_of_three": optim.MeanOfThree,
    "rolling_mean_of_three": optim.RollingMeanOfThree,
}


@dataclass
class PlainRun:
    model: torch.nn.Module
    history: list


def seeded(build, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        return build()


def optimizer_of(model, recipe, **own):
    value = {n: own.get(n, getattr(recipe, n)) for n in ("lr", "momentum", "weight_decay")}
    trained = [p for p in model.parameters() if p.requires_grad]
    decay = {"lr": value["lr"], "weight_decay": value["weight_decay"]}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            trained, **decay, momentum=value["momentum"], nesterov=recipe.nesterov
        )
    if recipe.optimizer in OF_THREE:
        own = {"momentum": value["momentum"], "decay_first": recipe.decay_first}
        return OF_THREE[recipe.optimizer](trained, **decay, **own)
    if recipe.optimizer == "rmsprop":
        moments = {"alpha": recipe.beta2, "eps": recipe.eps, "momentum": value["momentum"]}
        return torch.optim.RMSprop(trained, **decay, **moments)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(trained, **decay, betas=(value["momentum"], recipe.beta2), eps=recipe.eps)


def loss_of(outputs, y, recipe):
    if recipe.loss == "squared_error":
        return 0.5 * ((outputs - y) ** 2).sum(1).mean()
    return F.cross_entropy(outputs, y, label_smoothing=recipe.label_smoothing)


def train_plainly(build, split, *, recipe, seed=0, test=None, factor=lambda step: 1.0, **own):
    """Train; `factor` is the schedule, `own` what differs from the recipe."""
    model = seeded(build, seed)
    optimizer = optimizer_of(model, recipe, **own)
    lr, n, step = optimizer.param_groups[0]["lr"], len(split), 0
    history = [look(model, split, test, recipe)]
    for epoch in range(recipe.epochs):
        model.train()
        order = torch.randperm(n, generator=streams(seed)("batches", epoch))
        drops = streams(seed)("augmentation", epoch)
        for start in range(0, n, recipe.batch_size):
            x, y = split.batch(
                order[start : start + recipe.batch_size],
                augmentation=recipe.augmentation,
                generator=drops,
            )
            warm = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
            optimizer.param_groups[0]["lr"] = lr * factor(step) * warm
            optimizer.zero_grad()
            loss_of(model(x), y, recipe).backward()
            optimizer.step()
            step += 1
        history.append(look(model, split, test, recipe))
    return PlainRun(model, history)


def look(model, split, test, recipe):
    """Evaluate a copy, all examples at once."""
    twin = copy.deepcopy(model).eval()
    row = scores(twin, split, recipe, "train")
    return row | (scores(twin, test, recipe, "test") if test is not None else {})


def scores(model, split, recipe, half):
    x, y = split.batch()
    with torch.no_grad():
        outputs = model(x)
    if recipe.loss == "squared_error":
        return {f"{half}_loss": float(0.5 * ((outputs - y) ** 2).sum(1).mean())}
    row = {f"{half}_loss": float(F.cross_entropy(outputs, y))}
    hits = [int(o.argmax()) == int(t) for o, t in zip(outputs, y, strict=True)]
    row[f"{half}_accuracy"] = sum(hits) / len(hits)
    if half == "train":
        for name, which in (("clean_accuracy", False), ("corrupted_accuracy", True)):
            some = [h for h, c in zip(hits, split.changed.tolist(), strict=True) if c == which]
            row[name] = sum(some) / len(some) if some else float("nan")
    return row
