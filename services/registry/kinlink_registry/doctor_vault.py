"""What the doctor finds in the vault: its version, its people, its epochs, what is spent.

A vault that is served is asked through the local socket; else the file is opened to be read, which
changes nothing: it is neither migrated nor brought in step with the keys.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from kinlink_core.encoding import conformance
from kinlink_core.encoding.canary import canary_digest
from kinlink_core.encoding.keys import MODE_PLAIN, Context, KeySchedule
from kinlink_core.runtime.epochs import EpochFiles

from kinlink_registry import absence, approvals, encodings
from kinlink_registry.filled import FINGERPRINT, moved_parts
from kinlink_registry.findings import fine, problem, warning
from kinlink_registry.keyring import EPOCHS_MAX, Keyring, read_vault_key
from kinlink_registry.migrations import MIGRATIONS, stored_version
from kinlink_registry.quotas import EVERYONE
from kinlink_registry.session import Session
from kinlink_registry.vault import check_key, connect, read_meta, vault_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_registry.findings import Case, Finding

# As the alerts EpochOld, EpochOverlapLong and QuotaHalfUsed have them.
EPOCH_DAYS_MAX: Final = 35
OVERLAP_DAYS_MAX: Final = 7
QUOTA_SHARE_WARN: Final = 0.5
BUDGET_SHARE_WARN: Final = 0.8
CANARY_SHOWN_CHARS: Final = 8
NEWEST: Final = MIGRATIONS[-1].version


def vault(case: Case) -> Iterator[Finding]:
    """That it opens under this key, in this version, filled under this schema."""
    if case.served is not None:
        version, records = case.served["vault"]["version"], case.served["records"]
        yield fine(f"Version {version}, open in the process that serves.")
        yield from _people(records)
        return
    if not case.home.vault.exists():
        yield problem(f"There is no vault at {case.home.vault}.", "Run init.")
        return
    with _reading(case) as session:
        check_key(session, read_vault_key(case.settings.vault_key))
        version = stored_version(session)
        if version < NEWEST:
            yield warning(
                f"The vault has version {version}; this program makes it version {NEWEST} when it"
                " next opens it.",
                "Make a backup first: an older program cannot read it afterwards.",
            )
            return
        if version > NEWEST:
            yield problem(
                f"The vault has version {version}, this program reads up to {NEWEST}.",
                "Use the newer program again.",
            )
            return
        if read_meta(session, FINGERPRINT) not in {None, case.schema.fingerprint()}:
            parts = moved_parts(session, case.schema)
            yield problem(
                "The vault was filled under another schema, or by other tables"
                + (f": {conformance.told(parts)}." if parts else "."),
                "Put schema and packages back, or move the vault aside and ingest again.",
            )
            return
        yield fine(f"Version {version}, opens under this key, filled under this schema.")
        yield from _people(absence.counts(session))


def _people(records: dict[str, int]) -> Iterator[Finding]:
    out = ", ".join(f"{records[kind]} {kind}" for kind in ("withdrawn", "hidden") if records[kind])
    text = f"{records['live']} records take part{f', {out}' if out else ''}."
    yield fine(text) if records["live"] else warning(text, "Ingest the office's records.")


def epochs(case: Case) -> Iterator[Finding]:
    """The secrets that are here, how old they are, and whether all records are encoded."""
    cipher = read_vault_key(case.settings.vault_key)
    keyring = Keyring(case.home, case.settings.federation, cipher)
    names = keyring.epochs()
    if not names:
        yield problem(
            "There is no epoch secret: nobody can link with this registry.",
            "Run keys create here, or keys import what another registry sealed to your card.",
        )
        return
    progress = _progress(case)
    kept = EpochFiles(case.home.epochs, cipher, "secret", EPOCHS_MAX)
    for index, name in enumerate(names):
        secret = keyring.secret(name)
        days = (case.now - kept.kept_at(name)).days
        at = progress.get(name)
        yield from _age(name, days, overlap=index > 0, alone=len(names) == 1)
        if at is None:
            yield warning(f"{name} is not in the vault yet.", "serve takes it up at its start.")
        elif at["unencoded"]:
            yield _unencoded(case, name, at)
        else:
            canary = at["canary"] or _canary(case, name, secret)
            yield fine(
                f"{name}: all {at['records']} records are encoded"
                + (f"; its canary is {canary}, as at every registry." if canary else ".")
            )


def _age(name: str, days: int, *, overlap: bool, alone: bool) -> Iterator[Finding]:
    if overlap and days > OVERLAP_DAYS_MAX:
        yield warning(
            f"{name} is kept beside the newer epoch, {days} days after it came.",
            f"When all registries serve the newer one: keys retire {name}.",
        )
    elif alone and days > EPOCH_DAYS_MAX:
        yield warning(
            f"{name} has been in use for {days} days.",
            "The federation makes a new epoch every month: keys create, seal, import.",
        )


def _unencoded(case: Case, name: str, at: dict[str, Any]) -> Finding:
    trouble = ((case.served or {}).get("key_server") or {}).get("problem")
    text = f"{name}: {at['unencoded']} records are not encoded yet, {at['records']} are."
    if trouble:
        return problem(f"{text} {trouble['text']}", "See the key server below.")
    if case.served is None:
        return warning(text, "serve encodes them.")
    return warning(text, "Wait: this goes on while the registry serves.")


def _progress(case: Case) -> dict[str, dict[str, Any]]:
    """Records encoded and not, by epoch."""
    if case.served is not None:
        return {each["epoch"]: each for each in case.served["epochs"]}
    if not case.home.vault.exists():
        return {}
    with _reading(case) as session:
        if stored_version(session) != NEWEST:
            return {}
        counted = "SELECT count(*) FROM sketch WHERE epoch_id = ?"
        return {
            name: {
                "records": session.value(counted, [number]),
                "unencoded": encodings.count_not_encoded(session, number),
                "canary": "",
            }
            for number, name in session.rows("SELECT id, name FROM epoch")
        }


def _canary(case: Case, name: str, secret: Any) -> str:
    """In plain mode; with a key server only the process that serves knows it."""
    if case.settings.key_server is not None:
        return ""
    context = Context(MODE_PLAIN, case.settings.federation, name, case.schema.fingerprint())
    return canary_digest(case.schema, KeySchedule(context, secret)).hex()[:CANARY_SHOWN_CHARS]


def quotas(case: Case) -> Iterator[Finding]:
    """What is spent, and what waits for an officer."""
    if case.served is None:
        if case.home.vault.exists():
            with _reading(case) as session:
                if stored_version(session) == NEWEST:
                    yield from _waiting(approvals.waiting(session))
        return
    unbounded = {"sealed"} if case.settings.policy.partner_share_max >= EVERYONE else set()
    spent = [
        (f"{kind} towards {partner}", share, QUOTA_SHARE_WARN)
        for partner, uses in case.served["quotas"].items()
        for kind, share in uses.items()
        if kind not in unbounded
    ]
    spent += [
        (name.replace("_", " "), share, BUDGET_SHARE_WARN)
        for name, share in case.served["budgets"].items()
    ]
    high = [(what, share) for what, share, limit in spent if share >= limit]
    for what, share in high:
        yield warning(
            f"{share:.0%} of the quota is used: {what}.",
            "Ask why so much is compared; raising it is a decision of policy.",
        )
    if not high:
        yield fine("No quota is half used.")
    yield from _waiting(case.served["approval"]["waiting"])


def _waiting(count: int) -> Iterator[Finding]:
    if count:
        yield warning(
            f"{count} disclosures of protected people wait for an officer.",
            "Run approvals list, then approvals approve or deny.",
        )


@contextmanager
def _reading(case: Case) -> Iterator[Session]:
    own = case.settings.vault
    root = connect(case.home.vault, vault_config(own.memory_limit, own.threads), read_only=True)
    try:
        yield Session(root)
    finally:
        root.close()
