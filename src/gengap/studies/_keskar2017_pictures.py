"""The tables and figures of Keskar et al. (2017)."""

from collections.abc import Sequence

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves, paths

from ._gather import runs_text
from ._judging import values
from ._keskar2017_claims import ACCURACIES, SHARPNESS, sharpness_of
from ._keskar2017_numbers import EPSILONS, FULL, Numbers
from ._keskar2017_trials import LARGE, SMALL, Network
from ._read_paths import file_name

_REGIMES = (SMALL, LARGE)


def tables(ends: pd.DataFrame, numbers: Numbers, networks: Sequence[Network]) -> list[Table]:
    """Return tables 2 to 4, the distances and the warm starts."""
    warm = [_warm_table(ends, numbers, net) for net in networks if net.warm]
    return [
        _accuracies(ends, networks),
        _sharpness_table(numbers.sharpness, networks),
        _distances(numbers.distances, networks),
        *warm,
    ]


def _accuracies(ends: pd.DataFrame, networks: Sequence[Network]) -> Table:
    lines = []
    for network in networks:
        for regime in _REGIMES:
            rows = ends[
                (ends["part"] == "regimes")
                & (ends["network"] == network.name)
                & (ends["regime"] == regime)
            ]
            line: dict[str, object] = {
                "network": network.name,
                "batches": regime,
                "size": network.batch(regime),
            }
            for half in ("train", "test"):
                paper = ACCURACIES.get(network.name, {}).get(half, {}).get(regime)
                own = values(rows, f"{half}_accuracy")
                line |= {f"{half} paper": paper, f"{half} ours": Measured.of(100 * own)}
            lines.append({
                **line,
                "epochs": Measured.of(values(rows, "epoch")),
                "runs": runs_text(rows["status"]),
            })
    numbers = [f"{half} {who}" for half in ("train", "test") for who in ("paper", "ours")]
    return Table(
        name="accuracies",
        title="Table 2: accuracies",
        frame=pd.DataFrame(lines),
        formats={**dict.fromkeys(numbers, ".2f"), "epochs": ".0f"},
        caption="Percent, of the weights that are kept; ours: mean over seeds ± standard "
        "deviation.",
    )


def _sharpness_table(sharpness: pd.DataFrame, networks: Sequence[Network]) -> Table:
    lines = []
    own = sharpness[sharpness["part"] == "regimes"]
    for network in networks:
        part = own[own["network"] == network.name]
        for space in part["space"].unique():
            for epsilon in EPSILONS:
                cell = part[(part["space"] == space) & (part["epsilon"] == epsilon)]
                paper = SHARPNESS.get((network.name, epsilon, space == FULL), {})
                line: dict[str, object] = {"network": network.name, "space": space, "ε": epsilon}
                for regime in _REGIMES:
                    found = sharpness_of(cell, regime=regime)
                    line |= {
                        f"{regime} paper": paper.get(regime),
                        f"{regime} ours": Measured.of(found),
                    }
                evaluations = cell["evaluations"].astype(float)
                lines.append({**line, "evaluations": Measured.of(evaluations)})
    columns = [f"{regime} {who}" for regime in _REGIMES for who in ("paper", "ours")]
    return Table(
        name="sharpness",
        title="Tables 3 and 4: sharpness",
        frame=pd.DataFrame(lines, columns=["network", "space", "ε", *columns, "evaluations"]),
        formats={**dict.fromkeys(columns, ".2f"), "ε": "g", "evaluations": ".0f"},
        caption="Largest rise of the training loss in the box, in percent of one plus the loss; "
        "mean over seeds ± standard deviation. Evaluations: of the loss with its gradient on those "
        "training examples, for one value. The paper's values of the subspace are for 100 columns "
        "whose distribution it does not give.",
    )


def _distances(distances: pd.DataFrame, networks: Sequence[Network]) -> Table:
    lines = []
    for network in networks:
        own = distances[distances["network"] == network.name]
        small, large = (
            own[own["regime"] == regime].set_index("seed")["distance"].astype(float)
            for regime in _REGIMES
        )
        lines.append({
            "network": network.name,
            SMALL: Measured.of(small),
            LARGE: Measured.of(large),
            "ratio": Measured.of(small / large),
        })
    return Table(
        name="distances",
        title="Distance from the starting weights",
        frame=pd.DataFrame(lines),
        formats=dict.fromkeys((SMALL, LARGE, "ratio"), ".2f"),
        caption="Euclidean, over all trainable parameters. The paper gives ratios of 3 to 10.",
    )


