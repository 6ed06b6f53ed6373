"""What the served OpenAPI says beyond what the handlers' types do: tokens, refusals, and how our documents look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Components, OpenAPIType, Schema, SecurityScheme
from litestar.plugins import OpenAPISchemaPlugin
from litestar.routes import HTTPRoute
from litestar.typing import FieldDefinition

from agent import __version__
from agent.core.cpuset import CpuSet
from agent.scheduler.api.refusals import Refusal

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator

OPEN_PATHS = ("/healthz", "/readyz", "/schema")
"""What is answered without a token."""

REFUSED = {
    400: "Bad input; the line names what was found and what is allowed.",
    401: "No token, or one that stands for nobody.",
    403: "Not for the role of this token, or more than a quota leaves.",
    404: "Not known.",
    409: "An instance does not fit where it was to move: it stays as it is.",
    413: "More than the scheduler reads.",
    503: "The database does not answer, or another scheduler was first: try again.",
}


def describe(*, with_tokens: bool) -> OpenAPIConfig:
    """The head of the document, served below /schema."""
    return OpenAPIConfig(
        title="Cellwright scheduler",
        version=__version__,
        path="/schema",
        components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
        security=[{"token": []}] if with_tokens else None,
    )


def describe_refusals(app: Litestar) -> None:
    """Say of every call that wants a token how it is refused, in place of what Litestar supposes."""
    told = {
        status: ResponseSpec(data_container=Refusal, description=why, generate_examples=False)
        for status, why in REFUSED.items()
    }
    for route in app.routes:
        if isinstance(route, HTTPRoute) and not route.path.startswith(OPEN_PATHS):
            for handler, _ in route.route_handler_map.values():
                handler.responses = {**told, **(handler.responses or {})}


def is_cpu_set(wanted: Any) -> bool:
    """Whether a type that Litestar does not know is a CpuSet."""
    return wanted is CpuSet


class Documents(OpenAPISchemaPlugin):
    """The schemas of our documents: a struct with its fields, and a CpuSet as the kernel list that it travels as.

    Litestar's own for structs fails on defaults that hold dicts.
    """

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Whether this is about one of them."""
        known = is_cpu_set(field_definition.annotation) or field_definition.is_subclass_of(msgspec.Struct)
        return known and not field_definition.is_union

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:
        """Its schema, wherever it stands."""
        kind = field_definition.annotation
        if is_cpu_set(kind):
            return Schema(type=OpenAPIType.STRING, description="A kernel list, such as 0-3,8.", pattern="^[0-9,:^ -]*$")
        fields = msgspec.structs.fields(kind)
        schema = schema_creator.create_component_schema(
            field_definition,
            required=sorted(field.encode_name for field in fields if field.required),
            property_fields={
                field.encode_name: FieldDefinition.from_annotation(field.type, name=field.encode_name)
                for field in fields
            },
        )
        schema.additional_properties = False if kind.__struct_config__.forbid_unknown_fields else None
        return schema
