{{/* The name of all objects: that of the release, with that of the chart unless it contains it. */}}
{{- define "pointsman.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The service of the StatefulSet's replicas. */}}
{{- define "pointsman.headless" -}}
{{- printf "%s-replicas" (include "pointsman.name" . | trunc 54 | trimSuffix "-") -}}
{{- end -}}

{{/* Not empty if the routes name the state folder. */}}
{{- define "pointsman.hasState" -}}
{{- if regexMatch `(?m)^\s*dir\s*=\s*"/var/lib/pointsman"` .Values.routes }}yes{{ end -}}
{{- end -}}

{{/* The kind of the workload. */}}
{{- define "pointsman.kind" -}}
{{- if .Values.persistence.enabled }}StatefulSet{{ else }}Deployment{{ end -}}
{{- end -}}

{{- define "pointsman.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pointsman.labels" -}}
{{ include "pointsman.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "pointsman.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "pointsman.configMap" -}}
{{- .Values.existingConfigMap | default (include "pointsman.name" .) -}}
{{- end -}}

{{- define "pointsman.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "pointsman.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}
