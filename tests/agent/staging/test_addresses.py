"""Which hosts and addresses a task's URL may lead to."""

from __future__ import annotations

import ipaddress

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.agent.staging.addresses import Pinned, Rules, is_public, literal_address
from ayni.agent.staging.errors import StagingError

_PRIVATE = """
127.0.0.1 127.255.255.254 0.0.0.0 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254
100.64.0.1 192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1
255.255.255.255 :: ::1 fe80::1 fe80::1%eth0 fc00::1 fd12:3456::1 ff02::1 ff0e::1 2001:db8::1
2001::1 fec0::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 ::10.0.0.1
::ffff:0:7f00:1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::7f00:1 2002:7f00:1:: 2002:a00:1::
2002:a9fe:a9fe:: 100::1 3fff::1 5f00::1
"""
_PUBLIC = """
1.1.1.1 8.8.8.8 200.14.84.1 2606:4700::1111 2800:3f0:4003::200e ::ffff:1.1.1.1 64:ff9b::101:101
2002:101:101::1
"""


@pytest.mark.parametrize("address", _PRIVATE.split())
def test_an_inner_address_is_not_public_however_it_is_wrapped(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", _PUBLIC.split())
def test_an_address_of_the_open_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_wrapping_never_makes_an_address_more_public(address: ipaddress.IPv4Address) -> None:
    wrapped = [
        ipaddress.IPv6Address(base + (int(address) << shift))
        for base, shift in (
            (0xFFFF << 32, 0),
            (0x0064FF9B << 96, 0),
            (0x2002 << 112, 80),
        )
    ]
    assert all(is_public(w) == is_public(address) for w in wrapped)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("[::1]", "::1"),
        ("example.org", None),
        ("fade.cafe", None),
    ],
)
def test_odd_spellings_of_addresses_are_read(host: str, address: str | None) -> None:
    assert literal_address(host) == address


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST.", "db.localhost", "printer.local", "metadata.google.internal",
        "127.0.0.1", "127.1", "2130706433", "0x7f.1", "::1", "169.254.169.254", "10.1.2.3",
        "::ffff:10.0.0.1", "nas.lan",
    ],
)  # fmt: skip
def test_a_name_of_an_inner_place_is_refused_though_every_host_is_allowed(host: str) -> None:
    with pytest.raises(StagingError):
        Rules(hosts=("*",)).check_host(host, 443)


def test_only_hosts_on_the_list_are_allowed() -> None:
    rules = Rules(hosts=("data.example.org", "*.edu.co"))
    rules.check_host("data.example.org", 443)
    rules.check_host("DATA.example.org.", 443)
    rules.check_host("www.uni.edu.co", 443)
    for host in ("example.org", "data.example.org.evil.com", "edu.co", "xdata.example.org"):
        with pytest.raises(StagingError, match="exchanges nothing"):
            rules.check_host(host, 443)


def test_an_empty_list_allows_nothing() -> None:
    with pytest.raises(StagingError):
        Rules().check_host("example.org", 443)


def test_a_host_that_the_operator_opened_may_be_inside_at_its_port_only() -> None:
    rules = Rules(private=("s3.campus.lan:9000",))
    rules.check_host("s3.campus.lan", 9000)
    rules.check_addresses("s3.campus.lan", 9000, ["10.0.0.9"])
    for host, port in (("s3.campus.lan", 22), ("db.campus.lan", 9000)):
        with pytest.raises(StagingError):
            rules.check_host(host, port)


def connect(rules: Rules, answers: list[str], asked: list[str]) -> None:
    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers

    Pinned(rules, resolve).connect_tcp("files.example.org", 443, timeout=1)


@pytest.mark.parametrize(
    "answers", [["10.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["127.0.0.1", "1.1.1.1"], ["::1"]]
)
def test_one_inner_answer_of_the_resolver_condemns_the_name(answers: list[str]) -> None:
    asked: list[str] = []
    with pytest.raises(StagingError, match="does not lead to a public address"):
        connect(Rules(hosts=("*",)), answers, asked)
    assert asked == ["files.example.org"]


def test_a_name_without_addresses_is_a_failure_of_the_network() -> None:
    with pytest.raises(httpcore.ConnectError):
        connect(Rules(hosts=("*",)), [], [])


def test_sockets_of_this_machine_are_refused() -> None:
    with pytest.raises(StagingError):
        Pinned(Rules(hosts=("*",))).connect_unix_socket("/run/docker.sock")
