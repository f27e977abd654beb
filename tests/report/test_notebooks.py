"""Property: what people look at in notebooks has a display that holds its numbers, escaped.

Oracle: the objects' own numbers, and Python's reader of HTML, which must find every tag closed.
"""

from html.parser import HTMLParser

import pytest

import gengap
from gengap.data import gaussian_clusters
from gengap.report import Claim, Table
from gengap.studies import StudyResult

pytestmark = pytest.mark.global_rng("torch")
OPEN = ("meta", "br", "hr", "img", "col", "input", "path", "rect", "circle", "line", "link")


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.words = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in OPEN:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in OPEN:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read(thing):
    reader = Reader()
    reader.feed(thing._repr_html_())
    assert reader.open == []
    return " ".join(" ".join(reader.words).split())


@pytest.fixture(scope="module")
def halves():
    return [
        gaussian_clusters(40, dim=3, num_classes=2, separation=3.0, seed=0, half=half)
        for half in ("train", "test")
    ]


def linear(train):
    return lambda: gengap.models.linear(train.input_shape, train.num_classes)


CLAIM = Claim(
    name="a <b> & c", sentence="It is so.", rule="At least 1.", verdict="supported", ours="2 ± 1"
)


def test_a_run_shows_how_it_ended_and_its_history(halves):
    train, test = halves
    recipe = gengap.Recipe(epochs=20, batch_size=20)
    run = gengap.fit(linear(train)(), train, test=test, recipe=recipe)
    text = read(run)
    assert run.reason in text
    assert f"{run.final['train_loss']:.4g}" in text
    assert f"{run.rows[0]['train_loss']:.4g}" in text
    assert run._repr_html_().count("<tr") == 1 + 10  # of 21 epochs the first and last five
    assert "corrupted_accuracy" not in text


def test_an_audit_shows_its_claims(halves):
    recipe = gengap.Recipe(epochs=1, batch_size=20)
    audit = gengap.audit(linear(halves[0]), *halves, recipe=recipe, seeds=1, levels=(), probe=0)
    text = read(audit)
    assert audit.claims
    for claim in audit.claims:
        assert claim.name in text


def test_labels_and_coherence_show_their_numbers(halves):
    train = halves[0]
    found = gengap.labels(linear(train), train, gradients=False, recipe=gengap.Recipe(epochs=1))
    assert str(found.ranking["example"].iloc[0]) in read(found)
    coherence = gengap.coherence(gengap.Risk(linear(train)().eval(), train))
    assert f"{coherence.m_coherence:.4g}" in read(coherence)


def test_a_claim_shows_its_verdict_and_rule():
    text = read(CLAIM)
    for part in ("a <b> & c", "supported", "It is so.", "At least 1.", "2 ± 1"):
        assert part in text


def test_a_study_shows_claims_and_tables():
    import pandas as pd

    table = Table(name="t", frame=pd.DataFrame({"x": [1.25]}), title="One")
    text = read(StudyResult(name="s", title="A paper", claims=[CLAIM], tables=[table]))
    for part in ("A paper", "It is so.", "One", "1.25"):
        assert part in text
