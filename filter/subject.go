package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// ownNames are the names that every call has a value for, or nil where it has none.
// Parameters of these names are had through args.
var ownNames = []string{
	"args", "result", "status", "error", "error_type", "duration", "process", "group", "exe",
	"pid", "tid", "goroutine", "thread", "depth",
}

var errAbsent = errors.New("the call has nothing of this name")

// subject is the call that an expression is evaluated of, its values read when they are named.
type subject struct {
	*trace.Call
	raw  map[string]json.RawMessage // the arguments
	args map[string]any             // those of them that were named
}

// lookUp gives the value of a name: a call's own, else a parameter's.
func (s *subject) lookUp(names ...any) (any, error) {
	name, _ := names[0].(string)
	switch name {
	case "args":
		return present(read(s.Args))
	case "result":
		return present(read(s.Result))
	case "status":
		return s.Status.String(), nil
	case "error", "error_type":
		return s.failure(name), nil
	case "duration":
		return milliseconds(s.DurationNS), nil
	case "process":
		return s.Func.Name, nil
	case "group":
		return orNil(s.Func.Group), nil
	case "exe", "pid":
		if s.Process == nil {
			return nil, errAbsent
		}
		if name == "exe" {
			return s.Process.Exe, nil
		}
		return s.Process.PID, nil
	case "tid":
		return s.TID, nil
	case "goroutine":
		if s.Goroutine == 0 {
			return nil, nil
		}
		return int(s.Goroutine), nil
	case "thread":
		return orNil(s.Thread), nil
	case "depth":
		return s.Depth, nil
	}
	return s.argument(name)
}

// argument gives the value of a parameter.
func (s *subject) argument(name string) (any, error) {
	if v, ok := s.args[name]; ok {
		return present(v)
	}
	if s.args == nil {
		s.args = make(map[string]any)
		_ = json.Unmarshal(s.Args, &s.raw) // without arguments, there are none
	}
	v := read(s.raw[name])
	s.args[name] = v
	return present(v)
}

func (s *subject) failure(name string) any {
	switch {
	case s.Err == nil:
		return nil
	case name == "error":
		return s.Err.Message
	}
	return s.Err.Type
}

func milliseconds(ns int64) float64 { return float64(ns) / 1e6 }

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// absent is a value that could not be had, or is withheld: nothing can be said of it.
type absent struct{}

func present(v any) (any, error) {
	if _, ok := v.(absent); ok {
		return nil, errAbsent
	}
	return v, nil
}

// member gives the field or key of a value.
func member(of ...any) (any, error) {
	fields, ok := of[0].(map[string]any)
	name, _ := of[1].(string)
	if !ok {
		return nil, errAbsent
	}
	v, ok := fields[name]
	if !ok {
		return nil, errAbsent
	}
	return present(v)
}

// read reads a value's JSON, in which numbers keep all their digits.
func read(text []byte) any {
	if len(text) == 0 {
		return absent{}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return absent{}
	}
	return plain(v)
}

// plain takes the forms away that values have in JSON: a cut text is what there is of
// it, an interface what it holds.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(v)
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		return plainObject(v)
	}
	return v
}

func plainObject(object map[string]any) any {
	for key, v := range object {
		object[key] = plain(v)
	}
	if _, ok := object["$unavailable"]; ok && len(object) == 1 {
		return absent{}
	}
	if _, ok := object["$redacted"]; ok {
		return absent{}
	}
	for _, form := range []string{"$string", "$items"} {
		if v, ok := object[form]; ok {
			return v
		}
	}
	if list, ok := object["$entries"].([]any); ok {
		return entries(list)
	}
	value, ok := object["$value"]
	if !ok {
		return object
	}
	inner, ok := value.(map[string]any)
	if !ok {
		return value
	}
	for _, key := range []string{"$type", "$message"} {
		if v, ok := object[key]; ok && inner[key] == nil {
			inner[key] = v
		}
	}
	return inner
}

// entries makes an object of a map whose keys are no texts themselves.
func entries(list []any) map[string]any {
	object := make(map[string]any, len(list))
	for _, one := range list {
		if pair, ok := one.([]any); ok && len(pair) == 2 {
			object[fmt.Sprint(pair[0])] = pair[1]
		}
	}
	return object
}

// number keeps integers as such where they fit.
func number(n json.Number) any {
	if !strings.ContainsAny(n.String(), ".eE") {
		if i, err := n.Int64(); err == nil {
			return int(i)
		}
	}
	f, err := n.Float64()
	if err != nil {
		return absent{}
	}
	return f
}
