"""Property and closed form: every measure is a row; what it says of rescaling is true."""

import math
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

import gengap
from gengap import Risk
from gengap.curvature import gauss_newton_diagonal
from gengap.data import Split, as_split
from gengap.measures import MEASURES, Measure, Value, catalogue, evaluate, margins
from tests.curvature.quadratic import FIRST, SECOND, network, rescaled

CHEAP = ["loss", "accuracy", "margin", "parameters"]
COLUMNS = (
    *("name", "value", "standard_error", "units", "cost", "seconds", "invariant", "note"),
)  # fmt: skip


@pytest.fixture(scope="module")
def trained():
    return network(steps=60, n=45)


@pytest.fixture(scope="module")
def halves(trained):
    model, split = trained
    return model, split[:30], replace(split[30:], half="test")


def by_name(frame):
    return frame.set_index("name")["value"]


@pytest.fixture(scope="module")
def table(halves):
    return evaluate(*halves)


def test_every_measure_is_a_row_with_a_value(table):
    assert list(table["name"]) == list(MEASURES)
    assert tuple(table.columns) == COLUMNS
    assert table["value"].map(math.isfinite).all(), table[["name", "note"]]
    assert (table["seconds"] >= 0).all() and (table["cost"] >= 0).all()
    assert set(table["invariant"]) == {True, False, None}


def test_values_are_those_of_the_functions(table, halves):
    model, train, test = halves
    values, risk = by_name(table), Risk(model, train)
    double = model.double()
    z, w = (double(s.batch()[0].double()).detach() for s in (train, test))
    right = (z.argmax(1) == train.targets).double()
    assert values["loss"] == pytest.approx(risk())
    assert values["accuracy"] == pytest.approx(float(right.mean()))
    share = float((w.argmax(1) == test.targets).double().mean())
    assert values["test_accuracy"] == pytest.approx(share)
    assert values["gap"] == pytest.approx(values["accuracy"] - share)
    assert values["test_loss"] == pytest.approx(Risk(model, test)())
    own = [float(row[y]) - max(float(v) for k, v in enumerate(row) if k != y)
           for row, y in zip(z, train.targets.tolist(), strict=True)]  # fmt: skip
    np.testing.assert_allclose(margins(risk), own)
    assert values["margin"] == pytest.approx(np.quantile(own, 0.1))
    errors = table.set_index("name")["standard_error"]
    assert errors["gap"] == pytest.approx(math.sqrt(share * (1 - share) / 15))
    assert errors["loss"] == 0 and math.isnan(errors["keskar_sharpness"])
    assert errors["adaptive_average_sharpness"] > 0 and errors["pac_bayes_sigma"] > 0


def test_the_least_trace_is_that_over_the_units(table, halves):
    """Closed form of one hidden layer: 2 sqrt(a b) a unit, and what rescaling does not reach."""
    risk = Risk(halves[0], halves[1], dtype=torch.float64)
    first, last = FIRST[0].partition(".")[0], SECOND[0].partition(".")[0]
    found = gauss_newton_diagonal(risk)
    before = found[f"{first}.weight"].sum(1) + found[f"{first}.bias"]
    behind = found[f"{last}.weight"].sum(0)
    least = float((2 * (before * behind).sqrt()).sum() + found[f"{last}.bias"].sum())
    row = table.set_index("name").loc["least_trace"]
    assert row["value"] == pytest.approx(least, rel=1e-6) and row["standard_error"] == 0
    assert row["cost"] == len(found[f"{last}.bias"])  # a pass an output
    given = float(sum(part.sum() for part in found.values()))
    assert row["note"] == f"{given:.3g} as given, where trace is the Hessian's"


def test_norms_are_their_definitions(table, halves):
    model, values = halves[0], by_name(table)
    parts = {k: p.detach().numpy() for k, p in model.named_parameters()}
    assert values["parameters"] == sum(p.size for p in parts.values())
    assert values["squared_norm"] == pytest.approx(sum((p**2).sum() for p in parts.values()))
    one, two = parts["0.weight"], parts["2.weight"]
    assert values["log_frobenius_product"] == pytest.approx(
        math.log((one**2).sum()) + math.log((two**2).sum())
    )
    assert values["log_spectral_product"] == pytest.approx(
        2 * math.log(np.linalg.norm(one, 2)) + 2 * math.log(np.linalg.norm(two, 2))
    )
    hidden = (one**2).sum(1) + parts["0.bias"] ** 2
    assert values["path_norm"] == pytest.approx(
        math.sqrt(((two**2) @ hidden + parts["2.bias"] ** 2).sum())
    )
    gradient = Risk(model, halves[1]).gradient()
    length = math.sqrt(sum(float(g.square().sum()) for g in gradient.values()))
    assert values["gradient_norm"] == pytest.approx(length)


