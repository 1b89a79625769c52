"""Settings files that the services themselves can read, and what the terminal shows."""

from __future__ import annotations

import tomllib
from pathlib import Path

from kinlink_local import display, settings
from kinlink_local.case1988 import FAMILY_NOTICE
from kinlink_local.linker_client import EvidenceView
from kinlink_local.stopwatch import CpuMeter
from rich.console import Console


def test_settings_survive_being_written_and_read() -> None:
    written = settings.linker("demo", Path('/a "quoted" path/schema.yaml'), {"a": "127.0.0.1:1"})
    assert tomllib.loads(settings.as_toml(written)) == written
    written = settings.registry("demo", "a", Path("/schema.yaml"))
    assert tomllib.loads(settings.as_toml(written)) == written
    written = settings.gateway("demo", "127.0.0.1:1")
    assert tomllib.loads(settings.as_toml(written)) == written


def shown(renderable: object) -> str:
    console = Console(width=120, no_color=True)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_a_waterfall_adds_up_to_the_match_weight_and_puts_the_strongest_first() -> None:
    evidence = [EvidenceView("name", "none of these", -4.0), EvidenceView("mark", "equal", 7.5)]
    text = shown(display.waterfall("Why", 1.5, evidence))
    assert text.index("mark") < text.index("name")
    assert "+5.0" in text
    assert "-4.0" in text


def test_a_bar_is_as_long_as_its_share() -> None:
    text = shown(display.stages({"fast": 1.0, "slow": 4.0}, 5.0))
    bars = {line.split()[0]: line.count("█") for line in text.splitlines() if "█" in line}
    assert bars["slow"] == 4 * bars["fast"]


def test_an_officers_answer_shows_the_offices_own_record_only() -> None:
    text = shown(display.officer("shaanxi", "SN-1", FAMILY_NOTICE))
    assert "kinlink-registry links --id SN-1" in text
    assert FAMILY_NOTICE.name in text
    assert "phone" not in text


def test_processor_time_is_shared_out_over_the_stages_it_was_spent_in() -> None:
    readings = iter([1.0, 1.5, 3.5, 4.0])
    meter = CpuMeter(lambda: next(readings))
    for stage in ("connect", "connect", "score", "score"):
        meter.enter(stage)
    assert meter.leave() == {"connect": 2.0, "score": 0.5}
