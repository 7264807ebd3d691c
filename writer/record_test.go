package writer

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer/spill"
)

// fillFields sets every field below v to something that is nowhere else, except those of a
// function that its row doesn't have.
func fillFields(t *testing.T, v reflect.Value, next *int) {
	t.Helper()
	*next++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillFields(t, v.Elem(), next)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type() == reflect.TypeFor[trace.Function]() && !inFunctionRow[v.Type().Field(i).Name] {
				continue
			}
			fillFields(t, v.Field(i), next)
		}
	case reflect.String:
		v.SetString(strings.Repeat("x", *next))
	case reflect.Slice:
		v.SetBytes(bytes.Repeat([]byte("y"), *next)) // panics for others
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(float64(*next) / 64)
	case reflect.Int, reflect.Int64:
		v.SetInt(-int64(*next))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*next))
	default:
		t.Fatalf("a record has no form for %v", v.Type())
	}
}

var inFunctionRow = map[string]bool{
	"Name": true, "Group": true, "RawName": true, "Language": true, "Module": true, "Address": true, "File": true, "Line": true,
}

func readBack(t *testing.T, record []byte) entry {
	t.Helper()
	e, err := readRecord(record, &known{})
	must(t, err)
	return e
}

// TestCallRecord holds that no field of a call is lost on its way through the
// spill file, those that will be added included.
func TestCallRecord(t *testing.T) {
	next := 0
	var c trace.Call
	fillFields(t, reflect.ValueOf(&c).Elem(), &next)
	for _, c := range []*trace.Call{
		&c,
		{Func: &trace.Function{}},
		{Func: &trace.Function{Name: "f"}, Args: []byte{}, SampleRate: 1, Err: &trace.Error{Message: "\xff\x00"}},
		{Func: &trace.Function{Name: "f"}, ID: 1<<64 - 1, StartNS: -1, Process: &trace.Process{}, Resources: &trace.Resources{}},
	} {
		if got := readBack(t, callRecord(c, 77)); !reflect.DeepEqual(got, entry{call: c, tried: 77}) {
			t.Errorf("read %+v\nwant %+v", got.call, c)
		}
	}
}

// TestOtherRecords does so for statistics, gaps and the end.
func TestOtherRecords(t *testing.T) {
	next := 0
	var g trace.Gap
	fillFields(t, reflect.ValueOf(&g).Elem(), &next)
	if got := readBack(t, gapRecord(&g, 5)); !reflect.DeepEqual(got, entry{gap: &g, tried: 5}) {
		t.Errorf("read %+v\nwant %+v", got.gap, g)
	}
	s := FunctionSecond{Second: 7, Recorded: ^uint64(2), CPUNS: 9, CPUCalls: 10, Coverage: 0.5, CallsError: 0.25, Unseen: 1.5}
	s.OverheadNS, s.OutermostNS, s.CopyingNS = 11, 12, 13
	s.Func, s.Calls, s.Errors, s.LeftOut, s.Dropped = g.Func, 1, 2, 3, 4
	s.Add(trace.StatusOK, 12345)
	s.Add(trace.StatusErr, 1)
	if got := readBack(t, secondRecord(&s, 6)); !reflect.DeepEqual(got, entry{second: &s, tried: 6}) {
		t.Errorf("read %+v\nwant %+v", got.second, s)
	}
	if a, b := reflect.TypeFor[FunctionSecond]().NumField(), reflect.TypeFor[trace.Tally]().NumField(); a != 8 || b != 11 {
		t.Errorf("statistics have %d and %d fields: does their record have those that are new?", a, b)
	}
	now := time.Unix(1, 2)
	if got := readBack(t, endRecord(now)); !got.ended.Equal(now) {
		t.Errorf("the end is %v", got.ended)
	}
	row := sessionRow{Session{"v", "h", "k", []byte("[]"), []byte("{}")}, 1 << 62, "2026", 3, "/p"}
	if got, err := readHead(row.headMessage()); err != nil || !reflect.DeepEqual(got, row) {
		t.Errorf("read %+v, %v\nwant %+v", got, err, row)
	}
}

// TestLongRecord holds that a call that no record has room for is there, without its values.
func TestLongRecord(t *testing.T) {
	c := &trace.Call{
		ID: 5, Func: &trace.Function{Name: "f"}, Status: trace.StatusErr, Args: make([]byte, spill.MaxRecord),
		Err: &trace.Error{Message: strings.Repeat("m", spill.MaxRecord), Stack: "s"},
	}
	b := callRecord(c, 1)
	if len(b) > spill.MaxRecord {
		t.Fatalf("%d bytes", len(b))
	}
	got := readBack(t, b).call
	if got.ID != 5 || got.Args != nil || got.Flags != trace.FlagTruncated || got.Err.Stack != "s" || len(c.Args) == 0 {
		t.Errorf("read %+v", got)
	}
}

// FuzzReadRecord reads anything. What it takes is written and read as the same.
func FuzzReadRecord(f *testing.F) {
	source := newCallSource(3)
	for i := range 3 {
		f.Add(callRecord(source.next(uint64(i*999)), uint64(i)))
	}
	s := FunctionSecond{Second: 7}
	s.Func = source.functions[0]
	s.Add(trace.StatusOK, 5)
	f.Add(secondRecord(&s, 0))
	f.Add(gapRecord(&trace.Gap{TimeNS: 5, Count: 3, Reason: "r"}, 1))
	f.Add(endRecord(time.Unix(5, 5)))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = readHead(b)
		e, err := readRecord(b, &known{})
		if err != nil {
			return
		}
		var part batch
		e.add(&part)
		var again []byte
		switch {
		case e.call != nil:
			again = callRecord(e.call, e.tried)
		case e.second != nil:
			again = secondRecord(e.second, e.tried)
		case e.gap != nil:
			again = gapRecord(e.gap, e.tried)
		default:
			return
		}
		got := readBack(t, again)
		got.ended = e.ended
		if e.call != nil && e.call.SampleRate == e.call.SampleRate && !reflect.DeepEqual(got.call, e.call) {
			t.Errorf("read %+v\nthen %+v", e.call, got.call)
		}
	})
}

// BenchmarkRecord makes the record of an error.
func BenchmarkRecord(b *testing.B) {
	source := newCallSource(3)
	source.count = 999
	c := source.next(1)
	b.ReportAllocs()
	for b.Loop() {
		callRecord(c, 0)
	}
}

// BenchmarkBreaker is what the breaker adds to a transaction.
func BenchmarkBreaker(b *testing.B) {
	k := newBreaker(time.Minute)
	nothing := func() error { return nil }
	b.ReportAllocs()
	for b.Loop() {
		_ = k.try(false, nothing, func() bool { return false })
	}
}
