"""How long `gengap --help` and `import gengap` take, beside an empty interpreter.

Run: python benchmarks/startup.py [REPEATS]. Prints medians; exit code 1 if `gengap --help` takes
0.3 s or more.
"""

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

BAR = 0.3


def seconds(command):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(repeats=10):
    beside = Path(sys.executable).with_name("gengap")
    script = str(beside) if beside.exists() else shutil.which("gengap")
    if script is None:
        sys.exit("`gengap` must be installed in this environment; it is not. Run: make demo")
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import gengap": [sys.executable, "-c", "import gengap"],
        "gengap --version": [script, "--version"],
        "gengap --help": [script, "--help"],
    }
    medians = {
        name: statistics.median(seconds(command) for _ in range(repeats))
        for name, command in commands.items()
    }
    for name, value in medians.items():
        print(f"{name:18} {value:6.3f} s")
    return int(medians["gengap --help"] >= BAR)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
