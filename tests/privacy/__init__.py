"""Tests of erasure and export across all domains."""
