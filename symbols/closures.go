package symbols

import (
	"debug/dwarf"
	"fmt"
	"strings"

	"github.com/observatory-trace/observatory-trace/symbols/types"
	"github.com/observatory-trace/observatory-trace/trace"
)

// maxClosures is how many functions are looked at for what they have captured.
const maxClosures = 4096

// Closures describes what the application's own closures and method values hold, by the
// addresses of their code, when one of the functions that Select returned takes or returns
// function values; else it is empty, and nothing is read.
func (f *File) Closures(selected []*trace.Function) (list []types.Dynamic) {
	if !takesFunctions(selected) {
		return nil
	}
	_ = f.read(func() error {
		t, err := f.functions()
		if err != nil || t.pcln == nil {
			return nil
		}
		reader := f.signatures(false)
		if reader == nil {
			return nil
		}
		own := f.ownCode(t)
		byName := map[string]uint64{}
		var chosen []entry
		for _, e := range t.entries {
			if !t.isGo(e) {
				continue
			}
			raw := t.name(e)
			switch method, _ := strings.CutSuffix(raw, types.MethodValue); {
			case !own.hasGo(goName(method)):
			case isClosureName(raw):
				if len(chosen) < maxClosures {
					chosen = append(chosen, e)
				}
			default:
				byName[raw] = t.addr(e)
			}
		}
		for _, e := range chosen {
			fn, ok := f.described(t.addr(e))
			if !ok {
				continue
			}
			var method uint64
			if of, ok := f.described(byName[strings.TrimSuffix(t.name(e), types.MethodValue)]); ok {
				method = of.Offset
			}
			captured, ok, err := reader.Closure(dwarf.Offset(fn.Offset), dwarf.Offset(method))
			if err != nil {
				f.warn(fmt.Errorf("read closures of %s: %w", f.path, err))
				continue
			}
			if ok {
				list = append(list, types.Dynamic{Address: t.addr(e), Type: captured})
			}
		}
		return nil
	})
	return list
}

// isClosureName tells the names that the compiler gives to functions without one, and to
// those behind method values: F.func1, F.func2.1, T.M-fm.
func isClosureName(raw string) bool {
	if strings.HasSuffix(raw, types.MethodValue) {
		return true
	}
	last := raw[strings.LastIndexAny(raw, "])")+1:]
	for i := strings.Index(last, ".func"); i >= 0; i = strings.Index(last, ".func") {
		last = last[i+len(".func"):]
		if last != "" && last[0] >= '0' && last[0] <= '9' {
			return true
		}
	}
	return false
}

// takesFunctions says whether any value that functions are captured with can hold a Go function.
func takesFunctions(functions []*trace.Function) bool {
	seen := map[*trace.Type]bool{}
	var holds func(t *trace.Type) bool
	holds = func(t *trace.Type) bool {
		if t == nil || seen[t] {
			return false
		}
		seen[t] = true
		if t.Kind == trace.KindFunc && t.Lang == trace.LangGo || holds(t.Elem) {
			return true
		}
		for i := range t.Fields {
			if holds(t.Fields[i].Type) {
				return true
			}
		}
		for i := range t.Links {
			if holds(t.Links[i].Target) {
				return true
			}
		}
		return false
	}
	for _, f := range functions {
		for _, p := range []*trace.Plan{f.EntryPlan, f.ExitPlan} {
			if p != nil && holds(p.Root) {
				return true
			}
		}
	}
	return false
}
