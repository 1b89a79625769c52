"""Every metric Kinlink has, with its help text and labels; dashboards and rules use only these.

A process builds `RuntimeMetrics` and the group of its service on one `CollectorRegistry`. Labels
have few values: registries, passes, roles, methods, codes, reasons. Never an id, never a value.
A counter's name gains `_total` when it is exposed.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CALL_SECONDS_BUCKETS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600)
JOB_SECONDS_BUCKETS: Final = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)
# How pairs above the disclosure floor stand: below the threshold, above it, above 0.99.
LINK_BANDS: Final = ("disclosed", "linked", "linked_99")


class _Group:
    """Declares metrics on one collector registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _calls(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=CALL_SECONDS_BUCKETS, registry=self.registry)

    def _jobs(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=JOB_SECONDS_BUCKETS, registry=self.registry)


class RuntimeMetrics(_Group):
    """What every process reports: calls served and made, certificates, epochs, build."""

    def __init__(self, registry: CollectorRegistry, service: str, version: str) -> None:
        super().__init__(registry)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.build = self._gauge(
            "kinlink_build_info", "1, with the version of the running process.",
            "service", "version", "python",
        )  # fmt: skip
        self.build.labels(service, version, platform.python_version()).set(1)
        self.ready = self._gauge("kinlink_ready", "1 while this process answers calls, else 0.")
        self.rpc_requests = self._counter(
            "kinlink_rpc_requests", "Calls served, by outcome.", "rpc_service", "method", "code"
        )
        self.rpc_seconds = self._calls(
            "kinlink_rpc_seconds", "Seconds that served calls took.", "rpc_service", "method"
        )
        self.rpc_in_flight = self._gauge(
            "kinlink_rpc_in_flight", "Calls being served now.", "rpc_service"
        )
        self.rpc_errors = self._counter(
            "kinlink_rpc_errors",
            "Served calls that ended in an error, by its reason.",
            "rpc_service", "method", "reason",
        )  # fmt: skip
        self.rpc_received_bytes = self._counter(
            "kinlink_rpc_received_bytes", "Bytes of requests of served calls.",
            "rpc_service", "method",
        )  # fmt: skip
        self.rpc_sent_bytes = self._counter(
            "kinlink_rpc_sent_bytes",
            "Bytes of responses of served calls: all that leaves by this door.",
            "rpc_service", "method",
        )  # fmt: skip
        self.client_requests = self._counter(
            "kinlink_rpc_client_requests", "Calls made to a peer, by outcome.",
            "peer", "method", "code",
        )  # fmt: skip
        self.client_seconds = self._calls(
            "kinlink_rpc_client_seconds", "Seconds that calls made to a peer took.",
            "peer", "method",
        )  # fmt: skip
        self.certificate_days_left = self._gauge(
            "kinlink_certificate_days_left", "Days until this process's certificate expires."
        )
        self.certificate_reloads = self._counter(
            "kinlink_certificate_reloads",
            "Rotated certificates read while serving, by outcome (loaded, failed).",
            "outcome",
        )
        self.key_epoch = self._gauge(
            "kinlink_key_epoch_info",
            "1 for each key epoch in use here, by state (current, overlap).",
            "epoch", "state",
        )  # fmt: skip
        self.audit_writes = self._counter(
            "kinlink_audit_writes", "Entries written to the audit log, by action.", "action"
        )


