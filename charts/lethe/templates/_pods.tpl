{{/* What pods have in common. */}}
{{- define "lethe.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.podSecurity.runAsUser }}
runAsGroup: {{ .Values.podSecurity.runAsGroup }}
fsGroup: {{ .Values.podSecurity.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "lethe.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The head of every pod spec; takes root and component. */}}
{{- define "lethe.podHead" -}}
serviceAccountName: {{ include "lethe.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- include "lethe.podSecurity" .root | nindent 2 }}
{{- end }}

{{/* Takes the scheduling values. */}}
{{- define "lethe.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Takes resources and, where there is one, gpu: its request and limit are equal. */}}
{{- define "lethe.resources" -}}
{{- $gpu := dict -}}
{{- if and .gpu (gt (int .gpu.count) 0) -}}
{{- $gpu = dict .gpu.resource (int .gpu.count) -}}
{{- end -}}
{{- dict "requests" (merge (dict) $gpu .resources.requests) "limits" (merge (dict) $gpu .resources.limits) | toYaml -}}
{{- end }}

{{/* Every container of Lethe's own: image, place, security. Takes root and image. */}}
{{- define "lethe.container" -}}
image: {{ include "lethe.image" . }}
imagePullPolicy: {{ .image.pullPolicy }}
workingDir: {{ .root.Values.sourceDirectory }}
securityContext:
  {{- include "lethe.containerSecurity" . | nindent 2 }}
{{- end }}

{{/* Writable places of a read-only container. */}}
{{- define "lethe.scratchMounts" -}}
- name: tmp
  mountPath: /tmp
- name: shm
  mountPath: /dev/shm
{{- end }}

{{- define "lethe.scratchVolumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 4Gi
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ .shm }}
{{- end }}

{{/* A probe of one of BentoML's paths; takes path. */}}
{{- define "lethe.get" -}}
httpGet:
  path: {{ .path }}
  port: http
{{- end }}

{{- define "lethe.probes" -}}
startupProbe:
  {{- include "lethe.get" (dict "path" "/livez") | nindent 2 }}
  periodSeconds: 2
  failureThreshold: 90
  timeoutSeconds: 5
livenessProbe:
  {{- include "lethe.get" (dict "path" "/livez") | nindent 2 }}
  periodSeconds: 10
  failureThreshold: 6
  timeoutSeconds: 5
readinessProbe:
  {{- include "lethe.get" (dict "path" "/readyz") | nindent 2 }}
  periodSeconds: 3
  failureThreshold: 2
  timeoutSeconds: 5
{{- end }}

{{/* How a service starts; takes root, service, port and grace. */}}
{{- define "lethe.serve" -}}
- bentoml
- serve
- {{ .service }}
- --host
- {{ ternary "::" "0.0.0.0" .root.Values.ipv6 | quote }}
- --port
- {{ .port | quote }}
- --timeout-graceful-shutdown
- {{ .grace | quote }}
{{- end }}
