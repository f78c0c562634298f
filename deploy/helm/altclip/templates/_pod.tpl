{{/* The pod that serves, for Deployment and StatefulSet. */}}

{{- define "altclip.arguments" -}}
{{- $v := .Values -}}
{{- range $v.models }}
{{- if .download }}
- {{ printf "--model=%s=/models/%s" .name .name }}
{{- else if or .pvc .image }}
- {{ printf "--model=%s=/weights/%s" .name .name }}
{{- else }}
- {{ printf "--model=%s=bundled" .name }}
{{- end }}
{{- end }}
{{- if not (hasKey $v.settings "device") }}
{{- range $device := until (int $v.gpu.count) }}
- {{ printf "--device=cuda:%d" $device }}
{{- end }}
{{- end }}
{{- if not $v.http.enabled }}
- --http-address=off
{{- end }}
- --grace={{ int $v.drainSeconds }}
{{- if include "altclip.hasKeys" . }}
- --api-keys=/secrets/keys/{{ $v.apiKeys.secretKey }}
{{- end }}
{{- if $v.tls.enabled }}
- --tls-certificate=/secrets/tls/tls.crt
- --tls-key=/secrets/tls/tls.key
{{- if $v.tls.clientCASecret }}
- --tls-client-ca=/secrets/client-ca/{{ $v.tls.clientCAKey }}
{{- end }}
{{- end }}
{{- range $name, $value := $v.settings }}
{{- if kindIs "slice" $value }}
{{- range $value }}
- {{ printf "--%s=%s" $name (include "altclip.scalar" .) | quote }}
{{- end }}
{{- else if not (kindIs "invalid" $value) }}
- {{ printf "--%s=%s" $name (include "altclip.scalar" $value) | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "altclip.resources" -}}
{{- $given := deepCopy .Values.resources -}}
{{- if gt (int .Values.gpu.count) 0 -}}
{{- $devices := dict .Values.gpu.resource (.Values.gpu.count | int | toString) -}}
{{- $given = mergeOverwrite $given (dict "limits" (merge (dict) (default (dict) $given.limits) $devices)) -}}
{{- $given = mergeOverwrite $given (dict "requests" (merge (dict) (default (dict) $given.requests) $devices)) -}}
{{- end -}}
{{- toYaml $given -}}
{{- end -}}

