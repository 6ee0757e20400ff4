"""Which owners are one client, and which jobs are whose."""

import pytest

from sd_api import owners


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", None, ""])
def test_this_computers_addresses_are_one_owner(address: str | None) -> None:
    assert owners.address(address) == owners.address("127.0.0.1") == "address:127.0.0.1"


@pytest.mark.parametrize(
    ("one", "other"), [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2"), ("10.0.0.1", "127.0.0.1")]
)
def test_other_addresses_are_other_owners(one: str, other: str) -> None:
    assert owners.address(one) != owners.address(other)


def test_an_address_has_one_form() -> None:
    assert owners.address("2001:DB8:0::1") == owners.address("2001:db8::1")
    assert owners.address("::ffff:10.0.0.1") == owners.address("10.0.0.1")


@pytest.mark.parametrize(
    ("owner", "client"),
    [
        ("user:1", "user:1"),
        # The owners of tokens that earlier versions have issued.
        ("public:0123", "public:0123"),
        (owners.public_token("10.0.0.1", "0123"), "address:10.0.0.1"),
        (owners.address("10.0.0.1"), "address:10.0.0.1"),
        (owners.public_token("2001:db8:1:2:3::4", "0123"), "address:2001:db8:1:2::"),
        (owners.address("2001:db8:1:2:5::6"), "address:2001:db8:1:2::"),
        (owners.address("fe80::1%eth0"), "address:fe80::"),
        (owners.address("a b/c\n\x80"), "address:a_b_c__"),
    ],
)
def test_the_client_of_an_owner(owner: str, client: str) -> None:
    assert owners.client_of(owner) == client


def test_the_name_of_a_job_is_its_owners_own() -> None:
    owner = owners.public_token("2001:db8::1", "0123")
    job_id = owners.qualified(owner, "my-job")
    assert owners.job_name(job_id) == "my-job"
    assert owners.is_of(owner, job_id)
    assert not owners.is_of("public:2001:db8::", job_id)
    assert not owners.is_of("public:2001:db8::/012", job_id)
