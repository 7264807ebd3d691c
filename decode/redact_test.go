package decode

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/decode/secret"
	"github.com/observatory-trace/observatory-trace/trace"
)

const (
	jwt  = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJlLXRleHQ"
	card = "4111111111111111"
)

func TestRedactedValues(t *testing.T) {
	const hidden, cut = trace.FlagRedacted, trace.FlagTruncated
	goString := &trace.Type{Kind: trace.KindString, Size: 16, LenOff: 8}
	cString := typ(trace.KindCString, 8)
	byteSlice := &trace.Type{Kind: trace.KindSlice, Size: 24, LenOff: 8, Elem: byteType}
	login := structType(60, trace.Field{Name: "User", Type: goString}, trace.Field{Name: "Password", Offset: 16, Type: goString})
	account := structType(61, trace.Field{Name: "login", Type: pointerTo(login)}, trace.Field{Name: "apiKeys", Offset: 8, Type: typ(trace.KindInt, 8)})
	either := &trace.Type{ID: 62, Kind: trace.KindUnion, Size: 8, Fields: []trace.Field{{Name: "n", Type: int32Type}, {Name: "cvv", Type: int32Type}}}
	credential := &trace.Type{Kind: trace.KindVariant, Size: 16, Variants: []trace.Variant{
		{Name: "Password", Type: structType(0, trace.Field{Name: "__0", Type: goString})},
	}}
	buffer := &trace.Type{Kind: trace.KindArray, Size: 32, Count: 32, Elem: charType}
	padded := append([]byte(card), make([]byte, 16)...)
	var wide []byte
	for _, c := range card + "\x00" {
		wide = binary.LittleEndian.AppendUint32(wide, uint32(c))
	}
	cutText := func(addr uint64, s string) Block {
		b := text(addr, s)
		b.Status, b.Want = BlockCut, 4096
		return b
	}
	for _, c := range []struct {
		name   string
		typ    *trace.Type
		data   []byte
		blocks []Block
		want   string
		flags  trace.CallFlags
	}{
		{"field", login, le(0x10, 3, 0x20, 7), []Block{text(0x10, "bob"), text(0x20, "hunter2")}, `{"User":"bob","Password":{"$redacted":"password"}}`, hidden},
		{
			"behind a pointer", account, le(0x100, 5),
			[]Block{{Addr: 0x100, Type: 60, Want: 32, Data: le(0x10, 3, 0x20, 7)}, text(0x10, "bob"), text(0x20, "hunter2")},
			`{"login":{"User":"bob","Password":{"$redacted":"password"}},"apiKeys":{"$redacted":"api key"}}`, hidden,
		},
		{"union", either, le(737), nil, `{"n":{"$redacted":"cvv"},"cvv":{"$redacted":"cvv"}}`, hidden},
		{"variant", credential, le(0x10, 7), []Block{text(0x10, "hunter2")}, `{"$type":"Password","$value":{"$redacted":"password"}}`, hidden},
		{"string", goString, le(0x10, uint64(len(jwt))), []Block{text(0x10, jwt)}, `{"$redacted":"jwt"}`, hidden},
		{"C string", cString, le(0x10), []Block{text(0x10, card+"\x00")}, `{"$redacted":"card number"}`, hidden},
		{"C string, cut", cString, le(0x10), []Block{cutText(0x10, "Authorization is Bearer a")}, `{"$redacted":"bearer"}`, hidden},
		{"wide text", &trace.Type{Kind: trace.KindCString, Size: 8, Count: 4}, le(0x10), []Block{{Addr: 0x10, Type: typeBytes, Want: uint32(len(wide)), Data: wide}}, `{"$redacted":"card number"}`, hidden},
		{
			"JSON", &trace.Type{Name: "encoding/json.RawMessage", Lang: trace.LangGo, Kind: trace.KindSlice, Size: 24, LenOff: 8, Elem: byteType}, le(0x10, 22, 99),
			[]Block{text(0x10, `{"password":"hunter2"}`)},
			`{"$redacted":"password"}`, hidden,
		},
		{"buffer", buffer, padded, nil, `{"$redacted":"card number"}`, hidden},
		{"bytes", byteSlice, le(0x10, uint64(len(jwt)), 99), []Block{text(0x10, jwt)}, `{"$redacted":"jwt"}`, hidden},
		{"binary bytes", byteSlice, le(0x10, uint64(len(card)+2), 99), []Block{text(0x10, "\x00\xff"+card)}, `{"$redacted":"card number"}`, hidden},
		{"string, cut", goString, le(0x10, 500), []Block{text(0x10, "pay with 41111111")}, `{"$redacted":"card number"}`, hidden},
		{"string, cut before", goString, le(0x10, 500), []Block{text(0x10, "pay with 4111")}, `{"$string":"pay with 4111","$len":500}`, cut},
		{"no secret", goString, le(0x10, 6), []Block{text(0x10, "author")}, `"author"`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, flags := printed(Config{}, c.typ, c.data, c.blocks...); got != c.want || flags != c.flags {
				t.Errorf("got  %s [%s]\nwant %s [%s]", got, flags, c.want, c.flags)
			}
			if got, flags := printed(Config{ShowSecrets: true}, c.typ, c.data, c.blocks...); strings.Contains(got, "$redacted") || flags&hidden != 0 {
				t.Errorf("with redaction off: %s [%s]", got, flags)
			}
		})
	}
}

