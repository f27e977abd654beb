"""Tables in LaTeX."""

from collections.abc import Sequence

_ESCAPED = str.maketrans({
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "\n": " ",
})


def escape_latex(text: str) -> str:
    """Return text in which nothing is a command."""
    return text.translate(_ESCAPED)


def latex_table(names: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """Return a `tabular` with the rules of the package booktabs, everything escaped.

    Args:
        names: Heads of the columns.
        rows: Cells, as many a row as there are names.
        right: Whether a column is aligned to the right.
    """
    head, *body = [" & ".join(map(escape_latex, row)) + r" \\" for row in [names, *rows]]
    return "\n".join([
        "% needs \\usepackage{booktabs}",
        rf"\begin{{tabular}}{{{''.join('r' if one else 'l' for one in right)}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        "",
    ])
