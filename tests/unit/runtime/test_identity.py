from __future__ import annotations

import pytest
from kinlink_core.errors import InvalidInputError
from kinlink_core.runtime.address import host_and_port, join
from kinlink_core.runtime.identity import Identity, Role, check_name
from kinlink_core.runtime.ids import is_id, new_id


def test_an_identity_survives_its_uri() -> None:
    identity = Identity("china-7", Role.REGISTRY, "si_chuan")
    assert identity.uri == "kinlink://china-7/registry/si_chuan"
    assert Identity.from_uri(identity.uri) == identity
    assert identity.dns_name == "si_chuan.registry.china-7.kinlink.internal"
    assert str(identity) == "registry/si_chuan"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "kinlink://china/registry",
        "kinlink://china/registry/a/b",
        "kinlink://china/root/a",
        "https://china/registry/a",
        "kinlink:///registry/a",
        "kinlink://china/registry/",
        "kinlink://china/registry/A",
        "kinlink://china/registry/a.b",
        "kinlink://china/registry/a\n",
        "KINLINK://china/registry/a",
    ],
)
def test_a_uri_that_is_not_exactly_an_identity_is_refused(uri: str) -> None:
    with pytest.raises(InvalidInputError):
        Identity.from_uri(uri)


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a.b", "a b", "省", "a" * 64, "a\n"])
def test_a_name_that_dns_could_confuse_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError):
        check_name("registry", name)


@pytest.mark.parametrize("name", ["a", "0", "a-b_c", "a" * 63])
def test_a_plain_name_is_accepted(name: str) -> None:
    assert check_name("registry", name) == name


@pytest.mark.parametrize(
    ("address", "parts"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:80", ("::1", 80)), ("host:65535", ("host", 65535))],
)
def test_an_address_is_split_and_joined(address: str, parts: tuple[str, int]) -> None:
    assert host_and_port(address) == parts
    assert join(*parts) == address


@pytest.mark.parametrize("address", ["", "host", ":80", "host:", "host:65536", "host:x", "host:²"])
def test_a_text_that_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidInputError):
        host_and_port(address)


def test_ids_are_distinct_and_share_no_character_with_hex() -> None:
    made = {new_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(is_id(one) for one in made)
    assert not set("".join(made)) & set("0123456789abcdef")


@pytest.mark.parametrize("text", ["", "ghj", "0" * 12, "ghjkmnpqrstv\n", "GHJKMNPQRSTV"])
def test_what_has_another_form_is_no_id(text: str) -> None:
    assert not is_id(text)
