r"""Closed form: a table in LaTeX. Oracle: one by hand, and LaTeX's special characters."""

import pandas as pd

from gengap.report import Measured, Table

FRAME = pd.DataFrame({
    "data_set": ["a & b", r"50% {\x}"],
    "accuracy": [0.5, 1.0],
    "gap": [Measured(mean=0.25, spread=0.01, count=3)] * 2,
})
TEXT = r"""% needs \usepackage{booktabs}
\begin{tabular}{lrr}
\toprule
data\_set & accuracy & gap \\
\midrule
a \& b & 50\% & 0.25 $\pm$ 0.01 \\
50\% \{\textbackslash{}x\} & 100\% & 0.25 $\pm$ 0.01 \\
\bottomrule
\end{tabular}
"""


def test_cells_are_those_of_the_page_and_escaped():
    table = Table(name="t", frame=FRAME, formats={"accuracy": ".0%", "gap": ".2f"})
    assert table.to_latex() == TEXT


def test_no_special_character_is_left_bare():
    special = "#$%&_{}~^\\<>"
    (row,) = (
        line
        for line in Table(name="t", frame=pd.DataFrame({"x": [special]})).to_latex().split("\n")
        if line.startswith(r"\#")
    )
    bare = row.removesuffix(r" \\").replace(r"\textbackslash{}", "").replace(r"\text", "")
    for name in ("asciitilde{}", "asciicircum{}", "less{}", "greater{}"):
        assert name in bare
        bare = bare.replace(name, "")
    assert bare == r"\#\$\%\&\_\{\}"
