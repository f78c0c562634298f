"""What is behind it: processes, queue, batches, device, decoders, cache, callers, books."""

from __future__ import annotations

from scripts.dashboards.panels import Panel, Row, mean, quantiles, rate, share

__all__ = ["OPERATORS"]

OPERATORS = (
    Row(
        "Now",
        (
            Panel(
                "Workers ready",
                "By model.",
                "none",
                {"{{model}}": "sum by (model) (altclip_worker_up)"},
                kind="stat",
                width=4,
            ),
            Panel(
                "Pods by version",
                "Two versions: a rollout.",
                "none",
                {"{{version}}": "count by (version) (altclip_build_info)"},
                kind="stat",
                width=4,
            ),
            Panel(
                "Memory in use",
                "Of the container's limit, or the machine's; the pod that is nearest to it.",
                "percentunit",
                {"": "max(altclip:memory:ratio)"},
                kind="stat",
                width=4,
            ),
            Panel(
                "Damaged files",
                "An older version of the file is in use.",
                "none",
                {"{{file}}": "max by (file) (altclip_file_stale)"},
                kind="stat",
                width=4,
            ),
            Panel(
                "Certificate expires in",
                "The first to do so; nothing without TLS.",
                "s",
                {"": "min(altclip_tls_certificate_expiry_timestamp_seconds > 0) - time()"},
                kind="stat",
                width=4,
            ),
            Panel(
                "Last batch ended ago",
                "Of each model; long where nobody calls.",
                "s",
                {"{{model}}": "time() - max by (model) (altclip_last_batch_timestamp_seconds > 0)"},
                kind="stat",
                width=4,
            ),
        ),
    ),
    Row(
        "Processes",
        (
            Panel(
                "Processes that were replaced",
                "In the last hour. Each had ended, or was killed because it hung.",
                "none",
                {
                    "worker {{model}}": "sum by (model) (increase(altclip_worker_restarts_total[1h]))",
                    "frontend": "sum (increase(altclip_frontend_restarts_total[1h]))",
                    "decoder": "sum (increase(altclip_decoder_restarts_total[1h]))",
                },
            ),
            Panel(
                "Oldest item in work",
                "Grows although its worker hangs; at --hang-timeout the worker is replaced.",
                "s",
                {"{{instance}} {{model}}": "altclip_oldest_inflight_seconds"},
            ),
            Panel(
                "Memory",
                "In use, and the limit that is nearest to being reached.",
                "bytes",
                {
                    "{{instance}}": "altclip_memory_bytes",
                    "limit of {{instance}}": "altclip_memory_limit_bytes",
                },
            ),
        ),
    ),
    Row(
        "Queue",
        (
            Panel(
                "Items that wait",
                "In the workers' queues.",
                "none",
                {"{{model}} {{modality}}": "sum by (model, modality) (altclip_queue_depth)"},
                stacked=True,
            ),
            Panel(
                "Wait, interactive",
                "Before the batch begins. What autoscaling looks at.",
                "s",
                quantiles("altclip_queue_wait_seconds", "modality", 'priority="interactive"', of=(0.5, 0.9)),
            ),
            Panel(
                "Wait, bulk",
                "Streams and calls of low priority: they may wait.",
                "s",
                quantiles("altclip_queue_wait_seconds", "modality", 'priority="bulk"', of=(0.5, 0.9)),
            ),
        ),
    ),
    Row(
        "Batches and the device",
        (
            Panel(
                "Items in a batch",
                "Mean. Small ones on a busy GPU waste it.",
                "none",
                {"{{model}} {{modality}}": mean("altclip_batch_size", "model, modality")},
            ),
            Panel(
                "Tokens in a batch of texts",
                "How full batches are, against --batch-tokens.",
                "none",
                quantiles("altclip_batch_tokens", "model", of=(0.5, 0.9)),
            ),
            Panel(
                "Time of a batch",
                "From its start on the device to its results.",
                "s",
                quantiles("altclip_batch_duration_seconds", "modality", of=(0.5, 0.9)),
            ),
            Panel(
                "Batches",
                "A second.",
                "none",
                {"{{model}} {{modality}}": rate("altclip_batch_duration_seconds_count", "model, modality")},
            ),
            Panel(
                "Device busy",
                "Seconds of computing a second: 1 is one worker that never rests.",
                "none",
                {"{{model}} {{modality}}": "altclip:device_busy:rate5m"},
                stacked=True,
            ),
            Panel(
                "Items computed",
                "A second, that ended well.",
                "none",
                {"{{model}} {{modality}}": rate("altclip_items_total", "model, modality", 'outcome="ok"')},
                stacked=True,
            ),
        ),
    ),
    Row(
        "Inputs",
        (
            Panel(
                "Decoders that ended",
                "A second. Each cost the image that it worked on.",
                "none",
                {"{{instance}}": rate("altclip_decoder_restarts_total", "instance")},
            ),
            Panel(
                "Cache",
                "Lookups that were hits, of content and of class labels.",
                "percentunit",
                {"hits": share("altclip_cache_lookups_total", 'result="hit"')},
            ),
            Panel(
                "Images behind addresses",
                "Fetched, or not, a second.",
                "none",
                {"{{fetch}}": rate("altclip_image_fetches_total", "fetch")},
                stacked=True,
            ),
        ),
    ),
    Row(
        "Callers and books",
        (
            Panel(
                "Calls by caller and code",
                "All but OK.",
                "reqps",
                {
                    "{{caller}} {{code}}": rate("altclip_caller_requests_total", "caller, code", 'code!="OK"')
                    + " > 0"
                },
            ),
            Panel(
                "Items by outcome",
                "Of items that were accepted, a second.",
                "none",
                {"{{outcome}}": rate("altclip_items_total", "outcome")},
                stacked=True,
            ),
            Panel(
                "Items under way",
                "Accepted and not ended; and those that workers have. Both are 0 where nothing is called.",
                "none",
                {
                    "under way": "sum(altclip_items_accepted_total) - sum(altclip_items_total)",
                    "in slots": "sum(altclip_slots_in_use)",
                },
            ),
            Panel(
                "Files that were read again",
                "Keys and certificates, in the last hour.",
                "none",
                {
                    "{{file}}": "sum by (file) (increase(altclip_file_reloads_total[1h]))",
                    "{{file}}, unusable": "sum by (file) (increase(altclip_file_reload_failures_total[1h]))",
                },
            ),
            Panel(
                "Spans of traced calls",
                "Sent to the collector, or lost on the way there, a second.",
                "none",
                {"{{outcome}}": rate("altclip_spans_total", "outcome")},
            ),
            Panel(
                "Autoscaling looks at",
                "The wait of nine of ten interactive items.",
                "s",
                {"{{model}} {{modality}}": "altclip:queue_wait_seconds:p90_5m"},
            ),
        ),
    ),
)
