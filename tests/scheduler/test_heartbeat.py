"""The same report again and again: taken unread, and only from whom may report."""

import json
from http.client import HTTPConnection

from agent.core.codec import encode
from agent.core.facts import HostFacts
from agent.core.wire import HostReport
from agent.inspection.synthetic import parse_synthetic
from tests.scheduler.conftest import Service


def send(service: Service, host: str, body: bytes, token: str) -> tuple[int, dict[str, object]]:
    connection = HTTPConnection("127.0.0.1", service.port, timeout=120)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    connection.request("POST", f"/v1/agents/{host}/report", body=body, headers=headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_a_repeated_report_is_taken_only_with_a_token_that_stands(service: Service) -> None:
    mine, other = (service.run("host", "token", name).stdout.strip() for name in ("beat-1", "beat-2"))
    topology = parse_synthetic("cell:1 core:2 memory:1GiB name:beat-1")
    report = HostReport(hostname="beat-1", agent="a", digest="d", topology=topology, facts=HostFacts(disk_gb=1))
    body = encode(report)
    answers = [send(service, "beat-1", body, mine) for _ in range(3)]
    assert [status for status, _ in answers] == [200, 200, 200]
    assert answers[0] == answers[1] == answers[2]
    assert send(service, "beat-1", body, other)[0] == 403
    assert send(service, "beat-1", body, "nonsense")[0] == 401
    assert send(service, "beat-2", body, other)[0] == 400
    assert send(service, "beat-1", body[:-1], mine)[0] == 400
    added = service.run("host", "add", "beat-1", "--synthetic", "cell:1 core:2 memory:1GiB")
    assert (added.returncode, "its agent says what it is" in added.stderr) == (2, True)
    again = service.run("host", "token", "beat-1").stdout.strip()
    assert send(service, "beat-1", body, mine)[0] == 401
    assert send(service, "beat-1", body, again)[0] == 200
    assert service.run("host", "delete", "beat-1").returncode == 0
    status, answer = send(service, "beat-1", body, again)
    assert (status, service.json("host", "show", "beat-1")["state"]) == (200, "up")
    assert answer["send_topology"] is False
