{{- /* Values that fit the schema and not each other. Each message names the value and the remedy. */ -}}
{{- define "bonghwa.guards" -}}
{{- if and .Values.auth.enabled (not .Values.auth.existingSecret) -}}
{{- fail "auth.enabled is true and auth.existingSecret is empty: name the secret that holds the file of callers" -}}
{{- end -}}
{{- if and .Values.tls.enabled (not .Values.tls.existingSecret) -}}
{{- fail "tls.enabled is true and tls.existingSecret is empty: name a secret with the certificate, its key and the CA" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled is true and ingress.hosts is empty: name the hosts to serve" -}}
{{- end -}}
{{- if eq .Values.preset "cluster" -}}
{{- include "bonghwa.clusterGuards" . -}}
{{- end -}}
{{- end -}}

{{- define "bonghwa.clusterGuards" -}}
{{- $url := .Values.objectStore.url -}}
{{- if or (not $url) (hasPrefix "file:" $url) (hasPrefix "memory:" $url) -}}
{{- fail (printf "objectStore.url is %q: the preset `cluster` needs a store that all pods reach, for example s3://bucket/prefix" $url) -}}
{{- end -}}
{{- $factor := int .Values.replicationFactor -}}
{{- $scaling := .Values.ingester.autoscaling -}}
{{- if and (eq $scaling.kind "none") (lt (int .Values.ingester.replicas) $factor) -}}
{{- fail (printf "ingester.replicas is %d: replicationFactor %d needs as many ingesters at least" (int .Values.ingester.replicas) $factor) -}}
{{- end -}}
{{- if and (ne $scaling.kind "none") (lt (int $scaling.minReplicas) $factor) -}}
{{- fail (printf "ingester.autoscaling.minReplicas is %d: replicationFactor %d needs as many ingesters at least" (int $scaling.minReplicas) $factor) -}}
{{- end -}}
{{- if and $scaling.scaleIn (not .Values.ingester.drain.enabled) -}}
{{- fail "ingester.autoscaling.scaleIn is true and ingester.drain.enabled false: an ingester that an autoscaler removes must drain first" -}}
{{- end -}}
{{- range $role := list "ingester" "distributor" "querier" -}}
{{- include "bonghwa.scalingGuards" (list $role (index $.Values $role "autoscaling")) -}}
{{- end -}}
{{- if and .Values.meta.rebuild (ne (int .Values.meta.replicas) 1) -}}
{{- fail (printf "meta.rebuild is true and meta.replicas is %d: a rebuild makes a control plane of one node, set meta.replicas to 1" (int .Values.meta.replicas)) -}}
{{- end -}}
{{- include "bonghwa.zoneGuards" . -}}
{{- include "bonghwa.upgradeGuards" . -}}
{{- if and .Values.auth.enabled .Values.ingester.drain.enabled (not .Values.auth.tokenSecret) -}}
{{- fail "auth.enabled and ingester.drain.enabled are true and auth.tokenSecret is empty: draining needs a token that may administrate" -}}
{{- end -}}
{{- end -}}

{{- define "bonghwa.scalingGuards" -}}
{{- $role := index . 0 -}}
{{- $scaling := index . 1 -}}
{{- $ingest := default (dict "metric" "" "prometheus" "") $scaling.ingest -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "%s.autoscaling.minReplicas is %d, more than maxReplicas, which is %d" $role (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- if and (eq $scaling.kind "hpa") (not $scaling.cpu) (not $ingest.metric) -}}
{{- fail (printf "%s.autoscaling has nothing to scale by: set cpu, or the name of a metric in ingest.metric" $role) -}}
{{- end -}}
{{- if and (eq $scaling.kind "keda") (not $scaling.cpu) (not $ingest.prometheus) -}}
{{- fail (printf "%s.autoscaling has nothing to scale by: set cpu, or a Prometheus' URL in ingest.prometheus" $role) -}}
{{- end -}}
{{- end -}}

{{- define "bonghwa.zoneGuards" -}}
{{- $zones := .Values.ingester.zones -}}
{{- if and (eq $zones.mode "podLabel") (semverCompare "<1.35.0-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "ingester.zones.mode is podLabel: Kubernetes %s gives pods no label of their zone, 1.35 does; use statefulSets" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if eq $zones.mode "statefulSets" -}}
{{- if not $zones.list -}}
{{- fail "ingester.zones.mode is statefulSets and ingester.zones.list is empty: list the zones" -}}
{{- end -}}
{{- $names := list -}}
{{- range $zone := $zones.list -}}
{{- if has $zone.name $names -}}
{{- fail (printf "ingester.zones.list has two zones of the name %q: give each its own" $zone.name) -}}
{{- end -}}
{{- $names = append $names $zone.name -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What an upgrade must not change. `lookup` finds nothing where there is no cluster to ask. */ -}}
{{- define "bonghwa.upgradeGuards" -}}
{{- $name := include "bonghwa.fullname" . -}}
{{- $meta := lookup "apps/v1" "StatefulSet" .Release.Namespace (printf "%s-meta" $name) -}}
{{- if $meta -}}
{{- if ne (int $meta.spec.replicas) (int .Values.meta.replicas) -}}
{{- fail (printf "meta.replicas is %d, and %d meta nodes run: their number is fixed at the first installation" (int .Values.meta.replicas) (int $meta.spec.replicas)) -}}
{{- end -}}
{{- end -}}
{{- $wanted := list -}}
{{- range $set := include "bonghwa.ingesterSets" . | fromJsonArray -}}
{{- $wanted = append $wanted $set.name -}}
{{- end -}}
{{- range $set := (lookup "apps/v1" "StatefulSet" .Release.Namespace "").items -}}
{{- $labels := default dict $set.metadata.labels -}}
{{- $ours := and (eq (default "" (get $labels "app.kubernetes.io/instance")) $.Release.Name) (eq (default "" (get $labels "app.kubernetes.io/component")) "ingester") -}}
{{- if and $ours (not (has $set.metadata.name $wanted)) (gt (int $set.spec.replicas) 0) -}}
{{- fail (printf "ingester.zones would remove StatefulSet %s with all its ingesters: their names and mode are fixed at the first installation, zones may only be added" $set.metadata.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