class RegistryMetrics(_Group):
    """What a provincial registry reports beside its calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.ingest_rows = self._counter(
            "kinlink_registry_ingest_rows",
            "Good rows ingested, by what they did (added, updated, unchanged, deleted).",
            "outcome",
        )
        self.ingest_rejected = self._counter(
            "kinlink_registry_ingest_rejected_rows", "Bad rows, by reason.", "reason"
        )
        self.ingest_seconds = self._jobs(
            "kinlink_registry_ingest_seconds", "Seconds that ingests took."
        )
        self.ingest_succeeded = self._gauge(
            "kinlink_registry_ingest_success_timestamp_seconds",
            "Unix time when the last ingest succeeded.",
        )
        self.records = self._gauge(
            "kinlink_registry_records",
            "Records in the vault, by state (live, withdrawn, hidden).",
            "state",
        )
        self.unencoded_records = self._gauge(
            "kinlink_registry_unencoded_records",
            "Live records not encoded in an epoch yet, by why the key server did not evaluate.",
            "epoch", "reason",
        )  # fmt: skip
        self.evaluations = self._counter(
            "kinlink_registry_evaluations",
            "Blocking values the key server evaluated for us, by pass.",
            "pass_id",
        )
        self.evaluation_seconds = self._counter(
            "kinlink_registry_evaluation_seconds",
            "Seconds of blinding, waiting for the key server and verifying, by pass.",
            "pass_id",
        )
        self.tokens = self._gauge(
            "kinlink_registry_tokens", "Live handles in the feed, by pass.", "pass_id"
        )
        self.feed_sequence = self._gauge(
            "kinlink_registry_feed_sequence", "Newest sequence of the change feed."
        )
        self.answered_rows = self._counter(
            "kinlink_registry_answered_rows",
            "Rows answered to the linker, by stage"
            " (prove, refine, sieve, distance, seal, chance, disclose).",
            "stage", "partner",
        )  # fmt: skip
        self.refused_rows = self._counter(
            "kinlink_registry_refused_rows",
            "Rows not answered to the linker, by stage and refusal.",
            "stage", "partner", "refusal",
        )  # fmt: skip
        self.quota_used = self._gauge(
            "kinlink_registry_quota_used_ratio",
            "Share of a quota in use, in steps of 5 %, by partner and quota (sealed, disclosed).",
            "partner", "quota",
        )  # fmt: skip
        self.budget_used = self._gauge(
            "kinlink_registry_budget_used_ratio",
            "Share of what all partners share that is used up (sealed_pairs, disclosures).",
            "budget",
        )
        self.approvals_waiting = self._gauge(
            "kinlink_registry_approvals_waiting",
            "Disclosures of protected people that wait for an officer.",
        )
        self.links = self._gauge(
            "kinlink_registry_links", "Published links that touch our people now."
        )
        self.links_received = self._counter(
            "kinlink_registry_links_received",
            "Links the linker published, by what happened (stored, removed, unknown).",
            "outcome",
        )
        self.vault_bytes = self._gauge("kinlink_registry_vault_bytes", "Size of the vault file.")
        self.disk_free_bytes = self._gauge(
            "kinlink_registry_disk_free_bytes", "Free space where the vault is."
        )
        self.backup_succeeded = self._gauge(
            "kinlink_registry_backup_success_timestamp_seconds",
            "Unix time when the last backup succeeded.",
        )


class LinkerMetrics(_Group):
    """What the linker reports beside its calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.registry_state = self._gauge(
            "kinlink_linker_registry_state",
            "1 for the state of each registry (ready, unreachable, refused), 0 for its others.",
            "registry", "state",
        )  # fmt: skip
        self.registry_refused = self._counter(
            "kinlink_linker_registry_refused",
            "Times a registry was left out of a linkage, by reason.",
            "registry", "reason",
        )  # fmt: skip
        self.registry_records = self._gauge(
            "kinlink_linker_registry_records", "Records a registry says it has.", "registry"
        )
        self.sync_succeeded = self._gauge(
            "kinlink_linker_sync_success_timestamp_seconds",
            "Unix time when a registry's feed was last collected to its end.",
            "registry",
        )
        self.sync_age = self._gauge(
            "kinlink_linker_sync_age_seconds",
            "Seconds since a registry's feed was last collected to its end.",
            "registry",
        )
        self.sync_lag = self._gauge(
            "kinlink_linker_sync_lag_events",
            "Feed events of a registry not yet collected.",
            "registry",
        )
        self.tokens = self._gauge(
            "kinlink_linker_tokens", "Live handles held of a registry.", "registry"
        )
        self.received_bytes = self._counter(
            "kinlink_linker_received_bytes", "Bytes received from a registry.", "registry"
        )
        self.islands = self._counter(
            "kinlink_linker_islands", "Tokens found in two or more registries.", "pass_id"
        )
        self.dropped_islands = self._counter(
            "kinlink_linker_dropped_islands",
            "Islands left out, by reason (over_cap, proof, refused).",
            "pass_id", "reason",
        )  # fmt: skip
        self.candidate_pairs = self._counter(
            "kinlink_linker_candidate_pairs", "Candidate pairs found in islands.", "pass_id"
        )
        self.sieve_pairs = self._counter(
            "kinlink_linker_sieve_pairs", "Pairs sieved, by outcome (kept, out).",
            "pass_id", "outcome",
        )  # fmt: skip
        self.sealed_pairs = self._counter(
            "kinlink_linker_sealed_pairs", "Pairs whose two sealed sides arrived.", "pass_id"
        )
        self.refused_pairs = self._counter(
            "kinlink_linker_refused_pairs", "Pairs a registry refused, by stage and refusal.",
            "registry", "stage", "refusal",
        )  # fmt: skip
        self.em_iterations = self._gauge(
            "kinlink_linker_em_iterations", "EM iterations of the last training.", "pass_id"
        )
        self.links = self._gauge(
            "kinlink_linker_links", f"Stored pairs, by band ({', '.join(LINK_BANDS)}).", "band"
        )
        self.pairs = self._gauge(
            "kinlink_linker_pairs",
            "Stored pairs, by state (open, unsure, confirmed, ruled_out, returned).",
            "state",
        )
        self.cases = self._gauge(
            "kinlink_linker_cases",
            "Families' notices that have candidates, by state (open, confirmed).",
            "state",
        )
        self.persons = self._gauge("kinlink_linker_persons", "Persons with at least one link.")
        self.removed_links = self._counter(
            "kinlink_linker_removed_links",
            "Links removed, by reason (deleted, not_found_again).",
            "reason",
        )
        self.verdicts = self._counter(
            "kinlink_linker_verdicts", "Verdicts recorded, by verdict.", "verdict"
        )
        self.linkages = self._counter(
            "kinlink_linker_linkages", "Linkages that ended, by state.", "state"
        )
        self.linkages_running = self._gauge(
            "kinlink_linker_linkages_running", "Linkages running now."
        )
        self.linkage_seconds = self._jobs(
            "kinlink_linker_linkage_seconds", "Seconds that whole linkages took.", "state"
        )
        self.stage_seconds = self._jobs(
            "kinlink_linker_stage_seconds", "Seconds that stages of linkages took.", "stage"
        )
        self.linkage_succeeded = self._gauge(
            "kinlink_linker_linkage_success_timestamp_seconds",
            "Unix time when the last linkage ended with all its registries.",
        )
        self.standing_oldest_seconds = self._gauge(
            "kinlink_linker_standing_oldest_change_seconds",
            "Age of the first token change that standing search has not looked at yet.",
        )
        self.standing_waiting = self._gauge(
            "kinlink_linker_standing_waiting_changes",
            "Token changes that standing search has not looked at yet.",
        )
        self.standing_changes = self._counter(
            "kinlink_linker_standing_changes", "Token changes that standing search looked at."
        )
        self.standing_step_seconds = self._calls(
            "kinlink_linker_standing_step_seconds",
            "Seconds from taking up changes to their stored and published links.",
        )
        self.store_bytes = self._gauge("kinlink_linker_store_bytes", "Size of the linker's files.")
        self.disk_free_bytes = self._gauge(
            "kinlink_linker_disk_free_bytes", "Free space where the linker's files are."
        )


