"""`gengap labels`: which labels of a data set are likely wrong?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from gengap._checks import check_choice, check_count, check_probability
from gengap.inspection import Labels, labels
from gengap.lab import Lab, TrackerName, digest
from gengap.memorization import SCORES
from gengap.report import print_table
from gengap.training import OptimizerName, Recipe

from ._inputs import find_classifier, find_data, find_model, with_settings
from ._lab import leads, open_lab
from ._options import GradientsFlag, ReportFlag, assignments, parse
from ._output import print_json
from ._progress import trial_progress


@final
@dataclass(frozen=True, kw_only=True)
class LabelsOptions:
    """Rank the examples of a data set by how much they have to be memorized, wrong labels first.

    Trains a network for a few epochs and follows every example. Prints the most suspicious, and
    writes labels.csv, which ranks all, and report.html with pictures. Without options: the digits,
    a multilayer perceptron with 512 hidden units, three seeds.

    Attributes:
        data: A built-in data set, a path (.npz, or a folder of class folders of images), or
            module:callable, which returns the data. Of data with two halves the train half.
        model: A built-in model, or module:callable, which returns a torch.nn.Module, or a
            classifier of scikit-learn or skorch, such as sklearn.linear_model:LogisticRegression;
            labels are then ranked by its held-out probabilities, and training options mean nothing.
        model_options: Words key=value for the model's builder, such as hidden=512,512.
        noise: Redraw each label with this probability first, to see how well wrong labels are
            found.
        by: The score that ranks: negative_margin, mean_loss, doubt, learning_time, forgetting,
            final_loss, error_norm, gradient_norm or misalignment.
        top: How many of the most suspicious examples are shown.
        folds: Into how many parts the examples are divided for a classifier; no more than the
            rarest label has examples.
        gradients: Score by the gradients of the trained networks too.
        seeds: How many seeds, counted from --seed; their scores are averaged.
        epochs: Passes over the examples. Few: wrong labels should not be fitted for long.
        batch_size: Examples a step.
        lr: Learning rate. By default 0.1 on the digits, else 0.01.
        optimizer: How the parameters are changed.
        momentum: Momentum of SGD, or beta 1 of Adam, in [0, 1). By default 0.9 for sgd, adam and
            adamw, and 0 for the others.
        clip_percent: Percentile, in [0, 50], beyond which winsorized_sgd clips and
            trimmed_mean_sgd leaves out the gradients of single examples; by default 1.
        weight_decay: L2 coefficient.
        classes: Number of classes of data from outside, where the labels do not show it.
        standardize: Standardize data from outside, each image by itself or all together.
        tokens: Leave whole numbers whole, for a network that begins with an Embedding.
        size: Side, or height and width, that images of a folder are brought to, scaled to cover it
            and cut around the centre.
        examples: Take so many examples, drawn once; rows are then counted among them.
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
    noise: float = 0.0
    by: str = "negative_margin"
    top: int = 24
    folds: int = 5
    gradients: GradientsFlag = True
    seeds: int = 3
    epochs: int = 10
    batch_size: int = 128
    lr: float | None = None
    optimizer: OptimizerName = "sgd"
    momentum: float | None = None
    clip_percent: float | None = None
    weight_decay: float = 0.0
    classes: int | None = None
    standardize: Literal["image", "dataset"] | None = None
    tokens: bool = False
    size: tuple[int, ...] = ()
    examples: int | None = None
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
        for name in ("seeds", "top"):
            check_count(name, getattr(self, name))
        for name in ("lanes", "workers"):
            if getattr(self, name) != "auto":
                check_count(name, getattr(self, name))
        if self.examples is not None:
            check_count("examples", self.examples)
        check_probability("noise", self.noise)
        check_choice("by", self.by, SCORES)
        check_choice("device", self.device, ("auto", "cpu", "cuda"))

    def recipe(self) -> Recipe:
        """Return the recipe that the options give."""
        usual = 0.1 if self.data == "digits" else 0.01
        found = Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=usual if self.lr is None else self.lr,
            optimizer=self.optimizer,
            weight_decay=self.weight_decay,
        )
        return with_settings(found, momentum=self.momentum, clip_percent=self.clip_percent)


def main(arguments: Sequence[str]) -> int:
    """Run `gengap labels`; returns 0, or 1 if a run did not come to an end."""
    options = parse(LabelsOptions, arguments, program="gengap labels")
    words = assignments("model_options", options.model_options)
    model = find_classifier(options.model, words) or find_model(options.model, words)
    data = find_data(
        options.data,
        examples=options.examples,
        num_classes=options.classes,
        standardize=options.standardize,
        tokens=options.tokens,
        size=options.size,
        divide=False,
    )
    recipe = options.recipe()
    lab = open_lab(options)
    with trial_progress(options.seeds) as progress:
        found = labels(
            model,
            data,
            recipe=recipe,
            seeds=range(options.seed, options.seed + options.seeds),
            by=options.by,
            gradients=options.gradients,
            noise=options.noise,
            top=options.top,
            folds=options.folds,
            lab=lab,
            progress=progress,
            command=["gengap", "labels", *arguments],
        )
    if not leads():
        return 0
    folder = _folder(lab, found)
    page = found.save(folder / "report.html") if options.report else None
    found.save_tables(folder)
    _print(found, folder / "labels.csv", page, json=options.json)
    return int((~found.trials["status"].isin(["fitted", "stopped"])).any())


def _folder(lab: Lab, found: Labels) -> Path:
    """Return where the page goes: a folder of its own for everything that was ranked."""
    base = lab.store.files.local or Path("gengap-runs")
    words = f"{found.data_name}-by-{found.model_name}"
    name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in words)
    return base / "labels" / f"{name.strip('-')}-{digest(found.specification)[:6]}"


def _print(found: Labels, file: Path, page: Path | None, *, json: bool) -> None:
    if json:
        print_json({
            "suspicious": found.ranking[: found.top].to_dict("records"),
            "evaluation": None if found.evaluation is None else found.evaluation.to_dict("records"),
            "runs": found.trials.to_dict("records"),
            "specification": found.specification,
            "labels": file,
            "report": page,
        })
        return
    for table in found.as_tables():
        print_table(table)
        print()
    for row in found.trials[~found.trials["status"].isin(["fitted", "stopped"])].itertuples():
        print(f"{row.status}, left out: seed {row.seed}: {row.reason}")
    print(f"All labels: {file}")
    if page is not None:
        print(f"Report: {page}")
