{{/* Environment; takes root and image. A name LETHE_… that is no setting would be refused by Lethe itself. */}}
{{- define "lethe.environment" -}}
- name: LETHE_HOME
  value: /var/lib/lethe
- name: LETHE_KEYS__DIRECTORY
  value: /run/lethe/keys
- name: LETHE_KEYS__KEK_PATH
  value: /run/lethe/keys/kek
- name: LETHE_KEYS__COPIED
  value: "true"
{{- with .image.digest }}
- name: LETHE_DEPLOYMENT__IMAGE_DIGEST
  value: {{ . }}
{{- end }}
- name: HOME
  value: /tmp
- name: USER
  value: lethe
- name: BENTOML_HOME
  value: /dev/shm/bentoml
- name: BENTOML_DO_NOT_TRACK
  value: "True"
- name: GX_ANALYTICS_ENABLED
  value: "false"
- name: HF_HUB_OFFLINE
  value: "1"
- name: MPLCONFIGDIR
  value: /tmp/matplotlib
- name: OMP_WAIT_POLICY
  value: PASSIVE
- name: PYTHONDONTWRITEBYTECODE
  value: "1"
{{- include "lethe.settings" (dict "prefix" "LETHE_" "path" "" "values" .root.Values.config) }}
{{- end }}

{{/* Settings as variables: groups are walked, lists and tables become JSON. */}}
{{- define "lethe.settings" -}}
{{- $tables := list "unlearning.overrides" "corpus.columns" "mail.recipients" "oidc.roles" -}}
{{- $at := . -}}
{{- range $name, $value := .values }}
{{- $path := printf "%s%s" $at.path $name -}}
{{- if and (kindIs "map" $value) (not (has $path $tables)) -}}
{{- include "lethe.settings" (dict "prefix" (printf "%s%s__" $at.prefix (upper $name)) "path" (printf "%s." $path) "values" $value) -}}
{{- else }}
- name: {{ $at.prefix }}{{ upper $name }}
  value: {{ (kindIs "string" $value | ternary $value (toJson $value)) | quote }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The databases; serving has no business with the jobs'. Takes root and jobs. */}}
{{- define "lethe.databases" -}}
{{- if .root.Values.tryout.postgresql.enabled -}}
{{- $server := printf "postgresql+psycopg://lethe:$(POSTGRES_PASSWORD)@%s:5432" (include "lethe.postgresql" .root) -}}
- name: POSTGRES_PASSWORD
  {{- include "lethe.tryoutPassword" .root | nindent 2 }}
- name: LETHE_STORE__URL
  value: {{ $server }}/lethe
{{- if .jobs }}
- name: LETHE_JOBS__URL
  value: {{ $server }}/lethe_jobs
{{- end }}
{{- else -}}
- name: LETHE_STORE__URL
  valueFrom:
    secretKeyRef:
      name: {{ include "lethe.databaseSecret" .root }}
      key: {{ .root.Values.database.storeKey }}
{{- if .jobs }}
- name: LETHE_JOBS__URL
  valueFrom:
    secretKeyRef:
      name: {{ include "lethe.databaseSecret" .root }}
      key: {{ .root.Values.database.jobsKey }}
{{- end }}
{{- end }}
{{- end }}

{{- define "lethe.tryoutPassword" -}}
valueFrom:
  secretKeyRef:
    name: {{ .Values.tryout.postgresql.existingSecret }}
    key: {{ .Values.tryout.postgresql.passwordKey }}
{{- end }}
