#!/bin/sh
# Runs in an ingester before it is told to stop: drain-if-scaled-in.sh SECONDS.
#
# A pod ends in the same way when it is restarted, evicted or scaled in, and only the last must drain:
# moving every partition at every restart would be a storm. So the pod asks its StatefulSet how many
# pods it wants. An answer that does not come, or that says 0 (everything is switched off), means no
# drain: the log stays on the volume, and the other replicas have it too.
set -u

pod="$BONGHWA_NODE_NAME"
set="${pod%-*}"
ordinal="${pod##*-}"
api="${KUBERNETES_API:-https://kubernetes.default.svc}"
account="${SERVICE_ACCOUNT:-/var/run/secrets/kubernetes.io/serviceaccount}"
token="${ADMIN_TOKEN_FILE:-/etc/bonghwa/token/token}"
log="${DRAIN_LOG:-/proc/1/fd/2}"

say() {
    echo "drain-if-scaled-in: $*" >>"$log"
}

# The header comes from a file descriptor: a token on a command line is readable by others.
scale=$(printf 'header = "Authorization: Bearer %s"\n' "$(cat "$account/token")" |
    curl --silent --show-error --fail --max-time 10 --retry 3 --cacert "$account/ca.crt" --config - \
        "$api/apis/apps/v1/namespaces/$(cat "$account/namespace")/statefulsets/$set/scale" 2>&1) || {
    say "$pod stops without a drain: how many ingesters StatefulSet $set wants is not known: $scale"
    exit 0
}
# {"spec":{"replicas":3},"status":...}; a 0 is left out.
wanted=$(printf %s "$scale" | tr -d ' \n\t' | sed -n 's/.*"spec":{"replicas":\([0-9]*\)}.*/\1/p')
wanted="${wanted:-0}"

if [ "$wanted" -eq 0 ]; then
    say "$pod stops without a drain: StatefulSet $set is switched off"
elif [ "$ordinal" -lt "$wanted" ]; then
    say "$pod stops without a drain: it is one of the $wanted that StatefulSet $set wants"
else
    say "$pod drains: StatefulSet $set wants $wanted"
    if [ -r "$token" ]; then
        BONGHWA_TOKEN=$(cat "$token")
        export BONGHWA_TOKEN
    fi
    if timeout "$1" bonghwa ring drain "$pod" --until-restart --wait "$1" >>"$log" 2>&1; then
        say "$pod is drained"
    else
        say "$pod is not drained (after at most $1 s): its log stays on its volume; scale out again to finish"
    fi
fi
