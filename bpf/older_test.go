package bpf

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// TestOlderKernels loads the programs as on kernels that lack a field which is
// read where it exists: the verifier must not meet what reads it.
func TestOlderKernels(t *testing.T) {
	for name, field := range map[string]struct{ structure, member string }{
		"no CPU controller":          {"sched_entity", "cfs_rq"},
		"no clock without steal":     {"rq", "clock_task"},
		"memory of before Linux 6.2": {"mm_struct", "rss_stat"},
	} {
		t.Run(name, func(t *testing.T) {
			kernel, err := btf.LoadKernelSpec()
			if err != nil {
				t.Fatal(err)
			}
			var s *btf.Struct
			if err := kernel.TypeByName(field.structure, &s); err != nil {
				t.Fatal(err)
			}
			if !remove(s.Members, field.member) {
				t.Fatalf("struct %s has no %s here", field.structure, field.member)
			}
			spec, err := loadProbe()
			if err != nil {
				t.Fatal(err)
			}
			collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{KernelTypes: kernel}})
			if err != nil {
				t.Fatal(err)
			}
			collection.Close()
		})
	}
}

// TestNoPreemptDisable loads the programs as before Linux 6.10, which lacks bpf_preempt_disable.
func TestNoPreemptDisable(t *testing.T) {
	object := bytes.ReplaceAll(_ProbeBytes, []byte("\x00bpf_preempt_"), []byte("\x00old_preempt_"))
	if bytes.Equal(object, _ProbeBytes) {
		t.Fatal("the programs don't call it")
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	collection.Close()
}

// remove renames a member, of a struct without a name inside if need be.
func remove(members []btf.Member, name string) bool {
	if i := slices.IndexFunc(members, func(m btf.Member) bool { return m.Name == name }); i >= 0 {
		members[i].Name = "_" + name
		return true
	}
	for _, m := range members {
		if inner, ok := m.Type.(*btf.Struct); ok && m.Name == "" && remove(inner.Members, name) {
			return true
		}
	}
	return false
}
