"""The pages' two languages: English texts are the keys, `locales/zh.json` holds their Chinese.

Chinese is simplified, as provincial offices write it. A text without a translation stays English; a
test sees to it that there is none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

LANGUAGES = {"en": "English", "zh": "中文"}
HTML_LANGUAGES = {"en": "en", "zh": "zh-Hans"}
LANGUAGE_COOKIE = "kinlink_language"
DEFAULT_LANGUAGE = "en"


@dataclass(frozen=True)
class Translator:
    """Says a text in one language: `t("{n} links", n=3)`."""

    language: str
    catalogue: Mapping[str, str]

    def __call__(self, text: str, /, **values: object) -> str:
        """The text with its values put in."""
        said = self.catalogue.get(text, text)
        return said.format(**values) if values else said


def translator(language: str) -> Translator:
    """The translator of a language; English for one we do not have."""
    return Translator(language, _catalogue(language) if language != DEFAULT_LANGUAGE else {})


def language_of(request: Request) -> str:
    """What the reader chose (`?lang=`, then the cookie), else what their browser asks for first."""
    for chosen in (request.query_params.get("lang"), request.cookies.get(LANGUAGE_COOKIE)):
        if chosen in LANGUAGES:
            return chosen
    for part in request.headers.get("accept-language", "").split(","):
        language = part.partition(";")[0].strip().lower()[:2]
        if language in LANGUAGES:
            return language
    return DEFAULT_LANGUAGE


@lru_cache
def _catalogue(language: str) -> Mapping[str, str]:
    if language not in LANGUAGES:
        return {}
    file = resources.files("kinlink_gateway") / "locales" / f"{language}.json"
    catalogue: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return catalogue
