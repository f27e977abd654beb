"""Property: the house rules hold in every file of src. Oracle: the syntax tree, and bad examples.

Each rule is a function from a syntax tree to complaints; each is shown to complain about code
that breaks it.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "gengap"
FLOORS = (
    *("data", "corruptions", "models", "risk", "gradients", "curvature", "symmetries", "optim"),
    *("training", "callbacks", "kernels", "capacity", "memorization", "measures", "lab", "report"),
    *("auditing", "inspection", "studies", "cli"),
)
GROUND = (
    *("_allocator", "_checks", "_copies", "_errors", "_functional", "_linear", "_plain_weights"),
    *("_reentrant", "_right", "_streams", "_uncompiled", "__version__"),
)
FACADE = ("__init__", "__main__")
CORE = FLOORS[: FLOORS.index("report")]
HEAVY = ("altair", "vl_convert", "sklearn", "ray")
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 350, 60
UNSAFE_MODULES = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
OWN_PIPES = ("training/_processes.py",)  # pickles between a process and its own children
UNSAFE_CALLS = ("eval", "exec", "torch.load", "pd.read_pickle", "pandas.read_pickle")
SEEDING = (
    *("torch.manual_seed", "torch.random.manual_seed", "torch.seed", "torch.cuda.manual_seed"),
    *("torch.cuda.manual_seed_all", "torch.set_rng_state", "torch.use_deterministic_algorithms"),
)
NUMPY_RANDOM = ("Generator", "Philox", "SeedSequence", "default_rng", "BitGenerator")

FILES = sorted(SRC.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def floor_of(path):
    """The floor a file stands on: its folder's name, or its own for files of the top folder."""
    relative = path.relative_to(SRC)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(tree):
    """Yield (line, dotted name) of everything imported; relative imports stay in their folder."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            separator = "" if module.endswith(".") else "."
            yield from ((node.lineno, f"{module}{separator}{a.name}") for a in node.names)


def dotted(node):
    """Return `a.b.c` for such an expression, else ''."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def upward(tree, floor):
    """Imports of a floor that is not below; through the facade, or from a folder above."""
    for line, name in imports(tree):
        if name.startswith(".."):
            yield line, f"{name} leaves its folder: write it absolutely"
        parts = name.split(".")
        if parts[0] != "gengap" or floor in FACADE:
            continue
        target = parts[1] if len(parts) > 1 else "the facade"
        if target in GROUND or target == floor:
            continue
        if target == "the facade" and floor == "cli":
            continue
        below = FLOORS[: FLOORS.index(floor)] if floor in FLOORS else ()
        if target not in below:
            yield line, f"{floor} imports {target}"


def heavy_at_import(tree):
    """Chart and toolkit packages imported while a core module is loaded."""
    inside = set()
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            inside.update(id(node) for node in ast.walk(function))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in inside:
            for line, name in imports(ast.Module([node], [])):
                if name.split(".")[0] in HEAVY:
                    yield line, f"{name} is imported with the module"


def unsafe(tree):
    """Whatever runs code out of data."""
    for line, name in imports(tree):
        if name.split(".")[0] in UNSAFE_MODULES or name == "torch.load":
            yield line, f"{name} can run code out of a file"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in UNSAFE_CALLS:
                yield node.lineno, f"{name} can run code out of data"
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and dotted_constant(keyword.value) is not False:
                    yield node.lineno, "allow_pickle runs code out of a file"


def dotted_constant(node):
    return node.value if isinstance(node, ast.Constant) else None


def global_randomness(tree):
    """Global generators seeded or drawn from; seeding is allowed inside `with fork_rng(...)`."""
    forked = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and any(
            isinstance(item.context_expr, ast.Call)
            and dotted(item.context_expr.func).endswith("fork_rng")
            for item in node.items
        ):
            forked.update(id(inner) for inner in ast.walk(node))
    for line, name in imports(tree):
        if name.split(".")[0] == "random":
            yield line, "the module `random` draws from a global generator"
    for node in ast.walk(tree):
        name = dotted(node) if isinstance(node, ast.Attribute) else ""
        if name in SEEDING and id(node) not in forked:
            yield node.lineno, f"{name} changes the global state"
        for prefix in ("np.random.", "numpy.random."):
            if name.startswith(prefix) and name.removeprefix(prefix) not in NUMPY_RANDOM:
                yield node.lineno, f"{name} is global"


def long_functions(tree):
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = node.end_lineno - node.lineno + 1 - docstring_lines(node)
            if lines > MOST_LINES_OF_A_FUNCTION:
                yield node.lineno, f"{node.name} has {lines} lines"


