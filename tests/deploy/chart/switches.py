"""Values that turn on each switch of the chart, alone and together with what it needs.

Every test of rendered objects goes over all of them."""

from __future__ import annotations

from typing import Any

COMMIT = "41d03cb9f2d9f904e7c63e90817d4bbed0d4a3a8"
KEY_LINE = "search sha256:" + "0" * 64 + " requests=20/s"
IMAGE_VOLUMES = "1.33"
"""The oldest Kubernetes that has them."""

_MONITORED = {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}
_DATA = {
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
}
_JOB = {
    "name": "captions",
    "input": "/data/in.parquet",
    "output": "/data/out",
    "args": ["--text", "caption"],
    **_DATA,
}

SWITCHES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "stateful set": {"kind": "StatefulSet"},
    "weights on a claim": {
        "models": [{"name": "m9", "pvc": {"claimName": "weights", "path": "altclip-m9"}}],
    },
    "downloaded weights": {
        "models": [{"name": "m9", "download": {"source": "BAAI/AltCLIP-m9", "revision": COMMIT}}],
        "hub": {"endpoint": "https://mirror.example.com", "tokenSecret": "hub"},
    },
    "downloads through a proxy with an authority of its own": {
        "models": [{"name": "m9", "download": {"source": "BAAI/AltCLIP-m9", "revision": COMMIT}}],
        "hub": {
            "extraEnv": [
                {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
                {"name": "SSL_CERT_FILE", "value": "/authority/ca.crt"},
            ],
            "extraVolumeMounts": [{"name": "authority", "mountPath": "/authority", "readOnly": True}],
        },
        "extraVolumes": [{"name": "authority", "configMap": {"name": "authority"}}],
    },
    "downloaded weights on disks of their own": {
        "kind": "StatefulSet",
        "models": [{"name": "m9", "download": {"source": "BAAI/AltCLIP-m9", "revision": COMMIT}}],
        "storage": {"persistent": True, "storageClassName": "fast"},
    },
    "weights in an image": {
        "models": [{"name": "m9", "image": {"reference": "registry.example.com/m9:1", "path": "model"}}],
    },
    "several models": {
        "models": [
            {"name": "m9", "pvc": {"claimName": "weights"}},
            {"name": "en", "download": {"source": "BAAI/AltCLIP", "revision": COMMIT}},
            {"name": "emoji"},
        ],
        "settings": {"alias": ["clip=m9", "small=emoji"], "frontends": 2, "batch-wait": 0.005},
    },
    "devices": {
        "gpu": {"count": 2},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "nodeSelector": {"accelerator": "h200"},
        "runtimeClassName": "nvidia",
    },
    "devices and bulk jobs": {
        "gpu": {"count": 1},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "nodeSelector": {"accelerator": "h200"},
        "runtimeClassName": "nvidia",
        "priorityClassName": "high",
        "bulk": {
            "jobs": [_JOB],
            "rayJobs": [_JOB],
            "ray": {"gpuCount": 1},
            "placement": {
                "nodeSelector": {"pool": "batch"},
                "tolerations": [{"key": "batch", "operator": "Exists"}],
                "priorityClassName": "low",
            },
        },
    },
    "tracing": {
        "settings": {"tracing": True, "trace-ratio": 0.01, "trace-endpoint": "http://collector:4317"},
    },
    "keys in a secret": {"apiKeys": {"existingSecret": "callers", "secretKey": "lines"}},
    "keys in the values": {"apiKeys": {"lines": [KEY_LINE]}},
    "a certificate": {"tls": {"enabled": True, "existingSecret": "altclip-certificate"}},
    "certificates of both sides": {
        "tls": {
            "enabled": True,
            "existingSecret": "altclip-certificate",
            "caSecret": "authority",
            "caKey": "ca.pem",
            "clientCASecret": "clients",
        },
        "test": {"clientCertificateSecret": "test-client", "apiKeySecret": "test-key"},
        "bulk": {"jobs": [_JOB], "clientCertificateSecret": "bulk-client", "apiKeySecret": "bulk-key"},
    },
    "a certificate of cert-manager": {
        "tls": {
            "enabled": True,
            "certManager": {
                "enabled": True,
                "issuerRef": {"name": "ours", "kind": "ClusterIssuer"},
                "dnsNames": ["embed.example.com"],
            },
        },
    },
    "a load balancer": {
        "service": {
            "type": "LoadBalancer",
            "annotations": {"example.com/internal": "true"},
            "loadBalancerSourceRanges": ["10.0.0.0/8", "fd00::/8"],
            "externalTrafficPolicy": "Local",
        },
    },
    "no HTTP": {"http": {"enabled": False}},
    "routes of a gateway": {
        "gateway": {
            "grpc": {"enabled": True, "parentRefs": [{"name": "outer"}], "hostnames": ["grpc.example.com"]},
            "http": {"enabled": True, "parentRefs": [{"name": "outer"}], "path": "/embed"},
        },
    },
    "ingresses": {
        "ingress": {
            "http": {"enabled": True, "className": "nginx", "hosts": ["embed.example.com"]},
            "grpc": {
                "enabled": True,
                "hosts": ["grpc.example.com"],
                "annotations": {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"},
                "tls": [{"secretName": "outer", "hosts": ["grpc.example.com"]}],
            },
        },
    },
    "no disruption budget": {"podDisruptionBudget": {"enabled": False}},
    "a network policy": {
        "networkPolicy": {
            "enabled": True,
            "from": [{"namespaceSelector": {"matchLabels": {"team": "search"}}}],
            "egress": [{"to": [{"podSelector": {}}], "ports": [{"port": 4317, "protocol": "TCP"}]}],
        },
        "settings": {"image-urls": ["https"]},
    },
    "a network policy and other servers": {
        "networkPolicy": {"enabled": True},
        "models": [{"name": "m9", "download": {"source": "BAAI/AltCLIP-m9", "revision": COMMIT}}],
        "hub": {"endpoint": "http://mirror.example.com:8081/hub"},
        "settings": {
            "immich-upstream": "http://immich",
            "tracing": "on",
            "trace-endpoint": "http://collector:4317",
        },
    },
    "an autoscaler": {"autoscaling": {"kind": "hpa", "hpa": {"matchLabels": {"namespace": "search"}}}},
    "KEDA": {"autoscaling": {"kind": "keda"}, "monitoring": _MONITORED},
    "KEDA with a question of one's own": {
        "kind": "StatefulSet",
        "autoscaling": {
            "kind": "keda",
            "keda": {
                "query": "up",
                "authenticationRef": "prometheus",
                "authenticationKind": "ClusterTriggerAuthentication",
                "authModes": "bearer,tls",
            },
        },
    },
    "an autoscaler that waits for long drains": {
        "drainSeconds": 3600,
        "autoscaling": {"kind": "hpa", "hpa": {"cpuPercent": 80}},
    },
    "KEDA that waits for long drains": {
        "drainSeconds": 3600,
        "autoscaling": {"kind": "keda"},
        "monitoring": _MONITORED,
    },
    "a service monitor": {
        "monitoring": {
            "podAnnotations": False,
            "serviceMonitor": {
                "enabled": True,
                "relabelings": [{"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}],
                "metricRelabelings": [
                    {"action": "drop", "sourceLabels": ["__name__"], "regex": "altclip_batch_.*"}
                ],
            },
        },
    },
    "rules": {
        "monitoring": {
            "rules": {
                "enabled": True,
                "labels": {"release": "prometheus"},
                "alertLabels": {"team": "search"},
                "runbookPrefix": "https://git.example.com/altclip/",
                "objectives": {"error_ratio": 0.005, "latency_seconds": 0.25},
                "thresholds": {"certificate_days": 30},
            },
        },
    },
    "dashboards": {"monitoring": {"dashboards": {"enabled": True, "namespace": "grafana"}}},
    "an account of somebody else's": {"serviceAccount": {"create": False, "name": "shared"}},
    "ids that the platform chooses": {
        "podSecurityContext": {
            "runAsUser": None,
            "runAsGroup": None,
            "fsGroup": None,
            "fsGroupChangePolicy": None,
        },
    },
    "additions": {
        "commonLabels": {"team": "search"},
        "commonAnnotations": {"example.com/owner": "search"},
        "imagePullSecrets": [{"name": "registry"}],
        "podLabels": {"tier": "ml"},
        "podAnnotations": {"example.com/note": "yes"},
        "priorityClassName": "high",
        "affinity": {"podAntiAffinity": {}},
        "extraEnv": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4317"}],
        "extraEnvFrom": [{"configMapRef": {"name": "more"}}],
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        "bulk": {"jobs": [_JOB], "rayJobs": [_JOB]},
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": '{{ include "altclip.fullname" . }}-more'},
                "data": {"a": "b"},
            }
        ],
    },
    "an image by its digest": {
        "image": {"repository": "registry.example.com/altclip", "digest": "sha256:" + "1" * 64}
    },
    "a bulk job": {
        "bulk": {"jobs": [_JOB], "apiKeySecret": "bulk"},
        "apiKeys": {"existingSecret": "callers"},
    },
    "a bulk job by index": {
        "bulk": {
            "jobs": [
                _JOB
                | {
                    "input": "/data/$(JOB_COMPLETION_INDEX).parquet",
                    "output": "/data/out/$(JOB_COMPLETION_INDEX)",
                    "completions": 8,
                    "parallelism": 4,
                }
            ]
        },
        "tls": {"enabled": True, "existingSecret": "altclip-certificate"},
    },
    "a bulk job on Ray": {
        "bulk": {
            "rayJobs": [_JOB | {"model": "m9=/data/m9", "workers": 4}],
            "ray": {"gpuCount": 1},
        },
    },
}
