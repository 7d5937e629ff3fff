{{- define "payment.name" -}}
{{- if contains "payment" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-payment{{ end -}}
{{- end }}

{{- /* What all selectors go by: it must not change from release to release. */ -}}
{{- define "payment.selector" -}}
app.kubernetes.io/name: payment
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "payment.labels" -}}
{{ include "payment.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: payment-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* The names by which callers in the cluster reach the API, and those that the values add. */ -}}
{{- define "payment.allowedHosts" -}}
{{- $name := include "payment.name" . }}
{{- $inNamespace := printf "%s.%s" $name .Release.Namespace }}
{{- $ours := list $name $inNamespace (printf "%s.svc" $inNamespace) (printf "%s.svc.cluster.local" $inNamespace) }}
{{- concat $ours .Values.allowedHosts | join "," }}
{{- end }}

{{- /* All settings that are no secret, the same for every process (docs/operations.md). */ -}}
{{- define "payment.settings" -}}
{{- $fixed := dict "AUTH" .Values.auth "ALLOWED_HOSTS" (include "payment.allowedHosts" .) "PORT" "5004" "METRICS_PORT" "9464" }}
{{- range $name, $value := merge $fixed .Values.settings (dict "HOST" "0.0.0.0" "LOG_FORMAT" "json") }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- /* From the secret: DATABASE_URL has to be there, the others may. */ -}}
{{- define "payment.secrets" -}}
- name: DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ .root.Values.existingSecret }}, key: {{ .databaseUrlKey | default "DATABASE_URL" }}}}
{{- range list "DATABASE_LISTEN_URL" "DATABASE_DIRECT_URL" "PGPASSWORD" "CONSOLE_SECRET" "ORDER_SERVICE_TOKEN" "USER_SERVICE_TOKEN" }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $.root.Values.existingSecret }}, key: {{ . }}, optional: true}}
{{- end }}
{{- end }}

{{- define "payment.topology" -}}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- topologyKey: {{ . }}
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "payment.selector" $.root | nindent 6 }}
      app.kubernetes.io/component: {{ $.component }}
{{- end }}
{{- end }}

{{- /*
The pod of one component. Given: root, component, args, resources; and perhaps tag, databaseUrlKey,
serving (ports, probes, lifecycle: YAML), restartPolicy, graceS.
*/ -}}
{{- define "payment.pod" -}}
{{- $values := .root.Values -}}
{{- $tag := .tag | default $values.image.tag | default .root.Chart.AppVersion -}}
metadata:
  labels: # nothing of the chart's own version: a pod is replaced only if something in it is new
    {{- include "payment.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    app.kubernetes.io/version: {{ $tag | quote }}
    {{- with $values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with $values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  serviceAccountName: {{ $values.serviceAccountName }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  restartPolicy: {{ .restartPolicy | default "Always" }}
  terminationGracePeriodSeconds: {{ .graceS | default 15 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: {{ .component }}
      image: "{{ $values.image.repository }}:{{ $tag }}"
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: {{ toJson .args }}
      env:
        {{- include "payment.settings" .root | trim | nindent 8 }}
        {{- include "payment.secrets" . | nindent 8 }}
      {{- with .serving }}{{ . | trim | nindent 6 }}{{ end }}
      resources: {{- toYaml .resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- with $values.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
  volumes:
    - {name: tmp, emptyDir: {sizeLimit: 64Mi}}
    {{- with $values.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- if .serving }}
  topologySpreadConstraints: {{- include "payment.topology" . | trim | nindent 4 }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
