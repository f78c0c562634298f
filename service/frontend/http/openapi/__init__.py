"""The description of all routes (OpenAPI 3.1) and the page that shows it.

    routes of the APIs ─▶ document ─▶ page
    table ─ operations ───┘

The routes, their keys, bodies and error statuses come from the APIs themselves; a summary, an example and
the schemas of each stand here, in one file for each API. Imports the HTTP folder's routes, errors and rows.
"""
