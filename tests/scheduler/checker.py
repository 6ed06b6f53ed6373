"""What must be true of database and agents' logs, found out with plain SQL and JSON: none of the scheduler's code."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import psycopg

from tests.scheduler.agents import Entry


def parse_list(text: str) -> set[int]:
    """The numbers of a kernel list."""
    numbers: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def rows(database: str, query: str) -> list[dict[str, Any]]:
    """A query's answer, a dict a row."""
    with (
        psycopg.connect(database.replace("+psycopg", ""), row_factory=psycopg.rows.dict_row) as connection,
        connection.cursor() as cursor,
    ):
        return cursor.execute(query).fetchall()  # type: ignore[call-overload]


def owned_by(placement: dict[str, Any]) -> set[int]:
    """The pCPUs that a placement's guest has for itself, idle siblings among them."""
    owned = parse_list(placement.get("reserved", ""))
    for cell in placement["cells"]:
        if cell["policy"] != "shared":
            owned |= {number for pin in cell["pins"].values() for number in parse_list(pin)}
    return owned


def check_logs(entries: Iterable[Entry]) -> list[str]:
    """Whenever two guests had one pCPU or device at a time, or one guest ran on two hosts at a time; a line each."""
    wrong: list[str] = []
    running: dict[str, dict[str, set[object]]] = defaultdict(dict)
    for entry in sorted(entries, key=lambda entry: entry.at_s):
        here = running[entry.host]
        here.pop(entry.instance, None)
        if entry.placement is None:
            continue
        held = {*owned_by(entry.placement), *(device["pci"] for device in entry.placement.get("devices", ()))}
        wrong += [
            f"{entry.host}: {entry.instance} begins on {sorted(map(str, held & theirs))} of {other}"
            for other, theirs in here.items()
            if held & theirs
        ]
        wrong += [
            f"{entry.instance} begins on {entry.host} and runs on {host}"
            for host, there in running.items()
            if entry.instance in there
        ]
        here[entry.instance] = held
    return wrong


def check_database(database: str) -> list[str]:
    """Everything that is wrong, a line each."""
    wrong: list[str] = []
    wanted: dict[tuple[str, int], str] = {}
    pages: Counter[tuple[str, int, int]] = Counter()
    given: dict[tuple[str, str], str] = {}
    members: dict[str, list[str]] = {}
    leaving = rows(database, "SELECT instance AS id, instance AS name, host, placement FROM leaving ORDER BY 1, 3")
    left = {(row["id"], row["host"]) for row in leaving}
    instances = rows(database, "SELECT * FROM instances ORDER BY id")
    for row in instances:
        if (row["host"] is None) != (row["placement"] is None):
            wrong.append(f"{row['name']}: host {row['host']} without the placement, or the other way round")
        going = row["status"] == "DELETING" and any(instance == row["id"] for instance, _ in left)
        nowhere = row["status"] == "ERROR" or (going and row["host"] is None)
        if (row["host"] is None) != nowhere or (row["status"] == "ERROR" and not row["reason"]):
            wrong.append(f"{row['name']}: {row['status']} on host {row['host']}, reason {row['reason']!r}")
        if (row["id"], row["host"]) in left:
            wrong.append(f"{row['name']}: on {row['host']}, and leaving it")
        wrong += [
            f"{row['name']} waits for {host}, which it does not leave"
            for host in filter(None, row["waits_for"].split(","))
            if (row["id"], host) not in left
        ]
        if row["group_name"] is not None and row["host"] is not None:
            members.setdefault(row["group_name"], []).append(row["host"])
    for row in (*instances, *leaving):
        if row["placement"] is None:
            continue
        placement = json.loads(bytes(row["placement"]))
        for device in placement.get("devices", ()):
            if (row["host"], device["pci"]) in given:
                wrong.append(f"{device['pci']} of {row['host']}: {row['id']} and {given[row['host'], device['pci']]}")
            given[row["host"], device["pci"]] = row["id"]
        owned = owned_by(placement)
        for cell in placement["cells"]:
            if cell.get("page_kib"):
                key = (row["host"], cell["host_cell"], cell["page_kib"])
                pages[key] += cell["memory_kib"] // cell["page_kib"]
        for pcpu in owned:
            if (row["host"], pcpu) in wanted:
                wrong.append(f"pCPU {pcpu} of {row['host']}: {row['id']} and {wanted[row['host'], pcpu]}")
            wanted[row["host"], pcpu] = row["id"]
    kept = {(row["host"], row["pcpu"]): row["instance"] for row in rows(database, "SELECT * FROM pcpus")}
    wrong += [
        f"pCPU {key}: placements say {wanted.get(key)}, the table {kept.get(key)}"
        for key in sorted(wanted.keys() | kept.keys())
        if wanted.get(key) != kept.get(key)
    ]
    if given != {(row["host"], row["pci"]): row["instance"] for row in rows(database, "SELECT * FROM devices")}:
        wrong.append(f"devices: placements say {given}, the table something else")
    for row in rows(database, "SELECT * FROM pools"):
        used = pages[row["host"], row["cell"], row["size_kib"]]
        if used != row["used"] or not 0 <= row["used"] <= row["total"]:
            wrong.append(f"pool {row}: placements use {used}")
    for group in rows(database, "SELECT * FROM groups"):
        hosts = Counter(members.get(group["name"], []))
        if group["policy"] == "anti-affinity" and max(hosts.values(), default=0) > group["max_server_per_host"]:
            wrong.append(f"group {group['name']} is not apart: {hosts}")
        if group["policy"] == "affinity" and len(hosts) > 1:
            wrong.append(f"group {group['name']} is not together: {hosts}")
    for quota in rows(database, "SELECT * FROM quotas WHERE resource = 'cores'"):
        query = "SELECT project, sum(vcpus) AS used FROM instances WHERE host IS NOT NULL GROUP BY project"
        used = {row["project"]: row["used"] for row in rows(database, query)}.get(quota["project"], 0)
        if used > quota["most"]:
            wrong.append(f"project {quota['project']} uses {used} cores of {quota['most']}")
    return wrong
