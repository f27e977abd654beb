"""Property: a whole small audit; oracles: the histories, read by hand, and plain facts."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import gengap
from gengap._errors import DataError, GengapError
from gengap.auditing import audit
from gengap.data import gaussian_clusters
from gengap.lab import Lab, LocalEngine
from gengap.training import Recipe, build_seeded

RECIPE = Recipe(epochs=60, batch_size=32, lr=0.1, stop_at_accuracy=1.0)


def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))


def normalized():
    return nn.Sequential(nn.Linear(20, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture(scope="module")
def halves():
    split = gaussian_clusters(360, dim=20, num_classes=3, separation=6.0, seed=0)
    return split[:240], split[240:]


@pytest.fixture(scope="module")
def found(halves, tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("store"), workers=1)
    return audit(build, *halves, recipe=RECIPE, seeds=2, levels=(0.5,), lab=lab)


@pytest.fixture(scope="module")
def saved(found, tmp_path_factory):
    """The folder of the page."""
    return found.save(tmp_path_factory.mktemp("page") / "report.html").parent


def test_it_memorizes_random_labels_and_learns_true_ones(found):
    ends = found.results.set_index(["data_set", "seed"])
    for seed in (0, 1):
        assert ends.loc[("random labels", seed), "train_accuracy"] == 1
        assert ends.loc[("true labels", seed), "test_accuracy"] > 0.9
        assert ends.loc[("random labels", seed), "test_accuracy"] < 0.6
    assert found.claims[0].verdict == "supported"


def test_numbers_are_those_of_the_histories(found):
    for row in found.results.itertuples():
        own = found.history[found.history["trial"] == row.trial]
        last = own.iloc[-1]
        assert row.train_accuracy == last["train_accuracy"]
        assert row.gap == last["train_accuracy"] - last["test_accuracy"]
        fitted = [e.step for e in own.itertuples() if e.train_accuracy >= 0.99]
        assert (row.steps_to_fit == fitted[0]) if fitted else math.isnan(row.steps_to_fit)


def test_relative_times_are_those_the_claim_tells(found):
    """Each seed's steps against the same seed's, in the table and in the sentence."""
    rows = found.results[found.results["variant"] == "as given"]
    steps = rows.set_index(["data_set", "seed"])["steps_to_fit"]
    times = rows.set_index(["data_set", "seed"])["relative_time"]
    for name, seed in steps.index:
        expected = steps[name, seed] / steps["true labels", seed]
        assert times[name, seed] == pytest.approx(expected, nan_ok=True)
    (claim,) = [c for c in found.claims if c.name == "random labels are slower"]
    line = found.table.set_index("data set").loc["random labels"]
    assert claim.ours == f"{line['× true']:.2f}"


def test_the_table_has_a_line_a_data_set(found):
    assert list(found.table["data set"]) == list(dict.fromkeys(found.results["data_set"]))
    row = found.table.iloc[0]
    true = found.results[found.results["data_set"] == "true labels"]
    assert row["test"].mean == pytest.approx(true["test_accuracy"].mean())
    assert row["test"].spread == pytest.approx(true["test_accuracy"].std())


def test_saved_files_hold_the_results(found, saved):
    text = (saved / "report.html").read_text()
    assert "random labels" in text and "</html>" in text
    pd.testing.assert_frame_equal(
        pd.read_csv(saved / "results.csv"), found.results, check_dtype=False
    )
    assert "seconds" not in pd.read_csv(saved / "history.csv")
    for name in ("train-loss", "time-to-fit", "test-error"):
        assert (saved / "charts" / f"{name}.svg").stat().st_size > 1000
        assert (saved / "charts" / f"{name}.csv").exists()


def test_again_on_the_same_store_nothing_is_trained(found, halves, tmp_path, monkeypatch):
    store = Lab(tmp_path)
    first = audit(build, *halves, recipe=RECIPE, seeds=2, levels=(0.5,), lab=store)
    monkeypatch.setattr(LocalEngine, "run", lambda *_, **__: pytest.fail("trained again"))
    again = audit(build, *halves, recipe=RECIPE, seeds=2, levels=(0.5,), lab=store)
    pd.testing.assert_frame_equal(first.results, again.results)
    pd.testing.assert_frame_equal(first.results, found.results)


def test_coherence_is_measured_on_every_data_set(found):
    measured = found.coherence
    assert set(measured["trial"]) == set(found.results["trial"])
    for row in found.results.itertuples():
        own = measured[(measured["trial"] == row.trial) & (measured["group"] == "all")]
        assert set(own["data_set"]) == {row.data_set} and set(own["seed"]) == {row.seed}
        assert set(own["examples"]) == {240}
        assert set(own["layer"]) == {"", "1", "3"}
        own = own[own["layer"] == ""]
        early = [e.m_coherence for e in own.itertuples() if 1 <= e.step <= 25]
        assert row.early_coherence == pytest.approx(sum(early) / len(early))
        start = next(e.loss for e in own.itertuples() if e.step == 0)
        halved = [e.m_coherence for e in own.itertuples() if e.loss <= start / 2]
        assert row.coherence_at_half_loss == halved[0]
    names = [claim.name for claim in found.claims]
    assert {"true labels cohere", "clean labels cohere more"} <= set(names)


def test_the_report_shows_coherence_and_learning_times(found, saved):
    text = (saved / "report.html").read_text()
    assert "Coherence and learning times" in text
    drawn = pd.read_csv(saved / "charts" / "coherence.csv")
    assert set(drawn["data_set"]) == set(found.results["data_set"])
    kept = pd.read_csv(saved / "coherence.csv", keep_default_na=False)
    assert len(kept) == len(found.coherence)
    for name in ("coherence-clean", "coherence-corrupted"):
        part = pd.read_csv(saved / "charts" / f"{name}.csv")
        assert set(part["data_set"]) == {"50% redrawn", "random labels"}
    layers = pd.read_csv(saved / "charts" / "coherence-layers.csv")
    assert set(layers["layer"].astype(str)) == {"1", "3"}
    forgotten = pd.read_csv(saved / "charts" / "forgotten.csv")
    assert set(forgotten["data_set"]) == set(found.results["data_set"])
    second = sorted(set(forgotten["epoch"]))[1]
    own = found.history[
        (found.history["variant"] == "as given")
        & (found.history["data_set"] == "random labels")
        & (found.history["epoch"] == second)
    ]
    drawn = forgotten[(forgotten["data_set"] == "random labels") & (forgotten["epoch"] == second)]
    assert drawn["forgetting_events"].item() == own["forgetting_events"].mean() > 0
    learned = pd.read_csv(saved / "charts" / "learned-corrupted.csv")
    last = learned[learned["data_set"] == "random labels"].iloc[-1]
    assert last["learned_corrupted"] == 1 and last["count"] == 2


def test_without_a_probe_nothing_is_measured_and_trials_are_the_plain_ones(halves, tmp_path):
    recipe = Recipe(epochs=2)
    arguments = {"recipe": recipe, "seeds": 1, "levels": (0.5,)}
    plain = audit(build, *halves, **arguments, probe=0, lab=tmp_path)
    probed = audit(build, *halves, **arguments, probe=16, lab=tmp_path)
    assert len(plain.coherence) == 0 and "early_coherence" not in plain.results
    assert "learned" not in plain.history and "probes" not in plain.specification
    assert "Coherence and learning times" not in plain.report.to_html()
    assert not set(plain.results["trial"]) & set(probed.results["trial"])
    same = ["data_set", "seed", "train_accuracy", "test_accuracy", "train_loss", "gap"]
    pd.testing.assert_frame_equal(plain.results[same], probed.results[same])
    assert len(probed.claims) == len(plain.claims) + 2


def test_one_seed_and_no_level_and_tensors_will_do(halves):
    train, test = halves
    found = gengap.audit(
        build,
        (train.inputs, train.targets),
        (test.inputs, test.targets),
        recipe=Recipe(epochs=1),
        seeds=1,
        levels=(),
    )
    assert len(found.results) == 5
    assert found._repr_html_().count("image/svg+xml") >= 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"build": lambda: nn.Linear(20, 7)}, "must give 3 outputs"),
        ({"build": lambda: nn.Linear(19, 3)}, "must take examples of shape"),
        ({"test": None}, "`test` must be given"),
        ({"seeds": 0}, "`seeds` must be"),
        ({"probe": -1}, "`probe` must be"),
        ({"recipe": Recipe(loss="squared_error")}, "`loss` of the recipe must fit"),
        ({"recipe": Recipe(dropout=0.5)}, "`dropout` must be None"),
        ({"build": normalized, "recipe": Recipe(batch_size=239)}, "`batch_size` must leave no"),
        (
            {"build": normalized, "recipe": Recipe(optimizer="winsorized_sgd")},
            "`optimizer` must not",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(halves, changes, sentence):
    arguments = {"build": build, "train": halves[0], "test": halves[1], **changes}
    with pytest.raises(ValueError, match=sentence):
        audit(**arguments)


def test_a_diverged_trial_is_a_row(halves, tmp_path):
    recipe = Recipe(epochs=3, lr=1e18)
    found = audit(build, *halves, recipe=recipe, seeds=1, levels=(), lab=tmp_path)
    assert set(found.results["status"]) == {"diverged"}
    assert "Trials that did not end well" in found.report.to_html()


@pytest.mark.parametrize("rule", [{"early_stopping": 4, "held_out": 0.3}, {"patience": 2}])
def test_numbers_are_those_of_the_network_that_is_kept(halves, tmp_path, rule):
    recipe = Recipe(epochs=30, batch_size=32, lr=0.5, **rule)
    lab = Lab(tmp_path, workers=1)
    found = audit(build, *halves, recipe=recipe, seeds=2, levels=(), probe=0, lab=lab).results
    x, y = halves[1].batch()
    best = 0
    for row in found[found["data_set"].isin(["true labels", "random labels"])].itertuples():
        right = (lab.network(row.trial, build)(x).argmax(1) == y).double().mean()
        assert row.test_accuracy == pytest.approx(float(right))
        last = lab.history([row.trial]).iloc[-1]
        best += last["test_loss"] != row.test_loss
    assert best > 0  # else nothing is told apart


def wild():
    """Make a network that trains from some seeds, and diverges at once from the others."""
    model = build()
    with torch.no_grad():
        model[1].weight.mul_(1.0 if model[1].weight[0, 0] > 0 else 1e30)
    return model


def test_claims_are_not_judged_by_runs_that_diverged(halves):
    tame = [s for s in range(20) if build_seeded(wild, s)[1].weight.abs().max() < 1]
    lost_seeds = [s for s in range(20) if s not in tame]
    how = {"recipe": Recipe(epochs=5, batch_size=32, lr=0.1), "levels": (0.5,), "probe": 20}
    alone = audit(wild, *halves, seeds=tame[:2], **how)
    found = audit(wild, *halves, seeds=[*tame[:2], lost_seeds[0]], **how)

    lost = found.results[found.results["seed"] == lost_seeds[0]]
    assert set(lost["status"]) == {"diverged"}
    assert lost["reason"].str.startswith("The loss is not finite at step").all()
    assert lost[["train_accuracy", "test_accuracy", "gap", "train_loss"]].isna().all(axis=None)
    assert found.table["train"].map(str).tolist() == alone.table["train"].map(str).tolist()
    assert set(found.bounds["seed"]) == set(tame[:2])
    for one, other in zip(found.claims, alone.claims, strict=True):
        assert (one.name, one.verdict, one.ours) == (other.name, other.verdict, other.ours)
        told = one.sentence.removeprefix(other.sentence)
        assert " runs diverged; " in told or "1 of 3 runs diverged; its seed is left out." in told

    few = audit(wild, *halves, seeds=[tame[0], *lost_seeds[:2]], **how)
    assert {claim.verdict for claim in few.claims} == {"inconclusive"}


class Choosy(nn.Module):
    """Fails on the batches that `refused` names, in training only."""

    def __init__(self, refused):
        super().__init__()
        self.inner, self.refused = build(), refused

    def forward(self, x):
        if self.training and self.refused(x):
            raise RuntimeError("No such batch.")
        return self.inner(x)


def test_an_audit_of_which_no_trial_ended_is_one_error(halves):
    with pytest.raises(GengapError) as caught:
        audit(lambda: Choosy(lambda x: True), *halves, recipe=RECIPE, seeds=2, levels=(0.5,))
    said = "No run came to an end: true labels, seed 0 failed: RuntimeError: No such batch."
    assert str(caught.value) == said


def test_claims_of_trials_that_failed_say_so(halves, tmp_path):
    """Where the first input is 1, as in the true order, training fails."""
    first = torch.tensor(0)
    marked = [(half.batch()[0].index_fill(1, first, 1.0), half.targets) for half in halves]
    recipe = Recipe(epochs=2, batch_size=32)
    found = audit(lambda: Choosy(lambda x: bool((x[:, 0] == 1).all())), *marked,
                  recipe=recipe, seeds=2, levels=(0.5,), lab=tmp_path)  # fmt: skip
    ended = found.results.groupby("data_set")["train_accuracy"].count()
    assert ended["random labels"] == 0 < ended["shuffled features"] == ended["Gaussian noise"]
    told = {claim.name: claim for claim in found.claims}
    for claim in told.values():
        assert claim.verdict == "inconclusive" and "–" not in claim.sentence
        assert claim.sentence.startswith("No run of ")
        assert claim.sentence.endswith(" came to an end.")


def test_a_parametrized_network_is_audited(halves):
    def weight_normed():
        return nn.Sequential(weight_norm(nn.Linear(20, 8)), nn.ReLU(), nn.Linear(8, 3))

    found = audit(weight_normed, *halves, recipe=Recipe(epochs=1), seeds=2, levels=(), probe=0)
    assert set(found.results["status"]) == {"stopped"}
    assert {"spectral", "VC"} <= set(found.bounds["bound"])


def test_the_model_draws_from_its_seed_only(halves):
    state = torch.random.get_rng_state()
    audit(build, *halves, recipe=Recipe(epochs=1), seeds=1, levels=())
    assert torch.equal(state, torch.random.get_rng_state())


def test_test_labels_are_never_redrawn(halves):
    """A test half that was made as a train half is one all the same."""
    found = audit(build, *halves, recipe=Recipe(epochs=1), seeds=1, levels=())
    assert found.halves[1].half == "test"


def test_labels_are_redrawn_in_the_first_split_whatever_its_half(halves):
    """As `gengap.load` gives a test half, which is audited by itself."""
    train, test = replace(halves[0], half="test"), replace(halves[1], half="train")
    ask = {"recipe": Recipe(epochs=3), "seeds": 1, "levels": (0.5,), "probe": 0}
    found, usual = audit(build, train, test, **ask), audit(build, *halves, **ask)
    assert [half.half for half in found.halves] == ["train", "test"]
    assert found.results["corrupted_accuracy"].notna().sum() >= 2
    columns = ["data_set", "train_accuracy", "test_accuracy", "corrupted_accuracy"]
    pd.testing.assert_frame_equal(found.results[columns], usual.results[columns])


def test_halves_with_other_classes_are_refused(halves):
    train = replace(halves[0], class_names=("a", "b", "c"))
    test = replace(halves[1], class_names=("b", "c", "d"))
    with pytest.raises(DataError, match="same classes in the same order"):
        audit(build, train, test, recipe=Recipe(epochs=1), seeds=1, levels=())


def reader():
    return nn.Sequential(nn.Embedding(9, 6), nn.Flatten(), nn.Linear(24, 2))


def test_tokens_are_audited_without_noise(tmp_path):
    """Four tokens, of which the first tells the class."""
    x = torch.randint(0, 9, (120, 4), generator=torch.Generator().manual_seed(0))
    halves = gengap.data.as_splits((x, (x[:, 0] > 4).long()), layout="tokens")
    found = audit(reader, *halves, recipe=RECIPE, seeds=2, levels=(0.5,), probe=32)
    assert set(found.results["data_set"]) == {
        "true labels", "50% redrawn", "random labels", "shuffled tokens", "random tokens"
    }  # fmt: skip
    true = found.results[found.results["data_set"] == "true labels"]
    assert true["test_accuracy"].mean() > 0.8
    (claim,) = [c for c in found.claims if c.name == "random inputs fit before random labels"]
    assert claim.rule.startswith("With true labels, random tokens are")
    assert "not on noise, which is no token" in found.save(tmp_path / "report.html").read_text()
