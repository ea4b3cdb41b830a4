"""Tests of the domain, and how its resources are made and changed."""
