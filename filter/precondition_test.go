package filter_test

import (
	"reflect"
	"testing"

	"github.com/observatory-trace/observatory-trace/filter"
	"github.com/observatory-trace/observatory-trace/trace"
)

func TestPrecondition(t *testing.T) {
	check := func(name string, op trace.Op, value int64) trace.Check {
		return trace.Check{Param: name, Op: op, Value: value}
	}
	for _, c := range []struct {
		text string
		want trace.Precondition
	}{
		{`a > 1`, trace.Precondition{Checks: []trace.Check{check("a", trace.OpMore, 1)}}},
		{`-1 >= a`, trace.Precondition{Checks: []trace.Check{check("a", trace.OpAtMost, -1)}}},
		{`a == 1 && b != 2 and c.d > 3`, trace.Precondition{Checks: []trace.Check{check("a", trace.OpEqual, 1), check("b", trace.OpDiffers, 2)}}},
		{`a < 1 || status == "ERR"`, trace.Precondition{Checks: []trace.Check{check("a", trace.OpLess, 1)}, Failed: true}},
		{`"ERR" == status || (a <= 1 && text == "x")`, trace.Precondition{Checks: []trace.Check{check("a", trace.OpAtMost, 1)}, Failed: true}},
		{`a < 1 || b < 1`, trace.Precondition{}},
		{`a < 1 || status == "OK"`, trace.Precondition{}},
		{`a < 1 || b < 2 || status == "ERR"`, trace.Precondition{}},
		{`!(a > 1)`, trace.Precondition{}},
		{`a > 1.5`, trace.Precondition{}},
		{`a == b`, trace.Precondition{}},
		{`a + 1 > 2`, trace.Precondition{}},
		{`pid == 1 && depth < 3`, trace.Precondition{}},
		{`duration > 5`, trace.Precondition{LeastNS: 5e6 - 1}},
		{`duration >= "1.5s" && a > 0`, trace.Precondition{LeastNS: 15e8 - 1, Checks: []trace.Check{check("a", trace.OpMore, 0)}}},
		{`5 < duration`, trace.Precondition{LeastNS: 5e6 - 1}},
		{`duration < 5`, trace.Precondition{}},
		{`duration > -5`, trace.Precondition{}},
		{`duration > 5 || status == "ERR"`, trace.Precondition{LeastNS: 5e6 - 1}},
		{`duration > 1 && duration > 2`, trace.Precondition{LeastNS: 2e6 - 1}},
	} {
		f, err := filter.Compile(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got := f.Precondition()
		if len(got.Checks) == 0 {
			got.Checks = nil
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.text, got, c.want)
		}
	}
}
