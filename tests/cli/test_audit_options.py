"""Property: the options of audit and study are read; oracle: values written out by hand."""

import pytest

from gengap._errors import UsageError
from gengap.cli._audit import AuditOptions, recipe
from gengap.cli._options import parse
from gengap.cli._study import StudyRunOptions
from gengap.optim import DARC1


def audit(words):
    return parse(AuditOptions, words.split(), program="gengap audit")


def study(words):
    return parse(StudyRunOptions, words.split(), program="gengap study run")


def test_no_words_are_the_defaults():
    assert audit("") == AuditOptions()
    assert (AuditOptions().data, AuditOptions().model, AuditOptions().seeds) == ("digits", "mlp", 3)


def test_every_option_is_read():
    words = (
        "--data mine:load --model mine:build --model-options hidden=512,512 bias=True "
        "--levels 0.2 0.5 --seeds 2 --epochs 7 --batch-size 64 --lr 0.05 --optimizer adam "
        "--clip-percent 4 --momentum 0.8 --weight-decay 0.001 --dropout 0.5 --augment crop flip "
        "--label-smoothing 0.1 --darc1 0.02 --examples 500 --test-examples 90 "
        "--probe 64 --lanes 8 --workers 1 "
        "--kernel-twin --no-report --out there --seed 5 --device cpu --json"
    )
    assert audit(words) == AuditOptions(
        data="mine:load",
        model="mine:build",
        model_options=("hidden=512,512", "bias=True"),
        levels=(0.2, 0.5),
        seeds=2,
        epochs=7,
        batch_size=64,
        lr=0.05,
        optimizer="adam",
        clip_percent=4.0,
        momentum=0.8,
        weight_decay=0.001,
        dropout=0.5,
        augment=("crop", "flip"),
        label_smoothing=0.1,
        darc1=0.02,
        examples=500,
        test_examples=90,
        probe=64,
        kernel_twin=True,
        lanes=8,
        workers=1,
        report=False,
        out="there",
        seed=5,
        device="cpu",
        json=True,
    )


def test_momentum_follows_the_optimizer_unless_it_is_said():
    found = recipe(audit("--optimizer winsorized_sgd --clip-percent 4"), room=False)
    assert (found.momentum, found.clip_percent) == (0.0, 4.0)
    assert recipe(audit("--optimizer median_of_three --momentum 0.5"), room=False).momentum == 0.5
    assert recipe(audit("--optimizer adam"), room=False).momentum == 0.9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--levels 0.2 1.0", "`levels` must lie between 0 and 1"),
        ("--seeds 0", "^`seeds` must be a whole number of at least 1; got 0"),
        ("--lanes 0", "`lanes` must be"),
        ("--workers -1", "`workers` must be"),
        ("--examples 0", "`examples` must be"),
        ("--test-examples 0", "`test_examples` must be"),
        ("--device tpu", "tpu"),
        ("--augment blur", "blur"),
        ("digits", "digits"),
    ],
)
def test_wrong_values_are_one_sentence(words, message):
    with pytest.raises((UsageError, ValueError), match=message) as caught:
        audit(words)
    assert "\n" not in str(caught.value)


def test_a_study_is_named_by_position():
    options = study("zhang2017 --scale small --out there")
    assert (options.name, options.scale, options.out) == ("zhang2017", "small", "there")
    with pytest.raises(UsageError, match=r"^Missing: NAME; see"):
        study("--scale small")


def test_darc1_becomes_a_regularizer():
    assert recipe(audit("--darc1 0.5"), room=False).regularizers == (DARC1(strength=0.5),)
    assert recipe(audit(""), room=False).regularizers == ()
