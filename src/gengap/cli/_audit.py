"""`gengap audit`: the main job."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from gengap._checks import check_choice, check_count
from gengap.auditing import PROBE, Audit, audit, plan
from gengap.data import Augmentation
from gengap.lab import Lab, TrackerName, digest
from gengap.optim import DARC1
from gengap.report import print_claims, print_table
from gengap.training import Constant, Cosine, Exponential, OptimizerName, Recipe, Schedule

from ._inputs import find_data, find_model, with_settings
from ._lab import leads, open_lab
from ._options import ReportFlag, assignments, parse
from ._output import print_json
from ._progress import trial_progress

SCHEDULES: dict[str, Schedule] = {
    "constant": Constant(),
    "exponential": Exponential(),
    "cosine": Cosine(),
}
ROTATION = 25.0
PADDING = 2
FAST = ("small_inception", "resnet")
_NOT_TRAINED = ("failed", "diverged", "damaged")


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
        epochs: Most passes over the training examples; a run ends earlier once every training
            example is right.
        batch_size: Examples a step.
        lr: Learning rate at the start. By default 0.1 on the digits and for Inception and ResNet,
            else 0.01, the papers' for perceptrons and Alexnet.
        schedule: Learning rate over time; exponential is the paper's factor 0.95 an epoch.
        optimizer: How the parameters are changed.
        momentum: Momentum of SGD, or beta 1 of Adam, in [0, 1). By default 0.9 for sgd, adam and
            adamw, and 0 for the others.
        clip_percent: Percentile, in [0, 50], beyond which winsorized_sgd clips and
            trimmed_mean_sgd leaves out the gradients of single examples; by default 1.
        weight_decay: L2 coefficient.
        dropout: Probability for every dropout layer of the model.
        augment: Random changes of the training images: crop (a random window instead of the
            centre), flip, rotation (up to 25 degrees).
        label_smoothing: Share of the target spread over all classes, in [0, 1].
        darc1: Strength of the penalty on the largest mean absolute logit of a batch; 0 is none.
        classes: Number of classes of data from outside, where the labels do not show it.
        standardize: Standardize data from outside, each image by itself or by the train half.
        tokens: Leave whole numbers whole, for a network that begins with an Embedding.
        size: Side, or height and width, that images of a folder are brought to, scaled to cover it
            and cut around the centre.
        examples: Train on so many examples, drawn once, the same for every seed.
        test_examples: Test on so many examples, drawn once; every epoch ends with a test.
        probe: Training examples on which the coherence of gradients is measured along the way,
            beside when each training example is learned; 0 measures neither.
        kernel_twin: Fit a Gaussian kernel to the same data sets, beside the network.
        lanes: Runs trained together as one vectorized program.
        workers: Processes that run trials; of Ray, most groups at a time.
        engine: local; ray: a Ray cluster, which trains each group of runs where there is room; or
            torchrun: the processes that torchrun started, all of which train each run together.
        address: Where the Ray cluster is, such as auto, or ray://host:10001; by default the one
            that RAY_ADDRESS names, else that of this machine, which is started if need be.
        gpus: GPUs that a group asks of Ray; below 1 a share of one.
        checkpoints: A folder that every machine of the cluster sees, so that what a lost machine
            was at goes on from its last checkpoint.
        track: Show trials as they end to tensorboard, mlflow or wandb (offline), beside the store.
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
    epochs: int = 200
    batch_size: int = 128
    lr: float | None = None
    schedule: Literal["constant", "exponential", "cosine"] = "constant"
    optimizer: OptimizerName = "sgd"
    momentum: float | None = None
    clip_percent: float | None = None
    weight_decay: float = 0.0
    dropout: float | None = None
    augment: tuple[Literal["crop", "flip", "rotation"], ...] = ()
    label_smoothing: float = 0.0
    darc1: float = 0.0
    classes: int | None = None
    standardize: Literal["image", "dataset"] | None = None
    tokens: bool = False
    size: tuple[int, ...] = ()
    examples: int | None = None
    test_examples: int | None = None
    probe: int = PROBE
    kernel_twin: bool = False
    lanes: int | Literal["auto"] = "auto"
    workers: int | Literal["auto"] = "auto"
    engine: Literal["local", "ray", "torchrun"] = "local"
    address: str | None = None
    gpus: float | None = None
    checkpoints: str | None = None
    track: tuple[TrackerName, ...] = ()
    report: ReportFlag = True
    out: str = "gengap-runs"
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    json: bool = False

    def __post_init__(self) -> None:
        check_count("seeds", self.seeds)
        check_count("probe", self.probe, least=0)
        for name in ("lanes", "workers"):
            if getattr(self, name) != "auto":
                check_count(name, getattr(self, name))
        for name in ("examples", "test_examples"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        check_choice("device", self.device, ("auto", "cpu", "cuda"))
        for level in self.levels:
            if not 0 < level < 1:
                raise ValueError(
                    f"`levels` must lie between 0 and 1, which are run anyway; got {level!r}."
                )


def main(arguments: Sequence[str]) -> int:
    """Run `gengap audit`; returns 0, or 1 if a trial failed or diverged."""
    options = parse(AuditOptions, arguments, program="gengap audit")
    model = find_model(options.model, assignments("model_options", options.model_options))
    data = find_data(
        options.data,
        examples=options.examples,
        test_examples=options.test_examples,
        num_classes=options.classes,
        standardize=options.standardize,
        tokens=options.tokens,
        size=options.size,
    )
    lab = open_lab(options)
    seeds = range(options.seed, options.seed + options.seeds)
    how = recipe(options, room=data.load()[0].preprocessing.crop is not None)
    trials = plan(data, model, how, levels=options.levels, seeds=seeds)
    with trial_progress(len(trials)) as progress:
        found = audit(
            model,
            data,
            recipe=how,
            seeds=seeds,
            levels=options.levels,
            probe=options.probe,
            kernel_twin=options.kernel_twin,
            lab=lab,
            progress=progress,
            command=["gengap", "audit", *arguments],
        )
    if not leads():
        return 0
    folder = _folder(options, lab, found)
    page = found.save(folder / "report.html") if options.report else None
    if page is None:
        found.save_tables(folder)
    _print(found, folder, page, json=options.json)
    return int(found.results["status"].isin(_NOT_TRAINED).any())


def recipe(options: AuditOptions, *, room: bool) -> Recipe:
    """Return the recipe that the options give.

    Args:
        options: What was asked for.
        room: Whether images are larger than their crop; else a random crop pads them first.
    """
    usual = 0.1 if options.data == "digits" or options.model in FAST else 0.01
    chosen = set(options.augment)
    augmentation = Augmentation(
        random_crop="crop" in chosen,
        padding=PADDING if "crop" in chosen and not room else 0,
        flip="flip" in chosen,
        rotation=ROTATION if "rotation" in chosen else 0.0,
    )
    found = Recipe(
        epochs=options.epochs,
        batch_size=options.batch_size,
        lr=usual if options.lr is None else options.lr,
        schedule=SCHEDULES[options.schedule],
        optimizer=options.optimizer,
        weight_decay=options.weight_decay,
        dropout=options.dropout,
        augmentation=augmentation if chosen else None,
        label_smoothing=options.label_smoothing,
        regularizers=(DARC1(strength=options.darc1),) if options.darc1 else (),
        stop_at_accuracy=1.0,
    )
    return with_settings(found, momentum=options.momentum, clip_percent=options.clip_percent)


def _folder(options: AuditOptions, lab: Lab, found: Audit) -> Path:
    """Return where the page goes: a folder of its own for everything that was audited."""
    base = lab.store.files.local or Path("gengap-runs")
    words = f"{found.model_name}-on-{found.data_name}"
    name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in words)
    return base / "audits" / f"{name.strip('-')}-{digest(found.specification)[:6]}"


def _print(found: Audit, folder: Path, page: Path | None, *, json: bool) -> None:
    if json:
        print_json({
            "results": found.results.to_dict("records"),
            "claims": [dataclasses.asdict(claim) for claim in found.claims],
            "specification": found.specification,
            "tables": folder,
            "report": page,
        })
        return
    print_table(found.as_table())
    print()
    print_claims(found.claims)
    failed = found.results[found.results["status"].isin(_NOT_TRAINED)]
    for row in failed.itertuples():
        print(f"{row.status}: {row.data_set}, seed {row.seed}: {row.reason}")
    print(f"\nTables: {folder}" if page is None else f"\nReport: {page}")
