"""Provenance: where each value of an argument came from, as well as it can be told honestly.

What a model wrote is the model's, unless it equals, field by field, a value of trusted origin. A value inside free text
is that text's; a value that a trusted lookup returned in a structured field is the lookup's. Only a trusted text, such
as a person's request, is looked into: a value is of it when it stands there as whole words.

Numbers, days and times are compared by what they say and not by how a text writes them. A day that is told with a time
that is not, or without its year, makes a moment of that day a choice.

What proves nothing: null and empty lists have no origin at all; a boolean or an empty text that a model wrote is its
choice, whatever else is true; a text with invisible or bidirectional characters equals nothing. All is capped, and
what lies beyond a cap is untrusted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from app.data_plane.gateway.addresses import addresses
from app.data_plane.gateway.asked import words_of
from app.data_plane.gateway.hidden import is_visible
from app.data_plane.gateway.moments import Day, Time, days, moment, times
from app.data_plane.gateway.origins import RANK, TRUSTED, Origin, Provenance, as_json
from app.data_plane.gateway.schema_leaves import Leaf, SchemaLeaves, leaves_of
from app.data_plane.gateway.trusted_text import TrustedText, shortened
from app.kernel.release import Release
from app.kernel.tool_spec import Reads, ToolSpec
from interlock.canonical import JsonObject, JsonValue

__all__ = ["TRUSTED", "Origin", "Provenance", "Sources", "as_json", "sources_of", "trace_action"]

MAX_LEAVES = 20_000
"""Values of all sources together; later ones are not taken in."""
MAX_TRACED = 1_000
"""Values of one call's arguments; what comes after them is a model's."""
MAX_FIELDS = 16
"""Of one argument's ``fields`` and ``unproven``."""
MAX_TEXT = 100_000
"""Characters of all trusted texts together; later ones are not taken in."""

_ROOTS = {"event": Origin.EVENT_TEXT, "snapshot": Origin.TOOL_TEXT, "stages": Origin.MODEL}
_Key = str | int | float
_Place = tuple[str, Origin]
_ANYTHING = SchemaLeaves({})
_MODEL = frozenset((Origin.MODEL,))


