"""Callbacks of real payment gateways: one module per gateway, each with a verifier and a parser.

`docs/gateways.md` has the shop's code for each of them. A parser reports one event per fact: of several events of the
gateway about the same money, it takes one.
"""
