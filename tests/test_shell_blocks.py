"""Property: the shell blocks of the pages run, and every command in them is one that there is.

Oracle: bash itself runs the blocks of a page, in an empty folder. What would take hours, a cluster
or the network stands in for itself: it notes what it was called with and, where it starts another
command (`srun`, `ray`, `torchrun`), starts it. The options are then read by the programs' own
parsers: gengap's, Ray's, PyTorch's; extras and goals are looked up where they are written down.
"""

import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gengap

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SHELL = re.compile(r"^```(?:sh|console|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
YAML = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCKER = re.compile(r"^```dockerfile\n(.*?)^```$", re.MULTILINE | re.DOTALL)

NOTE = '#!/bin/sh\nprintf "%s\\0" "${0##*/}" "$@" > "$(mktemp "$CALLS/XXXXXX")"\n'
STANDS_IN = {
    **dict.fromkeys(("gengap", "pip", "make", "sbatch", "helm", "kubectl", "sleep"), ""),
    "scontrol": "printf 'node1\\nnode2\\n'\n",  # at once: `head -n 1` may be gone for a second
    "srun": 'while :; do case "$1" in -w) shift 2;; -*) shift;; *) break;; esac; done; "$@"\n',
    "ray": 'while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done; shift $(($# > 0)); "$@"\n',
    "torchrun": 'while [ $# -gt 0 ] && [ "$1" != -m ]; do shift; done; shift $(($# > 0)); "$@"\n',
    ".ci/run": "",
}
JOB = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "16"}


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def text_of(page):
    return page.read_text(encoding="utf-8")


def scripts(page):
    """Yield the shell blocks of a page; of a console, what is typed."""
    for block in SHELL.findall(text_of(page)):
        typed = re.findall(r"^\$ (.*(?:\\\n.*)*)", block, re.MULTILINE)
        yield "\n".join(typed) if typed else block


def called(script, folder):
    """Run the script in bash; return what was called, a list of words each."""
    home, calls = folder / "home", folder / "calls"
    for path in (home / "gengap" / "bin", folder / "bin" / ".ci", folder / "here" / ".ci", calls):
        path.mkdir(parents=True)
    (home / "gengap" / "bin" / "activate").touch()
    for name, does in STANDS_IN.items():
        path = folder / ("here" if name.startswith(".") else "bin") / name
        path.write_text(NOTE + does)
        path.chmod(0o755)
    where = {"PATH": f"{folder / 'bin'}:{os.defpath}", "HOME": str(home), "CALLS": str(calls)}
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{script}\nwait\n"],
        env={**where, **JOB, "SCRATCH": str(folder)},
        cwd=folder / "here",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    return sorted(path.read_text().split("\0")[:-1] for path in calls.iterdir())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("page", [p for p in PAGES if any(scripts(p))], ids=name_of)
@pytest.mark.global_rng
def test_the_shell_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    calls = called("\n".join(scripts(page)), tmp_path)
    assert calls
    for name, *words in calls:
        assert KNOWN[name](words, monkeypatch), (name, words)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_block_of_the_cluster_page_calls_what_it_shows(tmp_path):
    first = next(s for s in scripts(ROOT / "docs/how-to/cluster.md") if "#SBATCH" in s)
    calls = called(first, tmp_path)
    assert [words[0] for words in calls] == ["gengap", "ray", "scontrol", "srun"]
    assert calls[1][1:4] == ["symmetric-run", "--address", "node1:6379"]
    asked = re.findall(r"^#SBATCH (.*)$", first, re.MULTILINE)
    assert asked
    assert all(re.fullmatch(r"--[a-z-]+=\S+", option) for option in asked)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("script", ["gengapp audit", 'gengap "audit', "echo $NOT_THERE"])
def test_a_block_that_bash_cannot_run_is_found(script, tmp_path):
    with pytest.raises(AssertionError):
        called(script, tmp_path)


@pytest.mark.parametrize("words", [["audit", "--epoch", "1"], ["audits"], ["study", "go"]])
@pytest.mark.global_rng
def test_a_command_line_that_there_is_not_is_found(words, monkeypatch):
    with pytest.raises((KeyError, gengap.GengapError)):
        assert understood(words, monkeypatch)


@pytest.mark.parametrize("page", [p for p in PAGES if YAML.search(text_of(p))], ids=name_of)
@pytest.mark.global_rng
def test_the_jobs_of_a_page_are_understood(page, monkeypatch):
    yaml = pytest.importorskip("yaml")
    for block in YAML.findall(text_of(page)):
        job = yaml.safe_load(block)
        assert job["kind"] == "RayJob"
        program, *words = job["spec"]["entrypoint"].split()
        assert program == "gengap"
        assert understood(words, monkeypatch)
        spec = job["spec"]["rayClusterSpec"]
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            pod = group["template"]["spec"]
            mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("page", [p for p in PAGES if DOCKER.search(text_of(p))], ids=name_of)
