"""The API's edges: tokens and roles, sizes, malformed bodies, long polls, and what an agent does in its life."""

import asyncio
import http.client
import json
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from litestar import Litestar
from litestar.datastructures import State
from msgspec.structs import replace

from agent.compute.client import Client, path_of
from agent.core import codec
from agent.core.errors import BadInput, CellwrightError, Unreachable
from agent.core.facts import HostFacts
from agent.core.wire import HostReport
from agent.scheduler.api import app
from agent.scheduler.store.records import ClaimLost
from tests.hosts import NAMED, host
from tests.postgres import Postgres
from tests.scheduler.conftest import Service


def report(name: str, *, whole: bool = True, **more: Any) -> Any:
    topology = replace(host("osdev-01"), hostname=name) if whole else None
    return codec.to_tree(HostReport(hostname=name, digest="d1", topology=topology, facts=HostFacts(disk_gb=10), **more))


def raw(service: Service, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
    connection.request(method, path, body=body, headers=headers)
    response = connection.getresponse()
    return response.status, response.read()


def test_an_agent_reports_is_assigned_and_confirms(service: Service) -> None:
    operator = Client(service.url, service.token)
    token = operator.call("POST", path_of("tokens"), {"role": "host", "subject": "kvm-1"})["token"]
    agent = Client(service.url, token)
    assert agent.call("POST", path_of("agents", "kvm-1", "report"), report("kvm-1", whole=False))["send_topology"]
    assert not agent.call("POST", path_of("agents", "kvm-1", "report"), report("kvm-1"))["send_topology"]
    assert not agent.call("POST", path_of("agents", "kvm-1", "report"), report("kvm-1", whole=False))["send_topology"]
    before = agent.call("GET", path_of("agents", "kvm-1", "assignments"))
    assert before["assignments"] == []

    heard: dict[str, Any] = {}

    def listen() -> None:
        query = f"?after={before['number']}&wait_s=20"
        heard.update(agent.call("GET", path_of("agents", "kvm-1", "assignments") + query))

    waiting = threading.Thread(target=listen)
    waiting.start()
    time.sleep(0.3)
    flavor = {"name": "p", "vcpus": 2, "ram_mb": 64, "extra_specs": {"hw:cpu_policy": "dedicated"}}
    made = operator.call("POST", path_of("instances"), {"name": "db", "flavor": flavor})[0]
    assert made["status"] == "SCHEDULED"
    waiting.join()
    assert [item["instance"] for item in heard["assignments"]] == [made["id"]]
    assert heard["assignments"][0]["placement"]["cells"][0]["pins"].keys() == {"0", "1"}

    confirm = path_of("agents", "kvm-1", "confirmations")
    agent.call("POST", confirm, {"instance": made["id"], "outcome": "building"})
    assert operator.call("GET", path_of("instances", made["id"]))["status"] == "BUILDING"
    agent.call("POST", confirm, {"instance": made["id"], "outcome": "verified"})
    assert operator.call("GET", path_of("instances", made["id"]))["status"] == "ACTIVE"
    operator.call("DELETE", path_of("instances", made["id"]))
    assert operator.call("GET", path_of("instances", made["id"]))["status"] == "DELETING"
    assert agent.call("GET", path_of("agents", "kvm-1", "assignments"))["assignments"][0]["placement"] is None
    agent.call("POST", confirm, {"instance": made["id"], "outcome": "gone"})
    with pytest.raises(BadInput, match="is not known"):
        operator.call("GET", path_of("instances", made["id"]))


def test_a_token_speaks_for_its_own_host_and_role_only(service: Service) -> None:
    operator = Client(service.url, service.token)
    tokens = {
        role: operator.call("POST", path_of("tokens"), {"role": role, "subject": subject})["token"]
        for role, subject in (("host", "kvm-1"), ("reader", "ann"))
    }
    other = Client(service.url, tokens["host"])
    gone = {"instance": "of kvm-2", "outcome": "gone"}
    for method, what, body in (
        ("POST", "report", report("kvm-2")),
        ("GET", "assignments", None),
        ("POST", "confirmations", gone),
    ):
        with pytest.raises(CellwrightError, match="speaks for that host only"):
            other.call(method, path_of("agents", "kvm-2", what), body)
    with pytest.raises(BadInput, match="report of kvm-2 on the path of host kvm-1"):
        other.call("POST", path_of("agents", "kvm-1", "report"), report("kvm-2"))
    with pytest.raises(CellwrightError, match="for operators and readers"):
        other.call("GET", path_of("instances"))
    assert raw(service, "GET", "/metrics", Authorization=f"Bearer {tokens['host']}")[0] == 403
    assert raw(service, "GET", "/metrics", Authorization=f"Bearer {tokens['reader']}")[0] == 200
    reader = Client(service.url, tokens["reader"])
    assert reader.call("GET", path_of("instances")) == []
    with pytest.raises(CellwrightError, match="for operators"):
        reader.call("POST", path_of("groups"), {"name": "g", "policy": "affinity"})


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eA=="}])
def test_401_says_nothing_about_why(service: Service, header: dict[str, str]) -> None:
    status, body = raw(service, "GET", "/v1/hosts", **header)
    assert status == 401
    assert json.loads(body)["error"] == ""


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"", 400, "the body: it is empty; allowed: a json document with name, policy, max_server_per_host"),
        (b" ", 400, "the body: it is empty; allowed: a json document"),
        (b"{", 400, "the body: input data was truncated"),
        (b"name=g", 400, "the body: json is malformed: invalid character (byte 4)"),
        (b"[]", 400, "the body: expected `object`, got `array`"),
        (b"{}", 400, "the body: object missing required field `name`"),
        (b'{"name": "\xff"}', 400, "the body: it is no utf-8"),
        (b'{"name": 5, "policy": "affinity"}', 400, "name"),
        (b'{"name": "g", "policy": "apart"}', 400, "is no policy"),
        (b'{"name": "g", "policy": "affinity", "colour": 1}', 400, "unknown field `colour`; allowed: name,"),
        (b"x" * (9 << 20), 413, ""),
    ],
    ids=[
        "none",
        "blank",
        "truncated",
        "a form",
        "a list",
        "no key",
        "no UTF-8",
        "wrong type",
        "wrong value",
        "unknown key",
        "too large",
    ],
)
def test_bad_bodies(service: Service, body: bytes, status: int, word: str) -> None:
    headers = {"Authorization": f"Bearer {service.token}", "Content-Type": "application/json"}
    answered, said = raw(service, "POST", "/v1/groups", body, **headers)
    assert answered == status
    assert word in said.decode().lower()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("foreign_vcpus",), -1, "Expected `int` >= 0 - at `$.foreign_vcpus`"),
        (("reserved_ram_mb",), -1000, "Expected `int` >= 0 - at `$.reserved_ram_mb`"),
        (("foreign", "cells"), [{"id": 0, "floating_vcpus": -1}], "Expected `int` >= 0"),
        (("foreign", "cells"), [{"id": 7, "pinned": "0"}], "cell 7 is not on host kvm-9"),
        (("topology", "hostname"), "kvm-8", "report of kvm-9 holds the topology of kvm-8"),
        (("topology", "cells", 1, "cpus"), "0", "report: topology: cell 1: pCPUs 0 are in another cell too"),
        (("topology", "cells", 1, "memory_kib"), -1, "Expected `int` >= 0"),
        (("topology", "cells", 1, "memory_kib"), 10**30, "Expected `int` <= 9007199254740991"),
        (("foreign", "cells"), [{"id": 0, "memory_kib": 10**30}], "Expected `int` <= 9007199254740991"),
    ],
)
def test_a_report_that_no_host_could_send(service: Service, path: tuple[Any, ...], value: object, said: str) -> None:
    body = report("kvm-9")
    *way, last = path
    inner = body
    for step in way:
        inner = inner[step]
    inner[last] = value
    with pytest.raises(BadInput, match=re.escape(said)):
        Client(service.url, service.token).call("POST", path_of("agents", "kvm-9", "report"), body)


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 60_000 + b"\r\n\r\n", [200]),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000, [431]),
        (b"GET /healthz HTTP/1.1\r\n" + b"X: yyyyyyyyyy\r\n" * 6_000, [431]),
        (b"GET /" + b"z" * 70_000, [431]),
        (b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000, [405]),
        ((b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 500 + b"\r\n\r\n") * 300, [200] * 300),
    ],
    ids=["a long header", "too long a header", "too many", "too long an address", "a long body", "a pipeline"],
)
def test_heads_are_bounded(service: Service, sent: bytes, statuses: list[int]) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=120) as connection:
        sending = threading.Thread(target=connection.sendall, args=(sent,), daemon=True)
        sending.start()
        answers = b""
        while len(found := re.findall(rb"HTTP/1.1 (\d{3})", answers)) < len(statuses):
            more = connection.recv(1 << 16)
            assert more, answers[-300:]
            answers += more
    assert list(map(int, found)) == statuses


