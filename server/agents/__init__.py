"""Agents: the Model Context Protocol (MCP), with the RPCs of the contract as tools.

An RPC is a tool on the day it is written: its comment, its request as a JSON Schema, and who may call it. Every call of
a tool is a call of its RPC with the credentials of the caller, through the whole chain.
"""
