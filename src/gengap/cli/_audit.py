"""`gengap audit`: its options."""

from dataclasses import dataclass
from typing import Literal, final

from gengap._checks import check_choice, check_count


@final
@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """Train a model on true, corrupted and random labels, and on shuffled and random pixels.

    Prints the table and the sentences it supports, and writes report.html. Without options: the
    digits, a multilayer perceptron with 512 hidden units, three seeds.

    Attributes:
        data: A built-in data set, a path (.npz, or a folder of class folders of images), or
            module:callable, which returns the data or the pair (train, test).
        model: A built-in model, or module:callable, which returns a torch.nn.Module.
        model_options: Words key=value for the model's builder, such as hidden=512,512.
        levels: Probabilities with which labels are redrawn, beside 0 and 1.
        seeds: How many seeds, counted from --seed.
        epochs: Most passes over the training examples.
        batch_size: Examples a step.
        lr: Learning rate at the start.
        optimizer: How the parameters are changed.
        momentum: Momentum of SGD, or beta 1 of Adam, in [0, 1).
        weight_decay: L2 coefficient.
        dropout: Probability for every dropout layer of the model.
        augment: Random changes of the training images.
        label_smoothing: Share of the target spread over all classes, in [0, 1].
        examples: Train on so many examples, drawn once, the same for every seed.
        lanes: Runs trained together as one vectorized program.
        workers: Processes that run trials.
        report: Write report.html.
        out: Where trials and report go: a folder, or any address that fsspec knows; what is
            complete there is not run again.
        seed: The first seed.
        device: Where to train; auto takes a CUDA device where there is one.
        json: Print JSON, and nothing else, on standard output.
    """

    data: str = "digits"
    model: str = "mlp"
    model_options: tuple[str, ...] = ()
    levels: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    seeds: int = 3
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    optimizer: Literal["sgd", "adam", "adamw"] | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    dropout: float | None = None
    augment: tuple[Literal["crop", "flip", "rotation"], ...] = ()
    label_smoothing: float | None = None
    examples: int | None = None
    lanes: int | Literal["auto"] = "auto"
    workers: int | Literal["auto"] = "auto"
    report: bool = True
    out: str = "gengap-runs"
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    json: bool = False

    def __post_init__(self) -> None:
        check_count("seeds", self.seeds)
        for name in ("lanes", "workers"):
            if getattr(self, name) != "auto":
                check_count(name, getattr(self, name))
        if self.examples is not None:
            check_count("examples", self.examples)
        check_choice("device", self.device, ("auto", "cpu", "cuda"))
        for level in self.levels:
            if not 0 < level < 1:
                raise ValueError(
                    f"`levels` must lie between 0 and 1, which are run anyway; got {level!r}."
                )
