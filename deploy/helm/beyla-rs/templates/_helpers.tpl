{{- define "beyla-rs.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "beyla-rs.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "beyla-rs.labels" -}}
{{ include "beyla-rs.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "beyla-rs.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "beyla-rs.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "beyla-rs.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* How the agent's own pages are asked. */}}
{{- define "beyla-rs.scheme" -}}
{{- if dig "listen_tls" "certificate" "" .Values.config -}}HTTPS{{- else -}}HTTP{{- end -}}
{{- end -}}

{{/* The configuration file: what the user wrote, and over it what values of their own name set. */}}
{{- define "beyla-rs.config" -}}
{{- $set := dict "listen" (printf "%s:%d" .Values.listenAddress (int .Values.port)) -}}
{{- $kubernetes := dict "enable" true -}}
{{- with .Values.clusterName -}}{{- $_ := set $kubernetes "cluster_name" . -}}{{- end -}}
{{- $_ := set $set "attributes" (dict "kubernetes" $kubernetes) -}}
{{- $otlp := dict -}}
{{- with .Values.endpoint -}}{{- $_ := set $otlp "endpoint" . -}}{{- end -}}
{{- with .Values.protocol -}}{{- $_ := set $otlp "protocol" . -}}{{- end -}}
{{- if $otlp -}}{{- $_ := set $set "otlp" $otlp -}}{{- end -}}
{{- /* Every span of every node in the pods' logs is for who asks for it. */ -}}
{{- mergeOverwrite (dict "print" "off") (deepCopy .Values.config) $set | toYaml -}}
{{- end -}}
