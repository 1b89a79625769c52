"""What the doctor finds in a home: settings, schema, keys, certificate, files, disk, clock."""

from __future__ import annotations

import datetime as dt
import shutil
import stat
from typing import TYPE_CHECKING, Final

from cryptography import x509
from kinlink_core.encoding import conformance, released
from kinlink_core.encoding.schema import CAP_DEFAULT
from kinlink_core.runtime import audit as audit_log
from kinlink_core.runtime.chain import days_left, verify_chain
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.tls import TlsFiles

from kinlink_registry.findings import fine, problem, warning
from kinlink_registry.keyring import Keyring, read_vault_key
from kinlink_registry.quotas import EVERYONE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kinlink_registry.findings import Case, Finding

# As the alerts of the same names have them.
CERTIFICATE_DAYS_WARN: Final = 14.0
CERTIFICATE_DAYS_MIN: Final = 3.0
AUTHORITY_DAYS_WARN: Final = 180.0
DISK_BYTES_WARN: Final = 2_000_000_000
DISK_BYTES_MIN: Final = 200_000_000
CLOCK_MINUTES_MAX: Final = 5.0
_RENEW: Final = "Renew it: enrol, have the request signed, install-cert; no restart is needed."
_OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def policy(case: Case) -> Iterator[Finding]:
    """The settings are valid; do they suit a real registry?"""
    settings = case.settings
    yield fine(f"{case.home.settings.name} is valid: {settings.name} in {settings.federation}.")
    if settings.key_server is None:
        yield warning(
            "There is no key server: a registry that works with the linker can test guesses.",
            "Name the federation's [key_server], unless this is a rehearsal.",
        )
    if settings.policy.partner_share_max >= EVERYONE:
        yield warning(
            "All of our records may be sealed towards each partner (partner_share_max = 1).",
            "Lower it to what follows from the overlap the federation declares, unless this is a"
            " rehearsal.",
        )


def exposures(case: Case) -> Iterator[Finding]:
    """What the schema lets out beyond the defaults."""
    schema = case.schema
    yield fine(f"{schema.name} {schema.fingerprint()[:8]}: {len(schema.passes)} passes.")
    for each in schema.passes:
        if each.exposure:
            cap = f", islands of up to {each.cap}" if each.cap > CAP_DEFAULT else ""
            yield fine(f"Pass {each.id} declares an exposure{cap}: {each.exposure}")
        if each.cap > case.settings.policy.island_cap_max:
            yield warning(
                f"Pass {each.id} has islands of up to {each.cap}; this registry answers up to"
                f" {case.settings.policy.island_cap_max}.",
                "Agree on one: policy.island_cap_max here, or the pass's cap in the schema.",
            )


def encoding(case: Case) -> Iterator[Finding]:
    """Whether this installation encodes as the released version does."""
    kinds = {each.kind.value for each in case.schema.fields}
    moved = [name for name in released.moved_parts() if _concerns(name, kinds)]
    if moved:
        yield problem(
            f"This installation encodes otherwise than the release: {conformance.told(moved)}.",
            "Install the versions of requirements.lock; other registries refuse to link like this.",
        )
    else:
        yield fine("Values are read and encoded as the release does.")


def _concerns(part: str, kinds: set[str]) -> bool:
    """Whether a part of the known answers is about kinds of fields that this schema has."""
    family, _, of = part.partition("/")
    if family in {conformance.NORMALISE, conformance.SKETCH}:
        return of in kinds
    needed = {"pinyin": {"name_zh"}, "sounds": {"name", "text"}, "blocking/name_zh": {"name_zh"}}
    return not needed.get(part) or bool(needed[part] & kinds)


def keys(case: Case) -> Iterator[Finding]:
    """The vault key and the agreement key."""
    cipher = read_vault_key(case.settings.vault_key)
    Keyring(case.home, case.settings.federation, cipher).agreement_key()
    yield fine("The vault key and the agreement key are here, readable by their owner alone.")
    yield fine(f"The vault key comes from {case.settings.vault_key.describe()}.")


