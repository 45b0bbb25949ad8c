"""A stand-in for Microsoft 365: the Graph calendar API of Exchange Online and the token service of Entra ID.

It is an independent witness: it knows the documented behaviour of the real service and nothing of its callers.
"""
