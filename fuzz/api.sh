#!/bin/bash
# The API fuzzed from its own OpenAPI document: fuzz/api.sh BINARY SECONDS
#
# Starts the binary as a development server on loopback, has the document judged by openapi-spec-validator, and lets
# Schemathesis send what the document allows and what it does not, as a tenant's server, as the operator and as a user.
# It fails at an answer of 500, at a status, media type or header that the document does not have, at a body that does
# not fit its schema, and at a panic. Needs python3; keeps what it installs in target/api-tools.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1
seconds=${2:-30}
tools=target/api-tools

tests/venv.sh "$tools" fuzz/api-requirements.txt

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
operator=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
STONECHAT_API__OPERATOR_KEY=$operator "$binary" run --dev --json --listen 127.0.0.1:0 --data "$work/data" \
    >"$work/started" 2>"$work/log" &
server=$!
for _ in $(seq 300); do
    [ -s "$work/started" ] && break
    kill -0 "$server" || { cat "$work/log"; exit 1; }
    sleep 0.1
done
started() { python3 -c "import json, sys; print(json.load(open(sys.argv[1]))$1)" "$work/started"; }
url=$(started '["url"]')

curl --silent --show-error --fail "$url/openapi.json" --output "$work/openapi.json"
"$tools/bin/openapi-spec-validator" "$work/openapi.json"
# What is looked for are wrong answers, not the rates.
curl --silent --show-error --fail --request PATCH "$url/v1/tenants/demo/quotas" --output /dev/null \
    --header "Authorization: Bearer $operator" --header 'Content-Type: application/json' \
    --data '{"api_requests_per_s":1000000,"sends_per_s":1000000}'

fuzz() {
    local who=$1 credential=$2
    shift 2
    echo "api fuzz: as $who for $seconds s"
    # The credentials are kept: whoever deletes the tenant or its keys in between learns nothing more.
    "$tools/bin/schemathesis" run "$work/openapi.json" --url "$url" \
        --header "Authorization: Bearer $credential" --max-time "$seconds" --max-examples "${EXAMPLES:-40}" \
        --phases examples,coverage,fuzzing --suppress-health-check all --no-color --request-timeout 20 \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance \
        "$@" >"$work/$who" 2>&1 || { cat "$work/$who"; return 1; }
    sed -n '/SUMMARY/,$p' "$work/$who"
}

# Bodies of lines of JSON, and of an upload's bytes, cannot be made from a schema; events that are pulled never end.
fuzz server "$(started '["server_key"]')" --exclude-operation-id-regex '^(Disable|Rotate|Delete|Erase|Import|PullEvents|ContinueUpload)'
fuzz operator "$operator" --include-tag Tenant --include-tag Audit \
    --exclude-operation-id-regex '^(Disable|Rotate|Suspend|Delete|SetQuotas|PullEvents)'
fuzz user "$(started '["users"][0]["token"]')" --include-tag User --include-tag Conversation --include-tag Member \
    --include-tag Message
if grep -q 'panicked at' "$work/log"; then
    grep -A5 'panicked at' "$work/log"
    exit 1
fi
kill -0 "$server"
echo "api fuzz: nothing found"
