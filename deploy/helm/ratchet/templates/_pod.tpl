{{/* What the pods of servers and learner have in common. */}}

{{- define "ratchet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "ratchet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "ratchet.image" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "ratchet.env" -}}
- {name: RATCHET_CONFIG, value: /etc/ratchet/config.yaml}
- {name: RATCHET_MODEL, value: {{ .Values.model | quote }}}
- {name: RATCHET_STATE_DIR, value: /var/lib/ratchet}
- {name: RATCHET_CACHE, value: /var/cache/ratchet}
- {name: HOME, value: /tmp}
- {name: RATCHET_ARTIFACTS__URL, value: {{ .Values.artifacts.url | quote }}}
- name: RATCHET_REGISTRY__URL
  valueFrom: {secretKeyRef: {name: {{ .Values.database.existingSecret }}, key: {{ .Values.database.key }}}}
{{- end }}

{{- define "ratchet.envFrom" -}}
{{- with .Values.artifacts.credentialsSecret }}
envFrom:
  - secretRef: {name: {{ . }}}
{{- end }}
{{- end }}

{{- define "ratchet.mounts" -}}
- {name: config, mountPath: /etc/ratchet, readOnly: true}
- {name: state, mountPath: /var/lib/ratchet}
- {name: cache, mountPath: /var/cache/ratchet}
- {name: tmp, mountPath: /tmp}
- {name: shm, mountPath: /dev/shm}
{{- end }}

{{- define "ratchet.volumes" -}}
- name: config
  configMap: {name: {{ include "ratchet.name" . }}}
- {name: cache, emptyDir: {}}
- {name: tmp, emptyDir: {}}
- {name: shm, emptyDir: {medium: Memory, sizeLimit: 1Gi}}
{{- end }}