def test_the_images_of_a_page_install_what_there_is(page, tmp_path):
    for number, block in enumerate(DOCKER.findall(text_of(page))):
        assert re.match(r"FROM [\w/]+:[\w.-]+\n", block)
        run = "\n".join(re.findall(r"^RUN (.*)$", block, re.MULTILINE))
        assert all(installs(words[1:]) for words in called(run, tmp_path / str(number)))


class Understood(Exception):
    """The options were read; nothing is run."""


def understood(words, monkeypatch):
    """Return whether gengap's own parser reads the words; the verb is not run."""
    if words == ["--version"]:
        return True
    module = {"audit": "_audit", "labels": "_labels", "measure": "_measure", "runs": "_runs"}
    module |= {"study": "_study", "data": "_data"}
    verb = importlib.import_module(f"gengap.cli.{module[words[0]]}")
    parse = verb.parse

    def parse_only(*given, **how):
        parse(*given, **how)
        raise Understood

    monkeypatch.setattr(verb, "parse", parse_only)
    try:
        verb.main(words[1:])
    except Understood:
        return named(words)
    finally:
        monkeypatch.setattr(verb, "parse", parse)
    return False


def named(words):
    """Return whether the study that the words name is one of gengap's."""
    return words[:2] != ["study", "run"] or words[2] in gengap.studies.names()


def installs(words, monkeypatch=None):
    """Return whether `pip install` is given extras that gengap has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = re.fullmatch(r"gengap(?:\[([\w,]+)\])?", words[1])
    extras = set((asked[1] or "").split(",")) - {""}
    return words[0] == "install" and extras <= set(project["optional-dependencies"])


def made(words, monkeypatch):
    """Return whether the Makefile has the goals."""
    goals = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return bool(words) and {word for word in words if "=" not in word} <= set(goals)


def read_by_ray(words, monkeypatch):
    """Return whether Ray's own parser reads the words; True where there is no Ray."""
    if importlib.util.find_spec("ray") is None:
        return True
    commands = importlib.import_module("ray.scripts.scripts").cli.commands
    name, *given = words[: words.index("--")] if "--" in words else words
    if name == "symmetric-run":  # what is not its own goes to `ray start`
        own = commands[name].make_context(name, given, ignore_unknown_options=True).params
        name, given = "start", list(own["ray_args_and_entrypoint"])
    return bool(commands[name].make_context(name, given).params)


def read_by_torch(words, monkeypatch):
    """Return whether the parser of `torchrun` reads the words."""
    parser = importlib.import_module("torch.distributed.run").get_args_parser()
    read = parser.parse_args(words)
    return read.training_script in {"gengap", "train.py"}


def as_they_come(words, monkeypatch):
    """Programs with no parser here: bash has run the line, no more can be said."""
    return True


KNOWN = {
    **dict.fromkeys(("scontrol", "srun", "sbatch", "helm", "kubectl", "sleep"), as_they_come),
    "gengap": understood,
    "pip": installs,
    "make": made,
    "ray": read_by_ray,
    "torchrun": read_by_torch,
    "run": lambda words, monkeypatch: words == [],
}


OURS = """
import torch
from torch import nn


def load():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(600, 20, generator=generator)
    targets = (inputs[:, 0] * inputs[:, 1] > 0).long()
    return (inputs[:400], targets[:400]), (inputs[400:], targets[400:])


def build():
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))


def trained():
    import gengap

    (inputs, targets), _ = load()
    split = gengap.data.as_splits((inputs, targets), name="mine")[0]
    return gengap.fit(build, split, recipe=gengap.Recipe(epochs=5, lr=0.1)).model
"""
ELSEWHERE = re.compile(
    r"--engine|cifar-10|fashion-mnist|--data mnist|--scale (paper|small)|photos/|40f"
)
"""Lines that want a cluster, the real data sets, hours, pictures, or a trial of somebody else's."""


def lines(page):
    """Yield the command lines of gengap that can be run here, as words."""
    for block in scripts(page):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("gengap ") and not ELSEWHERE.search(line):
                yield shlex.split(line, comments=True)[1:]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("page", [p for p in PAGES if any(lines(p))], ids=name_of)
def test_the_commands_of_a_page_run(page, tmp_path):
    (tmp_path / "mine.py").write_text(OURS)
    where = {**os.environ, "MLFLOW_TRACKING_URI": "", "OMP_NUM_THREADS": "1"}
    first = [["audit"]] if page.name in {"track.md", "reproducibility.md"} else []
    for words in [*first, *lines(page)]:
        ran = subprocess.run(
            [sys.executable, "-m", "gengap", *words],
            cwd=tmp_path,
            env=where,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode in {0, 1}, (words, ran.stderr)
        assert "Traceback" not in ran.stderr, (words, ran.stderr)
        assert ran.stdout, words