def test_documents_of_another_version(service: Service) -> None:
    operator = Client(service.url, service.token)
    newer = report("kvm-1") | {"schema": "cellwright.report/2"}
    with pytest.raises(BadInput, match=r"cellwright.report/2.*cellwright.report/1"):
        operator.call("POST", path_of("agents", "kvm-1", "report"), newer)
    with pytest.raises(BadInput, match=r"cellwright.report/2.*cellwright.report/1"):
        operator.call("POST", path_of("agents", "kvm-1", "report"), {"schema": "cellwright.report/2", "host": {}})
    inner = report("kvm-1")
    inner["topology"]["schema"] = "cellwright.topology/2"
    with pytest.raises(BadInput, match=r"the body: topology: .*cellwright.topology/2.*cellwright.topology/1"):
        operator.call("POST", path_of("agents", "kvm-1", "report"), inner)
    minor = report("kvm-1") | {"schema": "cellwright.report/1.4", "new_key": 1}
    assert operator.call("POST", path_of("agents", "kvm-1", "report"), minor) is not None


@pytest.mark.parametrize("why", [ClaimLost("kvm-1"), CellwrightError("Tier failed on host kvm-1"), KeyError("a fault")])
def test_late_claims_are_looked_at_again_after_a_failure(monkeypatch: pytest.MonkeyPatch, why: Exception) -> None:
    monkeypatch.setattr(app, "EXPIRE_EVERY_S", 0.0)
    looked = []

    def expire() -> None:
        looked.append(len(looked))
        if len(looked) == 1:
            raise why

    async def look_twice() -> None:
        state = State({"scheduler": SimpleNamespace(expire=expire)})
        task = asyncio.create_task(app._expire(Litestar(state=state, logging_config=None)))
        while len(looked) < 2 and not task.done():
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(look_twice())
    assert len(looked) >= 2