def test_the_spectrum_is_that_of_the_dense_hessian(table, halves):
    risk = Risk(halves[0], halves[1], dtype=torch.float64)
    (x, y), shapes = risk.split.batch(), {k: v.shape for k, v in risk.params.items()}

    def loss(theta):
        parts = theta.split([shape.numel() for shape in shapes.values()])
        point = {k: v.view(shapes[k]) for k, v in zip(shapes, parts, strict=True)}
        return risk.losses(functional_call(risk.model, point, (x.double(),)), y).mean()

    theta = torch.cat([v.flatten() for v in risk.params.values()])
    eigenvalues = np.linalg.eigvalsh(jacrev(jacrev(loss))(theta).detach().numpy())
    rows = table.set_index("name")
    assert rows.loc["top_eigenvalue", "value"] == pytest.approx(eigenvalues[-1], rel=1e-6)
    wanted = {
        "trace": eigenvalues.sum(),
        "frobenius_norm": np.linalg.norm(eigenvalues),
        "effective_rank": eigenvalues.sum() ** 2 / np.square(eigenvalues).sum(),
    }
    for name, value in wanted.items():
        slack = 4 * rows.loc[name, "standard_error"] + 0.1 * value
        assert abs(rows.loc[name, "value"] - value) < slack < 0.5 * value, name


def test_what_two_measures_need_is_computed_once(halves):
    names = ["effective_rank", "trace", "frobenius_norm"]
    last = evaluate(*halves[:2], names=names[1:] + names[:1]).set_index("name")
    first = evaluate(*halves[:2], names=names).set_index("name")
    alone = evaluate(*halves[:2], names=names[:1]).set_index("name")
    assert (last["cost"] > 0).tolist() == [True, True, False]
    assert (first["cost"] > 0).tolist() == [True, False, False]
    ratio = (last.loc["trace", "value"] / last.loc["frobenius_norm", "value"]) ** 2
    assert last.loc["effective_rank", "value"] == pytest.approx(ratio, rel=1e-12)
    for table in (first, alone):
        assert table.loc["effective_rank", "value"] == last.loc["effective_rank", "value"]


def test_what_a_measure_says_of_rescaling_is_true(table, halves):
    model, train, test = halves
    by_layer = rescaled(model, FIRST, SECOND, 3.0)
    by_unit = rescaled(model, (), (), 1.0)
    factors = torch.logspace(-1, 1, 8, dtype=torch.float64)
    with torch.no_grad():
        by_unit[0].weight *= factors[:, None]
        by_unit[0].bias *= factors
        by_unit[2].weight /= factors
    values = by_name(table)
    layer, unit = (by_name(evaluate(m, train, test)) for m in (by_layer, by_unit))
    for name, measure in MEASURES.items():
        bears_layers = layer[name] == pytest.approx(values[name], rel=1e-6)
        bears_units = unit[name] == pytest.approx(values[name], rel=1e-6)
        wanted = {True: (True, True), False: (False, False), None: (True, False)}
        assert (bears_layers, bears_units) == wanted[measure.invariant], name


def test_a_measure_that_fails_is_a_row_with_its_reason(halves):
    def broken(question):
        raise RuntimeError("out of\n memory")

    mine = Measure(name="mine", formula="x", units="y", range="z", cost="0", invariant=False,
                   function=broken)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        smooth = nn.Sequential(nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 3))
    found = evaluate(smooth, halves[1], names=["path_norm", mine, "gap", "loss"])
    assert found["value"].isna().tolist() == [True, True, True, False]
    notes = found["note"].tolist()
    assert notes[0].startswith("`model` must be positively homogeneous for a path norm")
    assert notes[1:] == ["RuntimeError: out of memory", "`test` must be given for this measure; "
                         "got None.", ""]  # fmt: skip


