"""Calls from outside with bodies and signatures of their own: what is inflated, and who signed it."""
