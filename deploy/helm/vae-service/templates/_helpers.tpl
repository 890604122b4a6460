{{/* Name of every object: that of the release, with the chart's unless it contains it. */}}
{{- define "vae.name" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change: a selector cannot. */}}
{{- define "vae.selector" -}}
app.kubernetes.io/name: vae-service
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "vae.labels" -}}
{{ include "vae.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "vae.claim" -}}
{{- default (printf "%s-models" (include "vae.name" .)) .Values.store.volume.claim -}}
{{- end -}}
