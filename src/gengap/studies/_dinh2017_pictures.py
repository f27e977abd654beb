"""The tables and figures of Dinh et al. (2017)."""

from collections.abc import Sequence

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves

from ._dinh2017_claims import change
from ._dinh2017_numbers import STAYS_AT, Numbers
from ._dinh2017_trials import Network

_TITLES = {
    "top_eigenvalue": "largest eigenvalue",
    "trace": "trace",
    "sharpness": "sharpness (Keskar, %)",
}


def tables(numbers: Numbers) -> list[Table]:
    """Return all tables."""
    return [
        _scaled(numbers.scaled),
        _measures(numbers.measures),
        _theorem(numbers.theorem),
        _coordinates(numbers.coordinates),
        _orbit(numbers.orbit),
    ]


def _scaled(scaled: pd.DataFrame) -> Table:
    columns = {"difference": "difference", "loss": "loss", **_TITLES}
    lines = [
        {
            "network": network,
            "α": alpha,
            **{title: Measured.of(rows[column]) for column, title in columns.items()},
        }
        for (network, alpha), rows in scaled.groupby(["network", "alpha"], sort=False)
    ]
    return Table(
        name="alpha-scale",
        title="One function, rescaled",
        frame=pd.DataFrame(lines, columns=["network", "α", *columns.values()]),
        formats={"α": "g", "difference": ".1e", **dict.fromkeys([*_TITLES.values()], ".3g")},
        caption="Outputs of each hidden layer are multiplied by α and divided away behind it. "
        "Difference: of outputs, relative to the largest. Hessian of the mean loss on the training "
        "examples, in float64; mean over seeds ± standard deviation.",
    )


def _measures(measures: pd.DataFrame) -> Table:
    own = measures.assign(change=change(measures))
    lines = []
    for (network, name), rows in own.groupby(["network", "name"], sort=False):
        claimed = rows["invariant"].iloc[0]
        lines.append({
            "network": network,
            "measure": name,
            "claims to stay": "depends" if pd.isna(claimed) else ("yes" if claimed else "no"),
            "before": Measured.of(rows["before"].astype(float)),
            "after": Measured.of(rows["after"].astype(float)),
            "largest change": float(rows["change"].max()),
        })
    columns = ["network", "measure", "claims to stay", "before", "after", "largest change"]
    return Table(
        name="measures",
        title=f"Measures of one function before and after rescaling by {STAYS_AT:g}",
        frame=pd.DataFrame(lines, columns=columns),
        formats={"before": ".4g", "after": ".4g", "largest change": ".1e"},
        caption="Change: relative to the larger of the two values, the largest over seeds. A dash: "
        "not to be had of this network, such as bounds whose proof does not bear max pooling, and "
        "volumes among more than 500 parameters; `gengap measure` says why.",
    )


def _theorem(theorem: pd.DataFrame) -> Table:
    columns = {
        "parameters": "parameters",
        "rank": "positive eigenvalues",
        "held_back": "held back",
        "promised": "promised above M",
        "above": "above M",
    }
    lines = [
        {
            "network": network,
            **{title: Measured.of(rows[column]) for column, title in columns.items()},
        }
        for network, rows in theorem.groupby("network", sort=False)
    ]
    return Table(
        name="theorem-5",
        title="Theorem 5: eigenvalues above M, ten times the largest of the trained network",
        frame=pd.DataFrame(lines, columns=["network", *columns.values()]),
        formats=dict.fromkeys(columns.values(), ".0f"),
        caption="Of the whole Hessian on 60 digits; positive: above 1e-9 of the largest. Held "
        "back: parameters of the smallest set whose curvature the rescaling does not raise, with "
        "their biases. Mean over seeds ± standard deviation.",
    )


def _coordinates(coordinates: pd.DataFrame) -> Table:
    lines = [
        {
            "network": network,
            "change": name,
            "factor": factor,
            "expected": float(rows["expected"].iloc[0]),
            "found": Measured.of(rows["found"]),
        }
        for (network, name, factor), rows in coordinates.groupby(
            ["network", "change", "factor"], sort=False
        )
    ]
    return Table(
        name="coordinates",
        title="One function in other coordinates",
        frame=pd.DataFrame(lines, columns=["network", "change", "factor", "expected", "found"]),
        formats={"factor": "g", "expected": ".4g", "found": ".6g"},
        caption="Factor by which the largest eigenvalue changes (radial: of the Hessian; weight "
        "norm: of the block of the first layer's v), or the mean length of input gradients.",
    )


def _orbit(orbit: pd.DataFrame) -> Table:
    columns = {"loss": "train loss", "given": "trace", "least": "least trace", "spread": "spread"}
    lines = [
        {
            "trained with": regime,
            **{title: Measured.of(rows[name].astype(float)) for name, title in columns.items()},
            "runs": len(rows),
        }
        for regime, rows in orbit.groupby("regime", sort=False)
    ]
    return Table(
        name="orbit",
        title="The least trace over all rescalings",
        frame=pd.DataFrame(lines, columns=["trained with", *columns.values(), "runs"]),
        formats={"train loss": ".4f", "trace": ".3g", "least trace": ".3g", "spread": ".1e"},
        caption="Of the Gauss-Newton matrix of the mean loss, which has the diagonal of the "
        "Hessian in these networks. Spread: by how much the least trace differs when it is found "
        "from rescalings by up to 1e5 either way. Mean over seeds ± standard deviation.",
    )


def charts(numbers: Numbers, networks: Sequence[Network]) -> list[Chart]:
    """Return the figures for which there are runs."""
    names = [network.name for network in networks if network.scaled]
    own = numbers.scaled
    if not len(own):
        return []
    return [
        curves(
            own,
            x=Axis("alpha", title="α", log=True),
            y=Axis(column, title=title[0].upper() + title[1:], log=True),
            group="network",
            groups=names,
            unit="seed",
            name=column.replace("_", "-"),
            title=f"{title[0].upper()}{title[1:]} of one function, rescaled",
            caption="Mean and range over seeds; the function is the same at every α.",
        )
        for column, title in _TITLES.items()
    ]
