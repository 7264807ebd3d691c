package main

import (
	"bytes"
	"encoding/json"
	"testing"
)

const mixed = "SELECT 1 AS n, NULL AS blank, 0.1 + 0.2 AS f, 'a,\"b\nc<ü>' AS s, x'00ff' AS b, 2 AS n UNION ALL SELECT 22, NULL, 5, 'd', NULL, 3"

func TestQueryTable(t *testing.T) {
	s := newShop(t)
	checkOutput(t, ""+
		" n  blank    f  s          b        n\n"+
		" 1         0.3  a,\"b c<ü>  x'00ff'  2\n"+
		"22           5  d                   3\n", "query", "--db", s.path, mixed)
	checkOutput(t, "process  avg_ms  calls\n", "query", "--db", s.path, "SELECT process, AVG(duration_ms) AS avg_ms, COUNT(*) AS calls FROM process_trace WHERE ts > datetime('now','-1 hour') GROUP BY process ORDER BY avg_ms DESC")
	checkOutput(t, ""+
		"process        avg_ms  calls\n"+
		"main.handle         4      1\n"+
		"main.pay     2.345678      1\n", "query", "--db", s.path, "SELECT process, AVG(duration_ms) AS avg_ms, COUNT(*) AS calls FROM process_trace GROUP BY process ORDER BY avg_ms DESC")
}

func TestQueryCSV(t *testing.T) {
	s := newShop(t)
	checkOutput(t, "n,blank,f,s,b,n\n1,,0.30000000000000004,\"a,\"\"b\nc<ü>\",x'00ff',2\n22,,5,d,,3\n", "query", "--db", s.path, "-o", "csv", mixed)
	checkOutput(t, "id,status\n", "query", "--db", s.path, "-o", "csv", "SELECT id, status FROM process_trace WHERE false")
}

func TestQueryJSON(t *testing.T) {
	s := newShop(t)
	checkOutput(t, `[
  {"n": 1, "blank": null, "f": 0.30000000000000004, "s": "a,\"b\nc<ü>", "b": {"$bytes": "AP8=", "$len": 2}, "n_2": 2},
  {"n": 22, "blank": null, "f": 5, "s": "d", "b": null, "n_2": 3}
]
`, "query", "--db", s.path, "-o", "json", mixed)
	checkOutput(t, "[]\n", "query", "--db", s.path, "-o", "json", "SELECT 1 WHERE false")
	_, out, _ := observatory(t, "query", "--db", s.path, "-o", "json", "SELECT 9e999 AS infinite, args, * FROM process_trace JOIN data_trace USING (id)")
	var rows []map[string]any
	if err := json.NewDecoder(bytes.NewReader([]byte(out))).Decode(&rows); err != nil || len(rows) != 2 || rows[0]["infinite"] != nil {
		t.Errorf("%v, %v of\n%s", rows, err, out)
	}
}

func TestQueryRefuses(t *testing.T) {
	s := newShop(t)
	checkFails(t, 1, "only statements that read", "query", "--db", s.path, "DELETE FROM call")
	checkFails(t, 1, "only statements that read", "query", "--db", s.path, "SELECT 1; DROP VIEW process_trace")
	checkFails(t, 1, "no such table: cals", "query", "--db", s.path, "SELECT * FROM cals")
	checkFails(t, 1, "raise --timeout", "query", "--db", s.path, "--timeout", "30ms", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n")
	checkFails(t, 2, "one statement", "query", "--db", s.path, "SELECT", "1")
	checkFails(t, 2, "one statement", "query", "--db", s.path)
	checkOutput(t, "n\n2\n", "query", "--db", s.path, "SELECT count(*) AS n FROM process_trace")
}