class Sources:
    """All that a run or a decision has seen so far, by where it came from."""

    def __init__(self) -> None:
        self._values: dict[_Key, dict[str, Origin]] = {}
        self._under: dict[str, set[Origin]] = {}
        self._texts: list[tuple[Origin, str, TrustedText]] = []
        self._moments = _Moments()
        self._single: dict[tuple[str, Origin], Provenance] = {}
        self._leaves = 0
        self._characters = 0
        self._asked: frozenset[str] = frozenset()

    @property
    def asked(self) -> frozenset[str]:
        """The words of requests and templates, in small letters, each also without its usual endings."""
        return self._asked

    def add(self, origin: Origin, path: str, value: JsonValue) -> None:
        """Take in a value with all that is inside it: each leaf is compared as a whole."""
        self._take((leaf, origin) for leaf in _ANYTHING.of(value, path))

    def add_text(self, origin: Origin, path: str, text: str) -> None:
        """Take in a text of trusted origin, such as a request: what stands in it as whole words is of that origin.

        Of an untrusted origin it proves nothing, as everything of such an origin.
        """
        self._note(path, origin)
        text = shortened(text, MAX_TEXT - self._characters)
        if origin in TRUSTED and text:
            self._characters += len(text)
            self._texts.append((origin, path, TrustedText(text)))
            self._moments.add(text, path, origin)
            if origin is not Origin.LOOKUP:
                self._asked |= words_of(text)

    def add_event(self, event: JsonObject, trusted: Collection[str]) -> None:
        """Take in a normalised event; ``trusted`` are paths as ``event.issue.number``, each with all below it.

        A trusted field of several words is a request: what stands in it as whole words is of the event, too.
        """
        roots = tuple(trusted)
        leaves = [
            (leaf, Origin.EVENT if _is_below(leaf.path.replace("[]", ""), roots) else Origin.EVENT_TEXT)
            for leaf in _ANYTHING.of(event, "event")
        ]
        self._take(leaves)
        for leaf, origin in leaves:
            if origin is Origin.EVENT and isinstance(leaf.value, str) and len(leaf.value.split()) > 1:
                self.add_text(origin, leaf.path, leaf.value)

    def add_result(self, spec: ToolSpec, path: str, result: JsonValue) -> None:
        """Take in a tool's result: structured fields of a trusted tool are trusted, all else is text."""
        self._take(
            (leaf, Origin.LOOKUP if spec.trusted and leaf.structured else Origin.TOOL_TEXT)
            for leaf in leaves_of(spec.output_schema).of(result, path)
        )

    def add_outcome(self, path: str, proposal: JsonObject, outcome: JsonValue) -> None:
        """Take in what a stage decided, by the schema of its proposals: named values are choices."""
        self._take(
            (leaf, Origin.CHOICE if leaf.choice else Origin.MODEL)
            for leaf in leaves_of(proposal).of(outcome, path)
        )

    def trace(self, arguments: JsonObject, spec: ToolSpec | None = None) -> dict[str, Provenance]:
        """Where each argument of a model's call came from; by ``spec`` what was a choice among named values."""
        walker, left = _walker(arguments, spec), iter(range(MAX_TRACED))
        return {
            name: self._plainly(value)
            or _Tracing(self, _MODEL, left, words=walker.words(name)).of(walker.of_member(name, value))
            for name, value in arguments.items()
        }

    def _plainly(self, value: JsonValue) -> Provenance | None:
        """The same as a tracing would say, quickly: of a single text that stands in one trusted place."""
        if isinstance(value, str):
            known = self.known(value)
            if len(known) == 1 and known[0][1] in TRUSTED:
                found = self._single.get(known[0])
                if found is None:
                    found = self._single[known[0]] = Provenance((known[0][1],), (known[0][0],))
                return found
        return None

    def origins_under(self, path: str) -> frozenset[Origin]:
        """All origins of what lies at ``path`` and below; of what is not there, those of the nearest place above it."""
        while path:
            if path in self._under:
                return frozenset(self._under[path])
            path = path.rpartition(".")[0]
        return frozenset()

    def known(self, value: JsonValue) -> list[tuple[str, Origin]]:
        """Where a value stands in a field of trusted origin, or as a choice; paths with their origins."""
        if isinstance(value, str):
            # The usual text is told without another call: all arguments of all calls come by here.
            if not (value.isascii() and value.isprintable()) and not is_visible(value):
                return []
            standing = [(path, origin) for origin, path, text in self._texts if text.holds(value)]
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            standing = [(path, origin) for origin, path, text in self._texts if text.holds_number(value)]
        else:
            return []
        places = self._values.get(value)
        found = standing if places is None else [*places.items(), *standing]
        return found if found or not isinstance(value, str) else self._moments.known(value)

    def _take(self, leaves: Iterable[tuple[Leaf, Origin]]) -> None:
        for leaf, origin in leaves:
            self._leaves += 1
            if self._leaves > MAX_LEAVES or leaf.beyond:
                self._note(leaf.path, Origin.MODEL)
                if leaf.beyond:
                    continue
                return
            self._note(leaf.path, origin)
            value = leaf.value
            if origin not in TRUSTED and origin is not Origin.CHOICE:
                continue
            if isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != "":
                if isinstance(value, str) and origin in TRUSTED and moment(value) is not None:
                    self._moments.add(value, leaf.path, origin)
                places = self._values.setdefault(value, {})
                if len(places) < MAX_FIELDS:
                    places.setdefault(leaf.path, origin)

    def _note(self, path: str, origin: Origin) -> None:
        while path:
            known = self._under.setdefault(path, set())
            if origin in known:
                return
            known.add(origin)
            path = path[:-2] if path.endswith("[]") else path.rpartition(".")[0]


class _Moments:
    """The days and times that trusted sources tell, in whatever way they are written."""

    def __init__(self) -> None:
        self._days: dict[Day, dict[_Place, None]] = {}
        self._times: dict[Time, dict[_Place, None]] = {}

    def add(self, text: str, path: str, origin: Origin) -> None:
        """Take in every day and time of a trusted text, or of a trusted field."""
        for places in [
            *(self._days.setdefault(day, {}) for day in days(text)),
            *(self._times.setdefault(time, {}) for time in times(text)),
        ]:
            if len(places) < MAX_FIELDS:
                places[path, origin] = None

    def known(self, value: str) -> list[_Place]:
        """Where a moment's day and its time are told, in one place.

        When only its day is, or another place tells the time, then its time, its year or its zone was a choice.
        """
        told = moment(value)
        if told is None:
            return []
        exact, (_, month, day) = self._days.get(told.day, {}), told.day
        times_told = exact if told.time is None else self._times.get(told.time, {})
        if told.is_plain and (found := [place for place in exact if place in times_told]):
            return found
        some = [*exact, *self._days.get((None, month, day), {})]
        return [(some[0][0], Origin.CHOICE)] if some else []


