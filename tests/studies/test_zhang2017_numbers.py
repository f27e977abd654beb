"""Twin: the paper's numbers equal a second list, typed independently from its tables."""

import pytest

from gengap.studies._zhang2017_claims import PARAMETERS, parameters
from gengap.studies._zhang2017_trials import ROWS, recipe, trial

# Table 1, line by line: network, random crop, weight decay, random labels, train, test.
TABLE_1 = """
Inception               | yes | yes | no  | 100.0 | 89.05
Inception               | yes | no  | no  | 100.0 | 89.31
Inception               | no  | yes | no  | 100.0 | 86.03
Inception               | no  | no  | no  | 100.0 | 85.75
Inception               | no  | no  | yes | 100.0 | 9.78
Inception w/o BatchNorm | no  | yes | no  | 100.0 | 83.00
Inception w/o BatchNorm | no  | no  | no  | 100.0 | 82.00
Inception w/o BatchNorm | no  | no  | yes | 100.0 | 10.12
Alexnet                 | yes | yes | no  | 99.90 | 81.22
Alexnet                 | yes | no  | no  | 99.82 | 79.66
Alexnet                 | no  | yes | no  | 100.0 | 77.36
Alexnet                 | no  | no  | no  | 100.0 | 76.07
Alexnet                 | no  | no  | yes | 99.82 | 9.86
MLP 3x512               | no  | yes | no  | 100.0 | 53.35
MLP 3x512               | no  | no  | no  | 100.0 | 52.39
MLP 3x512               | no  | no  | yes | 100.0 | 10.48
MLP 1x512               | no  | yes | no  | 99.80 | 50.39
MLP 1x512               | no  | no  | no  | 100.0 | 50.51
MLP 1x512               | no  | no  | yes | 99.34 | 10.61
"""
TABLE_4 = """
Inception | weight decay      | 100
Alexnet   | weight decay      | failed to converge
MLP 3x512 | weight decay      | 100
MLP 1x512 | weight decay      | 99.21
Inception | crop              | 99.93
Inception | flip and rotation | 99.28
"""


def lines(text):
    return [tuple(cell.strip() for cell in line.split("|")) for line in text.split("\n") if line]


def yes(value):
    return "yes" if value else "no"


def test_table_1_has_the_papers_19_rows_in_order():
    ours = [
        (
            row.name,
            yes(row.augmentation == "crop"),
            yes(row.weight_decay),
            yes(row.labels == "random"),
            row.train,
            row.test,
        )
        for row in ROWS
        if row.table == 1
    ]
    paper = [(*cells, float(train), float(test)) for *cells, train, test in lines(TABLE_1)]
    assert len(paper) == 19
    assert ours == paper


def test_table_4_has_the_papers_rows_all_on_random_labels():
    rows = [row for row in ROWS if row.table == 4]
    ours = [(row.name, row.augmentation or "weight decay", row.train) for row in rows]
    paper = [
        (name, how, None if value == "failed to converge" else float(value))
        for name, how, value in lines(TABLE_4)
    ]
    assert ours == paper
    assert {row.labels for row in rows} == {"random"}
    assert all(row.test is None for row in rows)


def test_parameter_counts_of_paper_and_models():
    typed = {
        "Inception": 1649402,
        "Inception w/o BatchNorm": 1649402,
        "Alexnet": 1387786,
        "MLP 3x512": 1735178,
        "MLP 1x512": 1209866,
    }
    table = parameters().set_index("model")
    assert typed == PARAMETERS
    assert table["parameters"].to_dict() == typed
    assert table["paper"].to_dict() == typed


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.table}-{row.name}-{row.labels}")
def test_a_row_is_trained_as_it_says(row):
    made = recipe(row, "paper")
    assert (made.weight_decay > 0) == row.weight_decay
    assert (made.augmentation is not None) == (row.augmentation is not None)
    without = row.name == "Inception w/o BatchNorm"
    usual = 0.1 if row.name == "Inception" else 0.01
    assert (made.lr, made.warmup_steps) == ((0.005, 150) if without else (usual, 0))
    assert made.momentum == 0.9
    corruption = trial(row, "paper", 0).corruption
    assert (corruption is not None) == (row.labels == "random")
