"""A bulk job on a Ray cluster: the same parts and manifest, made by actors of Ray Data.

    driver: job ─▶ cluster ─ a row for each part ─▶ actors: parts ─ encoders, or streams to servers ─▶ part
                      ◀────── name, size and hash of what stands in the staging folder ◀────────────────┘
                      ─ renamed ─▶ OUTPUT

Of altclip it may import what flow may. `encoders` alone names packages of the server's distribution, within
functions.
"""
