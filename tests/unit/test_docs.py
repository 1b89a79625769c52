"""The documentation names everything there is, nothing that is gone, and keeps its promises."""

from __future__ import annotations

import ipaddress
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import click
import pytest
from google.protobuf import descriptor_pool
from kinlink_core.encoding import _field_file, _transforms
from kinlink_core.encoding._faults import ValueFault
from kinlink_core.encoding.schema import (
    CATEGORY_TAGS,
    DATE_TAGS,
    Field,
    FieldKind,
    FieldOptions,
    Level,
    LinkType,
    Pass,
    Schema,
    Vector,
)
from kinlink_core.errors import Reason, error_class
from kinlink_core.runtime.metrics import declared_metrics
from kinlink_core.wire import Refusal
from kinlink_gateway import cli as gateway_cli
from kinlink_gateway.app import create_app
from kinlink_gateway.exports import COLUMNS
from kinlink_gateway.roles import POLICY
from kinlink_gateway.settings import GatewaySettings
from kinlink_keyserver import cli as keyserver_cli
from kinlink_keyserver import servicer as keyserver_servicer
from kinlink_keyserver.settings import KeyServerSettings
from kinlink_linker import cli as linker_cli
from kinlink_linker import servicer as linker_servicer
from kinlink_linker.progress import COUNTERS, STAGES
from kinlink_linker.settings import LinkerSettings
from kinlink_local import cli as local_cli
from kinlink_registry import cli as registry_cli
from kinlink_registry import control
from kinlink_registry import servicer as registry_servicer
from kinlink_registry.settings import RegistrySettings
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic.fields import FieldInfo

NOT_EXACT: Final = {FieldKind.LEVEL_SET, FieldKind.VECTOR}
ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = ROOT / "README.md"
REFERENCE: Final = ROOT / "docs/reference"
PAGES: Final = sorted([README, *(ROOT / "docs").rglob("*.md")])

COMMANDS: Final[dict[str, click.Command]] = {
    "kinlink": local_cli.main,
    "kinlink-registry": registry_cli.main,
    "kinlink-linker": linker_cli.main,
    "kinlink-gateway": gateway_cli.main,
    "kinlink-keyserver": keyserver_cli.main,
}
SETTINGS: Final[dict[str, type[BaseModel]]] = {
    "registry": RegistrySettings,
    "linker": LinkerSettings,
    "gateway": GatewaySettings,
    "keyserver": KeyServerSettings,
}
SERVICES: Final = {
    registry_servicer.SERVICE_NAME: registry_servicer.POLICY,
    control.SERVICE_NAME: control.POLICY,
    linker_servicer.SERVICE_NAME: linker_servicer.POLICY,
    keyserver_servicer.SERVICE_NAME: keyserver_servicer.POLICY,
}
# What a schema file may hold and no dataclass names alike.
FILE_KEYS: Final = {
    "normalise": {"options"},
    "length": {"lengths"},
}

