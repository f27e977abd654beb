"""Twin: a meter under DistributedDataParallel, two processes. Oracle: gradients one by one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gengap.gradients import CoherenceMeter

pytestmark = [
    pytest.mark.global_rng("torch"),
    pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch without distributed"),
]


def in_two(kind, folder):
    """What each of two processes read, or the error it got."""
    script = Path(__file__).with_name("two_processes.py")
    processes = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(folder), kind])
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def plain():
    torch.default_generator.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    x, y = torch.randn(12, 5, dtype=torch.float64), torch.randint(3, (12,))
    x[0, 0], x[6, 0] = 1.0, -1.0
    return model, x, y


def test_two_processes_read_what_one_reads_of_the_whole_batch(tmp_path):
    model, x, y = plain()
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        whole = meter.read()
    for m_coherence, examples, per_layer in in_two("plain", tmp_path):
        assert m_coherence == pytest.approx(whole.m_coherence, rel=1e-10)
        assert examples == 12
        assert per_layer == pytest.approx(whole.per_layer, rel=1e-10)


def test_processes_that_use_other_layers(tmp_path):
    """Layers of one shape must not be added up with one another."""
    torch.default_generator.manual_seed(0)
    one, other, last = nn.Linear(5, 8), nn.Linear(5, 8), nn.Linear(8, 3)
    layers = {"one": one.double(), "other": other.double(), "last": last.double()}
    x, y = torch.randn(12, 5, dtype=torch.float64), torch.randint(3, (12,))
    x[0, 0], x[6, 0] = 1.0, -1.0
    params = [p for layer in layers.values() for p in layer.parameters()]
    rows = []
    for i in range(12):
        chosen = one if i < 6 else other
        loss = F.cross_entropy(last(torch.relu(chosen(x[i : i + 1]))), y[i : i + 1])
        grads = torch.autograd.grad(loss, params, allow_unused=True)
        pairs = zip(params, grads, strict=True)
        rows.append([torch.zeros_like(p) if g is None else g for p, g in pairs])

    def ratio(places):
        flat = torch.stack([torch.cat([row[k].flatten() for k in places]) for row in rows])
        return float(flat.sum(0).square().sum() / flat.square().sum())

    expected = {name: ratio([2 * k, 2 * k + 1]) for k, name in enumerate(layers)}
    for m_coherence, examples, per_layer in in_two("either", tmp_path):
        assert m_coherence == pytest.approx(ratio(range(6)), rel=1e-10)
        assert examples == 12
        assert per_layer == pytest.approx(expected, rel=1e-10)


def test_a_process_without_a_backward_pass_adds_nothing(tmp_path):
    model, x, y = plain()
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x[:6]), y[:6]).backward()
        half = meter.read()
    for m_coherence, examples, per_layer in in_two("one alone", tmp_path):
        assert m_coherence == pytest.approx(half.m_coherence, rel=1e-10)
        assert examples == 6
        assert per_layer == pytest.approx(half.per_layer, rel=1e-10)


def test_what_one_process_refuses_all_refuse(tmp_path):
    first, second = in_two("elsewhere", tmp_path)
    assert "must use its parameter 'matrix' in the layer that owns it" in first
    assert "they cannot in another one, which says why" in second
