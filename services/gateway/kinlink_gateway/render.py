"""Makes pages: the Jinja environment, filters that write numbers and times, the page context."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from kinlink_gateway.i18n import (
    HTML_LANGUAGES,
    LANGUAGE_COOKIE,
    LANGUAGES,
    language_of,
    translator,
)
from kinlink_gateway.linker import LinkageState
from kinlink_gateway.roles import POLICY

if TYPE_CHECKING:
    from starlette.requests import Request

    from kinlink_gateway.access import Caller
    from kinlink_gateway.i18n import Translator
    from kinlink_gateway.linker import Linkage, Stage

LANGUAGE_COOKIE_SECONDS = 365 * 24 * 60 * 60
SHORT_ID_CHARS = 8
BYTES_PER_STEP = 1024
SECONDS_PER_MINUTE = 60
SECONDS_PER_HOUR = 3600
NEARLY_CERTAIN = 0.99995
NOTHING = "–"


class Renderer:
    """Renders pages in the reader's language and the office's time zone."""

    def __init__(self, *, federation: str, time_zone: str = "UTC") -> None:
        self._zone = ZoneInfo(time_zone)
        self._environment = Environment(
            loader=PackageLoader("kinlink_gateway"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(federation=federation, languages=LANGUAGES)
        self._environment.filters.update(
            count=count,
            bits=bits,
            probability=probability,
            share=share,
            size=size,
            duration=duration,
            short=short,
            progress=progress,
            moment=self._moment,
            said=said,
        )

    def page(
        self,
        request: Request,
        template: str,
        *,
        status: int = 200,
        caller: Caller | None = None,
        **context: object,
    ) -> HTMLResponse:
        """A whole page for one reader."""
        language = language_of(request)
        html = self.fragment(
            request,
            template,
            caller=caller,
            path=request.url.path,
            request_id=request.state.request_id,
            **context,
        )
        response = HTMLResponse(html, status_code=status)
        response.headers["Content-Language"] = HTML_LANGUAGES[language]
        if request.query_params.get("lang") in LANGUAGES:
            response.set_cookie(
                LANGUAGE_COOKIE,
                language,
                max_age=LANGUAGE_COOKIE_SECONDS,
                httponly=True,
                samesite="strict",
                secure=request.url.scheme == "https",
            )
        return response

    def fragment(
        self, request: Request, template: str, *, caller: Caller | None = None, **context: object
    ) -> str:
        """A part of a page, or the HTML of a whole one."""
        language = language_of(request)
        return self._environment.get_template(template).render(
            t=translator(language),
            language=language,
            html_language=HTML_LANGUAGES[language],
            viewer=caller,
            may=_granted(caller),
            form_token=caller.session.form_token if caller and caller.session else "",
            with_query=_with_query(request),
            **context,
        )

    def _moment(self, when: datetime | None) -> Markup | str:
        if when is None:
            return NOTHING
        shown = when.astimezone(self._zone)
        return Markup('<time datetime="{}">{}</time>').format(
            when.astimezone(UTC).isoformat(timespec="seconds"),
            shown.strftime("%Y-%m-%d %H:%M ") + (shown.tzname() or ""),
        )


def _granted(caller: Caller | None) -> frozenset[str]:
    if caller is None:
        return frozenset()
    return frozenset(action.value for action in POLICY[caller.person.role])


def _with_query(request: Request) -> object:
    def with_query(**changes: object) -> str:
        """This page's address with some of its query parameters changed; None removes one."""
        query: dict[str, object] = dict(request.query_params)
        query.update(changes)
        kept = {name: value for name, value in query.items() if value is not None}
        return request.url.path + ("?" + urlencode(kept) if kept else "")

    return with_query


def count(number: int | None) -> str:
    """12345 as 12,345; a dash for what may not be seen or is not known."""
    return NOTHING if number is None else f"{number:,}"


def bits(weight: float) -> str:
    """A weight with its sign and one decimal, with a real minus."""
    text = f"{weight:+.1f}".replace("-", "−")
    return "0.0" if text in {"+0.0", "−0.0"} else text


def probability(value: float) -> str:
    """A probability in percent that never rounds to certainty."""
    if value > NEARLY_CERTAIN:
        return "> 99.99 %"
    if 0 < value < 1 - NEARLY_CERTAIN:
        return "< 0.01 %"
    return f"{value * 100:.2f} %"


def said(text: str, t: Translator) -> str:
    """A text in the reader's language, for lists of them."""
    return t(text)


def share(value: float | None) -> str:
    """A share in percent with one decimal; a dash for what cannot be said."""
    return NOTHING if value is None else f"{value * 100:.1f} %"


def size(number: float) -> str:
    """Bytes in the unit that reads best."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < BYTES_PER_STEP:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= BYTES_PER_STEP
    return f"{number:.1f} TiB"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < SECONDS_PER_MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), SECONDS_PER_MINUTE)
    if seconds < SECONDS_PER_HOUR:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def short(identifier: str) -> Markup:
    """The beginning of an opaque id; the whole id stays in its title."""
    return Markup('<code class="id" title="{}">{}</code>').format(
        identifier, identifier[:SHORT_ID_CHARS]
    )


@dataclass(frozen=True)
class StageRow:
    """A stage and whether it is done, now, or waiting."""

    stage: Stage
    standing: str


def progress(linkage: Linkage) -> list[StageRow]:
    """A linkage's stages: before the newest one that moved they are done, after it they wait."""
    moved = [index for index, stage in enumerate(linkage.stages) if stage.seconds or stage.done]
    newest = moved[-1] if moved else 0
    finished = linkage.state in {LinkageState.SUCCEEDED, LinkageState.PARTIAL}

    def standing(index: int) -> str:
        if finished or index < newest:
            return "done"
        if index > newest:
            return "waiting"
        return "stopped" if linkage.state.ended else "now"

    return [StageRow(stage, standing(index)) for index, stage in enumerate(linkage.stages)]
