"""The OpenAPI document of this hub's TES: the standard's operations with this hub's bounds."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from pydantic.json_schema import models_json_schema

import ayni
from ayni.hub.api import PROBLEM, PROBLEM_ANSWER
from ayni.hub.http import json_response
from ayni.tes.filters import DEFAULT_PAGE, MAX_PAGE, MAX_TAGS
from ayni.tes.models import State, Task, View

Document = dict[str, Any]
_REF = "#/components/schemas/"
_TEXT = {"type": "string", "pattern": r"^[^\x00]*$"}


def serve(request: HttpRequest) -> HttpResponse:
    """`GET /api/v1/tes-openapi.json`."""
    return json_response(document())


@cache
def document() -> Document:
    _, schemas = models_json_schema(
        [(Task, "validation")], ref_template=_REF + "{model}", title="TES"
    )
    components = dict(schemas["$defs"])
    submitted = components["Task"]
    return {
        "openapi": "3.1.0",
        "info": {"title": "GA4GH TES 1.1 at Ayni", "version": ayni.__version__},
        "servers": [{"url": "/ga4gh/tes/v1"}],
        "security": [{"bearer": []}, {"basic": []}],
        "paths": _paths(),
        "components": {
            "schemas": components
            | {
                "ShownTask": _shown(submitted),
                "Problem": PROBLEM,
                "ServiceInfo": _SERVICE_INFO,
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _shown(submitted: Document) -> Document:
    """A task as it is answered: id and state always, the rest by the view."""
    properties = {
        **submitted["properties"],
        "id": {"type": "string"},
        "state": {"$ref": f"{_REF}State"},
        # In the BASIC view inputs lack their content, so a url need not stand in for it.
        "inputs": {"type": "array", "items": {"type": "object", "required": ["path", "type"]}},
        "creation_time": {"type": "string", "format": "date-time"},
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["id", "state"],
        "properties": properties,
    }


_SERVICE_INFO: Document = {
    "type": "object",
    "required": ["id", "name", "type", "organization", "version"],
    "properties": {
        "id": {"type": "string"},
        "name": {"type": "string"},
        "type": {
            "type": "object",
            "required": ["group", "artifact", "version"],
            "properties": {"artifact": {"const": "tes"}},
        },
        "organization": {"type": "object", "required": ["name", "url"]},
        "version": {"type": "string"},
        "storage": {"type": "array", "items": {"type": "string"}},
        "tesResources_backend_parameters": {"type": "array", "items": {"type": "string"}},
    },
}


def _paths() -> Document:
    shown = {"$ref": f"{_REF}ShownTask"}
    listed = {
        "type": "object",
        "required": ["tasks"],
        "properties": {
            "tasks": {"type": "array", "items": shown},
            "next_page_token": {"type": "string"},
        },
    }
    made = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
    view = _query("view", {"enum": [v.value for v in View], "default": View.MINIMAL.value})
    task_id = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "/service-info": {
            "get": _operation("GetServiceInfo", {"$ref": f"{_REF}ServiceInfo"}) | {"security": []}
        },
        "/tasks": {
            "get": _operation("ListTasks", listed, [*_filters(), view]),
            "post": _operation("CreateTask", made)
            | {
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": f"{_REF}Task"}}},
                }
            },
        },
        "/tasks/{id}": {"get": _operation("GetTask", shown, [task_id, view])},
        "/tasks/{id}:cancel": {"post": _operation("CancelTask", {"type": "object"}, [task_id])},
    }


def _filters() -> list[Document]:
    tags = {"type": "array", "maxItems": MAX_TAGS, "items": _TEXT}
    return [
        _query("name_prefix", _TEXT),
        _query("state", {"enum": [s.value for s in State]}),
        _query("tag_key", tags),
        _query("tag_value", tags),
        _query(
            "page_size",
            {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE},
        ),
        _query("page_token", {"type": "string"}),
    ]


def _query(name: str, schema: Document) -> Document:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _operation(name: str, answer: Document, parameters: list[Document] | None = None) -> Document:
    return {
        "operationId": name,
        "parameters": parameters or [],
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": answer}}},
            "4XX": PROBLEM_ANSWER,
        },
    }