class GatewayMetrics(_Group):
    """What the gateway reports beside its calls to the linker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.http_requests = self._counter(
            "kinlink_gateway_http_requests", "HTTP requests, by route template and status.",
            "route", "method", "status",
        )  # fmt: skip
        self.http_seconds = self._calls(
            "kinlink_gateway_http_seconds", "Seconds that HTTP requests took.", "route", "method"
        )
        self.logins = self._counter(
            "kinlink_gateway_logins", "Attempts to log in, by outcome (accepted, refused).",
            "outcome",
        )  # fmt: skip
        self.refused = self._counter(
            "kinlink_gateway_refused", "Requests refused by role or province, by role.", "role"
        )
        self.verdicts = self._counter(
            "kinlink_gateway_verdicts", "Verdicts given, by verdict.", "verdict"
        )
        self.exports = self._counter(
            "kinlink_gateway_exports", "Exports of links, by format.", "format"
        )


class KeyServerMetrics(_Group):
    """What the key server reports beside its calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.evaluations = self._counter(
            "kinlink_keyserver_evaluations",
            "Blinded values evaluated and booked, by registry and pass.",
            "registry", "pass_id",
        )  # fmt: skip
        self.refused_batches = self._counter(
            "kinlink_keyserver_refused_batches",
            "Batches refused, by registry and reason.",
            "registry", "reason",
        )  # fmt: skip
        self.budget_used = self._gauge(
            "kinlink_keyserver_budget_used_ratio",
            "Share of a registry's budget for a pass of an epoch that is spent.",
            "registry", "epoch", "pass_id",
        )  # fmt: skip
        self.epoch_served = self._gauge(
            "kinlink_keyserver_epoch_served",
            "1 for each epoch whose seed is here and opens, 0 for one whose seed is missing.",
            "epoch",
        )
        self.disk_free_bytes = self._gauge(
            "kinlink_keyserver_disk_free_bytes", "Free space where ledger and audit are."
        )


@dataclass(frozen=True)
class Declared:
    """One metric as it is exposed: a counter's name ends in `_total`."""

    name: str
    kind: str
    text: str
    labels: tuple[str, ...]


def declared_metrics() -> tuple[Declared, ...]:
    """All metrics of all services, for the checks of dashboards, rules and documentation."""
    groups = (
        RuntimeMetrics(CollectorRegistry(), "none", "0"),
        RegistryMetrics(CollectorRegistry()),
        LinkerMetrics(CollectorRegistry()),
        GatewayMetrics(CollectorRegistry()),
        KeyServerMetrics(CollectorRegistry()),
    )
    metrics = [m for group in groups for m in vars(group).values()]
    return tuple(_declared(m) for m in metrics if isinstance(m, MetricWrapperBase))


def _declared(metric: MetricWrapperBase) -> Declared:
    family = next(iter(metric.describe()))
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return Declared(name, family.type, family.documentation, tuple(metric._labelnames))  # noqa: SLF001
