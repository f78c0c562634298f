"""What callers notice: objectives, calls, errors, latency by phase, refusals."""

from __future__ import annotations

from scripts.dashboards.panels import Panel, Row, mean, quantiles, rate

__all__ = ["CALLERS"]

# An error may take no time, and a stream lasts as long as its client wants.
TIMED = 'outcome!="failed"'
UNARY = f'method!="EmbedStream", {TIMED}'

CALLERS = (
    Row(
        "Objectives",
        (
            Panel(
                "Calls without an error, last hour",
                "Of all calls. The objective is one minus altclip:objective:error_ratio.",
                "percentunit",
                {"{{transport}}": "1 - altclip:errors:ratio1h"},
                kind="stat",
                width=6,
            ),
            Panel(
                "Calls fast enough, last hour",
                "Of all calls but streams and those that were told an error; fast enough is "
                "altclip:objective:latency_seconds.",
                "percentunit",
                {"{{transport}}": "1 - altclip:slow:ratio1h"},
                kind="stat",
                width=6,
            ),
            Panel(
                "How fast the errors of a month are used up",
                "1 uses them up in exactly 30 days. At 14.4 over an hour, or 6 over six, somebody is woken.",
                "none",
                {
                    "{{transport}}, 1 h": "altclip:errors:ratio1h / scalar(altclip:objective:error_ratio)",
                    "{{transport}}, 6 h": "altclip:errors:ratio6h / scalar(altclip:objective:error_ratio)",
                },
                width=6,
            ),
            Panel(
                "How fast the slow calls of a month are used up",
                "The same for calls that take longer than the objective.",
                "none",
                {
                    "{{transport}}, 1 h": "altclip:slow:ratio1h / scalar(altclip:objective:slow_ratio)",
                    "{{transport}}, 6 h": "altclip:slow:ratio6h / scalar(altclip:objective:slow_ratio)",
                },
                width=6,
            ),
        ),
    ),
    Row(
        "Calls and errors",
        (
            Panel(
                "gRPC calls",
                "Calls that ended, by RPC.",
                "reqps",
                {"{{method}}": rate("altclip_requests_total", "method")},
            ),
            Panel(
                "HTTP requests",
                "Requests that ended, by route; probes among them.",
                "reqps",
                {"{{route}}": rate("altclip_http_requests_total", "route") + " > 0"},
            ),
            Panel(
                "Errors by reason",
                "What callers were told, of every transport. QUEUE_FULL and QUOTA_EXCEEDED are refusals.",
                "reqps",
                {"{{reason}}": rate("altclip_call_errors_total", "reason")},
                stacked=True,
            ),
            Panel(
                "gRPC status codes",
                "All but OK.",
                "reqps",
                {"{{code}}": rate("altclip_requests_total", "code", 'code!="OK"') + " > 0"},
                width=12,
                stacked=True,
            ),
            Panel(
                "HTTP status codes",
                "All but 200. 499 is a client that went away.",
                "reqps",
                {"{{code}}": rate("altclip_http_requests_total", "code", 'code!="200"') + " > 0"},
                width=12,
                stacked=True,
            ),
        ),
    ),
    Row(
        "Latency",
        (
            Panel(
                "gRPC calls",
                "From arrival to end. Left out: streams, which last as long as their clients want, and calls "
                "that were told an error.",
                "s",
                quantiles("altclip_request_duration_seconds", inside=UNARY),
            ),
            Panel(
                "gRPC calls by RPC, nine of ten",
                "From arrival to end, without calls that were told an error.",
                "s",
                quantiles("altclip_request_duration_seconds", "method", UNARY, of=(0.9,)),
            ),
            Panel(
                "HTTP requests by route, nine of ten",
                "From arrival, the body read, to end; without requests that were told an error.",
                "s",
                quantiles("altclip_http_request_duration_seconds", "route", TIMED, of=(0.9,)),
            ),
            Panel(
                "By phase, mean",
                "What is neither queue nor batch is decoding, tokenising and the frontend.",
                "s",
                {
                    "whole call": mean("altclip_request_duration_seconds", inside=UNARY),
                    "in the queue": mean("altclip_queue_wait_seconds"),
                    "its batch": mean("altclip_batch_duration_seconds"),
                },
                width=12,
            ),
            Panel(
                "By phase, slowest of a hundred",
                "Quantiles do not add up: these are the slowest of each phase, not of one call.",
                "s",
                {
                    "whole call": quantiles("altclip_request_duration_seconds", inside=UNARY, of=(0.99,))[
                        "p99"
                    ],
                    "in the queue, {{priority}}": quantiles(
                        "altclip_queue_wait_seconds", "priority", of=(0.99,)
                    )["p99 {{priority}}"],
                    "its batch, {{modality}}": quantiles(
                        "altclip_batch_duration_seconds", "modality", of=(0.99,)
                    )["p99 {{modality}}"],
                },
                width=12,
            ),
        ),
    ),
    Row(
        "Refusals",
        (
            Panel(
                "Refused because too much work waits",
                "Of all calls. More replicas, or fewer calls of one caller.",
                "percentunit",
                {"{{job}}": "altclip:refused:ratio5m"},
            ),
            Panel(
                "Refused, by caller",
                "Of each caller's calls, for its quota or for its share of the queue.",
                "percentunit",
                {"{{caller}}": "altclip:caller_refused:ratio5m"},
            ),
            Panel(
                "Calls by caller",
                "By the name of the key; anonymous: without one.",
                "reqps",
                {"{{caller}}": rate("altclip_caller_requests_total", "caller")},
                stacked=True,
            ),
        ),
    ),
)
