{{- /* bonghwa.yaml: what the chart decides, over what `config` gives. */ -}}
{{- define "bonghwa.config" -}}
{{- $any := .Values.ipv6 | ternary "[::]" "0.0.0.0" -}}
{{- $own := dict
  "data_dir" "/var/lib/bonghwa"
  "http_listen" (printf "%s:7800" $any)
  "grpc_listen" (printf "%s:7801" $any)
  "otlp_grpc_listen" (printf "%s:4317" $any)
  "otlp_http_listen" (printf "%s:4318" $any)
-}}
{{- with .Values.objectStore -}}
{{- if .url -}}
{{- $_ := set $own "object_store" .url -}}
{{- end -}}
{{- $s3 := dict -}}
{{- if .endpoint -}}
{{- $_ := set $s3 "endpoint" .endpoint -}}
{{- end -}}
{{- if .region -}}
{{- $_ := set $s3 "region" .region -}}
{{- end -}}
{{- if $s3 -}}
{{- $_ := set $own "s3" $s3 -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.preset "cluster" -}}
{{- $_ := set $own "replication_factor" (int .Values.replicationFactor) -}}
{{- end -}}
{{- if .Values.tls.enabled -}}
{{- $name := default (printf "%s.%s.svc" (include "bonghwa.fullname" .) .Release.Namespace) .Values.tls.serverName -}}
{{- $_ := set $own "tls" (dict "cert" "/etc/bonghwa/tls/tls.crt" "key" "/etc/bonghwa/tls/tls.key" "ca" "/etc/bonghwa/tls/ca.crt" "server_name" $name) -}}
{{- end -}}
{{- if .Values.auth.enabled -}}
{{- $_ := set $own "auth" (dict "enabled" true "file" "/etc/bonghwa/auth/auth.yaml") -}}
{{- end -}}
{{- mergeOverwrite (deepCopy .Values.config) $own | toYaml -}}
{{- end -}}

{{- /* The environment that all pods share. */ -}}
{{- define "bonghwa.env" -}}
{{- with .Values.objectStore -}}
{{- if .existingSecret -}}
- name: BONGHWA_S3__ACCESS_KEY_ID
  valueFrom: { secretKeyRef: { name: {{ .existingSecret | quote }}, key: {{ .accessKeyIdKey | quote }} } }
- name: BONGHWA_S3__SECRET_ACCESS_KEY
  valueFrom: { secretKeyRef: { name: {{ .existingSecret | quote }}, key: {{ .secretAccessKeyKey | quote }} } }
{{ end -}}
{{- end -}}
{{- with .Values.extraEnv -}}
{{ toYaml . }}
{{- end -}}
{{- end -}}
