"""Reads a folder of documents: one folder for each version, old versions beside new ones.

``workflows/<name>/<version>/workflow.yaml``, ``agents/.../agent.yaml`` with ``instructions.md``,
``policies/.../policy.cedar``, ``providers/.../provider.yaml`` with the scripted rules in a file for each
agent, ``tenants/.../tenant.yaml`` with ``reference/<collection>.yaml``. What else lies in a version's folder
is refused: a file that nobody reads is a misunderstanding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from app.control_plane.problems import DocumentError, Problem, from_validation
from app.control_plane.tenants import ReferenceData, Tenant, redaction_problems, target_problems
from app.control_plane.yaml_reader import MAX_BYTES, read_yaml
from app.kernel.document import Frozen
from app.kernel.release import AgentBundle, Policy, Provider, WorkflowTemplate
from interlock.canonical import JsonValue, canonical_bytes, digest_bytes

Kind = Literal["workflow", "agent", "policy", "provider", "tenant"]

_FOLDERS: Mapping[str, Kind] = {
    "agents": "agent",
    "policies": "policy",
    "providers": "provider",
    "tenants": "tenant",
    "workflows": "workflow",
}
_PROVIDER: TypeAdapter[Provider] = TypeAdapter(Provider)
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


class TenantDocument(Frozen):
    """A tenant together with its reference data, which are published as one."""

    tenant: Tenant
    reference: ReferenceData


M = TypeVar("M", bound=Frozen, covariant=True)


class DocumentKey(NamedTuple):
    """What a document goes by."""

    kind: Kind
    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.kind} {self.name}/{self.version}"


@dataclass(frozen=True)
class Document(Generic[M]):
    """One version of one document. Its digest is over what it says, not over how the file is laid out."""

    key: DocumentKey
    path: str
    """Relative to the folder of documents."""
    model: M

    @cached_property
    def body(self) -> bytes:
        """Canonical JSON, as it is published."""
        return canonical_bytes(self.model.model_dump(mode="json"))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of ``body``."""
        return digest_bytes(self.body)


@dataclass(frozen=True)
class Documents:
    """All documents of a folder, by name and version."""

    workflows: Mapping[tuple[str, int], Document[WorkflowTemplate]] = field(default_factory=dict)
    agents: Mapping[tuple[str, int], Document[AgentBundle]] = field(default_factory=dict)
    policies: Mapping[tuple[str, int], Document[Policy]] = field(default_factory=dict)
    providers: Mapping[tuple[str, int], Document[Provider]] = field(default_factory=dict)
    tenants: Mapping[tuple[str, int], Document[TenantDocument]] = field(default_factory=dict)

    def all(self) -> tuple[Document[Frozen], ...]:
        """Every document, in the order of kind, name and version."""
        found: list[Document[Frozen]] = []
        for group in (self.agents, self.policies, self.providers, self.tenants, self.workflows):
            found.extend(group.values())
        return tuple(sorted(found, key=lambda document: document.key))


def read_documents(folder: Path) -> Documents:
    """All documents under ``folder``; a kind that has no folder has no documents.

    Raises:
        DocumentError: with every problem of every document that cannot be read, or whose folder's name and
            version are not its own.
    """
    problems: list[Problem] = []
    if not folder.is_dir():
        raise DocumentError(
            [Problem(str(folder), "", "there is no such folder", "Name the folder of documents.")]
        )
    documents = Documents(
        workflows=_read_kind(folder, "workflows", _workflow, problems),
        agents=_read_kind(folder, "agents", _agent, problems),
        policies=_read_kind(folder, "policies", _policy, problems),
        providers=_read_kind(folder, "providers", _provider, problems),
        tenants=_read_kind(folder, "tenants", _tenant, problems),
    )
    if problems:
        raise DocumentError(problems)
    return documents


class _UnreadableError(Exception):
    """A part of a document is missing or broken; its problem is noted."""


class _VersionFolder:
    """One version's files, and which of them were read."""

    def __init__(self, root: Path, folder: Path, problems: list[Problem]) -> None:
        self.path = folder.relative_to(root).as_posix()
        self.name = folder.parent.name
        self.version = int(folder.name)
        self._root = root
        self._problems = problems
        self._files = {
            file.relative_to(folder).as_posix(): file
            for file in sorted(folder.rglob("*"))
            if not file.is_dir()
        }
        self._unread = {name for name in self._files if name != "README.md"}

    def others(self, suffix: str, *, under: str = "") -> list[str]:
        """The names of the files that nobody has read yet."""
        return sorted(name for name in self._unread if name.startswith(under) and name.endswith(suffix))

    def text(self, name: str) -> str:
        """A file's text."""
        try:
            text = self._bytes(name).decode("utf-8")
        except UnicodeDecodeError:
            raise self.refuse(name, "", "it is not UTF-8", "Save the file as UTF-8.") from None
        if "\0" in text:
            raise self.refuse(name, "", "it has a NUL character", "Remove it.")
        return text

    def mapping(self, name: str) -> dict[str, JsonValue]:
        """A YAML file's object."""
        value = read_yaml(self._bytes(name), f"{self.path}/{name}")
        if isinstance(value, Problem):
            self._problems.append(value)
            raise _UnreadableError
        if not isinstance(value, dict):
            raise self.refuse(name, "", "it is not an object of fields", "Write it as `field: value` lines.")
        return value

    def refuse(self, name: str, field_name: str, reason: str, remedy: str) -> _UnreadableError:
        """Notes a problem of this version."""
        self._problems.append(Problem(f"{self.path}/{name}".rstrip("/"), field_name, reason, remedy))
        return _UnreadableError()

    def refuse_unread(self) -> None:
        """Notes each file that is no part of the document."""
        for name in sorted(self._unread):
            self.refuse(name, "", "the file is no part of the document", "Remove it, or correct its name.")

    def _bytes(self, name: str) -> bytes:
        file = self._files.get(name)
        if file is None:
            raise self.refuse(name, "", "the file is missing", "Add it.")
        self._unread.discard(name)
        if not file.resolve().is_relative_to(self._root.resolve()):
            raise self.refuse(name, "", "it is a link that leaves the folder", "Copy the file.")
        if file.stat().st_size > MAX_BYTES:
            raise self.refuse(name, "", f"the file is larger than {MAX_BYTES} bytes", "Split it.")
        return file.read_bytes()


