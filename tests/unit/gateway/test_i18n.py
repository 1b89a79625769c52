from __future__ import annotations

import json
import re
from importlib import resources
from string import Formatter

import pytest
from kinlink_gateway.i18n import translator
from kinlink_gateway.linker import LinkageState, RegistryState, Verdict
from kinlink_gateway.queries import UNDECIDED
from kinlink_gateway.roles import Role
from unit.gateway.fake_linker import STAGES

PACKAGE = resources.files("kinlink_gateway")
CATALOGUE: dict[str, str] = json.loads((PACKAGE / "locales" / "zh.json").read_text("utf-8"))
SAID = re.compile(r'\bt\(\s*"([^"]+)"')
# Texts that a template chooses by a key or a number.
CHOSEN = re.compile(r'(?:"[a-z_]+"|\d{3}): "([^"]{3,})"')
ELSE = re.compile(r'else t\("([^"]+)"')


def texts_of_templates() -> set[str]:
    texts: set[str] = set()
    for file in (PACKAGE / "templates").iterdir():
        template = file.read_text("utf-8")
        for pattern in (SAID, CHOSEN, ELSE):
            texts.update(pattern.findall(template))
    return texts


def texts_of_values() -> set[str]:
    values = {*RegistryState, *LinkageState, *Verdict, *Role}
    return {value.value for value in values} | {UNDECIDED} | {name for name, *_ in STAGES}


def test_every_text_of_the_pages_has_its_chinese() -> None:
    assert sorted((texts_of_templates() | texts_of_values()) - set(CATALOGUE)) == []


def test_translations_keep_the_places_for_values() -> None:
    for text, translated in CATALOGUE.items():
        places = {name for _, name, _, _ in Formatter().parse(text) if name}
        assert places == {name for _, name, _, _ in Formatter().parse(translated) if name}, text


def test_values_are_put_into_the_translation() -> None:
    say = translator("zh")
    assert say("{bits} bits", bits="+3.0") == "+3.0 比特"
    assert translator("en")("{bits} bits", bits="+3.0") == "+3.0 bits"


@pytest.mark.parametrize("language", ["en", "zh", "xx", "../zh"])
def test_a_text_without_a_translation_stays_as_it_is(language: str) -> None:
    assert translator(language)("not in any catalogue") == "not in any catalogue"
