"""Models: every name that can be asked for, as far as it is known: of providers, groups and tiers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from starlette.responses import Response

from producer.api.call import Call, json_answer
from producer.api.errors import ApiError
from producer.api.operation import Operation, Param, Reply
from producer.api.principal import Role
from producer.api.services import Services
from shared.errors import JobRejected

SCHEMAS = {
    "Model": {
        "type": "object",
        "required": ["id", "object", "created", "owned_by"],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "model"},
            "created": {"type": "integer"},
            "owned_by": {
                "type": "string",
                "description": "The provider; `chatq:group` or `chatq:tier` for a name that stands for others",
            },
        },
    },
    "ModelList": {
        "type": "object",
        "required": ["object", "data"],
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}},
        },
    },
}

GROUP, TIER = "chatq:group", "chatq:tier"

_SINCE = int(time.time())
"""Models have no date here; clients want one."""


async def list_models(call: Call) -> Response:
    """All of them; no paging, as clients ask for none."""
    data = [_model(name, owner) for name, owner in _names(call.services) if _may_ask(call, name)]
    return json_answer({"object": "list", "data": data})


async def get_model(call: Call) -> Response:
    """One; a name that only its provider knows is there, too, if it leads to a registered one."""
    name = call.path("model")
    if not _may_ask(call, name):  # it is not in the list either
        raise ApiError(
            404, f"there is no model {name!r} for this token", code="model_not_found", param="model"
        )
    owner = dict(_names(call.services)).get(name)
    if owner is None:
        try:
            owner = call.services.producer.router.resolve(name).provider
        except JobRejected as exc:
            raise ApiError(404, str(exc), code="model_not_found", param="model") from None
    return json_answer(_model(name, owner))


def _names(services: Services) -> Iterator[tuple[str, str]]:
    """Names with their owners: groups and tiers first, then the models of each registered provider."""
    router = services.producer.router
    tiers = services.settings.models.tiers
    yield from ((tier, TIER) for tier in tiers if _leads_somewhere(services, tier))
    yield from ((group.id, GROUP) for group in router.groups if group.id not in tiers and not group.fault)
    for provider in services.registry.registered:
        stated = services.settings.providers[provider].models
        names = dict.fromkeys((*stated, *services.catalogue.names_at(provider)))
        yield from ((f"{provider}/{name}", provider) for name in names if "*" not in name)


def _leads_somewhere(services: Services, name: str) -> bool:
    try:
        services.producer.router.resolve(name)
    except JobRejected:
        return False
    return True


def _may_ask(call: Call, name: str) -> bool:
    try:
        call.principal.check_model(name)
    except ApiError:
        return False
    return True


def _model(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _SINCE, "owned_by": owner}


OPERATIONS = (
    Operation(
        "GET",
        "/models",
        list_models,
        "The names that can be asked for",
        Role.READ,
        "models",
        replies={200: Reply("All of them", {"$ref": "#/components/schemas/ModelList"})},
    ),
    Operation(
        "GET",
        "/models/{model:path}",
        get_model,
        "Whether a name leads somewhere, and whose it is",
        Role.READ,
        "models",
        params=(Param("model", "path", {"type": "string"}, "The name; it may contain `/`"),),
        replies={200: Reply("The model", {"$ref": "#/components/schemas/Model"})},
    ),
)
