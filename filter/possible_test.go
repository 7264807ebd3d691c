package filter

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

func TestPossible(t *testing.T) {
	fn := &trace.Function{Name: "main.pay", Group: "shop"}
	arguments := []string{"amount", "o", "ok", "list"}
	for text, want := range map[string]bool{
		`amount > 1`:                            true,
		`amout > 1`:                             false,
		`amout > 1 || amount > 1`:               true,
		`amout > 1 || status == "ERR"`:          true,
		`amout > 1 && amount > 1`:               false,
		`amount > 1 && n > 1 || o.x > 1 and ok`: true,
		`amount > 1 && n > 1 || m > 1 && ok`:    false,
		`!(amout > 1)`:                          true,
		`!(amount > 1 || amout > 1)`:            true,
		`!(process == "main.pay" || amout > 1)`: false,
		`amout.field == 1`:                      false,
		`args.amount == 1`:                      true,
		`args.amout == 1`:                       false,
		`args["amout"] == 1`:                    false,
		`amout == nil`:                          false,
		`len(missing) > 1`:                      false,
		`any(missing, # > 1)`:                   false,
		`any(list, # > missing)`:                true, // of nobody who has read it all
		`ok ? missing == 1 : ok`:                true,
		`missing ? ok : ok`:                     false,
		`(missing ?? 1) == 1`:                   false,
		`(o.x ?? missing) == 1`:                 true,
		`o[missing] == 1`:                       false,
		`list[missing:2] == list`:               false,
		`1 in missing`:                          false,
		`process == "main.pay"`:                 true,
		`process == "main.Pay"`:                 false,
		`process startsWith "main." && ok`:      true,
		`process matches "^store_"`:             false,
		`process in ["a", "b"]`:                 false,
		`group == "shop"`:                       true,
		`group == "shops" || duration > 1`:      true,
		`group != "shop" && duration > 1`:       false,
		`process == thread`:                     true,
		`status == "ERR"`:                       true,
		`result.r0 == 7`:                        true,
		`1 > 2`:                                 false,
		`false`:                                 true,
	} {
		f, err := Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := f.Possible(fn, arguments); got != want {
			t.Errorf("%s: possible: %v", text, got)
		}
	}
	f, err := Compile(`process == "main.Max[int]"`)
	if err != nil {
		t.Fatal(err)
	}
	if !f.Possible(&trace.Function{Name: "main.Max[go.shape.int]"}, nil) || f.Possible(&trace.Function{Name: "main.Max"}, nil) {
		t.Error("only a generic function may be called with another name")
	}
}

// checkPossible holds that what is true of a call, is possible of calls of its function.
func checkPossible(t *testing.T, f *Filter, text string, c *trace.Call) {
	t.Helper()
	arguments := map[string]any{}
	_ = json.Unmarshal(c.Args, &arguments) // without arguments, there are none
	if f.Match(c) && !f.Possible(c.Func, slices.Collect(maps.Keys(arguments))) {
		t.Errorf("%s is true of a call of %s, and not possible", text, c.Func.Name)
	}
}
