"""R10: tokens inverted by a registry that colludes with the linker.

The attacker is the linker with one registry. It has the epoch secret, every token of every registry
and a public list with the plaintext of everybody. For 60 seconds it computes tokens of people on
the list and looks them up. In plain mode that is all it takes; with the key server each guess needs
an evaluation, which the key server sells within a budget of the registry's declared records.

Offline is measured on the population of the setting. Online a real key server and real registries
serve; the registry has loaded its own records and spends what is left of its budget on the list.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding import keys
from kinlink_core.encoding.encode import Encoder
from kinlink_keyserver.settings import GROWTH_DEFAULT

from redteam.online import bought
from redteam.results import Result
from redteam.view import build_tokens

if TYPE_CHECKING:
    import numpy.typing as npt

    from redteam.population import Population
    from redteam.setting import Setting
    from redteam.view import TokenView

SECONDS: Final = 60.0
SECONDS_QUICK: Final = 10.0
PEOPLE_AT_ONCE: Final = 2_000
COLLUDER: Final = 0
CLASSICAL_MIN: Final = 0.5


class _KeyServer:
    """An evaluator whose key nobody here uses: what y is to whoever cannot ask for it."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def evaluate(self, pass_id: str, inputs: list[bytes]) -> list[bytes]:
        """One y of 64 bytes for each x of a pass."""
        head = self._secret + pass_id.encode()
        return [hashlib.sha512(head + each).digest() for each in inputs]


def run(setting: Setting) -> list[Result]:
    """Invert others' tokens, offline in both modes and online within the budget."""
    population = setting.population()
    seconds = SECONDS_QUICK if setting.quick else SECONDS
    plain = _inverted(build_tokens(population), population, seconds)
    served = build_tokens(population, evaluator=_KeyServer(np.random.default_rng().bytes(32)))
    closed = _inverted(served, population, seconds)
    results = [
        Result("R10", "tokens inverted offline by a registry", setting.label, setting.seed,
               f"others' token rows inverted in {seconds:.0f} s, with the key server", closed, 0.0,
               plain, CLASSICAL_MIN,
               detail="Linker and one registry with everybody's plaintext. Beside it plain mode.")
    ]  # fmt: skip
    if not setting.correlated and setting.registries == 3:
        share, people = bought(setting)
        results.append(
            Result("R10", "tokens inverted online by a registry", f"{people} people, key server",
                   setting.seed, "others' token rows bought with what is left of the budget", share,
                   detail=f"Linker and one registry with all plaintext; growth {GROWTH_DEFAULT}.")
        )  # fmt: skip
    return results


def _inverted(view: TokenView, population: Population, seconds: float) -> float:
    """Share of the other registries' feed rows whose token was computed in time."""
    rows = np.flatnonzero((view.rows.registry != COLLUDER) & (view.rows.level == 0))
    wanted = _words(view.secrets.token_bytes)
    found = np.zeros(len(wanted), bool)
    order = np.argsort(wanted)
    encoder = Encoder(view.schema, view.secrets.schedule)
    guessing = _Guess(view.secrets.schedule.context.mode)
    until = time.monotonic() + seconds
    for start in range(0, population.persons, PEOPLE_AT_ONCE):
        if time.monotonic() > until:
            break
        part = slice(start, start + PEOPLE_AT_ONCE)
        values = {name: column[part] for name, column in population.people.items()}
        tokens = _words(encoder.encode(values, guessing).blocking.token)
        at = np.minimum(np.searchsorted(wanted, tokens, sorter=order), len(wanted) - 1)
        found[order[at[wanted[order[at]] == tokens]]] = True
    return float(found[view.rows.token[rows]].mean())


class _Guess:
    """Evaluations made up by whoever has no key: nothing in plain mode, else random bytes."""

    def __init__(self, mode: str) -> None:
        self._bytes = 0 if mode == keys.MODE_PLAIN else keys.EVALUATION_BYTES

    def evaluate(self, _pass_id: str, inputs: list[bytes]) -> list[bytes]:
        """One y for each x."""
        rng = np.random.default_rng()
        return [rng.bytes(self._bytes) for _ in inputs]


def _words(tokens: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """First halves of tokens, which tell them apart."""
    return np.ascontiguousarray(tokens).view("<u8").reshape(-1, 2)[:, 0]
