{{/* Egress that nearly every pod needs: names, and the database. */}}
{{- define "lethe.toNames" -}}
- to:
    {{- toYaml .Values.networkPolicy.dnsTo | nindent 4 }}
  ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end }}

{{- define "lethe.toStore" -}}
{{ include "lethe.toNames" . }}
- to:
    {{- if .Values.tryout.postgresql.enabled }}
    {{- include "lethe.peer" (dict "root" . "component" "postgresql") | nindent 4 }}
    {{- else }}
    {{- toYaml .Values.networkPolicy.databaseTo | nindent 4 }}
    {{- end }}
  ports:
    - port: {{ .Values.networkPolicy.databasePort }}
      protocol: TCP
{{- end }}

{{- define "lethe.toCollector" -}}
{{- with .Values.networkPolicy.telemetryTo }}
- to:
    {{- toYaml . | nindent 4 }}
  ports:
    - port: {{ $.Values.networkPolicy.telemetryPort }}
      protocol: TCP
{{- end }}
{{- end }}

{{/* A peer that is another component; takes root and component. */}}
{{- define "lethe.peer" -}}
- podSelector:
    matchLabels:
      {{- include "lethe.selector" . | nindent 6 }}
{{- end }}