def _warm_rows(ends: pd.DataFrame, sharpness: pd.DataFrame, network: Network) -> pd.DataFrame:
    """Return one row a warm start and seed: test accuracy and sharpness of large batches."""
    where = {"network": network.name, "regime": LARGE}
    found = []
    for epochs in (0, *network.warm):
        part = "warm" if epochs else "regimes"
        test = values(ends, "test_accuracy", part=part, warm=epochs, **where)
        sharp = sharpness_of(
            sharpness, part=part, warm=epochs, epsilon=EPSILONS[0], space=FULL, **where
        )
        rows = pd.DataFrame({"test_accuracy": test, "sharpness": sharp}).rename_axis("seed")
        found.append(rows.reset_index().assign(warm=epochs, what=network.name))
    return pd.concat(found, ignore_index=True)


def _warm_table(ends: pd.DataFrame, numbers: Numbers, network: Network) -> Table:
    rows = _warm_rows(ends, numbers.sharpness, network)
    lines = [
        {
            "small-batch epochs": epochs,
            "test accuracy": Measured.of(100 * part["test_accuracy"]),
            "sharpness": Measured.of(part["sharpness"]),
            "seeds": part["seed"].nunique(),
        }
        for epochs, part in rows.groupby("warm")
    ]
    return Table(
        name="warm-starts",
        title=f"Figure 5: {network.name} trained with large batches from small-batch weights",
        frame=pd.DataFrame(lines),
        formats={"test accuracy": ".2f", "sharpness": ".2f", "seeds": "d"},
        caption="At the end of large-batch training; 0 small-batch epochs is large-batch training "
        f"from the start. Test accuracy in percent, sharpness in the full space at ε = "
        f"{EPSILONS[0]:g}.",
    )


def charts(ends: pd.DataFrame, numbers: Numbers, networks: Sequence[Network]) -> list[Chart]:
    """Return figures 3, 5 and the curved paths for which there are runs."""
    found = []
    for network in networks:
        file = file_name(network.name)
        for kind in ("line", "curve"):
            own = numbers.paths[
                (numbers.paths["network"] == network.name) & (numbers.paths["kind"] == kind)
            ]
            if len(own):
                found.append(_path(own, network.name, kind, f"{kind}-{file}"))
        if network.warm:
            found += _warm_charts(_warm_rows(ends, numbers.sharpness, network), network, file)
    return found


def _path(own: pd.DataFrame, network: str, kind: str, name: str) -> Chart:
    which = "Figure 3" if kind == "line" else "Appendix D"
    return paths(
        own,
        name=name,
        title=f"{which}: {network} from the small-batch minimum to the large-batch one",
        caption=f"Along the {kind}; mean and range over seeds, BatchNorm statistics recomputed at "
        "every point.",
        ends=(SMALL, LARGE),
        log=bool((own["loss"].astype(float) > 0).all()),
    )


def _warm_charts(rows: pd.DataFrame, network: Network, file: str) -> list[Chart]:
    ended = rows.dropna().groupby("seed")["warm"].nunique()
    rows = rows[rows["seed"].isin(ended.index[ended == 1 + len(network.warm)])]
    if rows.empty:
        return []
    axes = {
        "test_accuracy": Axis("test_accuracy", title="Test accuracy", percent=True),
        "sharpness": Axis("sharpness", title="Sharpness, full space", log=True),
    }
    return [
        curves(
            rows,
            x=Axis("warm", title="Small-batch epochs before"),
            y=axis,
            group="what",
            unit="seed",
            name=f"warm-{column.replace('_', '-')}-{file}",
            title=f"Figure 5: {column.replace('_', ' ')} after a start with small batches, "
            f"{network.name}",
            caption=f"Mean and range over the {rows['seed'].nunique()} seeds of which every start "
            "has ended.",
        )
        for column, axis in axes.items()
    ]
