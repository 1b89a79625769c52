"""The linker's store, version by version; a step is never edited once released.

Times are UTC. Links hold subject ids and comparison levels, never handles, tokens or anything
sealed.
"""

from __future__ import annotations

from typing import Final

_V1: Final = """
CREATE TABLE linkage (
  id VARCHAR NOT NULL, created_at TIMESTAMP NOT NULL, state VARCHAR NOT NULL,
  missing VARCHAR[] NOT NULL, body VARCHAR NOT NULL
);
CREATE TABLE link (
  link_id VARCHAR NOT NULL, linkage_id VARCHAR NOT NULL, epoch VARCHAR NOT NULL,
  registry_l VARCHAR NOT NULL, subject_l BLOB NOT NULL,
  registry_r VARCHAR NOT NULL, subject_r BLOB NOT NULL,
  weight DOUBLE NOT NULL, probability DOUBLE NOT NULL,
  above BOOLEAN NOT NULL, linked BOOLEAN NOT NULL, standing BOOLEAN NOT NULL,
  pass_id VARCHAR NOT NULL, levels BLOB NOT NULL, model VARCHAR NOT NULL,
  created_at TIMESTAMP NOT NULL
);
CREATE TABLE member (
  registry VARCHAR NOT NULL, subject BLOB NOT NULL, person_id VARCHAR NOT NULL
);
CREATE TABLE person_history (
  noted_at TIMESTAMP NOT NULL, cause VARCHAR NOT NULL, change VARCHAR NOT NULL,
  person_id VARCHAR NOT NULL, other_id VARCHAR NOT NULL, members BIGINT NOT NULL
);
CREATE TABLE verdict (
  link_id VARCHAR NOT NULL, verdict VARCHAR NOT NULL, reason VARCHAR NOT NULL,
  decided_by VARCHAR NOT NULL, noted_at TIMESTAMP NOT NULL
);
CREATE TABLE erased (digest VARCHAR NOT NULL);
CREATE TABLE outbox (
  registry VARCHAR NOT NULL, link_id VARCHAR NOT NULL, epoch VARCHAR NOT NULL,
  subject BLOB NOT NULL, partner VARCHAR NOT NULL, partner_subject BLOB NOT NULL,
  removed BOOLEAN NOT NULL, noted_at TIMESTAMP NOT NULL
);
CREATE TABLE model (name VARCHAR NOT NULL, created_at TIMESTAMP NOT NULL, body VARCHAR NOT NULL);
CREATE TABLE registry (
  name VARCHAR NOT NULL, state VARCHAR NOT NULL, reason VARCHAR NOT NULL, epoch VARCHAR NOT NULL,
  records UBIGINT NOT NULL, tokens UBIGINT NOT NULL, lag UBIGINT NOT NULL, synced_at TIMESTAMP
);
"""

# Why a registry is refused, in a sentence.
_V2: Final = "ALTER TABLE registry ADD COLUMN detail VARCHAR DEFAULT ''"

# Who a subject was before it left a person or was moved to another: so that an undone split or an
# update that comes in two steps gives back the same id.
_V3: Final = """
CREATE TABLE former (
  registry VARCHAR NOT NULL, subject BLOB NOT NULL, person_id VARCHAR NOT NULL
);
"""

# Whose notice is the family's; what a verdict was given on, and by what a pair was ruled out.
_V4: Final = """
ALTER TABLE link ADD COLUMN seeker UTINYINT DEFAULT 0;
ALTER TABLE verdict ADD COLUMN levels BLOB;
ALTER TABLE verdict ADD COLUMN ruled_out_by VARCHAR DEFAULT '';
UPDATE verdict SET levels = link.levels FROM link WHERE link.link_id = verdict.link_id AND standing;
"""

MIGRATIONS: Final = (_V1, _V2, _V3, _V4)
