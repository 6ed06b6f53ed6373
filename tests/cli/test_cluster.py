"""The cluster verbs as a user of the openstack client tries them, hostile words among them, on a running scheduler."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from agent.cli.main import main
from tests.scheduler.conftest import Service

HOST = "socket:2 core:4 thread:2 memory:8GiB"
HUGE = "9" * 30


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("cluster"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def run(service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command, in this process."""
    monkeypatch.setenv("CELLWRIGHT_SCHEDULER", service.url)
    monkeypatch.setenv("CELLWRIGHT_TOKEN", service.token)

    def done(*words: str) -> Done:
        capsys.readouterr()
        try:
            code = main(list(words))
        except SystemExit as why:  # argparse's
            code = int(str(why.code))
        return Done(code, *capsys.readouterr())

    return done


@pytest.fixture
def ask(run: Run) -> Callable[..., Any]:
    """The command's answer as a document; it must end with 0."""

    def answer(*words: str) -> Any:
        done = run(*words, "-f", "json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    return answer


@pytest.fixture
def furnished(run: Run) -> Iterator[None]:
    """Two hosts, the first in a zone, a flavor, a group, and an instance."""
    for host in ("h1", "h2"):
        assert run("host", "add", host, "--synthetic", HOST).code == 0
    for words in (
        ("flavor", "create", "--vcpus", "1", "--ram", "64", "--disk", "1", "tiny"),
        ("aggregate", "create", "--zone", "az01", "rack"),
        ("aggregate", "add-host", "rack", "h1"),
        ("aggregate", "create", "other"),
        ("aggregate", "add-host", "other", "h1"),
        ("group", "create", "--policy", "anti-affinity", "apart"),
        ("instance", "create", "--flavor", "tiny", "--availability-zone", "az01", "vm"),
    ):
        assert run(*words).code == 0
    yield
    names = [row["name"] for row in json.loads(run("instance", "list", "-f", "json").out)]
    assert not names or run("instance", "delete", *names).code == 0
    assert run("host", "delete", "h1", "h2").code == 0
    assert run("aggregate", "delete", "rack", "other").code == 0
    assert run("flavor", "delete", "tiny").code == 0
    assert run("group", "delete", "apart").code == 0


CREATE = ("instance", "create", "--flavor", "tiny")
REFUSED = [
    (("aggregate", "create", ""), "the body: Expected `str` of length >= 1 - at `$.name`"),
    (("aggregate", "create", "a/b"), "is no name"),
    (("aggregate", "create", "a\nb"), "the body: Expected `str` "),
    (("aggregate", "create", "x" * 256), "the body: Expected `str` "),
    (("aggregate", "create", "\udcff"), "malformed"),
    (("aggregate", "create", "rack"), "exists already"),
    (("aggregate", "create", "--zone", "a:b", "new"), "availability zone 'a:b'"),
    (("aggregate", "create", "--property", "availability_zone=", "new"), "availability zone ''"),
    (("aggregate", "create", "--property", "k", "new"), "allowed: KEY=VALUE"),
    (("aggregate", "set", "--property", "k=v", "--name", "rack", "other"), "rack exists already"),
    (("aggregate", "set", "--zone", "az02", "other"), "h1 is in zone az01 already, through aggregate rack"),
    (("aggregate", "set", "--property", "k=v", "nobody"), "nobody is not known"),
    (("aggregate", "add-host", "rack", "h1"), "exists already"),
    (("aggregate", "add-host", "rack", "nobody"), "nobody is not known"),
    (("aggregate", "add-host", "nobody", "h1"), "nobody is not known"),
    (("aggregate", "remove-host", "rack", "h2"), "h2 is not in aggregate rack"),
    (("aggregate", "delete", "rack"), "still has 1 hosts"),
    (("aggregate", "show", ""), "it is no name"),
    (("aggregate", "show", "\udcff"), "it is no name"),
    (("aggregate", "show", HUGE), "is not known"),
    (("flavor", "create", ""), "is no name"),
    (("flavor", "create", "a/b"), "is no name"),
    (("flavor", "create", "tiny"), "exists already"),
    (("flavor", "create", "--vcpus", "0", "new"), "flavor.vcpus=0"),
    (("flavor", "create", "--ram", "-1", "new"), "flavor.ram_mb=-1"),
    (("flavor", "create", "--disk", HUGE, "new"), "flavor.disk_gb"),
    (("flavor", "create", "--property", "hw:cpu_policy=bogus", "new"), "allowed: shared, dedicated, mixed"),
    (("flavor", "set", "--property", "hw:numa_nodes=0", "tiny"), "hw:numa_nodes=0"),
    (("flavor", "set", "--property", "a\nb=1", "tiny"), "property"),
    (("flavor", "show", "a/b"), "it is no name"),
    (("host", "add", "", "--synthetic", HOST), "the body: Expected `str` "),
    (("host", "add", "a/b", "--synthetic", HOST), "is no name"),
    (("host", "add", "h3", "--topology", "/nonexistent"), "/nonexistent: No such file"),
    (("host", "add", "h3", "--synthetic", HOST, "--disk", "-1"), "disk of -1 GiB"),
    (("host", "add", "h3", "--synthetic", HOST, "--disk", HUGE), "disk of 9"),
    (("host", "disable", "nobody"), "nobody is not known"),
    (("host", "disable", "h1", "--reason", "a\nb"), "reason"),
    (("host", "delete", "h1"), "still has 1 instances"),
    (("group", "create", ""), "the body: Expected `str` "),
    (("group", "create", "apart"), "exists already"),
    (("group", "create", "--policy", "anti-affinity", "--rule", f"max_server_per_host={HUGE}", "g"), "1 to 10000"),
    (("group", "create", "--policy", "anti-affinity", "--rule", "max_server_per_host=0", "g"), "1 to 10000"),
    (("group", "create", "--policy", "affinity", "--rule", "max_server_per_host=2", "g"), "anti-affinity only"),
    (("quota", "set", "--cores", HUGE, "p"), "quota cores=999"),
    (("quota", "set", "--cores", "1", "--ram", "-2", "p"), "quota ram_mb=-2"),
    (("quota", "set", "--cores", "1", "a/b"), "it is no name"),
    (("quota", "show", ""), "it is no name"),
    ((*CREATE, ""), "needs a name"),
    ((*CREATE, "a/b"), "is no name"),
    ((*CREATE, "--max", "0", "new"), "--max 0"),
    ((*CREATE, "--min", "0", "new"), "--min 0"),
    ((*CREATE, "--min", "3", "--max", "2", "new"), "--min 3 and --max 2"),
    ((*CREATE, "--max", HUGE, "new"), "allowed: 1 to 1000"),
    ((*CREATE, "--hint", "group=nobody", "new"), "no such server group; allowed: apart"),
    ((*CREATE, "--hint", "group=apart", "--hint", "group=apart", "new"), "in one server group"),
    ((*CREATE, "--hint", "grup=apart", "new"), "grup=apart: is no scheduler hint; allowed: different_host, group"),
    ((*CREATE, "--hint", "different_host=nobody", "new"), "different_host=nobody: no such instance"),
    ((*CREATE, "--hint", "same_host=", "new"), "same_host=: no such instance"),
    ((*CREATE, "--hint", "query={", "new"), "query={: no JSON list"),
    ((*CREATE, "--hint", 'query=["like", 1]', "new"), "query=like: no operator"),
    ((*CREATE, "--hint", 'query=[["="], 1]', "new"), "no operator"),
    ((*CREATE, "--hint", "query=" + "[" * 5000 + "]" * 5000, "new"), "query="),
    ((*CREATE, "--hint", "query=" + '["not",' * 40 + "1" + "]" * 40, "new"), "too deep"),
    ((*CREATE, "--image-property", "img_hv_requested_version=new", "new"), "img_hv_requested_version=new"),
    ((*CREATE, "--image-property", "hw_maxphysaddr_bits=many", "new"), "hw_maxphysaddr_bits=many"),
    ((*CREATE, "--project", "a\nb", "new"), "project"),
    ((*CREATE, "--region", "moon", "new"), "moon is not known"),
    (("instance", "migrate", "--host", "nobody", "vm"), "nobody is not known"),
    (("instance", "migrate", "--host", "h1", "vm"), "vm is on host h1 already"),
    (("instance", "resize", "--flavor", "nobody", "vm"), "nobody is not known"),
    (("instance", "rebuild", "--image-property", "hw_architecture=sparc", "vm"), "wants hw_architecture=sparc"),
    (("instance", "show", "\udcff"), "it is no name"),
    (("host", "list", "-c", "colour"), "column 'colour'; allowed: name"),
    (("host", "list", "--token", "a\nb"), "token"),
    (("host", "list", "--scheduler", "https://127.0.0.1:1", "--ca-file", "/nonexistent"), "CA file /nonexistent"),
]


def state(run: Run) -> list[str]:
    """All that operators can list."""
    nouns = ("host", "aggregate", "zone", "flavor", "group", "instance", "quota")
    return [run(noun, "list", "-f", "json").out for noun in nouns]


@pytest.mark.usefixtures("furnished")
def test_what_cannot_be_is_refused_in_one_line_and_nothing_of_it_is_done(run: Run) -> None:
    before = state(run)
    for words, why in REFUSED:
        done = run(*words)
        assert (done.code, done.out) == (2, ""), words
        assert why in done.err, (words, done.err)
        assert done.err.count("\n") == 1, done.err
        assert len(done.err) < 400, words
    assert state(run) == before


@pytest.mark.usefixtures("furnished")
def test_an_instance_that_cannot_move_stays_and_the_exit_code_says_that_it_does_not_fit(run: Run) -> None:
    before = state(run)
    for words in (("migrate", "vm"), ("migrate", "--host", "h2", "vm"), ("evacuate", "vm")):
        done = run("instance", *words)
        assert done.code == 3
        assert "vm stays on h1" in done.err
        assert "AvailabilityZone removed 1 of 1 (wants availability zone az01)" in done.err
    assert state(run) == before


@pytest.mark.usefixtures("furnished")
def test_explain_shows_a_decision_of_the_past(run: Run) -> None:
    past = run("explain", "--instance", "vm")
    assert past.code == 0
    assert "chosen: h1" in past.out
    assert past.out == run("instance", "explain", "vm").out
    assert run(*CREATE, "--availability-zone", "moon", "nowhere").code == 3
    assert run("explain", "--instance", "nowhere").code == 3


def test_columns_of_an_empty_list(run: Run) -> None:
    for how in ("table", "value", "json", "csv", "yaml"):
        assert run("instance", "list", "-c", "reason", "-f", how).code == 0
    assert run("quota", "list", "-f", "value").out == ""


@pytest.mark.usefixtures("furnished")
def test_the_scheduler_and_its_token_stand_before_the_verb_or_the_action_or_after_it(
    run: Run, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as context:
        context.setenv("CELLWRIGHT_SCHEDULER", "http://127.0.0.1:1")
        context.setenv("CELLWRIGHT_TOKEN", "wrong")
        where = ("--scheduler", service.url, "--token", service.token)
        nowhere = ("--scheduler", "http://127.0.0.1:2", "--token", "none")
        for words in (
            (*where, "host", "list"),
            ("host", *where, "list"),
            ("host", "list", *where),
            ("host", *nowhere, "list", *where),
            ("host", "--scheduler", service.url, "list", "--token", service.token),
        ):
            assert run(*words, "-f", "value", "-c", "name").out == "h1\nh2\n", words
        assert run("host", "list").code == 5


@pytest.mark.usefixtures("furnished")
def test_what_nobody_will_start_says_so(run: Run) -> None:
    assert "host h1 has no agent" in run("instance", "show", "vm", "-f", "value", "-c", "reason").out


@pytest.mark.usefixtures("furnished")
def test_columns_stand_in_the_order_of_the_list_and_nothing_is_none(run: Run) -> None:
    """As the openstack client prints them: scripts read its words by their place."""
    run(*CREATE, "--availability-zone", "moon", "nowhere")
    asked = ("-c", "Host", "-c", "Status", "-c", "project", "-c", "name")
    words = [line.split(" ") for line in run("instance", "list", "-f", "value", *asked).out.splitlines()]
    assert words[-1] == ["nowhere", "ERROR", "None", ""]
    assert run("instance", "list", "-f", "csv", *asked).out.splitlines()[-1] == '"nowhere","ERROR","",""'
    assert run("instance", "show", "nowhere", "-f", "value", "-c", "host", "-c", "name").out == "nowhere\nNone\n"
    lines = run("host", "list", "-f", "csv", "-c", "RAM mb", "-c", "pinned").out.splitlines()
    assert lines[0] == '"pinned","ram_mb"'


@pytest.mark.usefixtures("furnished")
def test_long_lists_have_every_column(run: Run, ask: Callable[..., Any]) -> None:
    for noun in ("host", "aggregate", "zone", "flavor", "group", "instance"):
        long = run(noun, "list", "--long", "-f", "csv").out.splitlines()[0]
        assert sorted(json.loads(f"[{long}]")) == sorted(ask(noun, "list")[0]), noun
    assert run("instance", "list", "--long", "-f", "csv").out.startswith('"id","name","status","host","zone","project"')


@pytest.mark.usefixtures("furnished")
def test_what_holds_more_than_one_level_is_told_apart_in_a_cell(run: Run) -> None:
    shown = run("instance", "show", "vm", "-f", "value", "-c", "request").out
    assert '"name": "tiny"' in shown
    assert "flavor={" in shown
    assert run("flavor", "show", "tiny", "-f", "csv").out.startswith('"name","vcpus"')


@pytest.mark.usefixtures("furnished")
def test_aggregates_as_the_openstack_client_has_them(run: Run, ask: Callable[..., Any]) -> None:
    number = str(ask("aggregate", "show", "other")["id"])
    changed = ask("aggregate", "set", "--property", "io=fast", "--property", "rack=1", "--name", "better", number)
    assert (changed["name"], changed["properties"]) == ("better", {"io": "fast", "rack": "1"})
    assert ask("aggregate", "unset", "--property", "io", "--property", "none", "better")["properties"] == {"rack": "1"}
    assert ask("aggregate", "remove-host", number, "h1")["hosts"] == []
    assert ask("aggregate", "add-host", number, "h2")["hosts"] == ["h2"]
    assert run("aggregate", "show", "better", "-f", "value", "-c", "name", "-c", "hosts").out == "better\nh2\n"
    assert ask("aggregate", "set", "--zone", "az02", "better")["zone"] == "az02"
    assert ask("zone", "list", "-c", "name") == [{"name": "az01"}, {"name": "az02"}]
    assert ask("aggregate", "unset", "--property", "availability_zone", "better")["zone"] is None
    ask("aggregate", "set", "--name", "other", "better")
    ask("aggregate", "remove-host", "other", "h2")


@pytest.mark.usefixtures("furnished")
def test_neighbours_by_id_or_name_one_or_several(run: Run, ask: Callable[..., Any]) -> None:
    vm = ask("instance", "show", "vm")["id"]
    away = ask(*CREATE, "--hint", "different_host=vm", "away")
    assert away["host"] == "h2"
    for hints in (("same_host=vm",), (f"same_host={vm}",), (f"different_host={away['id']}",)):
        assert ask(*CREATE, *(word for hint in hints for word in ("--hint", hint)), "beside")["host"] == "h1"
        assert run("instance", "delete", "beside").code == 0
    for hints in (("different_host=vm,away",), ("different_host=vm", f"different_host={away['id']}")):
        nowhere = run(*CREATE, *(word for hint in hints for word in ("--hint", hint)), "nowhere")
        assert nowhere.code == 3
        assert "DifferentHost removed 2 of 2" in nowhere.out
        assert run("instance", "delete", "nowhere").code == 0
    gone = "0" * 8 + "-0000-4000-8000-" + "0" * 12
    assert run(*CREATE, "--hint", f"same_host={gone}", "alone").code == 3, "its instance may be gone since"


@pytest.mark.usefixtures("furnished")
def test_hints_and_metadata_that_are_minded_without_configuration(run: Run, ask: Callable[..., Any]) -> None:
    for host in ("h1", "h2"):
        made = ask(*CREATE, "--hint", f'query=["=", "$host", "{host}"]', "asked")
        assert made["host"] == host
        assert run("instance", "delete", "asked").code == 0
    ask("aggregate", "set", "--property", "filter_tenant_id=red", "--property", "os_type=linux", "other")
    assert ask(*CREATE, "--project", "blue", "blue")["host"] == "h2"
    assert ask(*CREATE, "--project", "red", "--availability-zone", "az01", "red")["host"] == "h1"
    windows = ("--image-property", "os_type=windows", "--project", "red", "--availability-zone", "az01")
    refused = run(*CREATE, *windows, "w")
    assert refused.code == 3
    assert "AggregateImagePropertiesIsolation removed 1 of 1" in refused.out


@pytest.mark.usefixtures("furnished")
def test_a_host_without_an_agent_is_what_its_topology_says(run: Run, ask: Callable[..., Any]) -> None:
    arm = ("--image-property", "hw_architecture=aarch64")
    assert run(*CREATE, *arm, "a").code == 3
    ask("flavor", "create", "--property", "capabilities:cpu_info:topology:cores=4", "four")
    ask("flavor", "create", "--property", "capabilities:cpu_info:topology:threads=>= 4", "more")
    assert run("instance", "create", "--flavor", "four", "b").code == 0
    assert run("instance", "create", "--flavor", "more", "c").code == 3
    assert run("flavor", "delete", "four", "more", "none").err == "cellwright: flavor none is not known\n"
    assert "four" not in run("flavor", "list").out


@pytest.mark.usefixtures("furnished")
def test_several_at_once_and_what_the_exit_code_says(run: Run, ask: Callable[..., Any]) -> None:
    words = (*CREATE, "--hint", "group=apart")
    done = run(*words, "--max", "3", "a")
    assert (done.code, "a-3: no host of " in done.err) == (3, True)
    rows = {row["name"]: row["status"] for row in ask("instance", "list") if row["name"].startswith("a-")}
    assert sorted(rows.values()) == ["ERROR", "SCHEDULED", "SCHEDULED"]
    assert run("instance", "delete", *rows).code == 0
    assert run(*words, "--min", "2", "--max", "3", "b").code == 0, "so many were wanted at least"
    assert run(*words, "--min", "1", "c").code == 3


@pytest.mark.usefixtures("furnished")
def test_rebuilding_without_an_image_keeps_it(ask: Callable[..., Any]) -> None:
    ask("instance", "rebuild", "--image", "cirros", "--image-property", "os_type=linux", "vm")
    ask("instance", "rebuild", "vm")
    assert ask("instance", "show", "vm")["request"]["image"] == {"name": "cirros", "properties": {"os_type": "linux"}}


def test_quotas_of_all_projects(ask: Callable[..., Any]) -> None:
    ask("quota", "set", "--cores", "4", "red")
    ask("quota", "set", "--ram", "100", "--instances", "2", "blue")
    rows = [(row["project"], row["resource"], row["most"]) for row in ask("quota", "list")]
    assert rows == [
        ("blue", "cores", None), ("blue", "ram_mb", 100), ("blue", "instances", 2),
        ("red", "cores", 4), ("red", "ram_mb", None), ("red", "instances", None),
    ]  # fmt: skip
    for project in ("red", "blue"):
        ask("quota", "set", "--cores", "-1", "--ram", "-1", "--instances", "-1", project)
    assert ask("quota", "list") == []


def test_a_token_for_a_reader_and_its_end(run: Run) -> None:
    first, second = (run("token", "create", "--role", "reader", "ann").out.strip() for _ in range(2))
    assert run("host", "list", "--token", first).code != 0, "the second one ended it"
    assert run("host", "list", "--token", second).code == 0
    refused = run("flavor", "create", "--vcpus", "1", "--ram", "1", "mine", "--token", second)
    assert "for operators" in refused.err
    other = run("token", "create", "--role", "operator", "bob").out.strip()
    assert run("token", "create", "--role", "reader", "ann", "--token", other).code == 0
    assert run("token", "create", "--role", "host", "h1").code == 2
    assert run("token", "create", "--role", "reader", "").code == 2
