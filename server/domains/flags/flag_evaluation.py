"""Evaluation of flags as OpenFeature's providers ask for it: the OpenFeature Remote Evaluation Protocol.

The source is open-feature/protocol, service/openapi.yaml.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime

from google.api.httpbody_pb2 import HttpBody
from plinth.flags.v1 import flag_evaluation_pb2

from server.data.transactions import Database, Scope
from server.domains.flags.counting import EvaluationCounter
from server.domains.flags.evaluation import TARGETING_KEY, Evaluator, Flag, Flags, NoUnit, context_of
from server.domains.flags.feature_flags import ALL, PLAN
from server.json_values import JsonValue
from server.kernel.caching import Generations, TenantMemory
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.resources import Service

JSON = "application/json"
BAD_REQUEST, NOT_FOUND = 400, 404
ETAG_BYTES = 12
# Tenants whose flags a process remembers; those of one take up to 4 MB, and mostly some 50 KB.
REMEMBERED = 1_000

Answer = Mapping[str, JsonValue]


class FlagEvaluationService(Service):
    """Evaluation of flags."""

    descriptor = flag_evaluation_pb2.DESCRIPTOR.services_by_name["FlagEvaluationService"]

    def __init__(self, database: Database, generations: Generations, clock: Clock) -> None:
        super().__init__()
        self._database = database
        self._flags = TenantMemory(generations, "tenant:{tenant_id}:flags", self._read, most=REMEMBERED)
        self._counter = EvaluationCounter(database)
        self._clock = clock
        self.parts = (self._counter,)

    def evaluate_flag(self, call: Call, request: flag_evaluation_pb2.EvaluateFlagRequest) -> HttpBody:
        """One flag."""
        flags = self._flags.of(call.tenant_id or "")
        if request.key not in flags:
            details = f"There is no flag `{request.key}`."
            return _failed(call, NOT_FOUND, _failure(request.key, "FLAG_NOT_FOUND", details))
        now = self._clock()
        evaluator = Evaluator(flags, context_of(request.context), now)
        answer = self._answer(call, flags[request.key], evaluator, now)
        return _failed(call, BAD_REQUEST, answer) if "errorCode" in answer else _body(answer)

    def evaluate_flags(self, call: Call, request: flag_evaluation_pb2.EvaluateFlagsRequest) -> HttpBody:
        """All flags."""
        flags, now = self._flags.of(call.tenant_id or ""), self._clock()
        evaluator = Evaluator(flags, context_of(request.context), now)
        body = _body({"flags": [self._answer(call, flag, evaluator, now) for flag in flags.values()]})
        call.etag = f'W/"{hashlib.blake2b(body.data, digest_size=ETAG_BYTES).hexdigest()}"'
        return body

    def _answer(self, call: Call, flag: Flag, evaluator: Evaluator, now: datetime) -> dict[str, JsonValue]:
        key = flag.message.key
        try:
            found = evaluator.evaluate(key)
        except NoUnit as missing:
            code = "TARGETING_KEY_MISSING" if missing.attribute == TARGETING_KEY else "INVALID_CONTEXT"
            return _failure(key, code, f"The context has no `{missing.attribute}`, by which shares are drawn.")
        self._counter.note(call.tenant_id or "", flag.message.id, found.variant, now)
        return {"key": key, "reason": found.reason, "variant": found.variant, "value": flag.values[found.variant]}

    def _read(self, tenant_id: str) -> Flags:
        with self._database.read(Scope(tenant_id=tenant_id)) as transaction:
            messages = PLAN.messages(transaction.run(ALL, tenant=tenant_id))
        return {message.key: Flag.of(message) for message in messages}


def _failure(key: str, code: str, details: str) -> dict[str, JsonValue]:
    return {"key": key, "errorCode": code, "errorDetails": details}


def _failed(call: Call, status: int, failure: Answer) -> HttpBody:
    call.http_status = status
    return _body(failure)


def _body(answer: Answer) -> HttpBody:
    return HttpBody(content_type=JSON, data=json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode())
