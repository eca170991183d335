"""Verifiers and parsers for the callbacks of payment gateways, one module per gateway.

`docs/gateways.md` has the shop's code for each gateway. A parser reports one event per fact. If a gateway sends several
events about the same money, the parser reports one of them.
"""
