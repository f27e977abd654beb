"""The sentences and the chart of a kernel twin."""

import pandas as pd

from gengap.report import Axis, Chart, Claim, Measured, dots

from ._plan import AS_GIVEN, RANDOM, TRUE
from ._results import FITTED
from ._verdict import EVERY_SEED, verdict

NETWORK, KERNEL = "network", "Gaussian kernel"
_LARGER = 2.0
TWIN_LEAD = (
    "A Gaussian kernel without a ridge, the interpolant of least norm, on the same data sets. Its "
    "bandwidth is the multiple of one over the median squared distance of the inputs that has the "
    "least leave-one-out error on up to 1,000 training examples with true labels."
)


def twin_claims(table: pd.DataFrame, twin: pd.DataFrame) -> list[Claim]:
    """Return the claims about the kernel twin; none where there is none.

    Args:
        table: What `with_twin` returned.
        twin: What `kernel_twin` returned.
    """
    if not len(twin):
        return []
    given = table[table["variant"] == AS_GIVEN]
    return [_fits_too(twin), _who_generalizes(given), _norm_follows(twin)]


def _by_seed(table: pd.DataFrame, data_set: str, column: str) -> pd.Series:
    return table[table["data_set"] == data_set].set_index("seed")[column].astype(float)


def _percent(values: pd.Series) -> str:
    return f"{Measured.of(values):.1%}"


def _fits_too(twin: pd.DataFrame) -> Claim:
    train, test = (_by_seed(twin, RANDOM, f"{half}_accuracy") for half in ("train", "test"))
    decided = verdict([bool(value >= FITTED) for value in train])
    said = {
        "supported": "A Gaussian kernel fits random labels too",
        "not supported": "The Gaussian kernel does not fit random labels",
        "inconclusive": "Whether the Gaussian kernel fits random labels is open",
    }[decided]
    return Claim(
        name="a kernel fits random labels too",
        sentence=f"{said}: {_percent(train)} of them are right, at a test accuracy of "
        f"{_percent(test)}; it has no layers and is not trained by steps.",
        rule=f"Train accuracy of the kernel on random labels at least {FITTED:.0%} {EVERY_SEED}.",
        verdict=decided,
        paper="exactly, as every kernel of full rank",
        ours=_percent(train),
    )


def _who_generalizes(given: pd.DataFrame) -> Claim:
    network, kernel = (_by_seed(given, TRUE, column) for column in ("test_accuracy", "kernel_test"))
    ahead = network - kernel
    decided = verdict([bool(points > 0) for points in ahead.dropna()])
    said = {
        "supported": "The network generalizes better than its kernel twin",
        "not supported": "The network does not generalize better than its kernel twin",
        "inconclusive": "Whether the network generalizes better than its kernel twin is open",
    }[decided]
    return Claim(
        name="the network against its kernel twin",
        sentence=f"{said}: on true labels {_percent(network)} and {_percent(kernel)} of the test "
        "half are right.",
        rule=f"Test accuracy on true labels above that of the kernel {EVERY_SEED}.",
        verdict=decided,
        paper="1.2 % error of the kernel on MNIST, 46 % on CIFAR-10",
        ours=f"{Measured.of(100 * ahead):.1f} points ahead",
    )


def _norm_follows(twin: pd.DataFrame) -> Claim:
    ratio = _by_seed(twin, RANDOM, "norm") / _by_seed(twin, TRUE, "norm")
    value = f"{Measured.of(ratio):.1f}"
    return Claim(
        name="the kernel's norm sees random labels",
        sentence=f"The kernel needs {value} times the norm for random labels that it needs for "
        "true ones.",
        rule=f"At least {_LARGER:g} times {EVERY_SEED}.",
        verdict=verdict([bool(one >= _LARGER) for one in ratio.dropna()]),
        ours=f"{value} times",
    )


def twin_chart(results: pd.DataFrame) -> list[Chart]:
    """Return the chart of both test errors against corruption; none without a twin."""
    if "kernel_test" not in results:
        return []
    given = results[(results["variant"] == AS_GIVEN) & results["level"].notna()]
    both = [
        given.assign(test_error=1 - given[column], who=who)
        for who, column in ((NETWORK, "test_accuracy"), (KERNEL, "kernel_test"))
    ]
    return [
        dots(
            pd.concat(both, ignore_index=True),
            x=Axis("level", title="Probability with which a label is redrawn", percent=True),
            y=Axis("test_error", title="Test error", percent=True, domain=(0, 1)),
            group="who",
            groups=[NETWORK, KERNEL],
            connect="group",
            name="kernel-twin",
            title="Network and kernel",
            caption="Mean and range over seeds.",
        )
    ]
