{{/* The pods, of a Deployment or of a StatefulSet. */}}
{{- define "pointsman.pod" -}}
template:
  metadata:
    labels:
      {{- include "pointsman.labels" . | nindent 6 }}
      {{- with .Values.podLabels }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- /* No checksum of the ConfigMap: an edit of the routes is a reload, not a new set of pods. */}}
    {{- with .Values.podAnnotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    automountServiceAccountToken: false
    enableServiceLinks: false
    # The drain's delay and deadline, and a margin of 10 s. No preStop: --drain-delay has the effect of its sleep.
    terminationGracePeriodSeconds: {{ add .Values.drain.delay .Values.drain.deadline 10 }}
    {{- with (include "pointsman.serviceAccount" .) }}
    serviceAccountName: {{ . }}
    {{- end }}
    {{- with .Values.podSecurityContext }}
    securityContext:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.imagePullSecrets }}
    imagePullSecrets:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.priorityClassName }}
    priorityClassName: {{ . }}
    {{- end }}
    topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: ScheduleAnyway
        labelSelector:
          matchLabels:
            {{- include "pointsman.selector" . | nindent 12 }}
    {{- with .Values.nodeSelector }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.tolerations }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.affinity }}
    affinity:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    containers:
      - name: pointsman
        image: {{ include "pointsman.image" . | quote }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        args:
          - run
          - /etc/pointsman/routes.toml
          {{- if .Values.workers }}
          - --workers={{ .Values.workers }}
          {{- end }}
          - --drain-delay={{ .Values.drain.delay }}s
          - --drain-deadline={{ .Values.drain.deadline }}s
          {{- with .Values.extraArgs }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
        env:
          - name: POD_IP
            valueFrom:
              fieldRef:
                fieldPath: status.podIP
          {{- with .Values.extraEnv }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
        ports:
          {{- range .Values.ports }}
          - name: {{ .name }}
            containerPort: {{ .containerPort }}
          {{- end }}
          - name: admin
            containerPort: {{ .Values.adminPort }}
        startupProbe:
          httpGet: { path: /readyz, port: admin }
          periodSeconds: 1
          failureThreshold: 30
        readinessProbe:
          httpGet: { path: /readyz, port: admin }
          periodSeconds: 2
          timeoutSeconds: 2
          failureThreshold: 2
        livenessProbe:
          httpGet: { path: /healthz, port: admin }
          periodSeconds: 10
          timeoutSeconds: 5
          failureThreshold: 3
        resources:
          {{- toYaml .Values.resources | nindent 10 }}
        {{- with .Values.securityContext }}
        securityContext:
          {{- toYaml . | nindent 10 }}
        {{- end }}
        volumeMounts:
          # The folder, never with subPath: otherwise a new ConfigMap does not reach the running pod.
          - name: routes
            mountPath: /etc/pointsman
            readOnly: true
          # `[state] dir` of the routes.
          - name: state
            mountPath: /var/lib/pointsman
          {{- if .Values.adminTokens.existingSecret }}
          - name: admin-tokens
            mountPath: /etc/pointsman-admin
            readOnly: true
          {{- end }}
          {{- with .Values.extraVolumeMounts }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
    volumes:
      - name: routes
        configMap:
          name: {{ include "pointsman.configMap" . }}
      {{- if not .Values.persistence.enabled }}
      # It outlives the container, not the pod.
      - name: state
        emptyDir: {}
      {{- end }}
      {{- with .Values.adminTokens.existingSecret }}
      - name: admin-tokens
        secret:
          secretName: {{ . }}
          # The group is podSecurityContext.fsGroup.
          defaultMode: 0440
      {{- end }}
      {{- with .Values.extraVolumes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end -}}