def _read_kind(
    root: Path, folder_name: str, read: Callable[[_VersionFolder], M], problems: list[Problem]
) -> dict[tuple[str, int], Document[M]]:
    found: dict[tuple[str, int], Document[M]] = {}
    kind = _FOLDERS[folder_name]
    for path in _versions(root, root / folder_name, problems):
        folder = _VersionFolder(root, path, problems)
        try:
            model = read(folder)
        except ValidationError as error:
            problems.extend(from_validation(folder.path, error))
            continue
        except _UnreadableError:
            continue
        folder.refuse_unread()
        key = DocumentKey(kind, folder.name, folder.version)
        found[folder.name, folder.version] = Document(key, folder.path, model)
    return found


def _versions(root: Path, folder: Path, problems: list[Problem]) -> list[Path]:
    found = []
    for named in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not named.is_dir() or not _NAME.fullmatch(named.name):
            if named.name != "README.md":
                place = named.relative_to(root).as_posix()
                remedy = "Name it by a small letter and then small letters, digits, - and _."
                problems.append(Problem(place, "", "it is not the folder of a document", remedy))
            continue
        for version in sorted(named.iterdir()):
            if version.is_dir() and _VERSION.fullmatch(version.name):
                found.append(version)
            elif version.name != "README.md":
                place = version.relative_to(root).as_posix()
                problems.append(
                    Problem(place, "", "it is not the folder of a version", "Name it 1, 2, 3 ...")
                )
    return found


def _check_own(folder: _VersionFolder, file: str, value: Mapping[str, JsonValue]) -> None:
    for field_name, expected in (("name", folder.name), ("version", folder.version)):
        if field_name in value and value[field_name] != expected:
            reason = f"it says {value[field_name]!r}, and its folder says {expected!r}"
            raise folder.refuse(file, field_name, reason, "Make the two the same.")


def _workflow(folder: _VersionFolder) -> WorkflowTemplate:
    value = folder.mapping("workflow.yaml")
    _check_own(folder, "workflow.yaml", value)
    return WorkflowTemplate.model_validate(value)


def _agent(folder: _VersionFolder) -> AgentBundle:
    value = folder.mapping("agent.yaml")
    _check_own(folder, "agent.yaml", value)
    if "instructions" in value:
        remedy = "Move them to instructions.md."
        raise folder.refuse("agent.yaml", "instructions", "instructions have a file of their own", remedy)
    return AgentBundle.model_validate({**value, "instructions": folder.text("instructions.md")})


def _policy(folder: _VersionFolder) -> Policy:
    return Policy(name=folder.name, version=folder.version, cedar=folder.text("policy.cedar"))


def _provider(folder: _VersionFolder) -> Provider:
    value = folder.mapping("provider.yaml")
    _check_own(folder, "provider.yaml", value)
    if value.get("kind") != "scripted":
        return _PROVIDER.validate_python(value)
    own = value.get("rules", [])
    rules = list(own) if isinstance(own, list) else []
    for name in folder.others(".yaml"):
        rules.extend(_rules(folder, name))
    return _PROVIDER.validate_python({**value, "rules": rules})


def _rules(folder: _VersionFolder, name: str) -> list[JsonValue]:
    """One agent's rules, from the file that is named after it."""
    agent = name.removesuffix(".yaml")
    rules = folder.mapping(name).get("rules")
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise folder.refuse(name, "rules", "it is not a list of rules", "Write `rules:` and a list of them.")
    return [{"agent": agent, **rule} for rule in rules]


def _tenant(folder: _VersionFolder) -> TenantDocument:
    value = folder.mapping("tenant.yaml")
    _check_own(folder, "tenant.yaml", value)
    problems = (*target_problems(value.get("targets")), *redaction_problems(value.get("redaction")))
    wrong = [folder.refuse("tenant.yaml", *problem) for problem in problems]
    if wrong:
        raise wrong[0]
    collections = {
        name.removeprefix("reference/").removesuffix(".yaml"): folder.mapping(name)
        for name in folder.others(".yaml", under="reference/")
    }
    reference = ReferenceData.model_validate({"collections": collections})
    return TenantDocument(tenant=Tenant.model_validate(value), reference=reference)
