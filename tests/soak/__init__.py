"""A soak: the real service under mixed traffic and steady trouble, and a reckoning of all that happened.

    python -m tests.soak --minutes 20        (`make soak`)

    plan.py       how long, how much, which server
    content.py    what is said and shown, and which embedding must come back
    asks.py       the unary calls that are made of it
    traffic.py    unary callers, some of whom give up
    streams.py    streams, some of them read slowly
    web.py        callers over HTTP
    trouble.py    processes killed and stopped, bursts of calls
    watching.py   counters, memory and descriptors meanwhile
    ledger.py     how every call ended, as its caller saw it
    reckoning.py  the server's books against the callers'
    report.py     the figures and the picture
    run.py        all of it together

Only processes that it started are signalled, each by its id. Its own memory is bounded: calls are counted and
not kept.
"""
