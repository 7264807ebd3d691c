package e2e

import (
	"bytes"
	"database/sql"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// statements are what the PostgreSQL server is asked, an error and a sort among them.
var statements = []string{
	"CREATE TABLE t(n int PRIMARY KEY, s text)",
	"INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 300) i",
	"SELECT count(*), sum(n), min(s), max(s) FROM t",
	"SELECT a.n, b.s FROM t a JOIN t b ON a.n = b.n + 1 WHERE a.n % 50 = 0 ORDER BY b.s DESC",
	"DO $$ BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END $$",
	"UPDATE t SET s = upper(s) WHERE n <= 10",
	"SELECT s FROM t WHERE n IN (3, 30) ORDER BY 1",
	"DROP TABLE t",
}

// TestPostgres traces the backends that a server forks for each session, in
// all of its executor, parser, planner and storage.
func TestPostgres(t *testing.T) {
	testenv.RequireBPF(t)
	p := testenv.StartPostgres(t)
	ask := func() (rows string) {
		for _, s := range statements {
			rows += p.Query(s)
		}
		return rows
	}
	want := ask()
	tr := attach(t, "--exe", p.Program, "-s", "exec_*", "-s", "Exec*", "-s", "pg_*", "-s", "heap*", "-s", "plan*", "-s", "standard_*",
		"-s", "Portal*", "-s", "*Commit*", "-s", "*Transaction*", "-s", "err*", "-s", "text*", "-s", "int4*", "-s", "tuple*", "--ring-buffer", "128MiB")
	if functions, _ := tr.attached(); functions < 1000 {
		t.Errorf("attached to only %d functions", functions)
	}
	if got := ask(); got != want {
		t.Errorf("traced it answered %q, untraced %q", got, want)
	}
	tr.stop()
	if got := ask(); got != want {
		t.Errorf("after being traced it answered %q", got)
	}
	db := tr.open()
	sound(t, db)
	// The server is stripped, and exec_simple_query is not exported: it calls this once.
	// The planner does, too, for a function in SQL.
	if got := tallies(t, db, "parent_id IS NULL")["pg_parse_query"]; got != (tally{OK: uint64(len(statements))}) {
		t.Errorf("pg_parse_query: %v; %d statements were sent", got, len(statements))
	}
	if n := number(t, db, "SELECT count(DISTINCT pid) FROM process_trace WHERE process = 'pg_parse_query'"); n != int64(len(statements)) {
		t.Errorf("%d backends answered", n)
	}
}

// TestPostgresAll traces every function of a server at work.
func TestPostgresAll(t *testing.T) {
	testenv.RequireBPF(t)
	p := testenv.StartPostgres(t)
	const query = "CREATE TEMP TABLE t AS SELECT i n FROM generate_series(1, 50) i; SELECT sum(n) FROM t"
	tr := attach(t, "--exe", p.Program, "-s", "*", "--ring-buffer", "256MiB")
	if functions, _ := tr.attached(); functions < 9000 {
		t.Errorf("attached to only %d functions", functions)
	}
	if got := p.Query(query); got != "1275\n" {
		t.Errorf("it answered %q", got)
	}
	tr.stop()
	if got := p.Query(query); got != "1275\n" {
		t.Errorf("after being traced it answered %q", got)
	}
	if got := tallies(t, tr.open(), "")["pg_parse_query"]; got.OK != 1 {
		t.Errorf("pg_parse_query: %v", got)
	}
}

// TestPython traces the interpreter's shared library in a running script.
func TestPython(t *testing.T) {
	testenv.RequireBPF(t)
	want := testenv.StartCommand(t, testenv.PythonScript(t, "script.py", 1, false)).Wait()
	p := testenv.StartCommand(t, testenv.PythonScript(t, "script.py", 1, true)).Ready()
	tr := attachPID(t, p.PID, "-l", "libpython3.11*", "-s", "Py[A-Z]*", "-s", "_Py*", "-x", "_PyEval_EvalFrameDefault", "--ring-buffer", "256MiB", "--max-bytes", "256")
	if functions, _ := tr.attached(); functions < 1000 {
		t.Errorf("attached to only %d functions", functions)
	}
	p.Go()
	got := p.Wait()
	if got.Stdout != "ready\n"+want.Stdout || got.Stderr != want.Stderr || got.ExitCode != want.ExitCode {
		t.Errorf("traced it ended with %+v, untraced with %+v", got, want)
	}
	tr.end()
	db := tr.open()
	sound(t, db)
	if n := number(t, db, "SELECT count(DISTINCT process) FROM process_trace"); n < 200 {
		t.Errorf("calls of only %d functions are recorded", n)
	}
}

// lists checks that list shows a function with this signature and source.
func lists(t *testing.T, file, pattern, signature, source string) {
	t.Helper()
	got := testenv.Run(t, testenv.Binary(t), "list", file, "-s", pattern)
	if lines := strings.Split(got.Stdout, "\n"); got.ExitCode != 0 || len(lines) < 4 || lines[0] != signature || !strings.Contains(lines[1], source) {
		t.Errorf("list %s: %+v, want %s", pattern, got, signature)
	}
}

// TestPythonObjects looks into the objects that Python's functions work on, which
// the debug information that Debian packages for itself describes.
func TestPythonObjects(t *testing.T) {
	testenv.RequireBPF(t)
	const rounds = 20
	_, library := testenv.Python(t)
	lists(t, library, "PyDict_SetItem", "int PyDict_SetItem(PyObject * op, PyObject * key, PyObject * value)", "Objects/dictobject.c:")
	want := testenv.StartCommand(t, testenv.PythonScript(t, "objects.py", rounds, false)).Wait()
	p := testenv.StartCommand(t, testenv.PythonScript(t, "objects.py", rounds, true)).Ready()
	tr := attachPID(t, p.PID, "-l", "libpython3.11*", "-s", "PyObject_*", "-s", "PyDict_{SetItem,DelItemString}", "-s", "PyList_Append", "-s", "_PyEval_Vector",
		"--error", "PyDict_DelItemString=negative", "--depth", "2", "--ring-buffer", "256MiB")
	if functions, _ := tr.attached(); functions < 70 {
		t.Errorf("attached to only %d functions", functions)
	}
	p.Go()
	got := p.Wait()
	if got.Stdout != "ready\n"+want.Stdout || got.Stderr != want.Stderr || got.ExitCode != want.ExitCode {
		t.Errorf("traced it ended with %+v, untraced with %+v", got, want)
	}
	tr.end()
	db := tr.open()
	sound(t, db)
	for _, c := range []struct{ process, columns, where, want string }{
		{
			"PyDict_SetItem", `count(*), group_concat(DISTINCT args ->> '$.key.ob_type.tp_name'), group_concat(DISTINCT args ->> '$.op.ob_type.tp_name')`,
			`args ->> '$.value.ob_type.tp_name' = 'Marked'`, "20|str|dict",
		},
		{
			"PyList_Append", `count(*), group_concat(DISTINCT args ->> '$.op.ob_type.tp_name'), group_concat(DISTINCT result)`,
			`args ->> '$.newitem.ob_type.tp_name' = 'Marked'`, "20|list|0",
		},
		{
			"PyObject_Repr", `count(*), group_concat(DISTINCT args ->> '$.v.ob_type.tp_name'), group_concat(DISTINCT args ->> '$.v.ob_type.tp_repr'),
			group_concat(DISTINCT args ->> '$.v.ob_type.tp_basicsize'), min(args ->> '$.v.ob_refcnt') > 0, group_concat(DISTINCT result ->> '$.ob_type.tp_name')`,
			"1", "20|Marked|slot_tp_repr|24|1|str",
		},
		{
			"PyDict_DelItemString", `count(*), count(DISTINCT args ->> '$.key'), min(args ->> '$.key'), max(args ->> '$.key'), group_concat(DISTINCT args ->> '$.v.ob_type.tp_name'),
			group_concat(DISTINCT result), group_concat(DISTINCT status), group_concat(DISTINCT error)`,
			"1", "20|20|missing 0|missing 9|dict|-1|ERR|returned -1",
		},
		// Marked.__init__, Marked.__repr__ and twice, and a few more.
		{"_PyEval_Vector", "count(*) BETWEEN 60 AND 70", "1", "1"},
	} {
		if got := text(t, db, "SELECT "+c.columns+" FROM data_trace d JOIN process_trace p USING (id) WHERE p.process = ? AND "+c.where, c.process); got != c.want {
			t.Errorf("%s: %s, want %s", c.process, got, c.want)
		}
	}
}

// TestEtcd traces a large Go server: generic functions, types that go deep, errors.
func TestEtcd(t *testing.T) {
	testenv.RequireBPF(t)
	const keys = 20
	e := testenv.StartEtcd(t)
	put := func(key, value string, lease int) string {
		return fmt.Sprintf(`{"key":%q,"value":%q,"lease":%d}`, base64.StdEncoding.EncodeToString([]byte(key)), base64.StdEncoding.EncodeToString([]byte(value)), lease)
	}
	const (
		btree  = "k8s.io/utils/third_party/forked/golang/btree.(*BTree[*go.etcd.io/etcd/server/v3/storage/mvcc.keyIndex]).ReplaceOrInsert"
		server = "go.etcd.io/etcd/server/v3/etcdserver.(*EtcdServer)."
		index  = "go.etcd.io/etcd/server/v3/storage/mvcc.(*treeIndex).Put"
		apply  = "go.etcd.io/etcd/server/v3/etcdserver/apply.(*applierV3backend).Put"
	)
	shared := strings.Replace(btree, "*go.etcd.io/etcd/server/v3/storage/mvcc.keyIndex", "go.shape.*uint8", 1)
	lists(t, e.Program, "*btree.(*BTree[[]go.shape*).ReplaceOrInsert", shared+"(t *k8s.io/utils/third_party/forked/golang/btree.BTree[unsafe.Pointer], item unsafe.Pointer) (r0 unsafe.Pointer, r1 bool)", "/btree.go:")
	tr := attachPID(t, e.PID, "-s", "*etcdserver.(*EtcdServer).{Put,Range,Authenticate}", "-s", "*mvcc.(*treeIndex).Put", "-s", "*mvcc.(*keyIndex).put",
		"-s", "*btree.(*BTree[[]*).*", "-s", "*apply.(*applierV3backend).Put", "--depth", "2", "--max-bytes", "8192", "--ring-buffer", "64MiB")
	for i := range keys {
		if got := e.Ask("kv/put", put(fmt.Sprintf("key %d", i), fmt.Sprintf("value %d", i), 0)); !strings.Contains(got, fmt.Sprintf(`"revision":"%d"`, i+2)) {
			t.Errorf("put %d: %s", i, got)
		}
	}
	if got := e.Ask("kv/range", `{"key":"a2V5IDc="}`); !strings.Contains(got, "dmFsdWUgNw==") { // "key 7", "value 7"
		t.Errorf("range: %s", got)
	}
	if got := e.Ask("kv/put", put("leased", "x", 77)); !strings.Contains(got, "requested lease not found") {
		t.Errorf("put with a lease that there isn't: %s", got)
	}
	if got := e.Ask("auth/authenticate", `{"name":"root","password":"hunter2"}`); !strings.Contains(got, "authentication is not enabled") {
		t.Errorf("authenticate: %s", got)
	}
	tr.stop()
	if got := e.Ask("kv/range", `{"key":"a2V5IDE5"}`); !strings.Contains(got, "dmFsdWUgMTk=") { // "key 19", "value 19"
		t.Errorf("after being traced it answers %s", got)
	}
	db := tr.open()
	sound(t, db)
	got := tallies(t, db, "")
	for name, want := range map[string]tally{
		server + "Put": {OK: keys, ERR: 1}, server + "Range": {OK: 1}, server + "Authenticate": {ERR: 1},
		index: {OK: keys}, btree: {OK: keys}, apply: {OK: keys, ERR: 1},
	} {
		if got[name] != want {
			t.Errorf("%s: %v, want %v", name, got[name], want)
		}
	}
	var wantKeys, wantPuts, wantTree, wantItems []string
	for i := range keys {
		wantKeys = append(wantKeys, fmt.Sprintf("key %d|%d|0", i, i+2))
		wantPuts = append(wantPuts, fmt.Sprintf("key %d|value %d|0", i, i))
		wantTree = append(wantTree, fmt.Sprintf("32|%d|0", i))
		wantItems = append(wantItems, fmt.Sprintf("key %d|%d|1", i, i+2))
	}
	values := func(process, columns string) string {
		return text(t, db, "SELECT "+columns+" FROM data_trace WHERE process = ? ORDER BY id", process)
	}
	for _, c := range []struct{ what, got, want string }{
		{"keys and revisions", values(index, "args ->> '$.key', args ->> '$.rev.Main', args ->> '$.rev.Sub'"), strings.Join(wantKeys, "\n")},
		{"protobuf messages", values(apply, "args ->> '$.p.Key', args ->> '$.p.Value', args ->> '$.p.Lease'"), strings.Join(append(wantPuts, "leased|x|77"), "\n")},
		{"the generic tree", values(btree, "args ->> '$.t.degree', args ->> '$.t.length', result ->> '$.r1'"), strings.Join(wantTree, "\n")},
		// What the pointer is to, the code that all instances share doesn't know, but its dictionary.
		{"its items", values(btree, "args ->> '$.item.key', args ->> '$.item.modified.Main', args ->> '$.t.cow.less' LIKE '%mvcc.NewStore.newTreeIndex.func_'"), strings.Join(wantItems, "\n")},
		{"the logger", values(index, "DISTINCT args ->> '$.ti.lg.core.\"$type\"', args ->> '$.ti.lg.addCaller', args ->> '$.ti.lg.errorOutput.\"$type\"'"), "*zapcore.sampler|1|*zapcore.lockedWriteSyncer"},
		{"the password", values(server+"Authenticate", "args ->> '$.r.Name', args ->> '$.r.Password'"), `root|{"$redacted":"password"}`},
		{"errors", text(t, db, "SELECT DISTINCT error_type, error FROM process_trace WHERE status = 'ERR' ORDER BY 2"), "*errors.errorString|auth: authentication is not enabled\n*errors.errorString|lease not found"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.what, c.got, c.want)
		}
	}
	// Debug information is read as far as it is needed: see make bench-loading. Some 75 MiB are the maps that it shares
	// with the probes, of which ring buffers are mapped twice, and count twice.
	one := attachPID(t, e.PID, "-s", server+"Put")
	if peak := peakMemory(t, one.PID); peak > 150<<20 {
		t.Errorf("to attach to one function took %d MiB", peak>>20)
	}
	one.stop()
	if stack := text(t, db, "SELECT stack FROM data_trace JOIN process_trace USING (id) WHERE process_trace.process = ? AND status = 'ERR'", apply); !strings.Contains(stack, "etcdserver.(*EtcdServer).applyEntryNormal ") || !strings.Contains(stack, "etcdserver/server.go:") {
		t.Errorf("the stack of the error is %s", stack)
	}
}