def certificate(case: Case) -> Iterator[Finding]:
    """Key, chain, name and dates of the certificate, and of the authority."""
    settings, files = case.settings, TlsFiles.in_dir(case.settings.tls_dir)
    if not files.cert.exists():
        yield problem(
            f"There is no certificate at {files.cert}.",
            "Run enrol, have the request signed by the authority, then install-cert.",
        )
        return
    material = files.load()
    left = days_left(material.cert_pem, now=case.now)
    if left < 0:
        yield problem(f"The certificate expired {-left:.0f} days ago.", _RENEW)
        return
    starts = x509.load_pem_x509_certificate(material.cert_pem).not_valid_before_utc
    if starts > case.now:
        yield problem(
            f"The certificate is valid from {starts:%Y-%m-%d %H:%M} UTC, which is in the future.",
            "Set the clock of this machine, or ask the authority.",
        )
        return
    verify_chain(
        material.cert_pem,
        material.ca_pem,
        settings.federation,
        Role.REGISTRY,
        settings.name,
        now=case.now,
    )
    text = f"It is {settings.name}'s, fits its key and the authority, and lasts {left:.0f} days."
    if left < CERTIFICATE_DAYS_MIN:
        yield problem(text, _RENEW)
    else:
        yield warning(text, _RENEW) if left < CERTIFICATE_DAYS_WARN else fine(text)
    authority_left = days_left(material.ca_pem, now=case.now)
    if authority_left < AUTHORITY_DAYS_WARN:
        yield warning(
            f"The federation's authority ends in {authority_left:.0f} days.",
            "The federation must make a new one and issue every certificate again.",
        )


def clock(case: Case) -> Iterator[Finding]:
    """Whether the clock went back: nothing here can be younger than now."""
    latest = case.now + dt.timedelta(minutes=CLOCK_MINUTES_MAX)
    files = [case.home.audit, case.home.vault, case.home.settings, *_epoch_files(case)]
    times = {path: path.stat().st_mtime for path in files if path.exists()}
    ahead = [path.name for path, at in times.items() if at > latest.timestamp()]
    if ahead:
        yield problem(
            f"{', '.join(sorted(ahead))} were written in the future: the clock is behind.",
            "Set the clock (NTP): certificates, epochs and daily budgets depend on it.",
        )
    else:
        yield fine(f"It is {case.now:%Y-%m-%d %H:%M} UTC here, and no file is younger.")


def _epoch_files(case: Case) -> list[Path]:
    return sorted(case.home.epochs.glob("*.json"))


def audit(case: Case) -> Iterator[Finding]:
    """The chain of the audit log."""
    if not case.home.audit.exists():
        yield fine("There is no entry yet.")
        return
    report = audit_log.verify(case.home.audit)
    if report.ok:
        yield fine(f"{report.entries} entries, and the chain holds.")
        return
    yield problem(
        f"The audit log was edited, cut or damaged: {report.faults[0]}.",
        "Keep the files as they are, and find out who could write there.",
    )


def disk(case: Case) -> Iterator[Finding]:
    """Free space, also for a restore, which needs the vault twice."""
    free = shutil.disk_usage(case.home.root).free
    vault = case.home.vault.stat().st_size if case.home.vault.exists() else 0
    text = f"{_size(free)} free; the vault takes {_size(vault)}."
    advice = "Make room: an ingest stops when the disk is full, and a restore needs a second copy."
    if free < DISK_BYTES_MIN:
        yield problem(text, advice)
    else:
        yield warning(text, advice) if free < max(DISK_BYTES_WARN, vault) else fine(text)


def modes(case: Case) -> Iterator[Finding]:
    """That nobody else can read what is private."""
    home = case.home
    private = [home.vault, home.audit, home.agreement_key, case.settings.vault.key_file]
    private += [TlsFiles.in_dir(case.settings.tls_dir).key, *_epoch_files(case)]
    private += list(home.root.glob("*.wal"))
    found = [path for path in private if path.exists()]
    loose = sorted(path for path in found if stat.S_IMODE(path.stat().st_mode) & _OPEN_TO_OTHERS)
    mounted = [path for path in loose if path.stat().st_uid == 0 and home.root.stat().st_uid != 0]
    loose = [path for path in loose if path not in mounted]
    if loose:
        names = ", ".join(str(path.relative_to(home.root)) if path.is_relative_to(home.root)
                          else str(path) for path in loose)  # fmt: skip
        yield problem(f"Others on this machine can open {names}.", "chmod 600 each of them.")
    else:
        yield fine("Keys, vault and audit belong to their owner alone.")


def _size(count: int) -> str:
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:  # noqa: PLR2004 - SI steps
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
