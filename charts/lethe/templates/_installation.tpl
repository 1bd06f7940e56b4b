{{/*
The installation in a pod of intake, worker or Jobs: /var/lib/lethe with every directory, and the keys.

A Secret's files are readable by their group, and a signing key that others may read is refused; so they are copied to
memory, for this user alone. The shared disk is linked into the home directory, not mounted over it: whoever mounts
makes mount points as root, which a disk behind NFS may refuse.
*/}}
{{- define "lethe.installationInit" -}}
- name: installation
  image: {{ include "lethe.image" (dict "root" .root "image" .image) }}
  imagePullPolicy: {{ .image.pullPolicy }}
  command:
    - sh
    - -ec
    - |
      umask 077
      install -m 600 /run/secrets/lethe/* /run/lethe/keys/
      cd /var/lib/lethe
      mkdir -p keys locks logs sockets
      for name in controls corpora index reports runs sealed; do
        mkdir -p "/mnt/work/$name"
        ln -sfn "/mnt/work/$name" "$name"
      done
  securityContext:
    {{- include "lethe.containerSecurity" . | nindent 4 }}
  resources:
    requests: {cpu: 50m, memory: 64Mi}
    limits: {cpu: 500m, memory: 256Mi}
  volumeMounts:
    - name: secret-keys
      mountPath: /run/secrets/lethe
      readOnly: true
    {{- include "lethe.installationMounts" . | nindent 4 }}
{{- end }}

{{- define "lethe.installationMounts" -}}
- name: keys
  mountPath: /run/lethe/keys
- name: home
  mountPath: /var/lib/lethe
- name: work
  mountPath: /mnt/work
- name: bases
  mountPath: /var/lib/lethe/bases
- name: releases
  mountPath: /var/lib/lethe/releases
{{- end }}

{{- define "lethe.installationVolumes" -}}
- name: secret-keys
  secret:
    secretName: {{ include "lethe.keysSecret" .root }}
    defaultMode: 0440
- name: keys
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
- name: home
  emptyDir:
    sizeLimit: 1Gi
{{- range list "work" "bases" "releases" }}
- name: {{ . }}
  persistentVolumeClaim:
    claimName: {{ include "lethe.claim" (dict "root" $.root "name" .) }}
{{- end }}
{{- end }}

{{/* Everything that a pod with a copied installation is replaced for. Takes root and extra. */}}
{{- define "lethe.podAnnotations" -}}
{{- with merge (dict) .extra.podAnnotations (.root.Values.keys.revision | empty | ternary (dict) (dict "lethe/keys-revision" .root.Values.keys.revision)) -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
