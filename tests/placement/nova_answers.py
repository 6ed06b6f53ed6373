"""Run by an interpreter that has Nova, with oracle.py on its path: one question a line, one answer a line.

A question of the form of oracle.py's ``fit`` is answered with Nova's error, whether it made cells at all, and its own
fit of every guest cell on every host cell: which of them fit together is not Nova's to say, its walk is wrong.
Questions with an ``op`` are answered by oracle.py itself.
"""

import copy
import json
import sys

import oracle
from nova.virt import hardware


def fits_alone(host_cell, guest_cell, limits, reserved):
    """Nova's yes or no for one pair, or the name of the exception it died of."""
    try:
        wanted = copy.deepcopy(guest_cell)  # the fit writes into it
        return hardware._numa_fit_instance_cell(host_cell, wanted, limits, reserved) is not None
    except oracle.exception.MemoryPageSizeNotSupported:
        return False
    except Exception as why:
        return type(why).__name__


def answer(question):
    flavor, image = oracle.mk_flavor(question["flavor"]), oracle.mk_image(question["image"])
    try:
        wanted = hardware.numa_get_constraints(flavor, image)
        hardware.get_best_cpu_topology(flavor, image)
        if question.get("pci"):
            hardware.get_pci_numa_policy_constraint(flavor, image)
    except Exception as why:
        return {"error": type(why).__name__}
    if wanted is None:
        return {"error": None, "feasible": None}
    host, limits = oracle.mk_host(question["host"]), oracle.mk_limits(question["limits"])
    feasible = [
        [
            fits_alone(host_cell, guest_cell, limits, int(number == 0 and wanted.emulator_threads_isolated))
            for host_cell in host.cells
        ]
        for number, guest_cell in enumerate(wanted.cells)
    ]
    whole = oracle.one(host, question)[0]["fits"] if question.get("pci") and len(wanted.cells) == 1 else None
    return {"error": None, "feasible": feasible, "whole": whole}


session = oracle.Session()
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps(session.handle(asked) if "op" in asked else answer(asked)), flush=True)
