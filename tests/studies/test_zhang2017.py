"""Property: the study end to end. Oracle: the bars of the audit on digits, the paper's rows."""

import importlib

import pytest

from gengap import studies
from gengap.lab import Lab
from gengap.studies.zhang2017 import deviations, entries


def test_the_table_of_studies_leads_to_modules():
    assert next(iter(studies.names())) == "zhang2017"
    for study in studies.names().values():
        assert callable(importlib.import_module(study.module).run)
    with pytest.raises(ValueError, match="`name` must be one of 'zhang2017', "):
        studies.run("zhang2018")
    with pytest.raises(ValueError, match="`scale` must be one of"):
        studies.run("zhang2017", "big")


@pytest.mark.parametrize(("scale", "trials"), [("smoke", 45), ("small", 72), ("paper", 138)])
def test_a_scale_has_so_many_different_trials(scale, trials):
    """Rows times seeds, plus 9 data sets a network of figure 1, less those in both places.

    At small scale most convolutional networks have one seed.
    """
    assert len({entry.trial.id for entry in entries(scale, (0, 1, 2))}) == trials


def test_every_scale_says_how_it_deviates():
    said = {scale: deviations(scale) for scale in ("smoke", "small", "paper")}
    assert any("2,000" in sentence for sentence in said["small"])
    assert any("99.95 %" in sentence for sentence in said["small"])
    assert any("digits" in sentence for sentence in said["smoke"])
    assert all(sentence.endswith(".") for found in said.values() for sentence in found)


@pytest.mark.parametrize("scale", ["smoke", "small", "paper"])
def test_a_study_without_any_run_is_still_a_page(scale, tmp_path):
    result = studies.run("zhang2017", scale, lab=Lab(tmp_path / "none"), train=False)
    tables = {table.name: table.frame for table in result.tables}
    assert len(tables["table-1"]) == 19
    assert len(tables["table-4"]) == 6
    runs = set(tables["table-1"]["verdict"]) - {"not run at this scale"}
    assert all("not run" in text for text in runs)
    assert ("not run at this scale" in set(tables["table-1"]["verdict"])) == (scale != "paper")
    assert result.charts == []
    assert not result.refuted
    assert "0 of" in result.markdown()
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("study"))
    return studies.run("zhang2017", lab=lab), lab


@pytest.mark.slow
def test_smoke_refutes_no_claim_and_supports_the_paper(smoke):
    """The order of neighbouring levels of corruption may be open: 800 digits, steps by epoch."""
    result, _ = smoke
    verdicts = {claim.name: claim.verdict for claim in result.claims}
    assert not result.refuted
    open_ones = {name for name, verdict in verdicts.items() if verdict != "supported"}
    assert open_ones <= {"corruption slows the fit"}


@pytest.mark.slow
def test_smoke_meets_the_bars_on_digits(smoke):
    result, _ = smoke
    rows = result.tables[0].frame.set_index(["network", "labels", "regularizers"])
    true, random = (
        rows.loc[("MLP 1x512", "true", "none")],
        rows.loc[("MLP 1x512", "random", "none")],
    )
    assert true["train ours"].mean == 100
    assert random["train ours"].mean == 100
    assert true["test ours"].mean >= 96
    assert abs(random["test ours"].mean - 10) <= 5
    assert true["train ours"].count == 3


@pytest.mark.slow
def test_smoke_lists_all_rows_and_draws_its_figures(smoke):
    result, _ = smoke
    table = result.tables[0].frame
    assert (table["verdict"] == "not run at this scale").sum() == 13
    assert (table["verdict"] == "supported: 3 fitted").sum() == 6
    names = [chart.name for chart in result.charts]
    assert names == ["figure-1a-mlp-1x512", "figure-1b", "figure-1c", "figure-2a"]


@pytest.mark.slow
def test_a_store_that_is_partly_done_is_told_without_training(smoke, tmp_path):
    _, lab = smoke
    few = Lab(tmp_path / "few")
    source = lab.store.files.local / "trials"
    random = [e.trial.id for e in entries("smoke", (0, 1, 2)) if e.place.get("labels") == "random"]
    for name in random[:2]:
        for file in (source / name).iterdir():
            few.store.files.write(f"trials/{name}/{file.name}", file.read_bytes())
    result = studies.run("zhang2017", lab=few, train=False)
    cells = {str(cell) for table in result.tables for cell in table.frame.to_numpy().ravel()}
    assert "supported: 2 fitted, 1 not run" in cells
    assert "3 not run" in cells
    assert few.store.files.names("trials") == sorted(random[:2])
    assert result.markdown().startswith("# Zhang et al. (2017)")
