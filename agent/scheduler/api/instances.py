"""Instances: create, list, show, explain, move, delete."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from litestar import Controller, Response, delete, get, post
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Redirect

from agent.core.decision import Decision
from agent.core.errors import BadInput, BadRequest
from agent.core.listing import InstanceDetail, InstanceMove, InstanceView, NewInstance
from agent.core.names import check_text
from agent.core.request import Flavor, Request
from agent.scheduler.api.auth import operators, readers
from agent.scheduler.service import Scheduler
from agent.scheduler.store import catalogue
from agent.scheduler.store import instances as stored
from agent.scheduler.store.database import transaction
from agent.scheduler.store.records import InstanceRecord
from agent.scheduler.views import view_instance, view_instances
from agent.settings.scheduling import Service

MOST_AT_ONCE = 1000
ELSEWHERE = ResponseSpec(data_container=None, description="Ask that region's scheduler.")
NEIGHBOURS = ("same_host", "different_host")
ID = re.compile("[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)


class Instances(Controller):
    """Instances."""

    path = "/v1/instances"
    guards = [readers]

    @get(sync_to_thread=True)
    def index(self, state: State, host: str | None = None, project: str | None = None) -> list[InstanceView]:
        """All instances, oldest first; of one host or project when asked."""
        rows = view_instances(state.scheduler)
        return [row for row in rows if host in (None, row.host) and project in (None, row.project)]

    @get("/{id:str}", sync_to_thread=True)
    def show(self, state: State, id: str) -> InstanceDetail:
        """One instance with its request and placement; by id, or by name where only one has it."""
        record = _find(state.scheduler, id)
        seen = msgspec.structs.asdict(view_instance(state.scheduler, record))
        return InstanceDetail(**seen, request=record.request, placement=record.placement)

    @get("/{id:str}/decision", sync_to_thread=True)
    def decision(self, state: State, id: str) -> Decision:
        """How it came to where it is: what every filter removed, the weights, the misfits."""
        scheduler: Scheduler = state.scheduler
        record = _find(scheduler, id)
        with transaction(scheduler.engine) as connection:
            decision = stored.load_decision(connection, record.id)
        if decision is None:
            raise BadInput(f"instance {record.name}: no decision is kept")
        return decision

    @post(guards=[operators], sync_to_thread=True, responses={307: ELSEWHERE})
    def create(self, state: State, data: NewInstance) -> Response[list[InstanceView]]:
        """Schedule new instances; each that fits nowhere is kept in ERROR with the reason.

        ``count`` makes several, NAME-1 to NAME-N, or as many as the quota takes if those are ``min_count``; when fewer
        than that fit, none is kept on a host.  A request for another region is redirected there.
        """
        scheduler: Scheduler = state.scheduler
        elsewhere = _elsewhere(state.service, data, "/v1/instances")
        if elsewhere is not None:
            return elsewhere
        if not data.name:
            raise BadInput("an instance needs a name")
        if not 1 <= data.count <= MOST_AT_ONCE:
            raise BadInput(f"count {data.count}; allowed: 1 to {MOST_AT_ONCE}")
        if not 1 <= data.min_count <= data.count:
            raise BadInput(f"min_count {data.min_count}; allowed: 1 to count, which is {data.count}")
        asked = _request(scheduler, data)
        count = scheduler.within_quota(asked, project=data.project, least=data.min_count, most=data.count)
        names = [data.name] if data.count == 1 else [f"{data.name}-{number + 1}" for number in range(count)]
        made = scheduler.create_many(asked, names, project=data.project, least=data.min_count)
        return Response([view_instance(scheduler, record) for record in made])

    @post("/explain", status_code=200, sync_to_thread=True, responses={307: ELSEWHERE})
    def explain(self, state: State, data: NewInstance) -> Response[Decision]:
        """What would be decided now; nothing is claimed.  A request for another region is redirected there."""
        scheduler: Scheduler = state.scheduler
        elsewhere = _elsewhere(state.service, data, "/v1/instances/explain")
        if elsewhere is not None:
            return elsewhere
        return Response(scheduler.decide(_request(scheduler, data), project=data.project))

    @post("/{id:str}/{action:str}", guards=[operators], status_code=200, sync_to_thread=True)
    def move(self, state: State, id: str, action: str, data: InstanceMove) -> InstanceView:
        """Place it again: ``migrate`` or ``evacuate`` elsewhere, ``resize`` to a flavor, ``rebuild`` from an image.

        A ``host`` that is named must pass the filters.  Without an image it is rebuilt from its own.
        """
        scheduler: Scheduler = state.scheduler
        record = _find(scheduler, id)
        request = msgspec.structs.replace(record.request, force_host=None)
        if action == "migrate":
            moved = scheduler.move(record.id, request=request, host=data.host)
        elif action == "evacuate":
            moved = scheduler.evacuate(record.id, request=request, host=data.host)
        elif action == "resize" and data.flavor is not None:
            resized = msgspec.structs.replace(request, flavor=_flavor(scheduler, data.flavor))
            moved = scheduler.move(record.id, request=resized, host=data.host, stay=True)
        elif action == "rebuild":
            image = data.image or record.request.image
            moved = scheduler.rebuild(record.id, msgspec.structs.replace(record.request, image=image))
        else:
            raise BadInput(f"{action}: allowed: migrate, evacuate, resize with a flavor, rebuild")
        return view_instance(scheduler, moved)

    @delete("/{id:str}", guards=[operators], sync_to_thread=True)
    def remove(self, state: State, id: str) -> None:
        """Take an instance away; its agent stops the guest first, where it has one."""
        state.scheduler.delete(_find(state.scheduler, id).id)


def _find(scheduler: Scheduler, id: str) -> InstanceRecord:
    with transaction(scheduler.engine) as connection:
        found = stored.find_instances(connection, id)
    if not found:
        raise BadInput(f"instance {id} is not known")
    if len(found) > 1:
        raise BadInput(f"instance {id}: {len(found)} have that name; their ids: {', '.join(i.id for i in found)}")
    return found[0]


def _flavor(scheduler: Scheduler, flavor: str | Flavor) -> Flavor:
    if isinstance(flavor, Flavor):
        return flavor
    with transaction(scheduler.engine) as connection:
        return catalogue.load_flavor(connection, flavor)


def _elsewhere(service: Service, data: NewInstance, path: str) -> Redirect | None:
    """Where a request for another region goes; BadInput for a region that nobody knows."""
    if data.region in (None, service.region):
        return None
    if data.region not in service.peers:
        known = ", ".join(sorted({service.region, *service.peers}))
        raise BadInput(f"region {data.region} is not known; allowed: {known}")
    return Redirect(service.peers[data.region].rstrip("/") + path, status_code=307)


def _hints(scheduler: Scheduler, data: NewInstance) -> dict[str, Any]:
    """The hints with what they mean checked, and with the ids of instances that they name.

    An id that nobody has is left to the filters: its instance may be gone since.
    """
    hints = dict(data.hints)
    scheduler.check_hints(hints)
    for key in NEIGHBOURS:
        values = hints.get(key)
        if values is not None:
            texts = values if isinstance(values, list) else [values]
            hints[key] = [one for text in texts for one in _neighbours(scheduler, key, str(text))]
    return hints


def _neighbours(scheduler: Scheduler, key: str, text: str) -> list[str]:
    with transaction(scheduler.engine) as connection:
        found = stored.find_instances(connection, text)
    if len(found) == 1:
        return [found[0].id]
    if not found and "," in text:
        return [one for part in text.split(",") for one in _neighbours(scheduler, key, part.strip())]
    if not found and ID.fullmatch(text):
        return [text]
    why = f"{len(found)} instances have that name" if found else "no such instance"
    raise BadRequest(key, text, why, allowed="an instance's id, or its name where only one has it")


def _request(scheduler: Scheduler, data: NewInstance) -> Request:
    """The request; ``zone:host`` forces the host, as in OpenStack."""
    check_text("project", data.project)
    zone, _, host = (data.availability_zone or "").partition(":")
    return Request(
        name=data.name,
        flavor=_flavor(scheduler, data.flavor),
        image=data.image,
        availability_zone=zone or None,
        hints=_hints(scheduler, data),
        group=data.group,
        ignore_hosts=data.ignore_hosts,
        force_host=data.force_host or host or None,
    )