def test_a_measure_that_ends_the_process_or_spoils_its_value_costs_no_other_row(halves):
    def spoils(question):
        value = Value(value=1.0)
        object.__setattr__(value, "note", 5)
        return value

    def interrupts(question):
        raise KeyboardInterrupt

    both = [of_my_own(lambda _: sys.exit(), "leaves"), of_my_own(spoils, "spoils")]
    found = evaluate(halves[0], halves[1], names=[*both, "loss"])
    assert found["value"].isna().tolist() == [True, True, False]
    assert found["note"][0].startswith("SystemExit")  # some plugin of pytest exits with 0
    assert found["note"][1].startswith("TypeError: sequence item 0: expected str")
    with pytest.raises(KeyboardInterrupt):
        evaluate(halves[0], halves[1], names=[of_my_own(interrupts)])


@pytest.mark.parametrize("field", ["name", "units", "caveat", "invariant", "note"])
def test_a_measure_of_the_wrong_types_is_refused_where_it_is_made(field):
    told = vars(of_my_own(lambda _: Value(value=1.0)))
    rule = "be True, False or None" if field == "invariant" else "be text"
    with pytest.raises(TypeError, match=f"`{field}` of .* must {rule}; got bool.? .*True"):
        if field == "note":
            Value(value=1.0, note=True)
        Measure(**told | {field: np.True_})


def test_a_measure_of_my_own_gets_a_row_and_can_be_called(halves):
    def twice(question):
        return Value(value=2 * question.risk(), passes=1 / 3, note="twice")

    mine = Measure(name="twice", formula="2 loss", units="nats", range="at least 0", cost="1/3",
                   invariant=None, function=twice, caveat="mine")  # fmt: skip
    model, train, _ = halves
    row = evaluate(model, train, names=[mine]).iloc[0]
    assert row["value"] == mine(Risk(model, train)) == 2 * Risk(model, train)()
    assert row["note"] == "twice; mine" and row["invariant"] is None


def of_my_own(function, name="mine"):
    return Measure(name=name, formula="x", units="y", range="z", cost="0", invariant=False,
                   function=function)  # fmt: skip


@pytest.mark.parametrize("raises", [False, True])
def test_what_a_measure_of_my_own_does_to_the_network_reaches_no_other(halves, raises):
    def changes(question):
        model = question.risk.model
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(0.1)
        next(iter(model.parameters())).requires_grad_(False)
        model.train()
        model.register_forward_hook(lambda *call: call[-1] * 0)
        assert question.test.model is model
        if raises:
            raise RuntimeError("before it was undone")
        return Value(value=0.0)

    names = ["loss", "gap", "asam", "trace"]
    alone = by_name(evaluate(*halves, names=names))
    found = by_name(evaluate(*halves, names=[of_my_own(changes), *names]))
    assert found[1:].tolist() == alone.tolist()


def test_what_a_measure_of_my_own_knows_or_does_to_the_examples_reaches_no_other(halves):
    def changes(question):
        with torch.no_grad():
            for p in question.risk.model.parameters():
                p.mul_(3)
        value = MEASURES["trace"].function(question)
        for risk in (question.risk, question.test):
            for part in ("inputs", "targets", "changed", "true_targets"):
                getattr(risk.split, part).zero_()
        return value

    names, mine = ["loss", "gap", "trace", "effective_rank"], of_my_own(changes)
    targets = halves[1].targets.clone()
    alone = by_name(evaluate(*halves, names=[*names, mine]))
    found = by_name(evaluate(*halves, names=[mine, *names]))
    assert found[1:].tolist() == alone[:-1].tolist()
    assert found["mine"] == alone["mine"] != alone["trace"]
    assert torch.equal(halves[1].targets, targets)


@pytest.mark.parametrize("number", [np.float32(1.5), np.array(1.5), torch.tensor(1.5), 1.5])
def test_numbers_of_any_kind_become_floats(halves, number):
    value = Value(value=number, standard_error=number, passes=number)
    kinds = {type(part) for part in (value.value, value.standard_error, value.passes)}
    assert kinds == {float} and value.value == 1.5
    row = evaluate(halves[0], halves[1], names=[of_my_own(lambda _: value)]).iloc[0]
    assert row["value"] == 1.5 and row["note"] == ""