{{- define "altclip.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if include "altclip.hasDownloads" . }}
- name: models
  mountPath: /models
{{- end }}
{{- end -}}

{{- define "altclip.pod" -}}
{{- $v := .Values -}}
metadata:
  labels:
    {{- include "altclip.selector" . | nindent 4 }}
    app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
    {{- with merge (dict) $v.podLabels $v.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $scraped := ternary (dict "prometheus.io/scrape" "true" "prometheus.io/port" "9464") (dict) $v.monitoring.podAnnotations }}
  {{- with merge (dict) $v.podAnnotations $v.commonAnnotations $scraped }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "altclip.serviceAccount" . | quote }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $v.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml $v.podSecurityContext | nindent 4 }}
  {{- with include "altclip.placement" $v }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with $v.topologySpread }}
  topologySpreadConstraints:
    {{- range . }}
    - {{- toYaml . | nindent 6 }}
      labelSelector:
        matchLabels:
          {{- include "altclip.selector" $ | nindent 10 }}
      {{- if eq $v.kind "Deployment" }}
      matchLabelKeys: [pod-template-hash]
      {{- end }}
    {{- end }}
  {{- end }}
  # preStop, then the server's grace, then what is left to reap processes.
  terminationGracePeriodSeconds: {{ include "altclip.terminationSeconds" . }}
  {{- if or (include "altclip.hasDownloads" .) $v.extraInitContainers }}
  initContainers:
    {{- with $v.extraInitContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- range $index, $model := $v.models }}
    {{- with $model.download }}
    - name: download-{{ $index }}
      image: {{ include "altclip.serverImage" $ }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      args:
        - convert
        # Does nothing where an earlier pod of this claim has left these weights.
        - --keep
        - {{ printf "%s@%s" .source .revision }}
        - /models/{{ $model.name }}
      {{- if or $v.hub.endpoint $v.hub.tokenSecret $v.hub.extraEnv }}
      env:
        {{- with $v.hub.endpoint }}
        - name: HF_ENDPOINT
          value: {{ . | quote }}
        {{- end }}
        {{- with $v.hub.tokenSecret }}
        - name: HF_TOKEN
          valueFrom:
            secretKeyRef:
              name: {{ . | quote }}
              key: {{ $v.hub.tokenKey | quote }}
        {{- end }}
        {{- with $v.hub.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      resources:
        {{- toYaml $v.downloadResources | nindent 8 }}
      securityContext:
        {{- toYaml $v.securityContext | nindent 8 }}
      volumeMounts:
        {{- include "altclip.mounts" $ | nindent 8 }}
        {{- with $v.hub.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- end }}
    {{- end }}
  {{- end }}
  containers:
    - name: altclip
      image: {{ include "altclip.serverImage" . }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      args:
        {{- include "altclip.arguments" . | nindent 8 }}
      env:
        # Weights come from the volumes below; nothing is fetched while it serves.
        - name: HF_HUB_OFFLINE
          value: "1"
        {{- with $v.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $v.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: grpc
          containerPort: 50051
        {{- if $v.http.enabled }}
        - name: http
          containerPort: 8080
        {{- end }}
        - name: ops
          containerPort: 9464
      # All three ask the operations port, which never is encrypted and asks for no key. Ready means that every model
      # has a worker that is warm, that a frontend listens, and that the service does not drain.
      startupProbe:
        httpGet:
          path: /readyz
          port: ops
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: {{ div (add (int $v.probes.startupSeconds) 1) 2 }}
      readinessProbe:
        httpGet:
          path: /readyz
          port: ops
        periodSeconds: {{ int $v.probes.readinessPeriodSeconds }}
        timeoutSeconds: 2
        failureThreshold: {{ int $v.probes.readinessFailures }}
      livenessProbe:
        httpGet:
          path: /livez
          port: ops
        periodSeconds: {{ int $v.probes.livenessPeriodSeconds }}
        timeoutSeconds: 2
        failureThreshold: {{ int $v.probes.livenessFailures }}
      {{- if gt (int $v.preStopSeconds) 0 }}
      lifecycle:
        preStop:
          # The image has no program to wait with: the kubelet does it.
          sleep:
            seconds: {{ int $v.preStopSeconds }}
      {{- end }}
      resources:
        {{- include "altclip.resources" . | nindent 8 }}
      securityContext:
        {{- toYaml $v.securityContext | nindent 8 }}
      volumeMounts:
        {{- include "altclip.mounts" . | nindent 8 }}
        {{- range $index, $model := $v.models }}
        {{- if or $model.pvc $model.image }}
        - name: weights-{{ $index }}
          mountPath: /weights/{{ $model.name }}
          readOnly: true
          {{- with (coalesce $model.pvc $model.image).path }}
          subPath: {{ . | quote }}
          {{- end }}
        {{- end }}
        {{- end }}
        {{- if include "altclip.hasKeys" . }}
        - name: keys
          mountPath: /secrets/keys
          readOnly: true
        {{- end }}
        {{- if $v.tls.enabled }}
        - name: tls
          mountPath: /secrets/tls
          readOnly: true
        {{- if $v.tls.clientCASecret }}
        - name: client-ca
          mountPath: /secrets/client-ca
          readOnly: true
        {{- end }}
        {{- end }}
        {{- with $v.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $v.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: 256Mi
    {{- if and (include "altclip.hasDownloads" .) (not $v.storage.persistent) }}
    - name: models
      emptyDir:
        sizeLimit: {{ $v.storage.size }}
    {{- end }}
    {{- range $index, $model := $v.models }}
    {{- with $model.pvc }}
    - name: weights-{{ $index }}
      persistentVolumeClaim:
        claimName: {{ .claimName | quote }}
        readOnly: true
    {{- end }}
    {{- with $model.image }}
    - name: weights-{{ $index }}
      image:
        reference: {{ .reference | quote }}
        pullPolicy: {{ default "IfNotPresent" .pullPolicy }}
    {{- end }}
    {{- end }}
    {{- if include "altclip.hasKeys" . }}
    - name: keys
      secret:
        secretName: {{ include "altclip.keysSecret" . | quote }}
        # The group of the service, and nobody else.
        defaultMode: 0440
    {{- end }}
    {{- if $v.tls.enabled }}
    - name: tls
      secret:
        secretName: {{ include "altclip.tlsSecret" . | quote }}
        defaultMode: 0440
    {{- if $v.tls.clientCASecret }}
    - name: client-ca
      secret:
        secretName: {{ $v.tls.clientCASecret | quote }}
        defaultMode: 0440
    {{- end }}
    {{- end }}
    {{- with $v.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
