"""Races anybody's endpoint that answers a number, in any language: nothing is known of it but a URL.

target   what is called, and whether it may be
answers  the number in an answer
wire     a client on a socket, which can hold the end of its request back
inside   the same for an ASGI app in this process
volley   lets all requests go together, and records what came of each
race     the first request, the volleys, the judgement: a Row
report   what `quart-counter race URL` prints
"""
