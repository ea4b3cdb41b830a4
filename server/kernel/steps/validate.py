"""validate: the request satisfies the rules of its .proto, and a JSON body has no unknown key."""

from google.protobuf.message import Message

from server.kernel.call import JSON_KEYS, VALIDATE_ONLY, Call
from server.kernel.chain import Guard, GuardStep, Request
from server.kernel.messages.fields import value_of
from server.kernel.messages.masks import EVERYTHING, body_mask, check_mask
from server.kernel.messages.text import normaliser
from server.kernel.policy import BATCHES, MethodPolicy
from server.kernel.problems import Malformed, Reason, Violation
from server.kernel.rules import check


class Validate(GuardStep):
    """Answers INVALID_ARGUMENT, and lists every violation."""

    name = "validate"

    def guard(self, method: MethodPolicy) -> Guard | None:
        """Check keys first, because a mistyped key explains the field that seems to be missing."""
        input_type = method.descriptor.input_type
        may_not_be_tried = not (method.read_only or method.can_be_tried)
        body = next((binding.body for binding in method.bindings if binding.body), "")
        if not input_type.fields and not body and not may_not_be_tried:
            return None
        has_mask = "update_mask" in input_type.fields_by_name
        normalise = normaliser(input_type)
        batch = BATCHES.get(method.kind, "")

        def validate(call: Call, request: Message) -> None:
            if VALIDATE_ONLY in call.metadata:
                _check_trial(call)
            # A read that warms the cache brings the keys of the call that asked for it.
            keys = call.metadata.get(JSON_KEYS) if body or not call.is_rest else None
            if keys is not None and call.is_rest:
                mask = body_mask(input_type, body, keys)
                if has_mask:
                    _choose_mask(request, body, mask)
            elif keys is not None:
                # JSON of Connect is the whole request. It names unknown keys; the mask is the request's own.
                body_mask(input_type, EVERYTHING, keys)
            if normalise is not None:
                normalise(request)
            check(request, carry_parents(request, batch) if batch else ())

        return validate


def _check_trial(call: Call) -> None:
    """Raise Malformed for a trial that is not possible, and for a header that may have been meant for one."""
    if call.metadata[VALIDATE_ONLY] not in {"true", "false"}:
        raise Malformed(f"`{VALIDATE_ONLY}` is `true` or `false`.", reason=Reason.REASON_TRIAL_IMPOSSIBLE)
    if call.is_trial and not (call.method.read_only or call.method.can_be_tried):
        raise Malformed(
            f"`{VALIDATE_ONLY}` is not possible here: the call acts outside its transaction.",
            reason=Reason.REASON_TRIAL_IMPOSSIBLE,
        )


def _choose_mask(request: Request, body: str, mask: tuple[str, ...]) -> None:
    """Choose the fields to change: the parameter `updateMask` if it is set (AIP-134), else the keys of the body.

    Raises RuleViolated for a parameter that names an unknown field.
    """
    named = request.update_mask.paths
    if named:
        mask = check_mask(request.DESCRIPTOR.fields_by_name[body].message_type, named)
    named[:] = mask


def carry_parents(request: Message, field: str) -> list[Violation]:
    """Complete the requests of a batch with what the batch names: the tenant and the parent (AIP-233).

    A request that names another one violates a rule.
    """
    texts = [each.name for each in request.DESCRIPTOR.fields if each.type == each.TYPE_STRING and not each.is_repeated]
    violations = []
    for place, each in enumerate(value_of(request, field)):
        chosen = each.WhichOneof("operation") if "operation" in each.DESCRIPTOR.oneofs_by_name else ""
        inside = value_of(each, chosen) if chosen else each
        path = f"{field}[{place}]" + (f".{chosen}" if chosen else "")
        for name in texts:
            own, outer = getattr(inside, name, None), value_of(request, name)
            if own == "":
                setattr(inside, name, outer)
            elif own is not None and own != outer:
                violations.append(Violation(f"{path}.{name}", "is another one than that of the batch", "batch.same"))
    return violations
