{{/*
The engine beside a gateway: a sidecar that starts first and ends last, so that answers under way are drained with it.

It gets the base and the releases, a socket that only the gateway's container shares, no key and no database.
*/}}
{{- define "lethe.engineInits" -}}
{{- $vllm := eq (include "lethe.engine" .root) "vllm" -}}
{{- $image := ternary .root.Values.vllmImage (include "lethe.gpuImage" .root | fromYaml) $vllm -}}
{{- if $vllm }}
- name: guard
  {{- include "lethe.container" . | nindent 2 }}
  command: [sh, -ec, "cp services/serving/vllm/inside/*.py /lethe/"]
  resources:
    requests: {cpu: 50m, memory: 64Mi}
    limits: {cpu: 500m, memory: 256Mi}
  volumeMounts:
    - name: guard
      mountPath: /lethe
{{- end }}
- name: engine
  image: {{ include "lethe.image" (dict "root" .root "image" $image) }}
  imagePullPolicy: {{ $image.pullPolicy }}
  restartPolicy: Always
  {{- if $vllm }}
  command:
    - sh
    - -ec
    - |
      umask 077
      rm -f /run/lethe/sockets/engine.sock
      exec python3 -P -m vllm.entrypoints.openai.api_server "$@" --served-model-name "base-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
    - engine
  args:
    {{- include "lethe.vllmArguments" .root | nindent 4 }}
  {{- else }}
  workingDir: {{ .root.Values.sourceDirectory }}
  command: [python, -m, services.serving.engine]
  args:
    - --base
    - {{ .root.Values.config.base.path }}
    - --dtype
    - {{ .root.Values.config.base.dtype }}
    - --socket
    - /run/lethe/sockets/engine.sock
    - --stay
  {{- end }}
  env:
    {{- include "lethe.engineEnvironment" .root | nindent 4 }}
    {{- with .root.Values.serving.engine.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  securityContext:
    {{- include "lethe.containerSecurity" . | nindent 4 }}
  startupProbe:
    {{- include "lethe.engineHealth" . | nindent 4 }}
    periodSeconds: 5
    failureThreshold: {{ div (add .root.Values.serving.engine.startupSeconds 4) 5 }}
    timeoutSeconds: 5
  livenessProbe:
    {{- include "lethe.engineHealth" . | nindent 4 }}
    periodSeconds: 15
    failureThreshold: 4
    timeoutSeconds: 10
  resources:
    {{- include "lethe.resources" .root.Values.serving.engine | nindent 4 }}
  volumeMounts:
    - name: engine-tmp
      mountPath: /tmp
    - name: engine-shm
      mountPath: /dev/shm
    - name: sockets
      mountPath: /run/lethe/sockets
    {{- include "lethe.readMounts" . | nindent 4 }}
    {{- if $vllm }}
    - name: guard
      mountPath: /lethe
      readOnly: true
    {{- end }}
    {{- with .extra.volumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "lethe.readMounts" -}}
- name: bases
  mountPath: /var/lib/lethe/bases
  readOnly: true
- name: releases
  mountPath: /var/lib/lethe/releases
  readOnly: true
{{- end }}

{{/* A Unix socket has no httpGet; both engines bring a Python. */}}
{{- define "lethe.engineHealth" -}}
exec:
  command:
    - python3
    - -c
    - |
      import socket, sys
      s = socket.socket(socket.AF_UNIX)
      s.settimeout(4)
      s.connect("/run/lethe/sockets/engine.sock")
      s.sendall(b"GET /health HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")
      sys.exit(b" 200 " not in s.recv(64))
{{- end }}

{{- define "lethe.engineEnvironment" -}}
- name: HOME
  value: /tmp
- name: USER
  value: lethe
- name: HF_HUB_OFFLINE
  value: "1"
- name: PYTHONDONTWRITEBYTECODE
  value: "1"
{{- if eq (include "lethe.engine" .) "vllm" }}
- name: PYTHONPATH
  value: /lethe
- name: LETHE_GUARD_RELEASES
  value: /var/lib/lethe/releases
- name: VLLM_ALLOW_RUNTIME_LORA_UPDATING
  value: "True"
- name: VLLM_PLUGINS
  value: ""
- name: VLLM_SERVER_DEV_MODE
  value: "0"
- name: VLLM_DEBUG_LOG_API_SERVER_RESPONSE
  value: "0"
- name: VLLM_KEEP_ALIVE_ON_ENGINE_DEATH
  value: "0"
- name: VLLM_NO_USAGE_STATS
  value: "1"
- name: DO_NOT_TRACK
  value: "1"
- name: TRANSFORMERS_OFFLINE
  value: "1"
{{- else }}
- name: OMP_WAIT_POLICY
  value: PASSIVE
{{- end }}
{{- end }}

{{/* As services/serving/vllm/command.py says them; a test keeps the two equal. */}}
{{- define "lethe.vllmArguments" -}}
{{- $given := dig "serving" "vllm" (dict) .Values.config -}}
{{- $loras := int (dig "max_loras" 2 $given) -}}
- --model
- {{ .Values.config.base.path }}
- --uds=/run/lethe/sockets/engine.sock
- --middleware=lethe_guard.Guard
- --dtype={{ .Values.config.base.dtype }}
- --enable-lora
- --max-loras={{ $loras }}
- --max-cpu-loras={{ mul 2 $loras }}
- --max-lora-rank={{ int (dig "max_lora_rank" 64 $given) }}
- --generation-config=vllm
- --disable-fastapi-docs
- --disable-uvicorn-access-log
{{- with int (dig "max_model_len" 0 $given) }}
- --max-model-len={{ . }}
{{- end }}
- --gpu-memory-utilization={{ dig "gpu_memory_utilization" 0.9 $given }}
{{- with int64 (dig "kv_cache_bytes" 0 $given) }}
- --kv-cache-memory-bytes={{ . }}
{{- end }}
{{- range dig "extra_args" list $given }}
- {{ . | quote }}
{{- end }}
{{- end }}