HEADING: Final = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
FENCE: Final = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
CODE: Final = re.compile(r"`([^`]+)`")
LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
URL: Final = re.compile(r"https?://([^/\s)`\"']+)")
IPV4: Final = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")
DENIAL: Final = re.compile(r"\b(not|never|nobody|no)\b", re.IGNORECASE)
# Splink's own site; everything else is an example's.
FOREIGN_HOSTS: Final = {"moj-analytical-services.github.io"}
EXAMPLE_NETS: Final = [
    ipaddress.ip_network(net)
    for net in ("127.0.0.0/8", "0.0.0.0/32", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
]
NOT_OURS_TO_NAME: Final = re.compile(
    r"index-url|pythonhosted|pypi\.|npmjs|/tmp/w\b|/work/|/root/|/home/\w", re.IGNORECASE
)


@cache
def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def reference(name: str) -> str:
    return text_of(REFERENCE / f"{name}.md")


def sections(page: str) -> dict[str, str]:
    """What stands under each heading, up to the next one of any depth."""
    plain = FENCE.sub(lambda match: " " * len(match[0]), page)
    found = list(HEADING.finditer(plain))
    ends = [match.start() for match in found[1:]] + [len(page)]
    return {
        match[2].strip(): page[match.end() : end] for match, end in zip(found, ends, strict=True)
    }


def rows(text: str) -> dict[str, list[str]]:
    """Cells of each table row by the code in its first cell; a cell may name several things."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("| "):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for name in CODE.findall(cells[0]):
                found[name] = cells[1:]
    return found


def commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for child, inner in command.commands.items():
            yield from commands(f"{name} {child}", inner)


ALL_COMMANDS: Final = dict(
    pair for name, command in COMMANDS.items() for pair in commands(name, command)
)


def ancestors(name: str) -> list[str]:
    words = name.split(" ")
    return [" ".join(words[:count]) for count in range(len(words), 0, -1)]


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_every_command_has_its_heading_with_its_arguments_and_options(name: str) -> None:
    found = sections(reference("cli"))
    assert name in found
    told = " ".join(found.get(each, "") for each in ancestors(name))
    for parameter in ALL_COMMANDS[name].params:
        if isinstance(parameter, click.Argument):
            metavar = parameter.metavar or (parameter.name or "").upper()
            assert f"`{metavar}`" in found[name]
        else:
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert option in CODE.findall(told) or option == "--version"


def test_the_command_page_names_no_command_that_is_gone() -> None:
    named = {name for name in sections(reference("cli")) if name.split(" ")[0] in COMMANDS}
    assert named == set(ALL_COMMANDS)


@pytest.mark.parametrize("name", [name for name, each in ALL_COMMANDS.items() if each.params])
def test_the_command_page_names_no_option_that_is_gone(name: str) -> None:
    told = rows(sections(reference("cli"))[name])
    inner = [each for other, each in commands(name, ALL_COMMANDS[name]) if other != name]
    known = {
        option
        for command in (ALL_COMMANDS[name], *inner)
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {each for each in told if each.startswith("--")} <= known


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = [
            kind
            for kind in (field.annotation, *get_args(field.annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        if not inner or field.annotation not in inner:
            yield key, field
        for kind in inner:
            yield from settings_of(kind, f"{key}.")


def default_of(field: FieldInfo) -> str:
    default = field.default
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "none"
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if default == "":
        return "empty"
    if isinstance(default, bool):
        default = str(default).lower()
    return f"`{list(default) if isinstance(default, tuple) else default}`"


@pytest.mark.parametrize("service", SETTINGS)
def test_every_setting_has_its_row_with_its_default(service: str) -> None:
    told = rows(sections(reference("settings"))[service])
    expected = {key: default_of(field) for key, field in settings_of(SETTINGS[service])}
    assert {key: told[key][0] for key in expected if key in told} == expected
    assert set(told) == set(expected)


def test_every_error_reason_has_its_row_with_a_cause_and_a_cure() -> None:
    told = rows(sections(reference("errors"))["Reasons"])
    assert list(told) == sorted(reason.value for reason in Reason)
    assert all(len(cells) == 2 and all(cells) for cells in told.values())


def test_every_error_class_stands_beside_its_code() -> None:
    told = rows(sections(reference("errors"))["gRPC codes"])
    assert {code: cells[0] for code, cells in told.items()} == {
        code: f"`{error_class(code).__name__}`" for code in told
    }


def test_every_metric_has_its_row_with_its_kind_and_labels() -> None:
    found = sections(reference("metrics"))
    told = {
        name: (cells[0], tuple(CODE.findall(cells[1])))
        for group in ("Every process", "Registry", "Linker", "Gateway", "Key server")
        for name, cells in rows(found[group]).items()
    }
    assert told == {metric.name: (metric.kind, metric.labels) for metric in declared_metrics()}


@pytest.mark.parametrize("service", SERVICES)
def test_every_rpc_has_its_row_with_its_callers(service: str) -> None:
    told = rows(sections(reference("rpc"))[service])
    policy = SERVICES[service]
    methods = {
        method.name for method in descriptor_pool.Default().FindServiceByName(service).methods
    }
    assert set(told) == methods == set(policy)
    assert {name: set(cells[0].split(", ")) for name, cells in told.items()} == {
        name: {role.value for role in roles} for name, roles in policy.items()
    }


def test_every_refusal_stands_beside_its_code() -> None:
    table = re.findall(
        r"^\| (\d+) \| `(\w+)` \|", sections(reference("rpc"))["Refusals"], re.MULTILINE
    )
    assert {int(code): name for code, name in table} == {each.value: each.name for each in Refusal}


def test_every_count_of_a_pass_and_every_stage_is_explained() -> None:
    assert list(rows(sections(reference("rpc"))["Counts of a pass"])) == list(COUNTERS)
    steps = text_of(ROOT / "docs/explanation/how-it-finds-a-person.md")
    assert [
        line for line in re.findall(r"^\| (\w+) \|", steps, re.MULTILINE) if line in STAGES
    ] == list(STAGES)


def test_every_path_of_the_api_has_its_row_with_its_method() -> None:
    no_gateway: Any = None
    paths: Mapping[str, Mapping[str, Any]] = create_app(no_gateway).openapi()["paths"]
    table = re.findall(
        r"^\| ([A-Z]+) \| `([^`]+)` \|", sections(reference("http"))["API"], re.MULTILINE
    )
    assert set(table) == {(method.upper(), path) for path in paths for method in paths[path]}


def test_the_roles_of_the_gateway_have_the_actions_of_its_policy() -> None:
    table = re.findall(
        r"^\| (\w+) \| (`.+`.*) \|$", sections(reference("http"))["Who calls"], re.MULTILINE
    )
    everyone = {"sign-in", "sign-out"}  # a session's own, which the page tells in words
    assert {role: set(CODE.findall(cell)) for role, cell in table} == {
        role.value: {action.value for action in actions} - everyone
        for role, actions in POLICY.items()
    }


def test_every_column_of_an_export_is_named() -> None:
    told = CODE.findall(sections(reference("http"))["Columns of an export"])
    assert told[: len(COLUMNS)] == list(COLUMNS)


def keys_of(kind: type[Any], *, without: Iterable[str] = ()) -> set[str]:
    """The keys of a file for a dataclass of the schema."""
    names = set(kind.__dataclass_fields__) - set(without)
    for key, meant in FILE_KEYS.items():
        if names & meant:
            names = (names - meant) | {key}
    return names


def test_every_key_of_a_schema_file_has_its_row() -> None:
    found = sections(reference("schema"))
    assert set(rows(found["Schema"])) == {*keys_of(Schema), "format"}
    of_field = keys_of(Field) - {"vector"} | keys_of(Vector)
    assert set(rows(found["Field"])) == {*of_field, "description"}
    assert set(rows(found["Pass"])) == {*keys_of(Pass), "description"}
    keys_of_level = {"label", "max_distance", "tag", "shared"}
    assert keys_of_level == keys_of(Level) <= set(rows(found["Comparisons"]))
    assert set(rows(found["normalise"])) == keys_of(FieldOptions)
    assert all(f"`{each}`" in found["Schema"] for each in LinkType)


def test_every_kind_has_its_row_with_its_comparisons() -> None:
    told = rows(sections(reference("schema"))["Kinds"])
    assert {kind: tuple(CODE.findall(cells[2])) for kind, cells in told.items()} == {
        kind.value: _field_file.COMPARISONS[kind] for kind in FieldKind
    }


def test_every_comparison_has_its_row_with_its_levels_and_tags() -> None:
    told = rows(sections(reference("schema"))["Comparisons"])
    for comparison, levels in _field_file.LEVELS.items():
        assert CODE.findall(told[comparison][1]) == [level.label for level in levels]
        distances = [level.max_distance for level in levels if level.max_distance is not None]
        assert [float(each) for each in re.findall(r"` ([\d.]+)", told[comparison][1])] == distances
    assert {*CATEGORY_TAGS, *DATE_TAGS} <= set(told)


def test_every_transform_has_its_row_with_its_kinds_and_bounds() -> None:
    told = {
        name.partition("(")[0]: (name, cells)
        for name, cells in rows(sections(reference("schema"))["Transforms"]).items()
    }
    assert list(told) == list(_transforms.TRANSFORMS)
    for name, transform in _transforms.TRANSFORMS.items():
        shown, cells = told[name]
        arguments = ", ".join(each.name for each in transform.arguments)
        assert shown == (f"{name}({arguments})" if arguments else name)
        bounds = [f"{each.name} {each.low}–{each.high}" for each in transform.arguments]
        assert cells[1] == ", ".join(bounds)
        if not transform.needs_sketch:
            kinds = set(CODE.findall(cells[0])) or set(FieldKind) - NOT_EXACT
            assert kinds == {kind.value for kind in transform.kinds}


@pytest.mark.parametrize("fault", ValueFault)
def test_every_reason_for_a_rejected_row_says_what_to_do(fault: ValueFault) -> None:
    assert fault.value in text_of(ROOT / "docs/how-to/ingest-records.md")


def slug(heading: str) -> str:
    """The anchor that a heading gets where the pages are read."""
    kept = re.sub(r"[^\w\- ]", "", LINK.sub(lambda match: match[0], heading).lower())
    return kept.replace(" ", "-")


def links_of(page: Path) -> Iterator[tuple[Path, str]]:
    """Where a page's relative links lead: file and anchor."""
    for target in LINK.findall(FENCE.sub("", text_of(page))):
        if not URL.match(target):
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target, anchor in links_of(page):
        assert target.exists(), f"{page.name} links to {target}"
        if anchor:
            anchors = {slug(heading) for heading in sections(text_of(target))}
            assert anchor in anchors, f"{page.name} links to #{anchor} in {target.name}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, waiting = {README}, [README]
    while waiting:
        for target, _ in links_of(waiting.pop()):
            if target.suffix == ".md" and target not in seen:
                seen.add(target)
                waiting.append(target)
    assert set(PAGES) <= seen


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_command_of_a_page_is_a_target(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    named = re.findall(r"(?:^|`)\s*(?:\$ )?make ([a-z-]+)", text_of(page), re.MULTILINE)
    assert set(named) <= targets


def test_the_readme_names_the_two_commands_to_begin_with() -> None:
    fenced = "\n".join(FENCE.findall(text_of(README)))
    assert "make demo" in fenced
    assert "make test" in fenced


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_anonymity_is_only_ever_denied(page: Path) -> None:
    sentences = re.split(r"(?<=[.:|])\s+", text_of(page))
    for sentence in sentences:
        assert "anonym" not in sentence.lower() or DENIAL.search(sentence), sentence


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_a_real_host_or_a_place_on_someones_machine(page: Path) -> None:
    text = text_of(page)
    assert not NOT_OURS_TO_NAME.search(text)
    for host in URL.findall(text):
        name = host.partition(":")[0]
        assert name in FOREIGN_HOSTS or name.endswith("example.org") or IPV4.fullmatch(name)
    for address in IPV4.findall(text):
        assert any(ipaddress.ip_address(address) in net for net in EXAMPLE_NETS), address