class _Tracing:
    """One argument's way from its leaves to its provenance.

    Args:
        otherwise: the origins of a value that equals nothing.
        left: one for every value that may still be looked at, over all arguments.
        literals: the texts of the expression that it comes from.
        words: what a model may choose among, beside what the schema names; None where no model chose.
    """

    def __init__(
        self,
        sources: Sources,
        otherwise: frozenset[Origin],
        left: Iterator[int],
        literals: Collection[str] = (),
        words: frozenset[str] | None = None,
    ) -> None:
        self._sources = sources
        self._otherwise = otherwise
        self._left = left
        self._literals = literals
        self._words = words
        self._origins: set[Origin] = set()
        self._fields: set[str] = set()
        self._unproven: dict[str, None] = {}

    def of(self, leaves: Iterator[Leaf]) -> Provenance:
        """The provenance of an argument with these leaves."""
        for leaf in leaves:
            if leaf.beyond or next(self._left, None) is None:
                self._origins.add(Origin.MODEL)
                break
            if leaf.value is not None:
                self._add(leaf)
        return Provenance(
            tuple(sorted(self._origins)) if len(self._origins) > 1 else tuple(self._origins),
            tuple(sorted(self._fields)[:MAX_FIELDS]) if self._fields else (),
            tuple(self._unproven)[:MAX_FIELDS] if self._unproven else (),
        )

    def _add(self, leaf: Leaf) -> None:
        known = self._sources.known(leaf.value)
        trusted = [(path, origin) for path, origin in known if origin in TRUSTED]
        if trusted:
            self._origins.add(
                trusted[0][1]
                if len(trusted) == 1
                else min((origin for _, origin in trusted), key=RANK.__getitem__)
            )
            self._fields.update([path for path, _ in trusted])
            return
        if isinstance(leaf.value, str) and leaf.value in self._literals:
            self._origins.add(Origin.TEMPLATE)
            return
        # A model that leaves a text empty has chosen to: it may mean nothing, and it may mean all.
        if known or (
            self._words is not None and (leaf.choice or leaf.value == "" or leaf.value in self._words)
        ):
            self._origins.add(Origin.CHOICE)
        else:
            self._origins |= self._otherwise
        if isinstance(leaf.value, str) and not self._otherwise <= TRUSTED:
            self._prove(leaf.value)

    def _prove(self, text: str) -> None:
        for address in dict.fromkeys(addresses(text)):
            if len(self._unproven) >= MAX_FIELDS:
                return
            if not any(origin in TRUSTED for _, origin in self._sources.known(address)):
                self._unproven[address[:200]] = None


def sources_of(
    release: Release,
    event: JsonObject,
    snapshot: JsonObject,
    outcomes: Mapping[str, JsonObject | None],
    results: Sequence[tuple[ToolSpec, JsonValue]] = (),
    texts: Sequence[tuple[Origin, str, str]] = (),
) -> Sources:
    """All that a run, or a decision, of ``release`` has seen.

    Args:
        snapshot: the lookups' results by their names.
        outcomes: the outcome of each earlier stage, None for one that was skipped.
        results: of the run's own calls so far, each with its tool.
        texts: trusted texts, each with its origin and a path to name it by.
    """
    sources = Sources()
    sources.add_event(event, release.template.trusted)
    for lookup in release.template.lookups:
        if lookup.name in snapshot and lookup.tool in release.tools:
            sources.add_result(release.tools[lookup.tool], f"snapshot.{lookup.name}", snapshot[lookup.name])
    for name, outcome in outcomes.items():
        if outcome is not None:
            sources.add_outcome(f"stages.{name}", release.template.stage(name).proposal, outcome)
    for spec, result in results:
        sources.add_result(spec, f"results.{spec.name}", result)
    for origin, path, text in texts:
        sources.add_text(origin, path, text)
    return sources


def trace_action(
    release: Release, action: str, arguments: JsonObject, sources: Sources
) -> dict[str, Provenance]:
    """Where each argument of a decision's action came from, by what its expression reads.

    A value that equals a trusted one is of its origin, one that equals a text of the expression is the template's;
    any other is of all the origins that the expression reads, and the template's when it reads nothing. An argument
    that the release says nothing of is a model's.
    """
    reads = release.reads.get(action, {})
    found: dict[str, Provenance] = {}
    walker, left = _walker(arguments, None), iter(range(MAX_TRACED))
    for name, value in arguments.items():
        read = reads.get(name)
        otherwise = _MODEL if read is None else _origins_of(read, sources)
        literals = frozenset(read.literals) if read is not None else frozenset()
        found[name] = _Tracing(sources, otherwise, left, literals).of(walker.of_member(name, value))
    return found


def _origins_of(reads: Reads, sources: Sources) -> frozenset[Origin]:
    found: set[Origin] = set()
    for path in reads.paths:
        found |= sources.origins_under(path) or {_ROOTS.get(path.split(".", 1)[0], Origin.MODEL)}
    return frozenset(found) or frozenset((Origin.TEMPLATE,))


def _walker(arguments: JsonObject, spec: ToolSpec | None) -> SchemaLeaves:
    if spec is not None:
        return leaves_of(spec.input_schema)
    return SchemaLeaves({"properties": {name: {} for name in arguments}})


def _is_below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(f"{root}.") for root in roots)
