"""What an account is set up to share and to rename, as monitoring shows it (upstream: ``AccountInfo`` in server/monitor.go).

Nothing here is asked of the workers: it is what the configuration says, and what every account imports of the system account.
"""

from __future__ import annotations

from typing import Any, Final

from broker.accounts.automatic import automatic_imports, system_exports
from broker.accounts.names import system_account
from broker.options import Options
from broker.options.sections import AccountOptions, Export, Import, SubjectMapping
from broker.options.sharing import matching_export, service_shape, stream_shape
from broker.options.transforms import numbered

_RESPONSES: Final = {"single": "Singleton", "stream": "Streamed", "chunked": "Chunked"}


def sharing_fields(options: Options, name: str) -> dict[str, Any]:
    """``mappings``, ``exports`` and ``imports``, those of them that there are."""
    configured = {account.name: account for account in options.accounts}
    system = system_account(options)
    if system:
        own = configured.get(system, AccountOptions(system))
        exports = [*own.exports, *system_exports(options)]
        configured[system] = AccountOptions(
            system, exports=exports, imports=own.imports, mappings=own.mappings
        )
    account = configured.get(name, AccountOptions(name))
    mappings = [*account.mappings, *(options.mappings if name == "$G" else [])]
    streams = [one for one in account.imports if one.kind == "stream"]
    services = [one for one in account.imports if one.kind == "service"]
    imports = [*streams, *services, *automatic_imports(account, system)]
    fields = {
        "mappings": {mapping.source: _mapping(mapping) for mapping in mappings},
        "exports": [_export(export) for export in account.exports],
        "imports": [_import(found, configured) for found in imports],
    }
    return {key: value for key, value in fields.items() if value}


def _mapping(mapping: SubjectMapping) -> list[dict[str, Any]]:
    """Where messages go, by weight, each with the percentage up to which it takes them; of clusters after the others."""
    shown: list[dict[str, Any]] = []
    for cluster in sorted({one.cluster for one in mapping.destinations}):
        weights = [
            (one.weight, one.subject or mapping.source)
            for one in mapping.destinations
            if one.cluster == cluster
        ]
        rest = 100 - sum(weight for weight, _ in weights)
        if rest > 0 and all(subject != mapping.source for _, subject in weights):
            weights.append((rest, numbered(mapping.source)))
        upto = 0
        for weight, subject in sorted(weights, key=lambda one: one[0]):
            upto += weight
            shown.append({"subject": subject, "weight": upto, **({"cluster": cluster} if cluster else {})})
    return shown


def _export(export: Export) -> dict[str, Any]:
    fields: dict[str, Any] = {"subject": export.subject, "type": export.kind}
    if export.kind == "service":
        fields["response_type"] = _RESPONSES[export.response_type]
    if export.latency_subject:
        fields["service_latency"] = _latency(export)
    if export.accounts:
        fields["approved_accounts"] = list(export.accounts)
    return fields


def _latency(export: Export) -> dict[str, Any]:
    sampling = "headers" if export.latency_sampling < 0 else export.latency_sampling
    return {"sampling": sampling, "results": export.latency_subject}


def _import(found: Import, accounts: dict[str, AccountOptions]) -> dict[str, Any]:
    fields: dict[str, Any] = {"subject": found.subject, "account": found.account}
    if found.kind == "service":
        local = service_shape(found).local
        fields["to"] = local
    else:
        local = stream_shape(found).local
    fields |= {
        "local_subject": local,
        "type": found.kind,
        "invalid": False,
        "share": found.share,
        "tracking": False,
    }
    offer = matching_export(accounts[found.account], found)
    if offer is not None and offer.latency_subject:
        fields["latency"] = _latency(offer)
    return fields
