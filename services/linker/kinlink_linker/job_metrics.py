"""What the metrics learn of linkages, all at once when one ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kinlink_linker.domain import LinkageState

if TYPE_CHECKING:
    from kinlink_core.runtime.metrics import LinkerMetrics

    from kinlink_linker.case_table import CaseTable
    from kinlink_linker.domain import Linkage, PassCounts
    from kinlink_linker.job import Job
    from kinlink_linker.link_table import LinkTable
    from kinlink_linker.person_table import PersonTable

PROBABILITY_HIGH = 0.99
_ALL_PASSES = "all"


class JobMetrics:
    """Reports linkages into `LinkerMetrics`."""

    def __init__(
        self, metrics: LinkerMetrics, links: LinkTable, persons: PersonTable, cases: CaseTable
    ) -> None:
        self._metrics = metrics
        self._links = links
        self._persons = persons
        self._cases = cases

    def started(self) -> None:
        """A linkage left the queue."""
        self._metrics.linkages_running.inc()

    def ended(self, linkage: Linkage, job: Job | None, seconds: float) -> None:
        """A linkage ended, however it did."""
        metrics = self._metrics
        metrics.linkages_running.dec()
        state = linkage.state
        metrics.linkages.labels(state.lower()).inc()
        metrics.linkage_seconds.labels(state.lower()).observe(seconds)
        if state is LinkageState.SUCCEEDED:
            metrics.linkage_succeeded.set(time.time())
        for stage in linkage.stages:
            metrics.stage_seconds.labels(stage.name).observe(stage.seconds)
        for each in linkage.passes:
            self._pass(each)
        for missing in linkage.missing:
            metrics.registry_refused.labels(missing.name, missing.reason).inc()
        for name, received in linkage.bytes_received.items():
            metrics.received_bytes.labels(name).inc(received)
        if job is not None:
            for (registry, at, refusal), count in job.run.tally.refusals.items():
                metrics.refused_pairs.labels(registry, at, refusal).inc(count)
            metrics.em_iterations.labels(_ALL_PASSES).set(job.result.em_iterations)
            metrics.removed_links.labels("not_found_again").inc(job.result.lost_links)
        self.stock()

    def stock(self) -> None:
        """Count the links, persons and cases that stand now."""
        for band, count in self._links.bands(PROBABILITY_HIGH).items():
            self._metrics.links.labels(band).set(count)
        for state, count in self._links.states().items():
            self._metrics.pairs.labels(state.lower()).set(count)
        self._metrics.persons.set(self._persons.count())
        for name, count in zip(("open", "confirmed"), self._cases.count(), strict=True):
            self._metrics.cases.labels(name).set(count)

    def _pass(self, counts: PassCounts) -> None:
        metrics, name = self._metrics, counts.pass_id
        metrics.islands.labels(name).inc(counts.islands)
        metrics.dropped_islands.labels(name, "over_cap").inc(counts.dropped_over_cap)
        metrics.dropped_islands.labels(name, "proof").inc(counts.dropped_proof)
        metrics.candidate_pairs.labels(name).inc(counts.pairs)
        metrics.sieve_pairs.labels(name, "out").inc(counts.sieved_out)
        metrics.sieve_pairs.labels(name, "kept").inc(
            counts.repeated + counts.sealed + counts.refused
        )
        metrics.sealed_pairs.labels(name).inc(counts.sealed)
