"""The vault's tables, and how an older vault becomes a newer one.

Each migration is applied once, in order, in a transaction of its own that also writes the new
version. A released migration is never edited; a change of the tables is a new one.

Bulky sealed columns are stored uncompressed: they are random bytes, and DuckDB spends five times
longer finding that out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinlink_core.errors import PreconditionError, Reason

if TYPE_CHECKING:
    from kinlink_registry.session import Session

VERSION_KEY = "store_version"


@dataclass(frozen=True)
class Migration:
    """One step forward."""

    version: int
    statements: tuple[str, ...]


FIRST = Migration(
    1,
    (
        # Everyone this registry holds. `sealed`: canonical values and the local id.
        """CREATE TABLE record (
             ref INTEGER, local_key UUID, version INTEGER, digest UUID,
             sealed BLOB USING COMPRESSION uncompressed)""",
        # Consent outlives the record: whoever withdrew and is loaded again stays withdrawn.
        "CREATE TABLE withdrawn (local_key UUID)",
        # Epochs that records are encoded under; served once all of them are. `mark`: of the secret.
        "CREATE TABLE epoch (id SMALLINT, name VARCHAR, mark VARCHAR, complete BOOLEAN)",
        # `sealed`: the fixed part of a record's encoding, of the record's current version.
        """CREATE TABLE sketch (
             epoch_id SMALLINT, ref INTEGER, version INTEGER,
             sealed BLOB USING COMPRESSION uncompressed)""",
        # Live handles. Level 0 is the feed; finer ones stay out of it (sequence 0).
        """CREATE TABLE handle (
             sequence UBIGINT, epoch_id SMALLINT, pass_index USMALLINT, level UTINYINT,
             handle UUID, token UUID, parent UUID, ref INTEGER, revealed BOOLEAN)""",
        # Blocking keys, one a distinct token.
        "CREATE TABLE token_key (epoch_id SMALLINT, token UUID, sealed BLOB)",
        # What left: event 2 a handle, event 3 a subject.
        "CREATE TABLE tombstone (sequence UBIGINT, epoch_id SMALLINT, event UTINYINT, id UUID)",
        # Subject ids that were disclosed.
        "CREATE TABLE subject (epoch_id SMALLINT, ref INTEGER, subject UUID)",
        # Every answered handle pair; `refusal` 0 is the one that named the subject.
        """CREATE TABLE disclosed (
             epoch_id SMALLINT, partner VARCHAR, ref INTEGER, partner_record UUID, partner_tag UUID,
             own_handle UUID, partner_handle UUID, refusal UTINYINT)""",
        # Verdicts that stand, by what both registries call the two records.
        "CREATE TABLE decided (ref INTEGER, partner VARCHAR, partner_record UUID)",
        # Records of which something was sealed towards a partner.
        "CREATE TABLE sealed_toward (epoch_id SMALLINT, partner VARCHAR, ref INTEGER)",
        # Which record stands where among the random pairs drawn with a partner; never redrawn.
        """CREATE TABLE chance (
             epoch_id SMALLINT, partner VARCHAR, round_rows UBIGINT, position UINTEGER,
             ref INTEGER, version INTEGER)""",
        # What partners used of their quotas, one row a request.
        """CREATE TABLE usage (
             epoch_id SMALLINT, partner VARCHAR, day DATE, kind VARCHAR, amount UBIGINT)""",
        # What the linker published about our subjects.
        """CREATE TABLE link (
             link_id VARCHAR, epoch_id SMALLINT, ref INTEGER, subject UUID, partner VARCHAR,
             partner_subject UUID, own_handle UUID, partner_handle UUID, match_weight DOUBLE,
             match_probability DOUBLE, person_id VARCHAR, verdict UTINYINT, linkage_id VARCHAR,
             missing_registries VARCHAR[], published_at TIMESTAMP)""",
    ),
)

EVALUATED = Migration(
    2,
    (
        # What the key server evaluated for us, by a keyed digest of the blocking value. `loose`: no
        # record stands under its token, within a transaction.
        """CREATE TABLE evaluation (
             epoch_id SMALLINT, input UUID, token UUID, canary BOOLEAN, loose BOOLEAN,
             sealed BLOB USING COMPRESSION uncompressed)""",
        # The key server's public keys, as they were first seen.
        "CREATE TABLE evaluation_key (epoch_id SMALLINT, pass_id VARCHAR, public_key BLOB)",
    ),
)

LASTING = Migration(
    3,
    (
        # What the partner calls its record of a link, so that a verdict outlives the epoch whose
        # handles the pair was found under; zero where it is not known.
        """ALTER TABLE link
             ADD COLUMN partner_record UUID DEFAULT '00000000-0000-0000-0000-000000000000'""",
        """UPDATE link SET partner_record = known.partner_record FROM disclosed AS known
            WHERE known.epoch_id = link.epoch_id AND known.ref = link.ref
              AND known.partner = link.partner AND known.own_handle = link.own_handle
              AND known.partner_handle = link.partner_handle""",
        # Told again in a younger epoch, because its own one was retired.
        "ALTER TABLE tombstone ADD COLUMN moved BOOLEAN DEFAULT false",
        # Handles that a partner's decided record goes under, as the partner said. A row without a
        # handle says that it answered.
        """CREATE TABLE decided_handle (
             epoch_id SMALLINT, partner VARCHAR, ref INTEGER, partner_record UUID, handle UUID)""",
    ),
)

GUARDED = Migration(
    4,
    (
        # `kind` 1: hidden, never in the feed; 2: each disclosure waits for an officer. It outlives
        # the record, as consent does.
        "CREATE TABLE protected (local_key UUID, kind UTINYINT)",
        # Disclosures of protected people that were asked for. `state` 1: waits, 2: approved,
        # 3: denied.
        """CREATE TABLE approval (
             id VARCHAR, local_key UUID, partner VARCHAR, partner_record UUID, state UTINYINT,
             match_weight DOUBLE, purpose VARCHAR, linker VARCHAR, linkage_id VARCHAR,
             asked_at TIMESTAMP, decided_at TIMESTAMP)""",
        # Subjects disclosed to each linker by day. Not an epoch's: retiring one gives nothing back.
        "CREATE TABLE spent (linker VARCHAR, day DATE, amount UBIGINT)",
    ),
)

ROUNDS = Migration(
    5,
    (
        # Handles that wait for their round, and tombstones of changed records that do (`due`, in
        # seconds since 1970; 0 waits for nothing). `ref` of a tombstone goes when it is told.
        """CREATE TABLE waiting (
             due BIGINT, epoch_id SMALLINT, pass_index USMALLINT, level UTINYINT,
             handle UUID, token UUID, parent UUID, ref INTEGER)""",
        "ALTER TABLE tombstone ADD COLUMN due BIGINT DEFAULT 0",
        "ALTER TABLE tombstone ADD COLUMN ref INTEGER DEFAULT 0",
    ),
)

BOOKED = Migration(
    6,
    (
        # Which handles were answered: a full quota must not answer others of the same records.
        """ALTER TABLE sealed_toward
             ADD COLUMN handle UUID DEFAULT '00000000-0000-0000-0000-000000000000'""",
    ),
)

FOLLOWED = Migration(
    7,
    (
        # Records whose handles were taken back lately, numbered, so that memory follows the vault.
        "CREATE TABLE unpublished (number BIGINT, ref INTEGER)",
    ),
)

REOPENED = Migration(
    8,
    (
        # Which versions of the two records a rejection is about: the partner's by its tag, zero
        # where it holds for all (a confirmation, a verdict of before); whether ours is still that.
        """ALTER TABLE decided
             ADD COLUMN partner_tag UUID DEFAULT '00000000-0000-0000-0000-000000000000'""",
        "ALTER TABLE decided ADD COLUMN stands BOOLEAN DEFAULT true",
        # The versions that were compared for a link; zero where they are not known.
        """ALTER TABLE link
             ADD COLUMN partner_tag UUID DEFAULT '00000000-0000-0000-0000-000000000000'""",
        "ALTER TABLE link ADD COLUMN version INTEGER DEFAULT 0",
    ),
)

MIGRATIONS: tuple[Migration, ...] = (
    FIRST, EVALUATED, LASTING, GUARDED, ROUNDS, BOOKED, FOLLOWED, REOPENED,
)  # fmt: skip


def migrate(session: Session, migrations: tuple[Migration, ...]) -> None:
    """Bring an open vault to the version of the last migration.

    Raises:
        PreconditionError: when the vault was written by a newer version of Kinlink.
    """
    session.run("CREATE TABLE IF NOT EXISTS meta (name VARCHAR, value VARCHAR)")
    found = stored_version(session)
    newest = migrations[-1].version
    if found > newest:
        raise PreconditionError(
            Reason.STORE_VERSION,
            f"The vault has version {found}, this Kinlink reads up to {newest}: use a newer one.",
        )
    for migration in migrations:
        if migration.version <= found:
            continue
        session.run("BEGIN TRANSACTION")
        try:
            for statement in migration.statements:
                session.run(statement)
            session.run("DELETE FROM meta WHERE name = ?", [VERSION_KEY])
            session.run("INSERT INTO meta VALUES (?, ?)", [VERSION_KEY, str(migration.version)])
            session.run("COMMIT")
        except BaseException:
            session.run("ROLLBACK")
            raise


def stored_version(session: Session) -> int:
    """Version of the vault, 0 for a new one."""
    rows = session.rows("SELECT value FROM meta WHERE name = ?", [VERSION_KEY])
    return int(rows[0][0]) if rows else 0
