{{/* How this release's own clients, `helm test` and bulk jobs, reach a service that is encrypted. All but the first take
(dict "root" $ "certificate" …), which is the name of a secret with a client's certificate, or "". */}}

{{/* The secret with the authority that they trust; "" for those that the system trusts. */}}
{{- define "altclip.caSecret" -}}
{{- if .Values.tls.caSecret -}}
{{- .Values.tls.caSecret -}}
{{- else if .Values.tls.certManager.enabled -}}
{{- include "altclip.tlsSecret" . -}}
{{- end -}}
{{- end -}}

{{/* Options of `altclip`. */}}
{{- define "altclip.clientArguments" -}}
{{- if .root.Values.tls.enabled }}
{{- if include "altclip.caSecret" .root }}
- --root-certificates=/secrets/ca/ca.crt
{{- else }}
- --tls
{{- end }}
{{- if .certificate }}
- --certificate=/secrets/client/tls.crt
- --key=/secrets/client/tls.key
{{- end }}
{{- end }}
{{- end -}}

{{- define "altclip.clientMounts" -}}
{{- if .root.Values.tls.enabled }}
{{- if include "altclip.caSecret" .root }}
- name: service-ca
  mountPath: /secrets/ca
  readOnly: true
{{- end }}
{{- if .certificate }}
- name: client-certificate
  mountPath: /secrets/client
  readOnly: true
{{- end }}
{{- end }}
{{- end -}}

{{- define "altclip.clientVolumes" -}}
{{- if .root.Values.tls.enabled }}
{{- with include "altclip.caSecret" .root }}
# The authority's certificate alone: the key is none of a client's business.
- name: service-ca
  secret:
    secretName: {{ . | quote }}
    items: [{key: {{ $.root.Values.tls.caKey | quote }}, path: ca.crt}]
{{- end }}
{{- with .certificate }}
- name: client-certificate
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end -}}
