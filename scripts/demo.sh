#!/usr/bin/env bash
# Starts the demo service, traces it for a few seconds, prints what was recorded
# and stops what it started.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${SECONDS_TO_RECORD:-5}
db=${DB:-logs/demo.db}
trace=bin/observatory-trace

mkdir -p bin logs
go build -C testdata/targets/go -buildvcs=false -o "$PWD/bin/orders" ./orders
rm -f "$db" "$db-shm" "$db-wal"

bin/orders >logs/orders.log 2>&1 &
service=$!
trap 'kill "$service" 2>/dev/null; wait "$service" 2>/dev/null || true' EXIT

echo "An order service runs as process $service. Recording its calls for $seconds seconds:"
echo
echo "  $trace attach -p $service -d ${seconds}s --db $db"
"$trace" attach -p "$service" -d "${seconds}s" --db "$db" --output none

echo
echo "  $trace report --db $db"
"$trace" report --db "$db"

echo
echo "  $trace errors --db $db -n 2"
"$trace" errors --db "$db" -n 2

echo
echo "The calls are in $db: its views process_trace and data_trace are open to any SQLite client, such as"
echo "  $trace query --db $db \"SELECT process, args, result FROM data_trace LIMIT 5\""
