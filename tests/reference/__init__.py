"""The OpenAPI document, against its standard and against what the stack answers."""
