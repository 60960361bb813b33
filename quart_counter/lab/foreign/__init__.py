"""Races anybody's endpoint that answers a number, in any language: nothing is known of it but a URL.

target   what is called, and whether it may be
answers  the number in an answer
client   what a client is: it can hold the end of its request back
wire     a client on a socket
inside   a client of an ASGI app in this process
volley   lets all requests go together, and records what came of each
race     a first look, the volleys, a last look
ask_on   more requests after a race that went wrong, while they may tell why
row      the judgement
words    the same for a person
report   the command `quart-counter race URL`
"""
