{{- define "commerce.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "commerce.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What a Deployment and its Service find each other by. Takes (list $ component). */}}
{{- define "commerce.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: commerce
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "commerce.labels" -}}
{{- $root := index . 0 -}}
{{ include "commerce.selector" . }}
app.kubernetes.io/version: {{ $root.Values.image.tag | default $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end }}

{{/* stock.hold_seconds is COMMERCE_STOCK__HOLD_SECONDS. */}}
{{- define "commerce.variable" -}}
COMMERCE_{{ . | upper | replace "." "__" }}
{{- end }}

{{/* The settings that pods need to be reached and to end in time; those of the values win. */}}
{{- define "commerce.settings" -}}
{{- $ours := dict "metrics.worker_host" "0.0.0.0" -}}
{{- if .Values.realtime.enabled -}}
{{- $_ := set $ours "realtime.host" "0.0.0.0" -}}
{{- $_ := set $ours "realtime.drain_seconds" .Values.realtime.drainSeconds -}}
{{- if .Values.ingress.enabled -}}
{{- $_ := set $ours "realtime.public_tls" (ternary "true" "false" (ne .Values.ingress.tlsSecret "")) -}}
{{- $_ := set $ours "realtime.public_port" (ternary 443 80 (ne .Values.ingress.tlsSecret "")) -}}
{{- end -}}
{{- end -}}
{{- range $key, $value := merge (dict) .Values.settings $ours }}
{{ include "commerce.variable" $key }}: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{- define "commerce.secretVariables" -}}
{{- range $key, $source := .Values.secretSettings }}
- name: {{ include "commerce.variable" $key }}
  valueFrom: {secretKeyRef: {name: {{ $source.secret }}, key: {{ $source.key }}}}
{{- end }}
{{- if .Values.trial.postgresql.enabled }}
- name: COMMERCE_SQLALCHEMY__URL
  valueFrom: {secretKeyRef: {name: {{ include "commerce.name" . }}-postgresql, key: url}}
{{- end }}
{{- if .Values.trial.redis.enabled }}
- name: COMMERCE_REDIS__URL
  value: redis://{{ include "commerce.name" . }}-redis:6379/0
{{- end }}
{{- end }}

{{/* The parts of a pod's spec that all share. Takes (list $ component). */}}
{{- define "commerce.podSpec" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "commerce.name" $root }}{{ if eq (index . 1) "migration" }}-migration{{ end }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "commerce.selector" . | nindent 8 }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  # Processes count their metrics in files here.
  - name: tmp
    emptyDir: {}
{{- end }}

{{/* The parts of a container that all share. Takes (list $ name-of-the-config-map). */}}
{{- define "commerce.container" -}}
{{- $root := index . 0 -}}
image: {{ include "commerce.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
envFrom:
  - configMapRef: {name: {{ index . 1 }}}
env:
  - {name: TMPDIR, value: /tmp}
  {{- include "commerce.secretVariables" $root | nindent 2 }}
  {{- with $root.Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
{{- end }}

{{/* Which versions of your Secrets there are, as far as Helm may ask the cluster: never what is in them. */}}
{{- define "commerce.secretVersions" -}}
{{- range $key, $source := .Values.secretSettings }}
{{- with lookup "v1" "Secret" $.Release.Namespace $source.secret }}
{{ $source.secret }}: {{ .metadata.uid }} {{ .metadata.resourceVersion }}
{{- end }}
{{- end }}
{{- end }}

{{/* A pod that runs with other settings is another pod. Takes (list $ component). */}}
{{- define "commerce.podMetadata" -}}
{{- $root := index . 0 -}}
labels: {{- include "commerce.labels" . | nindent 2 }}
  {{- with $root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/settings: {{ include "commerce.settings" $root | sha256sum }}
  checksum/secrets: {{ include "commerce.secretVersions" $root | sha256sum }}
  {{- with $root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
