"""The HTTP transport: JSON to the core's messages and back, in the shapes of several APIs.

    connection ─▶ protocol ─▶ gateway: host, route, key, body, lifecycle ─▶ an API's handler ─▶ answer
                                                                             └─ items, fields, rows ─┘

Imports frontend.api, calls, core and compute.pool, service.config, and of the worker runtime, spec and
models; the only folder that imports uvicorn.

A new API is one new file in `apis/`:

    def api(service: Service) -> Api:
        handlers = _Handlers(service)
        return Api("name", routes=[Route("POST", "/v2/embed", handlers.embed)], shape=answer_of_an_error)

and its line in `apis/table.py`. A handler is `async def embed(request: Request) -> Response`; it raises a
`ServiceError`, which the API's `shape` turns into a status and a body. The routes' paths stand in
`worker/runtime/metric_labels.py` too: they are label values of the metrics, and a test compares the two.
"""
