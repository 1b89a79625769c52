"""Settings files that the services themselves can read, and what the terminal shows."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from kinlink_local import display, settings
from kinlink_local.case1988 import FAMILY_NOTICE
from kinlink_local.counts import Counts, counts_of
from kinlink_local.linker_client import EvidenceView
from kinlink_local.stopwatch import Meter, Usage
from kinlink_registry.settings import RegistrySettings
from rich.console import Console


def test_settings_survive_being_written_and_read() -> None:
    quoted = Path('/a "quoted" path/schema.yaml')
    for written in (
        settings.linker("demo", quoted, {"a": "127.0.0.1:1"}, mode="plain"),
        settings.registry("demo", "a", Path("/schema.yaml"), None),
        settings.registry("demo", "a", Path("/schema.yaml"), "127.0.0.1:1"),
        settings.key_server("demo", Path("/schema.yaml"), {"a": 5, "b": 6}),
        settings.gateway("demo", "127.0.0.1:1"),
    ):
        assert tomllib.loads(settings.as_toml(written)) == written


@pytest.mark.parametrize("address", [None, "127.0.0.1:1"])
def test_a_registry_is_in_the_mode_that_its_key_server_makes(address: str | None) -> None:
    content = settings.registry("demo", "a", Path("/schema.yaml"), address)
    read = RegistrySettings.model_validate(content)
    assert read.mode == ("key-server" if address else "plain")
    assert (read.key_server.address if read.key_server else None) == address


def test_bytes_that_left_are_those_of_the_linkers_door_at_any_time() -> None:
    text = """\
kinlink_rpc_sent_bytes_total{method="StreamTokens",rpc_service="kinlink.registry.v1.RegistryService"} 70.0
kinlink_rpc_sent_bytes_total{method="GetRegistry",rpc_service="kinlink.registry.v1.RegistryService"} 7.0
kinlink_rpc_sent_bytes_total{method="GetStatus",rpc_service="kinlink.registry.v1.ControlService"} 1000.0
kinlink_registry_evaluations_total{pass_id="a"} 3.0
kinlink_registry_evaluations_total{pass_id="b"} 4.0
kinlink_registry_evaluation_seconds_total{pass_id="a"} 0.5
"""  # noqa: E501 - as Prometheus writes it
    assert counts_of(text) == Counts(bytes_left=77, evaluations=7, evaluation_seconds=0.5)


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


def test_use_is_shared_out_over_the_stages_that_processes_were_in() -> None:
    readings = iter(
        [
            {"linker": Usage(1.0, 90.0)},
            {"linker": Usage(1.5, 90.0)},
            {"linker": Usage(3.5, 70.0), "late": Usage(0.5, 20.0)},
            {"linker": Usage(4.0, 80.0), "late": Usage(0.5, 20.0)},
            {"linker": Usage(4.25, 60.0)},
        ]
    )
    meter = Meter(lambda: next(readings))
    for stage in ("connect", "connect", "score", "score", "connect"):
        meter.enter(stage)
    meter.leave()
    assert meter.stages == {
        "connect": {"linker": Usage(2.25, 70.0), "late": Usage(0.5, 20.0)},
        "score": {"linker": Usage(0.5, 80.0), "late": Usage(0.0, 20.0)},
    }