def docstring_lines(function):
    if ast.get_docstring(function) is None:
        return 0
    return function.body[0].end_lineno - function.body[0].lineno + 1


def complaints(rule, *, where=FLOORS + GROUND + FACADE, with_floor=False):
    found = []
    for path, tree in TREES.items():
        floor = floor_of(path)
        if floor in where:
            arguments = (tree, floor) if with_floor else (tree,)
            for line, text in rule(*arguments):
                found.append(f"{path.relative_to(ROOT)}:{line}: {text}")
    return found


def test_every_file_stands_on_a_floor_or_on_the_ground():
    known = {*FLOORS, *GROUND, *FACADE}
    assert [str(path) for path in FILES if floor_of(path) not in known] == []


def test_each_floor_imports_only_from_below():
    assert complaints(upward, with_floor=True) == []


def test_the_core_imports_without_charts_and_toolkits():
    found = complaints(heavy_at_import, where=CORE + GROUND + FACADE)
    lazy = "src/gengap/kernels/"  # its estimators: see test_public
    assert [line for line in found if not (line.startswith(lazy) and "sklearn" in line)] == []


def test_nothing_runs_code_out_of_data():
    found = complaints(unsafe)
    allowed = tuple(f"src/gengap/{name}:" for name in OWN_PIPES)
    rest = [line for line in found if not (line.startswith(allowed) and "pickle" in line)]
    assert rest == []


def test_no_global_randomness():
    found = complaints(global_randomness)
    puts_back = "src/gengap/gradients/_draws.py:"  # what a module of the user's has drawn
    assert [line for line in found if not line.startswith(puts_back)] == []


def test_files_and_functions_are_short():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {str(p): n for p, n in lengths.items() if n > MOST_LINES} == {}
    assert complaints(long_functions) == []


def test_modules_are_private():
    public = [p for p in FILES if not p.name.startswith("_") and p.parent.name != "studies"]
    assert [str(path) for path in public] == []


@pytest.mark.parametrize(
    ("floor", "code"),
    [
        ("data", "from gengap.models import mlp"),
        ("data", "import gengap.corruptions"),
        ("data", "def f():\n    from gengap import training"),
        ("training", "from gengap.lab import Lab"),
        ("lab", "from gengap.studies._zhang2017 import run"),
        ("report", "from gengap.studies import zhang2017"),
        ("auditing", "import gengap.studies"),
        ("models", "import gengap"),
        ("models", "from gengap import Split"),
        ("models", "from ..data import Split"),
        ("_checks", "from gengap.data import Split"),
    ],
)
def test_the_floor_rule_sees(floor, code):
    assert list(upward(ast.parse(code), floor))


@pytest.mark.parametrize(
    ("floor", "code"),
    [
        ("models", "from gengap.data import Split"),
        ("models", "from gengap import data"),
        ("models", "from ._mlp import mlp"),
        ("cli", "from gengap.studies import zhang2017"),
        ("data", "from gengap._checks import check_count"),
        ("lab", "from gengap import __version__"),
    ],
)
def test_the_floor_rule_allows(floor, code):
    assert list(upward(ast.parse(code), floor)) == []


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (heavy_at_import, "import altair as alt"),
        (heavy_at_import, "from sklearn.datasets import load_digits"),
        (unsafe, "import pickle"),
        (unsafe, "torch.load(path)"),
        (unsafe, "from torch import load"),
        (unsafe, "eval(text)"),
        (unsafe, "exec(text)"),
        (unsafe, "np.load(path, allow_pickle=True)"),
        (global_randomness, "torch.manual_seed(0)"),
        (global_randomness, "np.random.seed(0)"),
        (global_randomness, "np.random.rand(3)"),
        (global_randomness, "import random"),
    ],
)
def test_the_other_rules_see(rule, code):
    assert list(rule(ast.parse(code)))


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (heavy_at_import, "def f():\n    from sklearn.datasets import load_digits"),
        (unsafe, "model.eval()"),
        (unsafe, "np.load(path, allow_pickle=False)"),
        (global_randomness, "torch.Generator().manual_seed(0)"),
        (global_randomness, "with torch.random.fork_rng(devices=[]):\n    torch.manual_seed(0)"),
        (global_randomness, "np.random.Generator(np.random.Philox(key=1))"),
    ],
)
def test_the_other_rules_allow(rule, code):
    assert list(rule(ast.parse(code))) == []