// TestTemplates traces all functions of C++ programs that are mostly a library's
// templates, through which exceptions pass.
func TestTemplates(t *testing.T) {
	testenv.RequireBPF(t)
	for _, target := range []testenv.Target{
		{Source: "cpp/json"}, {Source: "cpp/json", Opt: "-O0"}, {Source: "cpp/json", Compiler: "clang++-14"},
	} {
		t.Run(target.String(), func(t *testing.T) {
			t.Parallel()
			program := testenv.Build(t, target)
			lists(t, program, "shop::add<shop::Order>", "std::size_t shop::add<shop::Order>(shop::Batch<shop::Order> & batch, const shop::Order & item, const std::string & name)", "cpp/json/main.cpp:")
			want := testenv.Run(t, program)
			p := testenv.Start(t, program, "-wait").Ready()
			tr := attachPID(t, p.PID, "-s", "*", "--depth", "4", "--max-bytes", "8192", "--ring-buffer", "128MiB")
			p.Go()
			if got := p.Wait(); got.Stdout != "ready\n"+want.Stdout || got.Stderr != want.Stderr || got.ExitCode != want.ExitCode {
				t.Errorf("traced it ended with %+v, untraced with %+v", got, want)
			}
			tr.end()
			checkTemplates(t, tr.open())
		})
	}
}

