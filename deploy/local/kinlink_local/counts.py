"""What a registry counted of itself, as its metrics tell it."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client.parser import text_string_to_metric_families

from kinlink_local.errors import LocalError

if TYPE_CHECKING:
    from kinlink_local.processes import Service

SCRAPE_SECONDS_MAX: Final = 10.0
SENT_BYTES: Final = "kinlink_rpc_sent_bytes_total"
EVALUATIONS: Final = "kinlink_registry_evaluations_total"
EVALUATION_SECONDS: Final = "kinlink_registry_evaluation_seconds_total"
# What the linker is answered by; the officer's own commands go another way.
TOWARDS_LINKER: Final = {"rpc_service": "kinlink.registry.v1.RegistryService"}


@dataclass(frozen=True)
class Counts:
    """Of one registry since it started."""

    bytes_left: int  # towards the linker, in linkages and between them
    evaluations: int  # blocking values that the key server evaluated
    evaluation_seconds: float  # blinding, waiting and verifying


def read_counts(service: Service) -> Counts:
    """Scrape a registry.

    Raises:
        LocalError: It does not answer.
    """
    if service.addresses is None:
        raise LocalError(f"{service.name} is not ready.")
    url = f"http://{service.addresses.metrics}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=SCRAPE_SECONDS_MAX) as answer:
            text = answer.read().decode()
    except OSError as error:
        raise LocalError(f"The metrics of {service.name} cannot be read: {error}.") from error
    return counts_of(text)


def counts_of(text: str) -> Counts:
    """Read the counts out of Prometheus text."""
    samples = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]

    def total(name: str, labels: dict[str, str]) -> float:
        return sum(
            each.value
            for each in samples
            if each.name == name and labels.items() <= each.labels.items()
        )

    return Counts(
        int(total(SENT_BYTES, TOWARDS_LINKER)),
        int(total(EVALUATIONS, {})),
        total(EVALUATION_SECONDS, {}),
    )
