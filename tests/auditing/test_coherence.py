"""Closed form: the sentences about coherence, on measurements made up to obey or to break them."""

import math

import pandas as pd
import pytest

from gengap.auditing import coherence_claims, with_coherence
from gengap.auditing._coherence_charts import coherence_charts

LEVELS = {"true labels": 0.0, "20% redrawn": 0.2, "50% redrawn": 0.5, "random labels": 1.0}
SIZES = {"all": 100, "clean": 60, "corrupted": 40}
TRUE, RANDOM = "true labels", "random labels"


def measured(seeds=3, *, at_half=None, corrupted=None, never=()):
    """Measurements of a textbook audit; the loss first halves at step 30.

    m-coherence is then 10 on true labels, 2 on random ones, or what `at_half` maps (data set,
    seed) to. The clean examples have 7.0, the corrupted 1.0 or what `corrupted` maps (level,
    seed) to. The loss never halves where `never` has (data set, seed).
    """
    rows = []
    for seed in range(seeds):
        for name, level in LEVELS.items():
            key = (name, seed)
            half = (at_half or {}).get(key, 2.0 if name == RANDOM else 10.0)
            for step, loss, value in ((0, 2.0, 5.0), (10, 1.5, 50.0), (30, 0.9, half), (40, 1, 7)):
                groups = {"all": value, "clean": 7.0}
                groups["corrupted"] = (corrupted or {}).get((level, seed), 1.0)
                for group, count in SIZES.items() if level else [("all", 100)]:
                    rows.append({
                        "trial": f"{name} {seed}",
                        "data_set": name,
                        "level": level,
                        "variant": "as given",
                        "seed": seed,
                        "step": step,
                        "layer": "",
                        "group": group,
                        "examples": count,
                        "loss": 2.0 if key in never else loss,
                        "m_coherence": groups[group],
                    })
    frame = pd.DataFrame(rows)
    return pd.concat([frame, frame.assign(layer="1", m_coherence=99.0)], ignore_index=True)


def table(found):
    columns = ["trial", "data_set", "variant", "seed"]
    return with_coherence(found[columns].drop_duplicates().reset_index(drop=True), found)


def claims(found):
    return {claim.name: claim for claim in coherence_claims(table(found), found)}


def everywhere(name, value):
    return {(name, seed): value for seed in range(3)}


def test_a_textbook_audit_supports_both():
    found = claims(measured())
    assert {name: claim.verdict for name, claim in found.items()} == {
        "true labels cohere": "supported",
        "clean labels cohere more": "supported",
    }
    assert "is 10.0 ± 0.0 on true labels and 2.0 ± 0.0 on random" in (
        found["true labels cohere"].sentence
    )
    assert found["true labels cohere"].ours == "5.0 ± 0.0 times"
    assert "helps 0.0 ± 0.0% of the others" in found["clean labels cohere more"].sentence
    assert f"{6 / 59:.1%}"[:4] in found["clean labels cohere more"].ours


def test_the_columns_of_the_results():
    frame = table(measured(at_half={("true labels", 1): 4.0}, never={(RANDOM, 2)}))
    rows = frame.set_index(["data_set", "seed"])
    assert rows.loc[(TRUE, 1), "coherence_at_half_loss"] == 4.0
    assert rows.loc[(RANDOM, 0), "coherence_at_half_loss"] == 2.0
    assert math.isnan(rows.loc[(RANDOM, 2), "coherence_at_half_loss"])
    assert rows["early_coherence"].eq(50.0).all()  # steps 1 to 25: only step 10


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (measured(seeds=1), "inconclusive"),
        (measured(at_half={(TRUE, 0): 3.9}), "inconclusive"),
        (measured(at_half=everywhere(TRUE, 3.9)), "not supported"),
        (measured(at_half=everywhere(TRUE, 4.0)), "supported"),
        (measured(never={(RANDOM, 0)}), "supported"),
        (measured(never={(RANDOM, 0), (TRUE, 1)}), "inconclusive"),
        (measured(never=everywhere(RANDOM, 0).keys()), "inconclusive"),
    ],
)
def test_true_labels_cohere(found, verdict):
    assert claims(found)["true labels cohere"].verdict == verdict


def test_what_is_never_halved_is_said():
    claim = claims(measured(never=everywhere(RANDOM, 0).keys()))["true labels cohere"]
    assert claim.sentence.endswith("is never halved.") and claim.ours == "never halved"


SAME = 1 + 39 * 6 / 59  # as much help an example as 7.0 among the 60 clean ones


@pytest.mark.parametrize(
    ("corrupted", "verdict"),
    [
        ({(0.2, 0): SAME + 0.1}, "inconclusive"),
        ({(0.5, seed): SAME + 0.1 for seed in range(3)}, "not supported"),
        ({(0.5, seed): SAME - 0.1 for seed in range(3)}, "supported"),
        ({(1.0, seed): 30.0 for seed in range(3)}, "supported"),
    ],
)
def test_clean_labels_cohere_more(corrupted, verdict):
    assert claims(measured(corrupted=corrupted))["clean labels cohere more"].verdict == verdict


def test_runs_without_regularizers_are_not_asked():
    cohering = {(0.5, seed): 30.0 for seed in range(3)}
    bare = measured(at_half=everywhere(TRUE, 3.0), corrupted=cohering)
    bare = bare.assign(variant="without regularizers", trial=bare["trial"] + " bare")
    found = claims(pd.concat([measured(), bare], ignore_index=True))
    assert found == claims(measured())


def test_an_example_alone_has_no_others_to_help():
    found = measured(corrupted={(p, s): 1 + 1e-12 for p in (0.2, 0.5) for s in range(3)})
    found.loc[found["group"] == "corrupted", "examples"] = 1
    claim = claims(found)["clean labels cohere more"]
    assert (claim.verdict, claim.ours) == ("inconclusive", "")
    assert claim.sentence.startswith("No level of corruption has two clean and two corrupted")


@pytest.mark.parametrize(("seeds", "verdict"), [((0, 1, 2), "supported"), ((1,), "supported")])
def test_a_level_of_which_one_example_is_corrupted_is_left_out(seeds, verdict):
    found = measured(corrupted={(0.2, s): math.nan for s in seeds})
    alone = (found["level"] == 0.2) & (found["group"] == "corrupted") & found["seed"].isin(seeds)
    found.loc[alone, "examples"] = 1
    assert claims(found)["clean labels cohere more"].verdict == verdict
    found = found[found["level"] != 0.5]  # a seed without a level cannot tell
    assert claims(found)["clean labels cohere more"].verdict == "inconclusive"


def test_without_levels_or_measurements_there_is_nothing_to_say():
    found = measured()
    ends = found[found["level"].isin((0.0, 1.0))]
    assert set(claims(ends)) == {"true labels cohere"}
    plain = pd.DataFrame({"trial": ["a"]})
    assert coherence_claims(plain, found.iloc[:0]) == []
    assert list(with_coherence(plain, found.iloc[:0])) == ["trial"]


def test_runs_that_diverged_at_once_have_a_chart_without_lines():
    found = measured(seeds=1).assign(m_coherence=math.nan)
    history = pd.DataFrame({"epoch": [0], "variant": ["as given"], "level": [0.5], "seed": [0]})
    history = history.assign(data_set="50% redrawn", learned=0.0, learned_corrupted=0.0)
    history = history.assign(forgetting_events=0.0)
    charts = coherence_charts(found, history, list(LEVELS))
    assert [chart.name for chart in charts] == ["coherence"]
    assert charts[0].svg.startswith("<svg")