@pytest.mark.parametrize("wrong", ["much", None, torch.zeros(3)])
def test_what_is_no_number_is_refused(wrong):
    with pytest.raises(TypeError, match="`value` must be a number; got "):
        Value(value=wrong)


@pytest.mark.parametrize(
    ("value", "note"),
    [
        (math.inf, "the value is infinity, which JSON has as null"),
        (-math.inf, "the value is minus infinity, which JSON has as null"),
        (math.nan, "the value came out as NaN"),
    ],
)
def test_a_value_that_is_not_finite_is_said_to_be(halves, value, note):
    one = of_my_own(lambda _: Value(value=value))
    assert evaluate(halves[0], halves[1], names=[one])["note"].tolist() == [note]


def test_without_a_test_half_what_needs_one_is_left_out(halves):
    names = []
    frame = evaluate(*halves[:2], names=CHEAP, progress=lambda m: names.append(m.name))
    assert list(frame["name"]) == names == CHEAP
    assert "gap" in by_name(evaluate(*halves, names=["gap"]))


def test_same_seed_same_values_and_the_model_is_left_alone(halves):
    model, train, _ = halves
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    names = ["keskar_sharpness_subspace", "average_sharpness", "pac_bayes_sigma"]
    one, again, other = (by_name(evaluate(model, train, names=names, seed=s)) for s in (1, 1, 2))
    pd.testing.assert_series_equal(one, again)
    assert (one != other).all()
    assert model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_catalogue_says_everything_of_every_measure():
    frame = catalogue()
    assert list(frame["name"]) == list(MEASURES)
    for column in ("formula", "units", "range", "cost"):
        assert (frame[column].str.len() > 0).all(), column
    assert frame.loc[frame["invariant"].isna(), "caveat"].str.len().min() > 0


def test_dropout_left_on_is_off(halves):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 3))
    found = evaluate(model.train(), halves[1], names=["loss", "sam", "top_eigenvalue"])
    again = evaluate(model.eval(), halves[1], names=["loss", "sam", "top_eigenvalue"])
    pd.testing.assert_series_equal(found["value"], again["value"])


class Constant(nn.Module):
    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.ones(2, 2))

    def forward(self, x):
        return torch.zeros(len(x), 3) + 0 * self.level.sum()


def test_a_constant_model_has_a_table(halves):
    found = evaluate(Constant(), halves[1]).set_index("name")
    assert found.loc["loss", "value"] == pytest.approx(math.log(3))
    assert found.loc["keskar_sharpness", "value"] == 0
    reason = "3 starts; the gradient at the start is zero"  # without a spread, of which is none
    assert found.loc["keskar_sharpness", "note"] == reason
    assert "bears any noise" in found.loc["pac_bayes_sigma", "note"]
    assert found.loc["trace", "value"] == 0 and found.loc["fisher_rao_norm", "value"] == 0


def test_what_cannot_be_measured_at_all_is_one_sentence(halves):
    model, train, _ = halves
    with pytest.raises(ValueError, match="`names` must be one of 'loss', 'accuracy'"):
        evaluate(model, train, names=["flatness"])
    with pytest.raises(
        ValueError, match=r"got 'keskar_sharpnes'\. Did you mean 'keskar_sharpness'\?"
    ):
        evaluate(model, train, names=["keskar_sharpnes"])
    for names, words in (([], r"got \[\]\."), ("loss", r"got 'loss'\. Give \['loss'\]\.")):
        with pytest.raises(ValueError, match=f"must be a list of at least one name; {words}"):
            evaluate(model, train, names=names)
    with pytest.raises(ValueError, match="must have parameters to train; got none"):
        evaluate(nn.Flatten(), train)
    with pytest.raises(ValueError, match="at least one example; got none"):
        evaluate(model, train[:0])
    broken = rescaled(model, ("2.bias",), (), math.nan)
    with pytest.raises(ValueError, match=r"finite parameters; '2.bias' holds NaN"):
        evaluate(broken, train)
    inputs = train.inputs.clone()
    inputs[0] = math.inf
    with pytest.raises(ValueError, match=r"finite at the model's parameters; got nan"):
        evaluate(model, replace(train, inputs=inputs))


