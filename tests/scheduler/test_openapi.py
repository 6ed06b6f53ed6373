"""What the served OpenAPI says is tried with generated calls, right and wrong: the scheduler does as it says.

On PostgreSQL, which refuses much that SQLite keeps.
"""

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.postgres import Postgres
from tests.scheduler.conftest import Service

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    ignored_auth,
]


@pytest.fixture(scope="module")
def service(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("scheduler"), database=postgres.create("openapi"))
    made.start()
    yield made
    made.stop()


def test_generated_calls_are_answered_as_the_document_says(service: Service) -> None:
    headers = {"Authorization": f"Bearer {service.token}"}
    schema = schemathesis.openapi.from_url(f"{service.url}/schema/openapi.json")
    failed: set[str] = set()
    statuses: Counter[int] = Counter()

    def check(case: Any) -> None:
        answer = case.call(base_url=service.url, headers=headers)
        statuses[answer.status_code] += 1
        try:
            case.validate_response(answer, checks=CHECKS, headers=headers)
        except (Failure, FailureGroup) as why:
            failed.add(f"{case.method} {case.path} {answer.status_code}: {why} {getattr(why, 'exceptions', '')}")

    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 30
    for operation in operations:
        bounded = settings(
            max_examples=8, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck)
        )
        bounded(given(case=operation.as_strategy())(check))()
    assert failed == set()
    assert statuses[200] + statuses[201] > 20, statuses
    assert statuses[400] > 20, statuses


FLAVOR = {"name": "f", "vcpus": 1, "ram_mb": 64}
GROUP = {"name": "g", "policy": "anti-affinity"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "word"),
    [
        ("POST", "groups", GROUP | {"name": "x" * 300}, 400, "Expected `str` of length <= 255 - at `$.name`"),
        ("POST", "groups", GROUP | {"name": ""}, 400, "Expected `str` of length >= 1 - at `$.name`"),
        ("POST", "groups", GROUP | {"name": "a\nb"}, 400, "Expected `str` matching regex"),
        (
            "POST",
            "groups",
            GROUP | {"max_server_per_host": 1 << 40},
            400,
            "max_server_per_host 1099511627776; allowed: 1 to 10000",
        ),
        ("PUT", "quotas/p", {"bounds": {"cores": 1 << 70}}, 400, "quota cores=1180591620717411303424; allowed"),
        ("PUT", "quotas/%00", {"bounds": {"cores": 1}}, 400, "is no name"),
        ("GET", "quotas/%00", None, 400, "database: PostgreSQL text fields cannot contain NUL"),
        ("POST", "aggregates", {"name": "a", "properties": {"k" * 300: "v"}}, 400, "property 'kkk"),
        ("POST", "instances", {"name": "i", "flavor": FLAVOR, "project": "p" * 300}, 400, "project 'ppp"),
        ("GET", "instances/%00", None, 400, "database: PostgreSQL text fields cannot contain NUL"),
        ("GET", "hosts/%ED%A0%80", None, 404, "is not known"),
        ("POST", "groups", b"[" * 200_000, 400, "the body: it is nested too deeply"),
        ("POST", "groups", b'{"name": "\xff"}', 400, "the body: it is no UTF-8"),
        ("GET", "agents/h/assignments?after=0&wait_s=nan", None, 404, "host h is not known"),
        ("OPTIONS", "hosts", None, 204, ""),
    ],
)
def test_odd_values(service: Service, method: str, path: str, body: Any, status: int, word: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    sent = body if isinstance(body, bytes) or body is None else json.dumps(body)
    headers = {"Authorization": f"Bearer {service.token}", "Content-Type": "application/json"}
    connection.request(method, f"/v1/{path}", body=sent, headers=headers)
    answer = connection.getresponse()
    said = json.loads(answer.read() or b"{}").get("error", "")
    assert (answer.status, said) == (status, said)
    assert word in said


def test_options_want_a_token(service: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    connection.request("OPTIONS", "/v1/hosts")
    assert connection.getresponse().status == 401
