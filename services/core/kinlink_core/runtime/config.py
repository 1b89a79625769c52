"""Settings from a TOML file and the environment, checked once, with all faults at once."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo

from kinlink_core.errors import InvalidInputError, Reason
from kinlink_core.runtime.address import host_and_port
from kinlink_core.runtime.files import check_secret_file

if TYPE_CHECKING:
    from collections.abc import Mapping

NESTING: Final = "__"
# `PREFIX_HOME` is the CLI's own: it says where the file is.
RESERVED: Final = frozenset({"home", "log_level"})
_BASE: Final = "base"


class Settings(BaseModel):
    """Base of settings models: frozen, and no key that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


T = TypeVar("T", bound=BaseModel)


class ConfigError(InvalidInputError):
    """Everything that is wrong with a configuration; `faults` has one sentence each."""

    def __init__(self, source: str, faults: tuple[str, ...]) -> None:
        lines = "".join(f"\n  {fault}" for fault in faults)
        super().__init__(Reason.CONFIG_INVALID, f"{source} is not valid:{lines}")
        self.faults = faults


def load_settings(
    model: type[T],
    path: Path | None,
    env_prefix: str,
    environ: Mapping[str, str] | None = None,
) -> T:
    """Read `path` (TOML), then let `PREFIX_KEY` and `PREFIX_TABLE__KEY` override it.

    Relative paths of `ConfigPath` and `SecretFile` fields are relative to the file's directory.
    The texts of faults name keys and rules, never values.

    Raises:
        ConfigError: with every fault of file and environment.
    """
    source = str(path) if path else "The environment"
    content = _read(path) if path else {}
    prefix = env_prefix.rstrip("_") + "_"
    for name, text in sorted((os.environ if environ is None else environ).items()):
        key = name.removeprefix(prefix).lower()
        if name.startswith(prefix) and key not in RESERVED:
            _override(content, key.split(NESTING), _parse(text))
    _add_absent_tables(content, model)
    base = path.parent if path else Path.cwd()
    try:
        return model.model_validate(content, context={_BASE: base})
    except ValidationError as error:
        raise ConfigError(source, tuple(_sentence(fault) for fault in error.errors())) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(str(path), (f"cannot be read: {error.strerror}",)) from error
    except UnicodeDecodeError:
        raise ConfigError(str(path), ("is not UTF-8",)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), (f"is not TOML: {error}",)) from None


def _add_absent_tables(content: dict[str, Any], model: type[BaseModel]) -> None:
    """Validate an absent table as an empty one: its default was made without the file's folder."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and not field.is_required():
            content.setdefault(field.alias or name, {})


def _parse(text: str) -> Any:
    """A TOML value where the text is one (numbers, booleans, lists), else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _override(content: dict[str, Any], keys: list[str], value: Any) -> None:
    *tables, last = keys
    for table in tables:
        inner = content.setdefault(table, {})
        if not isinstance(inner, dict):
            inner = content[table] = {}
        content = inner
    content[last] = value


def _sentence(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    text = str(fault["msg"]).removeprefix("Value error, ")
    return f"{where}: {text}" if where else text


def _resolved(path: Path, info: ValidationInfo) -> Path:
    base: Path = (info.context or {}).get(_BASE, Path.cwd())
    return base / path.expanduser()


def _secret(path: Path, info: ValidationInfo) -> Path:
    path = _resolved(path, info)
    try:
        check_secret_file(path)
    except InvalidInputError as error:
        raise ValueError(error.public) from error
    return path


def _address(text: str) -> str:
    try:
        host_and_port(text)
    except InvalidInputError as error:
        raise ValueError(error.public) from error
    return text


ConfigPath = Annotated[Path, AfterValidator(_resolved)]
SecretFile = Annotated[Path, AfterValidator(_secret)]
Address = Annotated[str, AfterValidator(_address)]
