package deploy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/observatory-trace/observatory-trace/attach"
)

const (
	plain      = "daemonset.yaml"
	privileged = "daemonset-privileged.yaml"
	name       = "observatory-trace"
)

// object is what the tests look at of a Kubernetes object. The names are those of the
// API: the strict decoding is validate's.
type object struct {
	APIVersion, Kind             string
	Metadata                     metadata
	AutomountServiceAccountToken *bool
	Spec                         struct {
		Selector struct{ MatchLabels map[string]string }
		Template struct {
			Metadata metadata
			Spec     podSpec
		}
	}
}

type metadata struct {
	Name, Namespace string
	Labels          map[string]string
}

type podSpec struct {
	HostPID, HostNetwork, HostIPC bool
	ServiceAccountName            string
	AutomountServiceAccountToken  *bool
	NodeSelector                  map[string]string
	Tolerations                   []map[string]string
	Containers                    []container
	InitContainers                []container
	Volumes                       []map[string]any
}

type container struct {
	Name, Image     string
	Command, Args   []string
	Env             []struct{ Name, Value string }
	Resources       struct{ Requests, Limits map[string]string }
	SecurityContext securityContext
	VolumeMounts    []struct {
		Name, MountPath string
		ReadOnly        bool
	}
}

type securityContext struct {
	Privileged, ReadOnlyRootFilesystem bool
	AllowPrivilegeEscalation           *bool
	RunAsUser                          *int64
	RunAsNonRoot                       *bool
	Capabilities                       struct{ Add, Drop []string }
	SeccompProfile                     struct{ Type string }
}

// validator is the program of the module validate, built once, into scratch.
var validator = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "validate")
	_, err := run(exec.Command("go", "build", "-C", "validate", "-o", path, "."))
	return path, err
})

// validate gives the objects of a manifest as JSON, or why the API server would refuse it.
func validate(t *testing.T, path string) ([]byte, error) {
	t.Helper()
	program, err := validator()
	if err != nil {
		t.Fatalf("build validate: %v", err)
	}
	return run(exec.Command(program, path))
}

// read gives the objects of a manifest by kind.
func read(t *testing.T, path string) map[string]object {
	t.Helper()
	raw, err := validate(t, path)
	if err != nil {
		t.Fatal(err)
	}
	var list []object
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	objects := map[string]object{}
	for _, o := range list {
		if _, ok := objects[o.Kind]; ok {
			t.Fatalf("%s holds two objects of kind %s", path, o.Kind)
		}
		objects[o.Kind] = o
	}
	return objects
}

// tracer gives the manifest's only container.
func tracer(t *testing.T, path string) container {
	t.Helper()
	pod := read(t, path)["DaemonSet"].Spec.Template.Spec
	if len(pod.Containers) != 1 || len(pod.InitContainers) != 0 {
		t.Fatalf("%s: %d containers and %d init containers, want one", path, len(pod.Containers), len(pod.InitContainers))
	}
	return pod.Containers[0]
}

func TestManifests(t *testing.T) {
	for _, path := range []string{plain, privileged} {
		t.Run(path, func(t *testing.T) {
			objects := read(t, path)
			if len(objects) != 3 {
				t.Fatalf("kinds %v", reflect.ValueOf(objects).MapKeys())
			}
			checkNames(t, objects)
			checkPod(t, objects["DaemonSet"].Spec.Template.Spec)
			checkContainer(t, tracer(t, path))
		})
	}
}

// checkNames checks what ties the objects together.
func checkNames(t *testing.T, objects map[string]object) {
	t.Helper()
	space, account, set := objects["Namespace"], objects["ServiceAccount"], objects["DaemonSet"]
	for _, o := range []object{space, account, set} {
		want := map[string]string{"Namespace": "v1", "ServiceAccount": "v1", "DaemonSet": "apps/v1"}[o.Kind]
		if o.APIVersion != want || o.Metadata.Name != name {
			t.Errorf("%s %s %s, want %s %s", o.APIVersion, o.Kind, o.Metadata.Name, want, name)
		}
	}
	for _, o := range []object{account, set} {
		if o.Metadata.Namespace != space.Metadata.Name {
			t.Errorf("%s is in namespace %q, which is not made here", o.Kind, o.Metadata.Namespace)
		}
	}
	if level := space.Metadata.Labels["pod-security.kubernetes.io/enforce"]; level != "privileged" {
		t.Errorf("the namespace enforces %q, which refuses the host's process ids", level)
	}
	if !reflect.DeepEqual(set.Spec.Selector.MatchLabels, set.Spec.Template.Metadata.Labels) {
		t.Errorf("selector %v, labels %v", set.Spec.Selector.MatchLabels, set.Spec.Template.Metadata.Labels)
	}
	pod := set.Spec.Template.Spec
	if pod.ServiceAccountName != account.Metadata.Name {
		t.Errorf("service account %q is not made here", pod.ServiceAccountName)
	}
	for what, mounted := range map[string]*bool{"account": account.AutomountServiceAccountToken, "pod": pod.AutomountServiceAccountToken} {
		if mounted == nil || *mounted {
			t.Errorf("the %s has a token of the API server", what)
		}
	}
}

