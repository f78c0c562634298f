"""The playground: one page that shows what the service does, and the numbers of its live strip.

`page/` holds the files as they are served: HTML, CSS and JavaScript modules without a build step, and the
bundled pictures. Imports frontend.calls and core, and of the worker runtime and models.
"""
