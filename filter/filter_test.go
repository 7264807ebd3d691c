package filter

import (
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/trace"
)

// paid and failed are the calls that the expressions are about.
var (
	paid = &trace.Call{
		ID: 1, Depth: 2, TID: 78, Goroutine: 9, Thread: "server", DurationNS: 1_500_000, Status: trace.StatusOK,
		Func:    &trace.Function{Name: "main.pay", Group: "shop"},
		Process: &trace.Process{PID: 77, Exe: "/bin/shop"},
		Args: []byte(`{"amount":120,"big":9007199254740993,"o":{"Paid":{"$type":"*main.Card","$value":{"Currency":"EUR","Cents":12000}},"Tags":["a","b"],"Note":null,` +
			`"Text":{"$string":"a long text","$len":5000},"List":{"$items":[1,2,3],"$len":9},"Limits":{"low":1.5},"ByKey":{"$entries":[[{"$type":"string","$value":"k"},7]]}},` +
			`"password":{"$redacted":"password"},"f":{"$unavailable":"in SSE register"},"status":"mine","any":{"$type":"int","$value":5},"p":{"$ptr":"0x10"},"t":"1s","ok":true}`),
		Result: []byte(`{"r0":7,"err":null}`),
	}
	failed = &trace.Call{
		Func: &trace.Function{Name: "store_open"}, Process: &trace.Process{PID: 78}, Status: trace.StatusErr, DurationNS: 20,
		Err: &trace.Error{Type: "errno", Message: "returned -1"}, Result: []byte("-1"),
	}
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		text         string
		paid, failed bool
	}{
		{`amount > 100`, true, false},
		{`amount > 100 && o.Paid.Currency == "EUR" || status == "ERR"`, true, true},
		{`amount > 200 || status == "ERR"`, false, true},
		{`status == "ERR" or amount == 120`, true, true},
		{`amount >= 120 and amount <= 120`, true, false},
		{`amount == 120.0`, true, false},
		{`o.Paid.Cents / 100 > amount - 1`, true, false},
		{`big == 9007199254740993`, true, false},
		{`big == 9007199254740992`, false, false},
		{`result == -1`, false, true},
		{`result.r0 == 7 && result.err == nil`, true, false},
		{`error == "returned -1"`, false, true},
		{`error contains "returned"`, false, true},
		{`error == nil`, true, false},
		{`error_type in ["errno", "null"]`, false, true},
		{`process matches "^main[.]"`, true, false},
		{`process startsWith "store_"`, false, true},
		{`pid == 77 && tid == 78 && goroutine == 9 && thread == "server" && depth == 2 && group == "shop" && exe endsWith "/shop"`, true, false},
		{`goroutine == nil`, false, true},
		{`duration > 1`, true, false},
		{`duration >= 1.5 && duration < 1.6`, true, false},
		{`duration > "1ms"`, true, false},
		{`"1us" >= duration`, false, true},
		{`"a" in o.Tags`, true, false},
		{`o.Tags[1] == "b"`, true, false},
		{`o.Tags[5] == "b"`, false, false},
		{`len(o.Tags) == 2`, true, false},
		{`any(o.Tags, # == "b")`, true, false},
		{`o.Text startsWith "a long"`, true, false},
		{`o.List[2] == 3`, true, false},
		{`o.Limits.low > 1`, true, false},
		{`o["Paid"]["Currency"] == "EUR"`, true, false},
		{`o.Paid["$type"] == "*main.Card"`, true, false},
		{`o.ByKey.k == 7`, true, false},
		{`any == 5`, true, false},
		{`t == "1s"`, true, false},
		{`ok`, true, false},
		{`not ok`, false, true},
		{`p != nil`, true, false},
		{`args.status == "mine"`, true, false},
		{`amount > 100 ? ok : false`, true, false},

		// What isn't there: false, and not an error.
		{`missing > 1`, false, false},
		{`missing != 1`, false, false},
		{`missing == nil`, false, false},
		{`missing.field.deeper == 1`, false, false},
		{`missing + 1 > 0`, false, false},
		{`missing > 1 || amount > 100`, true, false},
		{`!(missing > 1)`, true, true},
		{`len(missing) > 0`, false, false},
		{`amount.field == 1`, false, false},
		{`o.Note == nil`, true, false},
		{`o.Note > 1`, false, false},
		{`o.Note.x > 1`, false, false},
		{`amount > "text"`, false, false},
		{`amount contains "text"`, false, false},
		{`o.Paid > 3`, false, false},
		// Nothing can be asked about secrets.
		{`password == "hunter2"`, false, false},
		{`password != "hunter2"`, false, false},
		{`len(password) > 3`, false, false},
		{`f > 1 || f <= 1`, false, false},
	} {
		f, err := Compile(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		checkPossible(t, f, c.text, paid)
		checkPossible(t, f, c.text, failed)
		if got := f.Match(paid); got != c.paid {
			t.Errorf("%s: %v of the paid one", c.text, got)
		}
		if got := f.Match(failed); got != c.failed {
			t.Errorf("%s: %v of the failed one", c.text, got)
		}
		if f.Match(&trace.Call{Func: &trace.Function{}}) && !strings.Contains(c.text, "!") && !strings.Contains(c.text, "not ") && !strings.Contains(c.text, "nil") {
			if c.text != `"1us" >= duration` {
				t.Errorf("%s: true of an empty call", c.text)
			}
		}
	}
}

func TestCompileErrors(t *testing.T) {
	for text, want := range map[string]string{
		``:                                   "",
		`amount >`:                           "(1:8)",
		`amount > 1 &&& x`:                   "(1:14)",
		`(amount > 1`:                        "(1:11)",
		`amount = 1`:                         "(1:8)",
		`status == "ERR`:                     "(1:15)",
		`1 + "a" == 2`:                       "(1:3)",
		`1 + 2`:                              "expected bool",
		`amount + 1`:                         "position 8",
		`ok && amount + 1`:                   "position 14",
		`"text"`:                             "expected bool",
		`amount > 1 && foo(2)`:               "position 15",
		`amount > 1 && o.method(2)`:          "position",
		`duration > "soon"`:                  "position 12",
		`let x = amount; x > 1`:              "position",
		strings.Repeat("(", 5000) + "amount": "",
	} {
		_, err := Compile(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", text, err, want)
		}
	}
}

func TestNames(t *testing.T) {
	f, err := Compile(`amount > 1 && o.Paid.Currency == status || any(list, .x == amount)`)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.Names(), " "); got != "amount o list" {
		t.Errorf("names %q", got)
	}
}

func FuzzCompile(f *testing.F) {
	for _, text := range []string{`amount > 100 && o.Paid.Currency == "EUR"`, `!(a in b)`, `o["x"][0]?.y ?? 1 == 2`, `all(x, {# > 1})`, `duration > "1s"`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "repeat") || strings.Contains(text, "..") {
			return // what it costs is asked for
		}
		filter, err := Compile(text)
		if err == nil {
			checkPossible(t, filter, text, paid)
			checkPossible(t, filter, text, failed)
		} else if strings.HasPrefix(err.Error(), "compile part") {
			t.Errorf("%q as a whole is right, but %v", text, err)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for name, text := range map[string]string{
		"own":    `status == "ERR" || duration > 100`,
		"values": `amount > 1000 && o.Paid.Currency == "EUR"`,
	} {
		b.Run(name, func(b *testing.B) {
			f, err := Compile(text)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				f.Match(paid)
			}
		})
	}
}
