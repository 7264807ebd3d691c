package deploy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// defaults are the capabilities that a container has when nothing is said of them.
var defaults = []string{
	"CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID",
	"SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
}

// asManifest gives the options of "ctr run" that a node's runtime derives from the
// manifest's container. data is the folder that stands for its volume.
func asManifest(t *testing.T, c container, data string) []string {
	t.Helper()
	memory, err := strconv.Atoi(strings.TrimSuffix(c.Resources.Limits["memory"], "Mi"))
	if err != nil {
		t.Fatalf("read memory limit: %v", err)
	}
	options := []string{
		// hostPID: the namespace that the test, too, is in.
		"--with-ns", "pid:/proc/" + strconv.Itoa(os.Getpid()) + "/ns/pid",
		"--memory-limit", strconv.Itoa(memory << 20), "--cpus", c.Resources.Limits["cpu"],
		"--mount", "type=bind,src=" + data + ",dst=" + c.VolumeMounts[0].MountPath + ",options=rbind:rw",
	}
	for _, e := range c.Env {
		options = append(options, "--env", e.Name+"="+e.Value)
	}
	s := c.SecurityContext
	if s.ReadOnlyRootFilesystem {
		options = append(options, "--read-only")
	}
	if s.Privileged {
		// As for a node's runtime: no seccomp profile either.
		return append(options, "--privileged")
	}
	if s.SeccompProfile.Type == "RuntimeDefault" {
		options = append(options, "--seccomp")
	}
	for _, capability := range defaults {
		options = append(options, "--cap-drop", "CAP_"+capability)
	}
	for _, capability := range s.Capabilities.Add {
		options = append(options, "--cap-add", "CAP_"+capability)
	}
	return options
}

// tracing is a container that traces, run as a manifest says.
type tracing struct {
	*testenv.Process
	id, manifest string
	inside       string // the database's path in the container
	db           string // and here
}

func (e *engine) startTracing(manifest string) tracing {
	e.t.Helper()
	c, data, id := tracer(e.t, manifest), e.t.TempDir(), containerID()
	// What the targets do at once is more than the budget lets be recorded.
	p := e.start(tracerImage(e.t), id, asManifest(e.t, c, data), append(slices.Clone(c.Args), "--unlimited")...)
	inside := argument(c, "--db")
	return tracing{p, id, manifest, inside, filepath.Join(data, filepath.Base(inside))}
}

// target is a container whose program waits to be told to make its calls.
type target struct {
	*testenv.Process
	id string
}

func (e *engine) startTarget(i image, scenarios ...string) target {
	e.t.Helper()
	id := containerID()
	p := e.start(i, id, nil, append([]string{"-wait", "-n", "50"}, scenarios...)...)
	return target{p.Ready(), id}
}

// finish lets the target make its calls, and gives its own count of them.
func (t target) finish(tb testing.TB) testenv.Counts {
	tb.Helper()
	t.Go()
	result := t.Wait()
	if result.ExitCode != 0 || result.Stderr != "" {
		tb.Fatalf("the target exited with %d: %s", result.ExitCode, result.Stderr)
	}
	return testenv.ParseCounts(tb, result.Stdout)
}

// targetImage is an image of a target where the manifest looks for executables.
func targetImage(t *testing.T, source string) image {
	t.Helper()
	path := "app/" + filepath.Base(source)
	return image{
		name:       strings.ReplaceAll(source, "/", "-") + ":latest",
		files:      map[string]string{path: testenv.Build(t, testenv.Target{Source: source, Static: true})},
		entrypoint: []string{"/" + path},
	}
}

var (
	goScenarios = []string{"plain", "methods", "closures", "results", "deep", "goroutines", "errors", "panics"}
	cScenarios  = []string{"calls", "tail", "jumps", "threads"}
)

