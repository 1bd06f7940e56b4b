{{/* Names and labels. */}}
{{- define "lethe.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "lethe.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "lethe.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "lethe.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* What selects the pods of a release: never changes. */}}
{{- define "lethe.instance" -}}
app.kubernetes.io/name: {{ include "lethe.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of one component; takes (dict "root" $ "component" "intake"). */}}
{{- define "lethe.selector" -}}
{{ include "lethe.instance" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "lethe.labels" -}}
{{ include "lethe.selector" . }}
app.kubernetes.io/part-of: lethe
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Of a pod; takes root, component and extra. */}}
{{- define "lethe.podLabels" -}}
{{ include "lethe.labels" . }}
{{- with .extra.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "lethe.serviceAccount" -}}
{{ include "lethe.fullname" .root }}-{{ .component }}
{{- end }}

{{/* Secrets, whoever fills them. */}}
{{- define "lethe.databaseSecret" -}}
{{ .Values.database.existingSecret | default (printf "%s-database" (include "lethe.fullname" .)) }}
{{- end }}

{{- define "lethe.keysSecret" -}}
{{ .Values.keys.existingSecret | default (printf "%s-keys" (include "lethe.fullname" .)) }}
{{- end }}

{{/* Of the database for trying out: Service, StatefulSet and all. */}}
{{- define "lethe.postgresql" -}}
{{ include "lethe.fullname" . }}-postgresql
{{- end }}

{{/* A claim; takes root and name. */}}
{{- define "lethe.claim" -}}
{{- $claim := index .root.Values.storage .name -}}
{{ $claim.existingClaim | default (printf "%s-%s" (include "lethe.fullname" .root) .name) }}
{{- end }}

{{/* Takes root and image. */}}
{{- define "lethe.image" -}}
{{- $repository := .image.repository -}}
{{- with .root.Values.global.imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- if .image.digest -}}
{{ printf "%s@%s" $repository .image.digest }}
{{- else -}}
{{ printf "%s:%s" $repository (.image.tag | default .root.Chart.AppVersion) }}
{{- end -}}
{{- end }}

{{- define "lethe.gpuImage" -}}
{{- ternary .Values.gpuImage .Values.image (ne .Values.gpuImage.repository "") | toYaml -}}
{{- end }}

{{/* transformers or vllm. */}}
{{- define "lethe.engine" -}}
{{ dig "serving" "engine" "transformers" .Values.config }}
{{- end }}
