{{/* Names and labels. Every template takes the root context, unless it says otherwise. */}}

{{- define "altclip.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters, so that a suffix and what Kubernetes adds to it still fit. */}}
{{- define "altclip.fullname" -}}
{{- $name := include "altclip.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "altclip.headless" -}}
{{- include "altclip.fullname" . }}-headless
{{- end -}}

{{- define "altclip.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "altclip.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What all objects of a release share. */}}
{{- define "altclip.ours" -}}
app.kubernetes.io/name: {{ include "altclip.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The pods that serve, apart from those of tests and bulk jobs. */}}
{{- define "altclip.selector" -}}
{{ include "altclip.ours" . }}
app.kubernetes.io/component: server
{{- end -}}

{{/* A metadata block without its name: (dict "root" $ "component" "server" "annotations" … "labels" …). */}}
{{- define "altclip.metadata" -}}
{{- $root := .root -}}
namespace: {{ default $root.Release.Namespace .namespace | quote }}
labels:
  helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
  app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ $root.Release.Service }}
  {{- include "altclip.ours" $root | nindent 2 }}
  app.kubernetes.io/component: {{ default "server" .component }}
  {{- with $root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $annotations := merge (dict) (default (dict) .annotations) $root.Values.commonAnnotations }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The same of the pods of bulk jobs. */}}
{{- define "altclip.bulkPodMetadata" -}}
labels:
  {{- include "altclip.ours" . | nindent 2 }}
  app.kubernetes.io/component: bulk
  {{- with .Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Another name for each content, for what cannot be changed: (dict "root" $ "kind" "bulk" "name" … "fixed" TEXT "most"
CHARACTERS). Of a release's long name as much is left as there is room for. */}}
{{- define "altclip.jobName" -}}
{{- $tail := printf "-%s-%s-%s" .kind .name (sha256sum .fixed | trunc 8) -}}
{{- include "altclip.fullname" .root | trunc (int (sub .most (len $tail))) | trimSuffix "-" -}}
{{- $tail -}}
{{- end -}}

{{/* Which nodes are for a pod, and how it is run there: what is given of these in a dict. */}}
{{- define "altclip.placement" -}}
{{- $given := . -}}
{{- $found := dict -}}
{{- range $name := list "nodeSelector" "tolerations" "affinity" "priorityClassName" "runtimeClassName" -}}
{{- with index $given $name -}}
{{- $_ := set $found $name . -}}
{{- end -}}
{{- end -}}
{{- with $found -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{/* repository:tag or repository:tag@digest of (dict "root" $ "image" … "suffix" "-cuda"). */}}
{{- define "altclip.image" -}}
{{- $tag := default (print .root.Chart.AppVersion (default "" .suffix)) .image.tag -}}
{{- printf "%s:%s" .image.repository $tag -}}
{{- with .image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{- define "altclip.serverImage" -}}
{{- $suffix := ternary "-cuda" "" (gt (int .Values.gpu.count) 0) -}}
{{- include "altclip.image" (dict "root" . "image" .Values.image "suffix" $suffix) -}}
{{- end -}}

{{/* A value as it was written. Helm reads 25000000 as a floating point number, and would write 0.00001 with an exponent;
on and off are truth values to YAML. */}}
{{- define "altclip.scalar" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else if kindIs "float64" . -}}
{{- regexReplaceAll "[.]?0+$" (printf "%.9f" .) "" -}}
{{- else if kindIs "bool" . -}}
{{- ternary "on" "off" . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{- define "altclip.tlsSecret" -}}
{{- default (print (include "altclip.fullname" .) "-tls") .Values.tls.existingSecret -}}
{{- end -}}

{{- define "altclip.keysSecret" -}}
{{- default (print (include "altclip.fullname" .) "-keys") .Values.apiKeys.existingSecret -}}
{{- end -}}

{{- define "altclip.hasKeys" -}}
{{- if or .Values.apiKeys.existingSecret .Values.apiKeys.lines }}true{{ end -}}
{{- end -}}

{{/* Whether there is a `helm test`: with mutual TLS it needs a certificate of its own. */}}
{{- define "altclip.hasTest" -}}
{{- if or (not .Values.tls.clientCASecret) .Values.test.clientCertificateSecret }}true{{ end -}}
{{- end -}}

{{- define "altclip.hasDownloads" -}}
{{- range .Values.models }}{{ if .download }}true{{ end }}{{ end -}}
{{- end -}}

{{/* How many pods the workload has. With an autoscaler that is the autoscaler's to say: what is there stays, and a new one
leaves it out. Left out of one that had it, it would be 1 until the autoscaler looks again. */}}
{{- define "altclip.replicas" -}}
{{- if eq .Values.autoscaling.kind "none" -}}
{{- int .Values.replicas -}}
{{- else -}}
{{- with lookup "apps/v1" .Values.kind .Release.Namespace (include "altclip.fullname" .) -}}
{{- int .spec.replicas -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Seconds that a pod may take to end: until it hears of it, its grace, and what is left to reap processes. */}}
{{- define "altclip.terminationSeconds" -}}
{{- add (int .Values.preStopSeconds) (int .Values.drainSeconds) 10 -}}
{{- end -}}
