{{- /* Names, labels and addresses. */ -}}

{{- /* 32 characters at most: "-ingester-ZONE" follows, and a StatefulSet's name has 52. */ -}}
{{- define "bonghwa.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 32 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 32 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 32 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "bonghwa.releaseLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* What selects the pods of a component: (list root component). Never changes: selectors cannot. */ -}}
{{- define "bonghwa.selectorLabels" -}}
{{- $root := index . 0 -}}
{{ include "bonghwa.releaseLabels" $root }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- /* All labels of an object: (list root component). */ -}}
{{- define "bonghwa.labels" -}}
{{- $root := index . 0 -}}
{{ include "bonghwa.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Values.image.tag | default $root.Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 }}
{{- end -}}

{{- define "bonghwa.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "bonghwa.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "bonghwa.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The domain of a headless service's pods: (list root component). */ -}}
{{- define "bonghwa.domain" -}}
{{- $root := index . 0 -}}
{{- printf "%s-%s.%s.svc.%s" (include "bonghwa.fullname" $root) (index . 1) $root.Release.Namespace $root.Values.clusterDomain -}}
{{- end -}}

{{- /* Every meta node's gRPC address. What a meta pod advertises is one of them, letter by letter. */ -}}
{{- define "bonghwa.metaPeers" -}}
{{- $peers := list -}}
{{- range $n := until (int .Values.meta.replicas) -}}
{{- $peers = append $peers (printf "%s-meta-%d.%s:7801" (include "bonghwa.fullname" $) $n (include "bonghwa.domain" (list $ "meta"))) -}}
{{- end -}}
{{- join "," $peers -}}
{{- end -}}

{{- /* The roles of the preset, as JSON: pods, and headless services of the same names. */ -}}
{{- define "bonghwa.components" -}}
{{- if eq .Values.preset "single" -}}
{{- list "single" | toJson -}}
{{- else -}}
{{- $scraper := empty .Values.scrape.config | ternary list (list "scraper") -}}
{{- concat (list "meta" "ingester" "distributor" "querier" "compactor") $scraper | toJson -}}
{{- end -}}
{{- end -}}

{{- /* Which component takes OTLP, and which answers queries. */ -}}
{{- define "bonghwa.otlpComponent" -}}
{{- eq .Values.preset "single" | ternary "single" "distributor" -}}
{{- end -}}
{{- define "bonghwa.apiComponent" -}}
{{- eq .Values.preset "single" | ternary "single" "querier" -}}
{{- end -}}

{{- /* The StatefulSets of the ingesters as JSON: one, or one per zone. `replicas` counts all zones. */ -}}
{{- define "bonghwa.ingesterSets" -}}
{{- $ingester := .Values.ingester -}}
{{- $name := printf "%s-ingester" (include "bonghwa.fullname" .) -}}
{{- $sets := list -}}
{{- if eq $ingester.zones.mode "statefulSets" -}}
{{- $zones := len $ingester.zones.list -}}
{{- range $zone := $ingester.zones.list -}}
{{- $set := dict "name" (printf "%s-%s" $name $zone.name) "zone" $zone.name "nodeZone" (default $zone.name $zone.nodeZone) "storageClass" (default $ingester.persistence.storageClass $zone.storageClass) -}}
{{- $_ := set $set "replicas" (divf (int $ingester.replicas) $zones | ceil | int) -}}
{{- $_ := set $set "minReplicas" (divf (int $ingester.autoscaling.minReplicas) $zones | ceil | int) -}}
{{- $_ := set $set "maxReplicas" (divf (int $ingester.autoscaling.maxReplicas) $zones | ceil | int) -}}
{{- $sets = append $sets $set -}}
{{- end -}}
{{- else -}}
{{- $sets = append $sets (dict "name" $name "zone" "" "nodeZone" "" "storageClass" $ingester.persistence.storageClass "replicas" (int $ingester.replicas) "minReplicas" (int $ingester.autoscaling.minReplicas) "maxReplicas" (int $ingester.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- $sets | toJson -}}
{{- end -}}
