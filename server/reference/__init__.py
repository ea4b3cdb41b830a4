"""Reference: the OpenAPI document, made from the descriptors of the contract.

An RPC is in it on the day it is written: its comment, its bindings, the rules of its fields, who may call, and the
errors that it may answer.
"""

from server.reference.openapi import document

__all__ = ["document"]
