{{- /* A pod of any role. Takes a dictionary:
  root, component: the label, and the key of the role's values
  args: flags beside --config
  advertise: HOST:PORT, or empty for the pod's address
  claim: whether `data` is a volume claim of a StatefulSet; else it lives as long as the pod
  zone: a zone's name, or "label" for the pod's label; empty for none
  nodeZone: the zone that nodes must be in
  labels: more of them
  apart: labels of nodes over which the pods must be spread evenly; over the others they should be
  preStop: a lifecycle handler
  token: whether the pod may ask the Kubernetes API
  otlp: whether it takes OTLP
  scrapes: whether it scrapes, and so may find its targets by the Kubernetes API
  rebuild: whether the catalog is rebuilt before the first start
*/ -}}
{{- define "bonghwa.podTemplate" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $role := index $values .component -}}
metadata:
  labels:
    {{- include "bonghwa.labels" (list $root .component) | nindent 4 }}
    {{- with .labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with $role.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # A change of the configuration restarts the pods, one by one.
    checksum/config: {{ include "bonghwa.config" $root | sha256sum }}
    {{- with $role.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "bonghwa.serviceAccountName" $root }}
  automountServiceAccountToken: {{ or .token (and .scrapes $values.scrape.kubernetes) | default false }}
  # Kubernetes would describe the service of a release called `bonghwa` in variables like
  # BONGHWA_OTLP_PORT, and the server refuses a BONGHWA_ variable that is no key of its configuration.
  enableServiceLinks: false
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  terminationGracePeriodSeconds: {{ .grace | default $role.terminationGracePeriodSeconds | int }}
  {{- with $role.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- if .rebuild }}
  initContainers:
    {{- include "bonghwa.rebuild" $root | nindent 4 }}
  {{- end }}
  containers:
    - name: bonghwa
      image: {{ include "bonghwa.image" $root | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      securityContext:
        {{- toYaml $values.containerSecurityContext | nindent 8 }}
      args:
        - serve
        - --config=/etc/bonghwa/bonghwa.yaml
        {{- range .args }}
        - {{ . | quote }}
        {{- end }}
      env:
        - name: BONGHWA_NODE_NAME
          valueFrom: { fieldRef: { fieldPath: metadata.name } }
        {{- if .advertise }}
        - name: BONGHWA_ADVERTISE
          value: {{ .advertise | quote }}
        {{- else }}
        - name: POD_IP
          valueFrom: { fieldRef: { fieldPath: status.podIP } }
        - name: BONGHWA_ADVERTISE
          value: {{ $values.ipv6 | ternary "[$(POD_IP)]:7801" "$(POD_IP):7801" | quote }}
        {{- end }}
        {{- if eq .zone "label" }}
        - name: BONGHWA_ZONE
          valueFrom: { fieldRef: { fieldPath: "metadata.labels['topology.kubernetes.io/zone']" } }
        {{- else if .zone }}
        - name: BONGHWA_ZONE
          value: {{ .zone | quote }}
        {{- end }}
        {{- with include "bonghwa.env" $root }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $role.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - { name: http, containerPort: 7800 }
        - { name: grpc, containerPort: 7801 }
        {{- if .otlp }}
        - { name: otlp-grpc, containerPort: 4317 }
        - { name: otlp-http, containerPort: 4318 }
        {{- end }}
      # /health answers while logs are replayed, however long; /ready once requests are taken.
      readinessProbe:
        httpGet: { path: /ready, port: http }
        periodSeconds: 5
        timeoutSeconds: 3
      livenessProbe:
        httpGet: { path: /health, port: http }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      {{- with .preStop }}
      lifecycle:
        preStop:
          {{- toYaml . | nindent 10 }}
      {{- end }}
      {{- with $role.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - { name: data, mountPath: /var/lib/bonghwa }
        # Queries that need more memory than they have write here.
        - { name: tmp, mountPath: /tmp }
        - { name: config, mountPath: /etc/bonghwa/bonghwa.yaml, subPath: bonghwa.yaml, readOnly: true }
        {{- if .token }}
        - { name: config, mountPath: /etc/bonghwa/drain-if-scaled-in.sh, subPath: drain-if-scaled-in.sh, readOnly: true }
        {{- end }}
        {{- if .scrapes }}
        # A directory: a change of the jobs comes through, and is taken without a restart.
        - { name: scrape, mountPath: /etc/bonghwa/scrape, readOnly: true }
        {{- end }}
        {{- if $values.tls.enabled }}
        - { name: tls, mountPath: /etc/bonghwa/tls, readOnly: true }
        {{- end }}
        {{- if $values.auth.enabled }}
        - { name: auth, mountPath: /etc/bonghwa/auth, readOnly: true }
        {{- end }}
        {{- if and .token $values.auth.tokenSecret }}
        - { name: token, mountPath: /etc/bonghwa/token, readOnly: true }
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- if not .claim }}
    - name: data
      emptyDir: {}
    {{- end }}
    - name: tmp
      emptyDir: {}
    - name: config
      configMap: { name: {{ include "bonghwa.fullname" $root }} }
    {{- if .scrapes }}
    - name: scrape
      configMap: { name: {{ include "bonghwa.fullname" $root }}-scrape }
    {{- end }}
    {{- with $values.tls }}
    {{- if .enabled }}
    - name: tls
      secret:
        secretName: {{ .existingSecret | quote }}
        items:
          - { key: {{ .certKey | quote }}, path: tls.crt }
          - { key: {{ .keyKey | quote }}, path: tls.key }
          - { key: {{ .caKey | quote }}, path: ca.crt }
    {{- end }}
    {{- end }}
    {{- with $values.auth }}
    {{- if .enabled }}
    - name: auth
      secret:
        secretName: {{ .existingSecret | quote }}
        items: [{ key: {{ .key | quote }}, path: auth.yaml }]
    {{- end }}
    {{- end }}
    {{- if and .token $values.auth.tokenSecret }}
    - name: token
      secret:
        secretName: {{ $values.auth.tokenSecret | quote }}
        items: [{ key: {{ $values.auth.tokenKey | quote }}, path: token }]
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- include "bonghwa.scheduling" . | trim | nindent 2 }}
{{- end -}}

{{- /* Runs until it has succeeded once. A catalog that exists is not rebuilt: the command refuses it. */ -}}
{{- define "bonghwa.rebuild" -}}
- name: rebuild
  image: {{ include "bonghwa.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  securityContext:
    {{- toYaml .Values.containerSecurityContext | nindent 4 }}
  command:
    - /bin/sh
    - -ec
    - |
      if [ ! -e /var/lib/bonghwa/rebuilt ]; then
          bonghwa meta rebuild --config=/etc/bonghwa/bonghwa.yaml --target=meta
          touch /var/lib/bonghwa/rebuilt
      fi
  env:
    - name: BONGHWA_NODE_NAME
      valueFrom: { fieldRef: { fieldPath: metadata.name } }
    {{- with include "bonghwa.env" . }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .Values.meta.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.extraEnvFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.meta.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - { name: data, mountPath: /var/lib/bonghwa }
    - { name: tmp, mountPath: /tmp }
    - { name: config, mountPath: /etc/bonghwa/bonghwa.yaml, subPath: bonghwa.yaml, readOnly: true }
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- /* Where a pod may run; takes the same dictionary. */ -}}
{{- define "bonghwa.scheduling" -}}
{{- $role := index .root.Values .component -}}
{{- with $role.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $role.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $affinity := deepCopy (default dict $role.affinity) }}
{{- if .nodeZone }}
{{- $in := dict "key" "topology.kubernetes.io/zone" "operator" "In" "values" (list .nodeZone) }}
{{- $terms := list (dict "matchExpressions" (list $in)) }}
{{- $node := dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) }}
{{- $_ := set $affinity "nodeAffinity" $node }}
{{- end }}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if not (kindIs "invalid" $role.topologySpreadConstraints) }}
{{- with $role.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- else }}
topologySpreadConstraints:
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: {{ has $key (default list $.apart) | ternary "DoNotSchedule" "ScheduleAnyway" }}
    labelSelector:
      matchLabels:
        {{- include "bonghwa.selectorLabels" (list $.root $.component) | nindent 8 }}
        {{- with $.labels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* The claim of a StatefulSet's volume: (list persistence storageClass labels). Cannot be changed later. */ -}}
{{- define "bonghwa.claim" -}}
{{- $persistence := index . 0 -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: data
    labels:
      {{- index . 2 | nindent 6 }}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with index . 1 }}
    storageClassName: {{ . | quote }}
    {{- end }}
    resources:
      requests:
        storage: {{ $persistence.size }}
{{- end -}}

{{- /* A service that stands for its pods' addresses, so that each has a name: (dict root component otlp). */ -}}
{{- define "bonghwa.headless" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "bonghwa.fullname" .root }}-{{ .component }}
  labels:
    {{- include "bonghwa.labels" (list .root .component) | nindent 4 }}
spec:
  clusterIP: None
  # Nodes of a log find each other before they are ready: a quorum makes them so.
  publishNotReadyAddresses: {{ has .component (list "single" "meta" "ingester") }}
  selector:
    {{- include "bonghwa.selectorLabels" (list .root .component) | nindent 4 }}
  ports:
    - { name: http, port: 7800, targetPort: http, appProtocol: http }
    - { name: grpc, port: 7801, targetPort: grpc }
    {{- if .otlp }}
    - { name: otlp-grpc, port: 4317, targetPort: otlp-grpc }
    - { name: otlp-http, port: 4318, targetPort: otlp-http, appProtocol: http }
    {{- end }}
{{- end -}}

{{- define "bonghwa.pdb" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "bonghwa.fullname" .root }}-{{ .component }}
  labels:
    {{- include "bonghwa.labels" (list .root .component) | nindent 4 }}
spec:
  maxUnavailable: {{ (index .root.Values .component).podDisruptionBudget.maxUnavailable }}
  {{- if not (has .component (list "meta" "ingester")) }}
  # A pod without state that is not ready serves nobody: its host may be emptied.
  unhealthyPodEvictionPolicy: AlwaysAllow
  {{- end }}
  selector:
    matchLabels:
      {{- include "bonghwa.selectorLabels" (list .root .component) | nindent 6 }}
{{- end -}}
