# A log record goes in by OTLP and must come back by SQL within a minute.
set -eu

id="helm-test-$(date +%s)-$$"
# The token comes from standard input: on a command line others could read it.
call() {
    printf '%s' "${TOKEN:+header = \"Authorization: Bearer $TOKEN\"}" |
        curl --silent --show-error --fail-with-body --max-time 10 --config - -H 'content-type: application/json' "$@"
}

service='{"key": "service.name", "value": {"stringValue": "helm-test"}}'
record="{\"timeUnixNano\": \"$(date +%s)000000000\", \"body\": {\"stringValue\": \"$id\"}}"
call --retry 5 --retry-all-errors "$OTLP/v1/logs" --data \
    "{\"resourceLogs\": [{\"resource\": {\"attributes\": [$service]}, \"scopeLogs\": [{\"logRecords\": [$record]}]}]}"
echo
echo "sent record $id to $OTLP"

query="SELECT count(*) AS n FROM logs WHERE service_name = 'helm-test' AND body = '$id'"
for attempt in $(seq 1 "${ATTEMPTS:-30}"); do
    # Lines of CSV end in CR and LF.
    found=$(call -H 'accept: text/csv' "$API/api/v1/sql" --data "{\"query\": \"$query\"}" | tail -n 1 | tr -d '\r')
    if [ "$found" = 1 ]; then
        echo "$API found it (attempt $attempt)"
        exit 0
    fi
    sleep 2
done
echo "$API does not find record $id: it says \"$found\"" >&2
exit 1