func checkPod(t *testing.T, pod podSpec) {
	t.Helper()
	if !pod.HostPID {
		t.Error("without hostPID, other containers' processes can't be found")
	}
	if pod.HostNetwork || pod.HostIPC {
		t.Error("the pod is on the host's network or IPC, which it doesn't need")
	}
	// A toleration without key or effect tolerates everything.
	if want := []map[string]string{{"operator": "Exists"}}; !reflect.DeepEqual(pod.Tolerations, want) {
		t.Errorf("tolerations %v leave nodes out", pod.Tolerations)
	}
	if want := map[string]string{"kubernetes.io/os": "linux"}; !reflect.DeepEqual(pod.NodeSelector, want) {
		t.Errorf("node selector %v", pod.NodeSelector)
	}
}

func checkContainer(t *testing.T, c container) {
	t.Helper()
	repository, _, _ := strings.Cut(c.Image, ":")
	if repository != name {
		t.Errorf("image %q, and make image builds %q", c.Image, name)
	}
	if len(c.Command) != 0 {
		t.Errorf("command %q hides the image's entry point", c.Command)
	}
	if len(c.Args) == 0 || c.Args[0] != "attach" || argument(c, "--exe") == "" {
		t.Errorf("arguments %q do not attach to an executable", c.Args)
	}
	for _, resource := range []string{"cpu", "memory"} {
		if c.Resources.Limits[resource] == "" || c.Resources.Requests[resource] == "" {
			t.Errorf("%s has no request or no limit", resource)
		}
	}
	s := c.SecurityContext
	if !s.ReadOnlyRootFilesystem || s.RunAsUser == nil || *s.RunAsUser != 0 {
		t.Errorf("security context %+v: want user 0 and a read-only root filesystem", s)
	}
	if len(c.VolumeMounts) != 1 || c.VolumeMounts[0].ReadOnly ||
		filepath.Dir(argument(c, "--db")) != c.VolumeMounts[0].MountPath {
		t.Errorf("the database %q lies on no writable volume of %v", argument(c, "--db"), c.VolumeMounts)
	}
}

// argument is the value of a --flag=value, empty when there is none.
func argument(c container, flag string) string {
	for _, arg := range c.Args {
		if value, ok := strings.CutPrefix(arg, flag+"="); ok {
			return value
		}
	}
	return ""
}

// The plain manifest grants what attach says that it needs, and takes all else away.
func TestManifestCapabilities(t *testing.T) {
	s := tracer(t, plain).SecurityContext
	var want []string
	for _, c := range attach.Capabilities {
		want = append(want, c.Name)
	}
	got := slices.Clone(s.Capabilities.Add)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("capabilities %v, attach needs %v", got, want)
	}
	if !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("dropped are %v, not all", s.Capabilities.Drop)
	}
	if s.Privileged || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation {
		t.Errorf("the container is privileged, or may become so")
	}
	if s.SeccompProfile.Type != "RuntimeDefault" {
		t.Errorf("seccomp profile %q", s.SeccompProfile.Type)
	}
}

// The privileged variant is the same, but for the security context.
func TestPrivilegedVariant(t *testing.T) {
	if !tracer(t, privileged).SecurityContext.Privileged {
		t.Error("it is not privileged")
	}
	var variants [2]any
	for i, path := range []string{plain, privileged} {
		raw, err := validate(t, path)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &variants[i]); err != nil {
			t.Fatal(err)
		}
		remove(variants[i], "securityContext")
	}
	if !reflect.DeepEqual(variants[0], variants[1]) {
		t.Errorf("they differ elsewhere:\n%v\n%v", variants[0], variants[1])
	}
}

// remove removes a key wherever it is in a JSON value.
func remove(value any, key string) {
	switch v := value.(type) {
	case map[string]any:
		delete(v, key)
		for _, inner := range v {
			remove(inner, key)
		}
	case []any:
		for _, inner := range v {
			remove(inner, key)
		}
	}
}

// Each change makes a manifest that an API server would refuse, or misread.
func TestManifestsAreReadStrictly(t *testing.T) {
	raw, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]struct{ from, to, says string }{
		"unknown field":      {"hostPID: true", "hostPid: true", `unknown field "spec.template.spec.hostPid"`},
		"field twice":        {"hostPID: true", "hostPID: true\n      hostPID: false", "already set"},
		"wrong type":         {"maxUnavailable: 1", "maxUnavailable: [1]", "maxUnavailable"},
		"unknown kind":       {"kind: DaemonSet", "kind: DaemonSets", "DaemonSets"},
		"labels not matched": {"matchLabels:\n      app.kubernetes.io/name: observatory-trace", "matchLabels:\n      app.kubernetes.io/name: other", "selector"},
		"no selector":        {"  selector:\n    matchLabels:\n      app.kubernetes.io/name: observatory-trace\n", "", "selector"},
		"mount of nothing":   {"- name: data\n              mountPath", "- name: other\n              mountPath", `Not found: "other"`},
		"request over limit": {"cpu: 50m", "cpu: 2", "must be less than or equal to cpu limit"},
		"no quantity":        {"memory: 512Mi", "memory: 512Mebi", "quantities"},
		"unknown profile":    {"type: RuntimeDefault", "type: Default", "seccompProfile"},
		"name not allowed":   {"serviceAccountName: observatory-trace", "serviceAccountName: Observatory_Trace", "serviceAccountName"},
	} {
		t.Run(what, func(t *testing.T) {
			changed := strings.Replace(string(raw), change.from, change.to, 1)
			if changed == string(raw) {
				t.Fatalf("the manifest has no %q", change.from)
			}
			path := filepath.Join(t.TempDir(), "changed.yaml")
			if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := validate(t, path); err == nil || !strings.Contains(err.Error(), change.says) {
				t.Errorf("got error %v, want one with %q", err, change.says)
			}
		})
	}
}