func TestRedactedKeys(t *testing.T) {
	goString := &trace.Type{Kind: trace.KindString, Size: 16, LenOff: 8}
	config := Config{}
	config.setDefaults()
	long := "a very long name of a token"
	p := printer{config: &config}
	e, err := ParseEvent(appendRecord(nil, &Event{Kind: EventEntry}, text(0x10, "password"), text(0x20, "author"), text(0x30, long)))
	if err != nil {
		t.Fatal(err)
	}
	p.load(&e)
	p.begin(nil)
	m := p.newEntries(nil)
	m.add(goString, int32Type, le(0x10, 8), le(1))
	m.add(goString, int32Type, le(0x20, 6), le(2))
	m.add(int32Type, int32Type, le(7), le(3))
	if got := string(m.print(nil, 3)); got != `{"author":2,"password":{"$redacted":"password"},"7":3}` || p.flags != trace.FlagRedacted {
		t.Errorf("%s [%s]", got, p.flags)
	}
	m = p.newEntries(nil)
	m.add(goString, int32Type, le(0x30, 1000), le(4))
	if got := string(m.print(nil, 1)); got != `{"$entries":[[{"$string":"`+long+`","$len":1000},{"$redacted":"token"}]]}` {
		t.Error(got)
	}
}

func TestRedactAlso(t *testing.T) {
	rules := secret.Rules{Also: func(name string) string {
		if name == "b" {
			return "b*"
		}
		return ""
	}}
	if got, _ := printed(Config{Redact: rules}, pairType, append(le(1)[:4], le(2)[:4]...)); got != `{"a":1,"b":{"$redacted":"b*"}}` {
		t.Errorf("got %s", got)
	}
}

type contextKey string

type vault struct {
	Owner  string
	Secret []byte
	Notes  []string
	Any    any
}

type deniedError struct {
	Reason string
	Token  string
	Err    error
}

func (e *deniedError) Error() string { return e.Reason + e.Token }

// TestRedactedGo holds that nothing of a secret is left of Go values and errors, wherever it is.
func TestRedactedGo(t *testing.T) {
	pem := "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----"
	secrets := []string{"hunter2", jwt[8:], card}
	for name, c := range map[string]struct {
		value   any
		message string // of the error that it is
	}{
		"struct":    {value: &vault{"bob", []byte("hunter2"), []string{"a", pem, "PASSWORD=hunter2"}, card}},
		"pairs":     {value: []struct{ Name, Value string }{{"theme", "dark"}, {"X-Api-Key", "hunter2"}, {"Author", "bob"}}},
		"context":   {value: context.WithValue(context.Background(), contextKey("token"), "hunter2")},
		"logged":    {value: []any{"password changed", "user", "bob", "token", "hunter2", "n", 3}},
		"flags":     {value: []string{"mysql", "--user", "bob", "--password", "hunter2", "token", "bob"}},
		"interface": {value: []any{jwt, &vault{Any: []byte(card)}}},
		"wrapped":   {fmt.Errorf("login: %w", errors.New("password=hunter2 is wrong")), "login: password=[redacted: password] is wrong"},
		"path":      {&fs.PathError{Op: "open", Path: "/a?token=hunter2", Err: fs.ErrNotExist}, "open /a?token=[redacted: token]: file does not exist"},
		"joined":    {errors.Join(errors.New(jwt), errors.New("card "+card+" declined")), "[redacted: jwt]\ncard [redacted: card number] declined"},
		"fields":    {&deniedError{"", "hunter2", errors.New("Bearer hunter2")}, `{"Reason":"","Token":{"$redacted":"token"},"Err":{"$type":"*errors.errorString","$message":"[redacted: bearer]"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			config := m.config()
			err, isError := c.value.(error)
			var typ *trace.Type
			var data []byte
			if isError {
				typ, data = captured(m, &err)
			} else {
				typ, data = captured(m, &c.value)
			}
			p := printer{config: &config}
			e, parseErr := ParseEvent(appendRecord(nil, &Event{Kind: EventEntry}, m.blocks...))
			if parseErr != nil {
				t.Fatal(parseErr)
			}
			p.load(&e)
			p.begin(nil)
			out := string(p.value(nil, typ, data))
			if p.flags&trace.FlagRedacted == 0 {
				t.Errorf("nothing is said to be redacted: %s", out)
			}
			if isError {
				p.flags = 0
				failure := p.errorOf(typ, data)
				if failure.Message != c.message || p.flags&trace.FlagRedacted == 0 {
					t.Errorf("message %q [%s], want %q", failure.Message, p.flags, c.message)
				}
				out += failure.Message + p.panicOf(typ, data).Message
			}
			if want := strings.Count(fmt.Sprintf("%+v", c.value), "bob"); !isError && strings.Count(out, "bob") != want {
				t.Errorf("more than the secrets is gone: %s", out)
			}
			for _, s := range secrets {
				if strings.Contains(out, s) {
					t.Errorf("%q is left in %s", s, out)
				}
			}
		})
	}
}

// TestRedactedResult holds that a Rust error's text is its message but for the secret.
func TestRedactedResult(t *testing.T) {
	goString := &trace.Type{Name: "alloc::string::String", Kind: trace.KindString, Size: 16, LenOff: 8, Lang: trace.LangRust}
	result := &trace.Type{Name: "core::result::Result<(), String>", Kind: trace.KindVariant, Lang: trace.LangRust, Size: 16, Variants: []trace.Variant{
		{Name: "Err", Type: structType(0, trace.Field{Name: "__0", Type: goString})},
	}}
	message := "card " + card + " declined"
	config := Config{}
	config.setDefaults()
	p := printer{config: &config}
	e, err := ParseEvent(appendRecord(nil, &Event{Kind: EventExit}, text(0x10, message)))
	if err != nil {
		t.Fatal(err)
	}
	p.load(&e)
	if got := p.resultError(result, le(0x10, uint64(len(message)))); got.Message != "card [redacted: card number] declined" || p.flags != trace.FlagRedacted {
		t.Errorf("%+v [%s]", got, p.flags)
	}
}