func checkTemplates(t *testing.T, db *sql.DB) {
	t.Helper()
	sound(t, db)
	got := tallies(t, db, "")
	for name, want := range map[string]tally{
		"shop::load": {OK: 10, ERR: 3}, "shop::refuse": {OK: 3}, "shop::order": {OK: 10}, "shop::store": {OK: 1},
		"shop::add<long>": {OK: 10}, "shop::add<shop::Order>": {OK: 10},
	} {
		if got[name] != want {
			t.Errorf("%s: %v, want %v", name, got[name], want)
		}
	}
	var orders, adds []string
	for i := 1; i <= 10; i++ {
		price := fmt.Sprintf("long|%d", i*100)
		if i%2 == 0 {
			price = "std::string|free"
		}
		orders = append(orders, fmt.Sprintf("%d|object|%d|customer %d|%s", i, i, i, price))
		adds = append(adds, fmt.Sprintf("%d|%d|total %d||%d", i-1, i*100, i, i-1))
	}
	for _, c := range []struct{ what, columns, where, want string }{
		{
			"orders", `args ->> '$.number', args ->> '$.from.m_type', result ->> '$.number', result ->> '$.customer', replace(result ->> '$.price."$type"', 'long int', 'long'), result ->> '$.price."$value"'`,
			"process = 'shop::order'", strings.Join(orders, "\n"),
		},
		{
			"a template of numbers", `json_array_length(args, '$.batch.items'), args ->> '$.item', args ->> '$.name', args ->> '$.batch.label', (SELECT count(*) FROM json_each(args, '$.batch.byName'))`,
			"process = 'shop::add<long>'", strings.Join(adds, "\n"),
		},
		{
			"a template of structures", `args ->> '$.batch.label', args ->> '$.batch.items[9].customer', args ->> '$.batch.byName."customer 3"[0]', args ->> '$.batch.byName."customer 3"[1].price."$value"'`,
			"process = 'shop::store'", "today|customer 10|3|300",
		},
		{"texts", `args ->> '$.text'`, "process = 'shop::load' AND args LIKE '%broken%'", "{\"broken\": 0\n{\"broken\": 1\n{\"broken\": 2"},
		{"stacks", `DISTINCT stack LIKE '%shop::load %/main.cpp:%shop::refuse %/main.cpp:%main %/main.cpp:%'`, "process = 'shop::load' AND args LIKE '%broken%'", "1"},
	} {
		if got := text(t, db, "SELECT "+c.columns+" FROM data_trace WHERE "+c.where+" ORDER BY id"); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	if got := text(t, db, "SELECT DISTINCT error_type FROM process_trace WHERE status = 'ERR'"); got != "nlohmann::json_abi_v3_11_2::detail::parse_error" {
		t.Errorf("the errors are of the types %s", got)
	}
	if n := number(t, db, "SELECT count(DISTINCT process) FROM process_trace WHERE process LIKE 'nlohmann::%'"); n < 20 {
		t.Errorf("calls of only %d functions of the library are recorded", n)
	}
}

// peakMemory is the largest resident set that a running process has had, in bytes.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// TestRedis traces all functions of a server under its own benchmark.
func TestRedis(t *testing.T) {
	testenv.RequireBPF(t)
	const requests = 200
	r := testenv.StartRedis(t)
	tr := attachPID(t, r.PID, "-s", "*", "--ring-buffer", "256MiB", "--max-bytes", "256")
	if functions, _ := tr.attached(); functions < 3000 {
		t.Errorf("attached to only %d functions", functions)
	}
	if got := testenv.StartCommand(t, r.Benchmark(requests, "set", "lpush")).Wait(); got.ExitCode != 0 || !strings.Contains(got.Stdout, "LPUSH") {
		t.Errorf("the benchmark ended with %+v", got)
	}
	if got := r.Do("llen", "mylist"); got != strconv.Itoa(requests) {
		t.Errorf("the list has %s elements", got)
	}
	tr.stop()
	if got := r.Do("ping"); got != "PONG" {
		t.Errorf("after being traced it answers %q", got)
	}
	db := tr.open()
	sound(t, db)
	got := statistics(t, db)
	for _, name := range []string{"setCommand", "lpushCommand"} {
		if got[name].calls != requests {
			t.Errorf("%s: %d calls, of %d requests", name, got[name].calls, requests)
		}
	}
}

// TestGoBuild traces the compiler that a go build starts. What the program
// imports is built beforehand: there would be millions of calls.
func TestGoBuild(t *testing.T) {
	testenv.RequireBPF(t)
	folder := t.TempDir()
	build := func(output, cache string, flags ...string) *exec.Cmd {
		command := testenv.GoBuild(t, "go/minimal", filepath.Join(folder, output))
		command.Env = append(command.Env, "GOCACHE="+filepath.Join(folder, cache), "GOFLAGS="+strings.Join(flags, " "))
		return command
	}
	run := func(command *exec.Cmd) {
		if got := testenv.StartCommand(t, command).Wait(); got.ExitCode != 0 || got.Stderr != "" {
			t.Fatalf("build: %+v", got)
		}
	}
	run(build("warm", "one"))
	if err := os.CopyFS(filepath.Join(folder, "two"), os.DirFS(filepath.Join(folder, "one"))); err != nil {
		t.Fatal(err)
	}
	// Other flags, and the program itself is compiled anew.
	run(build("plain", "one", "-gcflags=-l"))
	tr := attach(t, "--exe", testenv.GoCompiler(t), "-s", "main.*", "-s", "cmd/compile/internal/*.*", "-x", "*/ssa.*", "--ring-buffer", "256MiB", "--max-bytes", "256", "--depth", "1")
	if functions, _ := tr.attached(); functions < 5000 {
		t.Errorf("attached to only %d functions", functions)
	}
	run(build("traced", "two", "-gcflags=-l"))
	tr.stop()
	want, err := os.ReadFile(filepath.Join(folder, "plain"))
	if err != nil {
		t.Fatal(err)
	}
	if made, err := os.ReadFile(filepath.Join(folder, "traced")); err != nil || !bytes.Equal(made, want) {
		t.Errorf("it built another program (%v)", err)
	}
	db := tr.open()
	sound(t, db)
	// The go command asks the compiler for its version, too.
	compilers := number(t, db, "SELECT count(DISTINCT pid) FROM process_trace WHERE process = 'main.main'")
	if mains := statistics(t, db)["main.main"].calls; compilers == 0 || uint64(compilers) != mains {
		t.Errorf("main.main: %d calls in %d processes", mains, compilers)
	}
	if n := statistics(t, db)["cmd/compile/internal/gc.Main"].calls; n == 0 {
		t.Error("gc.Main: no call")
	}
}
