"""Providers: services outside Plinth that a domain calls, such as for payments and messages (docs/providers.md)."""

from server.kernel.providers.moves import Intent, Move, Outcome, Settlement, State
from server.kernel.providers.port import (
    AnswerLost,
    NotSent,
    Provider,
    ProviderAnswer,
    ProviderPort,
    ProviderRequest,
    Providers,
    ask,
    not_configured,
    problem_of,
    retry_after,
)

__all__ = [
    "AnswerLost",
    "Intent",
    "Move",
    "NotSent",
    "Outcome",
    "Provider",
    "ProviderAnswer",
    "ProviderPort",
    "ProviderRequest",
    "Providers",
    "Settlement",
    "State",
    "ask",
    "not_configured",
    "problem_of",
    "retry_after",
]
