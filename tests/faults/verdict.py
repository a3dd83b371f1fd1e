"""What the checker says: each broken promise with its subject, and each promise with how many cases show what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True, slots=True)
class Violation:
    """One promise that was broken, and where."""

    kind: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Figure:
    """How often a promise was broken, of how many cases; ``bound`` is what a zero shows."""

    kind: str
    count: int
    cases: int

    @property
    def bound(self) -> float | None:
        """With 95 % confidence the true rate is below this: the rule of three, 3/n, where none was seen."""
        return min(1.0, 3 / self.cases) if self.count == 0 and self.cases else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checker found."""

    violations: tuple[Violation, ...]
    figures: tuple[Figure, ...]
    counts: Mapping[str, int]
    false_doubts: tuple[str, ...] = ()
    """The actions in doubt whose outcome was in fact known, each with where; few enough of them are no violation."""

    def kinds(self) -> Counter[str]:
        """How many violations there are, by kind."""
        return Counter(violation.kind for violation in self.violations)

    @property
    def false_in_doubt_share(self) -> float:
        """Of the actions in doubt, the share whose outcome was in fact known."""
        in_doubt = self.counts["in_doubt"]
        return self.counts["false_in_doubt"] / in_doubt if in_doubt else 0.0

    def with_verified(self, records: int, differing: Sequence[Violation]) -> Verdict:
        """With what verifying so many records found as well."""
        return self._with("does_not_verify", records, differing)

    def with_metrics(self, values: int, differing: Sequence[Violation]) -> Verdict:
        """With what comparing so many values of the exporter with the record found as well."""
        return self._with("metrics_differ", values, differing)

    def _with(self, kind: str, cases: int, differing: Sequence[Violation]) -> Verdict:
        figure = Figure(kind, len(differing), cases)
        return replace(self, violations=(*self.violations, *differing), figures=(*self.figures, figure))

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "violations": [asdict(violation) for violation in self.violations],
            "figures": [{**asdict(figure), "bound": figure.bound} for figure in self.figures],
            "counts": dict(self.counts),
            "false_doubts": list(self.false_doubts),
        }