// Containers that are run as the manifests say record exactly the calls that are made in
// other containers: in two of one image, whose executable is one file to the kernel and
// two to everybody else, and in one of another image. Two trace at the same time, and
// neither takes the other's probes for the program's code.
func TestContainersAreTraced(t *testing.T) {
	e := startEngine(t)
	goImage, cImage, orders := targetImage(t, "go/counts"), targetImage(t, "c/counts"), targetImage(t, "go/orders")
	for _, i := range []image{tracerImage(t), goImage, cImage, orders} {
		e.load(i)
	}
	targets := []target{
		e.startTarget(goImage, goScenarios...), e.startTarget(goImage, goScenarios...), e.startTarget(cImage, cScenarios...),
	}
	var tracers []tracing
	for _, manifest := range []string{plain, privileged} {
		one := e.startTracing(manifest)
		one.WaitStderr(" functions in 3 processes\n")
		tracers = append(tracers, one)
	}
	checkConfined(t, e.pid(tracers[0].id))

	counts := map[string]testenv.Counts{}
	for _, one := range targets {
		counts[one.id] = one.finish(t)
	}
	later := containerID()
	service := e.start(orders, later, nil).Ready()
	for _, one := range tracers {
		e.awaitCalls(one, later)
	}
	service.Signal(syscall.SIGTERM)
	if result := service.Wait(); result.ExitCode != 0 {
		t.Errorf("the service exited with %d: %s", result.ExitCode, result.Stderr)
	}
	for _, one := range tracers {
		one.Signal(syscall.SIGTERM)
		if result := one.Wait(); result.ExitCode != 0 || strings.Contains(result.Stderr, "warning") {
			t.Errorf("%s: the tracer exited with %d: %s", one.manifest, result.ExitCode, result.Stderr)
		}
		for id, want := range counts {
			compare(t, one.manifest, recorded(t, exec.Command(static(t), query(one.db, id)...)), want)
		}
	}
}

// checkConfined checks that a process has the four capabilities, and no way to others.
func checkConfined(t *testing.T, pid string) {
	t.Helper()
	var set uint64
	for _, bit := range without("") {
		set |= 1 << bit
	}
	want := map[string]string{
		"Uid:": "0", "NoNewPrivs:": "1", "Seccomp:": "2", // 2: filtered
		"CapPrm:": fmt.Sprintf("%016x", set), "CapEff:": fmt.Sprintf("%016x", set), "CapBnd:": fmt.Sprintf("%016x", set),
	}
	raw, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(raw), "\n") {
		words := strings.Fields(line)
		if len(words) > 1 && want[words[0]] == words[1] {
			delete(want, words[0])
		}
	}
	if len(want) > 0 {
		t.Errorf("the tracer is not confined as the manifest says: want %v, and it is\n%s", want, raw)
	}
}

// awaitCalls waits until calls of a container are in the database, which it reads as
// kubectl exec does, while it is written to.
func (e *engine) awaitCalls(by tracing, id string) {
	e.t.Helper()
	entry := tracerImage(e.t).entrypoint
	for deadline := time.Now().Add(testenv.Deadline); ; {
		command := e.exec(by.id, append(entry, query(by.inside, id)...)...)
		if len(recorded(e.t, command)) > 0 {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("%s: no call of a container that started later is recorded", by.manifest)
		}
	}
}

// query gives the arguments that make the program count a container's calls, by function.
func query(db, container string) []string {
	return []string{
		"query", "-o", "json", "--db", db,
		"SELECT process, count(*) AS calls FROM process_trace WHERE ifnull(container, '') = '" + container + "' GROUP BY process",
	}
}

// recorded gives the number of calls of each function that a query finds.
func recorded(t *testing.T, query *exec.Cmd) map[string]uint64 {
	t.Helper()
	raw, err := run(query)
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Process string
		Calls   uint64
	}
	if err := json.Unmarshal(raw, &rows); err != nil {
		t.Fatalf("read query: %v\n%s", err, raw)
	}
	calls := map[string]uint64{}
	for _, row := range rows {
		calls[row.Process] = row.Calls
	}
	return calls
}

// compare compares what was recorded with what the target counted itself.
func compare(t *testing.T, by string, got map[string]uint64, counts testenv.Counts) {
	t.Helper()
	if len(counts.Functions) == 0 {
		t.Fatal("the target made no calls")
	}
	names := make([]string, 0, len(counts.Functions))
	for function := range counts.Functions {
		names = append(names, function)
	}
	slices.Sort(names)
	for _, function := range names {
		// Generic functions are recorded under their real type arguments.
		recorded := got[strings.ReplaceAll(function, "go.shape.", "")]
		if want := counts.Functions[function].Calls; recorded != want {
			t.Errorf("%s: %s: %d calls recorded, %d made", by, function, recorded, want)
		}
	}
}
