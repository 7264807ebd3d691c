package testenv

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Programs that nobody here wrote, as Debian 12 has them. scripts/setup.sh test
// installs them; a test that needs one fails without it.

const (
	postgresFolder = "/usr/lib/postgresql/15/bin"
	pythonHeaders  = "/usr/include/python3.11"
)

// PythonLibrary is the shared library that Python's program of the same name is linked with.
const PythonLibrary = "libpython3.11.so.1.0"

// Postgres is a running PostgreSQL server with an empty database. The server
// forks a process for each connection.
type Postgres struct {
	*Process
	Program string // path of the executable
	folder  string
}

// StartPostgres starts a server on a Unix socket of its own, as Debian's user
// postgres, since it refuses to run as root. It needs root itself.
func StartPostgres(tb testing.TB) *Postgres {
	tb.Helper()
	RequireRoot(tb)
	as := credential(tb, "postgres")
	folder := userFolder(tb, as)
	data := filepath.Join(folder, "data")
	initialise := exec.Command(filepath.Join(postgresFolder, "initdb"),
		"--pgdata", data, "--auth=trust", "--no-sync", "--encoding=UTF8", "--no-locale", "--username=postgres")
	initialise.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	initialise.Dir = folder
	if _, err := run(initialise); err != nil {
		tb.Fatalf("make a database (scripts/setup.sh test installs PostgreSQL): %v", err)
	}
	program := filepath.Join(postgresFolder, "postgres")
	command := exec.Command(program, "-D", data, "-k", folder,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_parallel_workers_per_gather=0", "-c", "jit=off")
	command.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	command.Dir = folder
	p := &Postgres{Process: StartCommand(tb, command), Program: program, folder: folder}
	// Killed, it would leave its shared memory behind, and its sessions for a while.
	tb.Cleanup(func() {
		if p.Running() {
			p.Signal(syscall.SIGINT)
			p.Wait()
		}
	})
	p.WaitStderr("database system is ready to accept connections")
	return p
}

// Command is a psql that runs the statements, quits at the first error and
// prints bare rows, columns separated by "|".
func (p *Postgres) Command(statements string) *exec.Cmd {
	return exec.Command("psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
		"--set=ON_ERROR_STOP=1", "--host="+p.folder, "--username=postgres", "--dbname=postgres", "--command="+statements)
}

// Query runs the statements in a session of their own and returns their rows.
func (p *Postgres) Query(statements string) string {
	p.tb.Helper()
	out, err := run(p.Command(statements))
	if err != nil {
		p.tb.Fatalf("query: %v\n%s", err, p.said())
	}
	return out
}

// Redis is a running Redis server that keeps nothing on disk.
type Redis struct {
	*Process
	Program string // path of the executable, links followed
	socket  string
}

// StartRedis starts a server on a Unix socket of its own.
func StartRedis(tb testing.TB) *Redis {
	tb.Helper()
	link, err := exec.LookPath("redis-server")
	if err != nil {
		tb.Fatalf("find Redis (scripts/setup.sh test installs it): %v", err)
	}
	program, err := filepath.EvalSymlinks(link)
	if err != nil {
		tb.Fatalf("find Redis: %v", err)
	}
	folder := shortFolder(tb)
	socket := filepath.Join(folder, "redis.sock")
	r := &Redis{
		Process: Start(tb, link, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", folder),
		Program: program, socket: socket,
	}
	r.WaitStdout("The server is now ready to accept connections at " + socket)
	return r
}

// Benchmark is a redis-benchmark that makes so many requests of each of its
// tests ("get", "set", "lpush", …).
func (r *Redis) Benchmark(requests int, tests ...string) *exec.Cmd {
	return exec.Command("redis-benchmark", "-s", r.socket, "-q", "-c", "4",
		"-n", strconv.Itoa(requests), "-t", strings.Join(tests, ","))
}

// Do runs one command of Redis and returns the answer, as redis-cli prints it.
func (r *Redis) Do(command ...string) string {
	r.tb.Helper()
	out, err := run(exec.Command("redis-cli", append([]string{"-s", r.socket}, command...)...))
	if err != nil {
		r.tb.Fatalf("run a Redis command: %v\n%s", err, r.said())
	}
	return strings.TrimRight(out, "\n")
}

// Python builds a Python interpreter that runs in PythonLibrary, and says where
// the library is.
func Python(tb testing.TB) (program, library string) {
	tb.Helper()
	if _, err := os.Stat(pythonHeaders); err != nil {
		tb.Fatalf("find Python (scripts/setup.sh test installs it): %v", err)
	}
	program = Build(tb, Target{Source: "c/python", Flags: []string{"-I" + pythonHeaders, "-lpython3.11"}})
	libraries, err := filepath.Glob("/usr/lib/*-linux-gnu/" + PythonLibrary)
	if err != nil || len(libraries) != 1 {
		tb.Fatalf("find %s: %v, %v", PythonLibrary, libraries, err)
	}
	return program, libraries[0]
}

// PythonScript is a command that runs a script of testdata/targets/c/python in
// that interpreter, so many rounds of it. What it prints depends on those alone;
// its exit code is 3. With wait it is a target that prints ready and waits for go.
func PythonScript(tb testing.TB, script string, rounds int, wait bool) *exec.Cmd {
	tb.Helper()
	program, _ := Python(tb)
	root, err := Root()
	if err != nil {
		tb.Fatal(err)
	}
	args := []string{filepath.Join(root, "testdata", "targets", "c", "python", script), strconv.Itoa(rounds)}
	if wait {
		args = append(args, "wait")
	}
	command := exec.Command(program, args...)
	command.Env = append(os.Environ(), "PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1", "PYTHONHOME=/usr", "PYTHONPATH=")
	return command
}

// Etcd is a running etcd server, a cluster of itself, on loopback: a Go program
// of 36 MB with generics and types that go deep.
type Etcd struct {
	*Process
	Program string // path of the executable
	url     string
}

// etcdVersion is the one that tests know the functions of.
const etcdVersion = "v3.7.3"

// EtcdProgram builds the server from the module proxy, once: it takes about a minute.
func EtcdProgram(tb testing.TB) string {
	tb.Helper()
	const module = "go.etcd.io/etcd/server/v3"
	version, err := compilerVersion(Target{Source: "go/etcd", Compiler: "go"})
	if err != nil {
		tb.Fatal(err)
	}
	folder, err := cached("etcd-"+shortHash(etcdVersion+version), func(folder string) error {
		for _, args := range [][]string{{"mod", "init", "etcd"}, {"get", module + "@" + etcdVersion}, {"build", "-o", "etcd", module}} {
			command := goCommand(Target{Compiler: "go"}, args...)
			command.Dir = folder
			if _, err := run(command); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatalf("build etcd: %v", err)
	}
	return filepath.Join(folder, "etcd")
}

// StartEtcd starts a server with an empty database.
func StartEtcd(tb testing.TB) *Etcd {
	tb.Helper()
	program := EtcdProgram(tb)
	listener, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	if err != nil {
		tb.Fatalf("find a port: %v", err)
	}
	url := "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		tb.Fatalf("find a port: %v", err)
	}
	const peer = "http://127.0.0.1:2380" // of itself: nobody connects to it
	e := &Etcd{Start(tb, program, "--data-dir", filepath.Join(tb.TempDir(), "data"), "--unsafe-no-fsync",
		"--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", "http://127.0.0.1:0",
		"--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer), program, url}
	e.WaitStderr("ready to serve client requests")
	e.WaitStderr("updated storage version")
	return e
}

// Ask posts a request to the server's JSON interface ("kv/put"), and returns the answer, which may be an error.
func (e *Etcd) Ask(what, request string) (answer string) {
	e.tb.Helper()
	response, err := http.Post(e.url+"/v3/"+what, "application/json", strings.NewReader(request))
	if err != nil {
		e.tb.Fatalf("ask etcd: %v\n%s", err, e.said())
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		e.tb.Fatalf("ask etcd: %v", err)
	}
	return string(text)
}

// GoCompiler is the path of the Go compiler that go build runs.
func GoCompiler(tb testing.TB) string {
	tb.Helper()
	out, err := run(exec.Command("go", "tool", "-n", "compile"))
	if err != nil {
		tb.Fatalf("find the Go compiler: %v", err)
	}
	return strings.TrimSpace(out)
}

// GoBuild is a go build of a target below testdata/targets, whose output is the
// same each time, byte by byte. It begins with an empty cache, so that the
// compiler has to compile what the program imports.
func GoBuild(tb testing.TB, source, output string) *exec.Cmd {
	tb.Helper()
	root, err := Root()
	if err != nil {
		tb.Fatal(err)
	}
	command := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", output, ".")
	command.Dir = filepath.Join(root, "testdata", "targets", source)
	command.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0", "GOCACHE="+tb.TempDir())
	return command
}

// credential is a user of the machine.
func credential(tb testing.TB, name string) *syscall.Credential {
	tb.Helper()
	account, err := user.Lookup(name)
	if err != nil {
		tb.Fatalf("find user (scripts/setup.sh test makes it): %v", err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		tb.Fatalf("parse user id: %v", err)
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		tb.Fatalf("parse group id: %v", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// userFolder is a shortFolder that belongs to another user.
func userFolder(tb testing.TB, as *syscall.Credential) string {
	tb.Helper()
	folder := shortFolder(tb)
	if err := os.Chown(folder, int(as.Uid), int(as.Gid)); err != nil {
		tb.Fatalf("give away a folder: %v", err)
	}
	return folder
}

// shortFolder is removed at the test's end. Its path is short enough for a Unix
// socket's, which is at most 107 bytes, and others may go through it: neither
// is true of testing's own.
func shortFolder(tb testing.TB) string {
	tb.Helper()
	folder, err := os.MkdirTemp("", "observatory-")
	if err != nil {
		tb.Fatalf("make a folder: %v", err)
	}
	tb.Cleanup(func() { removeAll(tb, folder) })
	return folder
}

// removeAll removes a folder that processes which were just killed may still write to.
func removeAll(tb testing.TB, folder string) {
	deadline := time.Now().Add(10 * time.Second)
	err := os.RemoveAll(folder)
	for err != nil && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
		err = os.RemoveAll(folder)
	}
	if err != nil {
		tb.Errorf("remove %s: %v", folder, err)
	}
}
