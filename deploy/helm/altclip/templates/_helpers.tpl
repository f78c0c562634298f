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
app.kubernetes.io/name: {{ include "altclip.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The pods that serve, apart from those of tests and bulk jobs. */}}
{{- define "altclip.selector" -}}
{{ include "altclip.ours" . }}
app.kubernetes.io/component: server
{{- end -}}

{{/* A metadata block without its name: (dict "root" $ "component" "server" "annotations" … "labels" …). */}}
{{- define "altclip.metadata" -}}
{{- $root := .root -}}
namespace: {{ default $root.Release.Namespace .namespace }}
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

{{/* A number as it was written: Helm reads 25000000 as a floating point number. */}}
{{- define "altclip.scalar" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
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

{{- define "altclip.hasDownloads" -}}
{{- range .Values.models }}{{ if .download }}true{{ end }}{{ end -}}
{{- end -}}

{{/* Seconds that a pod may take to end: until it hears of it, its grace, and what is left to reap processes. */}}
{{- define "altclip.terminationSeconds" -}}
{{- add (int .Values.preStopSeconds) (int .Values.drainSeconds) 10 -}}
{{- end -}}
