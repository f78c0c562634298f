{{/* What values.schema.json cannot say: values that do not go together. Renders nothing. */}}
{{- define "altclip.checks" -}}
{{- $v := .Values -}}
{{- /* Also where a tool does not look at kubeVersion. */ -}}
{{- if semverCompare "<1.31.0-0" .Capabilities.KubeVersion.Version -}}
{{- fail (printf "the chart needs Kubernetes 1.31 or newer, this is %s" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and $v.storage.persistent (ne $v.kind "StatefulSet") -}}
{{- fail "storage.persistent: each pod of a StatefulSet has a claim of its own, so set kind: StatefulSet" -}}
{{- end -}}
{{- $names := list -}}
{{- range $index, $model := $v.models -}}
{{- if has $model.name $names -}}
{{- fail (printf "models[%d].name: two models are called %s" $index $model.name) -}}
{{- end -}}
{{- $names = append $names $model.name -}}
{{- if and $model.image (semverCompare "<1.33.0-0" $.Capabilities.KubeVersion.Version) -}}
{{- fail (printf "models[%d].image: image volumes need Kubernetes 1.33 or newer, this is %s" $index $.Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end -}}
{{- if and $v.apiKeys.existingSecret $v.apiKeys.lines -}}
{{- fail "apiKeys.existingSecret, apiKeys.lines: give one of them" -}}
{{- end -}}
{{- if and $v.tls.enabled (not $v.tls.certManager.enabled) (not $v.tls.existingSecret) -}}
{{- fail "tls.existingSecret: name the secret with the certificate, or set tls.certManager.enabled" -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.enabled) -}}
{{- fail "tls.certManager.enabled: the certificate is not used without tls.enabled" -}}
{{- end -}}
{{- if and $v.tls.clientCASecret (not $v.tls.enabled) -}}
{{- fail "tls.clientCASecret: client certificates need tls.enabled" -}}
{{- end -}}
{{- if and $v.tls.caSecret (not $v.tls.enabled) -}}
{{- fail "tls.caSecret: clients trust it where tls.enabled is set" -}}
{{- end -}}
{{- if and $v.tls.clientCASecret $v.bulk.jobs (not $v.bulk.clientCertificateSecret) -}}
{{- fail "bulk.clientCertificateSecret: tls.clientCASecret asks every client for a certificate, so name one for bulk.jobs" -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.issuerRef.name: name the issuer" -}}
{{- end -}}
{{- range $route := list "grpc" "http" -}}
{{- $given := index $v.gateway $route -}}
{{- if and $given.enabled (not $given.parentRefs) -}}
{{- fail (printf "gateway.%s.parentRefs: name the gateway that takes the route" $route) -}}
{{- end -}}
{{- if and (index $v.ingress $route).enabled (not (index $v.ingress $route).hosts) -}}
{{- fail (printf "ingress.%s.hosts: give at least one host name" $route) -}}
{{- end -}}
{{- end -}}
{{- if and (not $v.http.enabled) (or $v.gateway.http.enabled $v.ingress.http.enabled) -}}
{{- fail "http.enabled: a route or ingress for HTTP leads nowhere without it" -}}
{{- end -}}
{{- if and $v.http.enabled (eq (int $v.service.grpcPort) (int $v.service.httpPort)) -}}
{{- fail "service.httpPort: gRPC has this port already (service.grpcPort)" -}}
{{- end -}}
{{- if and $v.service.loadBalancerSourceRanges (ne $v.service.type "LoadBalancer") -}}
{{- fail "service.loadBalancerSourceRanges: only a service of the type LoadBalancer has them; networkPolicy.from is for the others" -}}
{{- end -}}
{{- if and $v.service.externalTrafficPolicy (eq $v.service.type "ClusterIP") -}}
{{- fail "service.externalTrafficPolicy: a service of the type ClusterIP has no traffic from outside" -}}
{{- end -}}
{{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas: must not be above autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and $v.autoscaling.keda.authenticationRef (not $v.autoscaling.keda.authModes) -}}
{{- fail "autoscaling.keda.authModes: say how KEDA shows Prometheus who it is: bearer, basic, tls or custom; none where autoscaling.keda.authenticationRef names an identity of the cloud" -}}
{{- end -}}
{{- if and $v.autoscaling.keda.authModes (not $v.autoscaling.keda.authenticationRef) -}}
{{- fail "autoscaling.keda.authenticationRef: autoscaling.keda.authModes needs what it names" -}}
{{- end -}}
{{- if and (eq $v.autoscaling.kind "keda") (not $v.monitoring.serviceMonitor.enabled) (not $v.autoscaling.keda.query) -}}
{{- fail "autoscaling.keda.query: the chart's own question needs the labels that monitoring.serviceMonitor gives to series: enable that, or ask a question of your own" -}}
{{- end -}}
{{- end -}}