def test_open_pages(service: Service) -> None:
    assert json.loads(raw(service, "GET", "/healthz")[1])["status"] == "ok"
    assert json.loads(raw(service, "GET", "/readyz")[1])["status"] == "ok"
    schema = json.loads(raw(service, "GET", "/schema/openapi.json")[1])
    assert "/v1/instances" in schema["paths"]


def test_metrics(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.start()
    try:
        operator = Client(service.url, service.token)
        for name in ("here", "off"):
            operator.call("POST", path_of("hosts"), {"name": name, "topology": codec.to_tree(host("no-smt"))})
        operator.call("PATCH", path_of("hosts", "off"), {"enabled": False})
        operator.call("POST", path_of("agents", "kvm-1", "report"), report("kvm-1"))
        flavor = {"name": "p", "vcpus": 2, "ram_mb": 64, "extra_specs": {"hw:cpu_policy": "dedicated"}}
        for name, zone in (("one", ":here"), ("two", ":here"), ("three", "moon")):
            operator.call("POST", path_of("instances"), {"name": name, "flavor": flavor, "availability_zone": zone})
        rows = operator.call("GET", path_of("hosts"))
        status, body = raw(service, "GET", "/metrics", Authorization=f"Bearer {service.token}")
    finally:
        service.stop()
    assert status == 200
    found = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#"))
    free = sum(int(row["pinned"].partition("/")[2]) - int(row["pinned"].partition("/")[0]) for row in rows)
    expected = {
        'cellwright_hosts{state="up",status="enabled"}': 2,
        'cellwright_hosts{state="up",status="disabled"}': 1,
        "cellwright_pcpus_owned": 4,
        "cellwright_pcpus_free": free,
        'cellwright_instances{status="SCHEDULED"}': 2,
        'cellwright_instances{status="ERROR"}': 1,
        "cellwright_schedule_duration_seconds_count": 3,
        'cellwright_schedule_rejected_total{reason="AvailabilityZone"}': 1,
    }
    assert {key: float(found[key]) for key in expected} == expected
    assert not [key for key in found if key.startswith("cellwright_hosts") and key not in expected]


def test_another_region_is_redirected(tmp_path_factory: pytest.TempPathFactory) -> None:
    there = Service(tmp_path_factory.mktemp("there"), config='[scheduler]\nregion = "there"\n')
    config = f'[scheduler]\nregion = "here"\n[scheduler.peers]\nthere = "{there.url}"\n'
    here = Service(tmp_path_factory.mktemp("here"), config=config)
    try:
        there.start()
        here.start()
        there.json("host", "add", "far", "--synthetic", NAMED["osdev-01"])
        there.json("flavor", "create", "--vcpus", "1", "--ram", "64", "tiny")
        words = ("instance", "create", "--flavor", "tiny", "--region", "there", "vm")
        stranger = here.run(*words)
        assert stranger.returncode == 2
        assert "does not take this token" in stranger.stderr
        assert urlsplit(there.url).netloc in stranger.stderr
        both = {"role": "operator", "subject": "of both regions", "token": here.token}
        Client(there.url, there.token).call("POST", path_of("tokens"), both)
        with pytest.raises(BadInput, match="somebody's already"):
            Client(there.url, there.token).call("POST", path_of("tokens"), {**both, "subject": "another"})
        made = here.json(*words)
        assert (made["host"], made["status"]) == ("far", "SCHEDULED")
        assert here.json(*words, "--dry-run")["placement"]["host"] == "far"
        assert [row["name"] for row in there.json("instance", "list")] == ["vm"]
        assert here.json("instance", "list") == []
        refused = here.run("instance", "create", "--flavor", "tiny", "--region", "nowhere", "x")
        assert refused.returncode == 2
        assert "region nowhere is not known; allowed: here, there" in refused.stderr
    finally:
        for service in (here, there):
            if service.process is not None:
                service.stop()


def test_not_ready_while_the_database_is_away(
    postgres: Postgres, postgresql_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    service = Service(tmp_path_factory.mktemp("away"), database=postgresql_url)
    service.start()
    try:
        assert raw(service, "GET", "/readyz")[0] == 200
        postgres.kill()
        try:
            assert raw(service, "GET", "/readyz")[0] == 503
            assert raw(service, "GET", "/healthz")[0] == 200
            assert raw(service, "GET", "/v1/hosts", Authorization=f"Bearer {service.token}")[0] == 503
        finally:
            postgres.start()
        assert raw(service, "GET", "/readyz")[0] == 200
    finally:
        service.stop()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A new certificate of this machine's loopback, in place of an older one, and its key."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-nodes"]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        *subject,
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def test_tls(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = make_certificate(folder)
    config = f'[scheduler]\ntls_certificate = "{certificate}"\ntls_key = "{key}"\n'
    service = Service(folder, config=config)
    service.start()
    try:
        address = service.url.replace("http:", "https:")
        assert Client(address, service.token, ca_file=str(certificate)).call("GET", path_of("hosts")) == []
        with pytest.raises(Unreachable, match=r"CERTIFICATE_VERIFY_FAILED.*; name the authority .* with --ca-file"):
            Client(address, service.token).call("GET", path_of("hosts"))
        with pytest.raises(Unreachable, match="; one that has a certificate is asked by https"):
            Client(service.url, service.token).call("GET", path_of("hosts"))
        make_certificate(folder)  # renewed, and not read yet
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            Client(address, service.token, ca_file=str(certificate)).call("GET", path_of("hosts"))
        assert service.process is not None
        service.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 120
        while "settings read again" not in (folder / "log").read_text():
            assert time.monotonic() < until
            time.sleep(0.05)
        assert Client(address, service.token, ca_file=str(certificate)).call("GET", path_of("hosts")) == []
    finally:
        service.stop()


def test_decisions_are_logged_a_line_each_and_no_secret_is(tmp_path_factory: pytest.TempPathFactory) -> None:
    service = Service(tmp_path_factory.mktemp("log"))
    service.start()
    try:
        service.json("host", "add", "h", "--synthetic", NAMED["tiny"])
        service.json("flavor", "create", "--vcpus", "1", "--ram", "64", "tiny")
        service.json("instance", "create", "--flavor", "tiny", "vm")
        service.json("instance", "create", "--flavor", "tiny", "--availability-zone", "moon", "late")
        made = Client(service.url, service.token).call("POST", path_of("tokens"), {"role": "host", "subject": "h"})
        service.run("host", "list", token="not-" + service.token)
    finally:
        service.stop()
    log = (service.folder / "log").read_text()
    lines = [line.partition("decision ")[2] for line in log.splitlines() if "decision {" in line]
    first, second = map(json.loads, lines)
    assert (first["name"], first["host"], first["removed"]) == ("vm", "h", {})
    assert (second["name"], second["host"], second["removed"]) == ("late", None, {"AvailabilityZone": 1})
    assert service.token not in log
    assert made["token"] not in log


def test_nobody_there() -> None:
    with pytest.raises(Unreachable, match="cellwright scheduler"):
        Client("http://127.0.0.1:1", None).call("GET", path_of("hosts"))


def test_insecure_only_on_loopback(service: Service) -> None:
    refused = service.run("scheduler", "--listen", "0.0.0.0:0", "--insecure-loopback", "--database", "sqlite://")
    assert refused.returncode == 2
    assert "loopback addresses only" in refused.stderr


def test_a_bad_database_is_named(service: Service) -> None:
    refused = service.run("scheduler", "--database", "mysql://x")
    assert refused.returncode == 2
    assert "postgresql" in refused.stderr


def test_host_add_checks_the_topology(service: Service) -> None:
    assert service.run("host", "add", "h", "--synthetic", NAMED["tiny"]).returncode == 0
    with pytest.raises(BadInput, match="topology"):
        Client(service.url, service.token).call("POST", path_of("hosts"), {"name": "h", "topology": {"cells": 5}})
