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
"$trace" attach -p "$service" -d "${seconds}s" --db "$db"

declined=$("$trace" query --db "$db" -o csv "SELECT id FROM process_trace
	WHERE process = 'main.chargeCard' AND error LIKE '%card declined' ORDER BY id LIMIT 1" | tail -n +2)
if [ -n "$declined" ]; then
	echo
	echo "A card that was declined:"
	echo
	echo "  $trace show --db $db $declined"
	"$trace" show --db "$db" "$declined"
fi

echo
echo "The calls are in $db, open to any SQLite client. More of them, and of the errors:"
echo
echo "  $trace report --db $db --sort p99"
echo "  $trace errors --db $db -n 3"
echo "  $trace query --db $db \"SELECT process, args, result FROM data_trace LIMIT 5\""
