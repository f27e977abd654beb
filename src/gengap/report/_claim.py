"""Claims: sentences of a paper, or of an audit, made checkable."""

from dataclasses import dataclass
from typing import Literal, final, get_args

from gengap._checks import check_choice

Verdict = Literal["supported", "not supported", "inconclusive"]
"""What the numbers say of a claim, by its rule."""


@final
@dataclass(frozen=True, kw_only=True)
class Claim:
    """A checkable sentence with the rule that judged it.

    Attributes:
        name: Short label, such as "fits random labels".
        sentence: What the numbers say.
        rule: The rule that gives the verdict, written before the run.
        verdict: "supported", "not supported" or "inconclusive".
        paper: The paper's value, if there is one.
        ours: Our value with its spread.
    """

    name: str
    sentence: str
    rule: str
    verdict: Verdict
    paper: str = ""
    ours: str = ""

    def __post_init__(self) -> None:
        check_choice("verdict", self.verdict, get_args(Verdict))

    def _repr_html_(self) -> str:
        from ._blocks import claim_html

        return claim_html(self)