def test_real_targets_leave_out_what_needs_classes():
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    split = Split(inputs=x, targets=x.sum(1, keepdim=True) + x[:, :1] ** 2)
    with torch.random.fork_rng(devices=[]):
        model = nn.Linear(3, 1)
    found = evaluate(model, split, loss="squared_error").set_index("name")
    assert found.loc[["loss", "keskar_sharpness", "trace", "log_volume"], "value"].notna().all()
    assert found.loc[["accuracy", "margin", "pac_bayes_sigma"], "value"].isna().all()
    assert "must have classes" in found.loc["margin", "note"]


class Tutorial(nn.Module):
    """The LSTM of many tutorials: its state is float32 whatever the network is."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        state = torch.zeros(1, x.size(0), 4)
        return self.head(self.lstm(x, (state, state))[0][:, -1])


def test_a_network_that_cannot_run_in_float64_has_rows_that_say_so():
    x = torch.randn(12, 5, 3, generator=torch.Generator().manual_seed(0))
    split = Split(inputs=x, targets=torch.arange(12) % 3, num_classes=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Tutorial()
    found = evaluate(model, split, names=[*CHEAP, "keskar_sharpness"]).set_index("name")
    assert found.loc[CHEAP, "value"].notna().all()
    expected = nn.functional.cross_entropy(model(x), split.targets).item()
    assert found.loc["loss", "value"] == pytest.approx(expected)
    assert math.isnan(found.loc["keskar_sharpness", "value"])
    note = found.loc["keskar_sharpness", "note"]
    assert note.startswith("`model` must run in float64; a float64 copy of the network was run")
    assert "Tensors made in `forward` should use `x.dtype`." in note


def test_it_is_public():
    assert gengap.measures.evaluate is evaluate


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("frozen", ["0.weight", "0.bias", "2.weight"])
def test_frozen_layers_are_on_the_paths_and_in_the_products(frozen):
    """Oracle: the same net with everything trainable."""
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    split = as_split(torch.randn(20, 3), torch.arange(20) % 3)
    names = ["path_norm", "log_frobenius_product", "log_spectral_product"]
    truth = evaluate(net, split, names=names)["value"].tolist()
    net.get_parameter(frozen).requires_grad_(False)
    assert evaluate(net, split, names=names)["value"].tolist() == truth


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(4), nn.BatchNorm1d(4, affine=False), nn.LayerNorm(4), nn.GroupNorm(2, 4),
        nn.Sigmoid(), nn.GELU(),
    ],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_a_path_norm_of_layers_that_are_not_homogeneous_is_refused(layer):
    net = nn.Sequential(nn.Linear(3, 4), layer, nn.ReLU(), nn.Linear(4, 3))
    split = as_split(torch.randn(20, 3), torch.arange(20) % 3)
    with pytest.raises(ValueError, match="positively homogeneous for a path norm"):
        MEASURES["path_norm"](Risk(net, split))


class Scaled(nn.Module):
    """A scale of every unit, which is a vector but no bias."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.tensor([0.5, 2.0, 1.0, 3.0]))

    def forward(self, x):
        return self.gamma * x


@pytest.mark.global_rng("torch")
def test_scales_are_on_the_paths():
    first, last = nn.Linear(3, 4), nn.Linear(4, 3)
    net, scale = nn.Sequential(first, nn.ReLU(), Scaled(), last), Scaled().gamma.detach()
    split = as_split(torch.randn(20, 3), torch.arange(20) % 3)
    w, b, v, c = (p.detach().double().square() for p in (*first.parameters(), *last.parameters()))
    truth = (v @ (scale.double().square() * (w.sum(1) + b)) + c).sum().sqrt()
    assert MEASURES["path_norm"](Risk(net, split)) == pytest.approx(float(truth), rel=1e-5)


def test_a_measure_of_mine_that_returns_a_number_costs_no_other(halves):
    bare = replace(MEASURES["loss"], name="bare", function=lambda question: 0.5)
    table = evaluate(halves[0], halves[1], names=["loss", bare]).set_index("name")
    assert table.loc["loss", "value"] > 0 and math.isnan(table.loc["bare", "value"])
    assert table.loc["bare", "note"] == "TypeError: its function must return a Value; got float"
