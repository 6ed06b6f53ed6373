"""What the served OpenAPI says is tried with generated calls, right and wrong: the scheduler never fails on one."""

from collections import Counter
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.scheduler.conftest import Service


def test_no_generated_call_makes_it_fail(service: Service) -> None:
    headers = {"Authorization": f"Bearer {service.token}"}
    schema = schemathesis.openapi.from_url(f"{service.url}/schema/openapi.json")
    failed: list[str] = []
    statuses: Counter[int] = Counter()

    def check(case: Any) -> None:
        answer = case.call(base_url=service.url, headers=headers)
        statuses[answer.status_code] += 1
        if answer.status_code >= 500:
            failed.append(f"{case.as_curl_command()}: {answer.text}")
        elif answer.status_code >= 400:
            assert set(answer.json()) == {"error", "exit_code"}, answer.text

    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 30
    for operation in operations:
        bounded = settings(
            max_examples=8, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck)
        )
        bounded(given(case=operation.as_strategy())(check))()
    assert failed == []
    assert statuses[200] + statuses[201] > 20, statuses
    assert statuses[400] > 20, statuses
