package testenv

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"
)

// Golden is what a values target does in its one call of a function.
type Golden struct {
	Status string          `json:"status"`           // OK or ERR
	Args   json.RawMessage `json:"args,omitempty"`   // nil when there are none
	Result json.RawMessage `json:"result,omitempty"` // nil when there is none
	Error  *struct {
		Type    json.RawMessage `json:"type"`
		Message json.RawMessage `json:"message"`
	} `json:"error,omitempty"`
}

// Goldens are the calls that a values target ("go/values") makes, by function,
// named as in Counts. Compare with DiffJSON.
func Goldens(tb testing.TB, source string) map[string]Golden {
	tb.Helper()
	root, err := Root()
	if err != nil {
		tb.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "testdata", "targets", source, "golden.json"))
	if err != nil {
		tb.Fatalf("read goldens: %v", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var goldens map[string]Golden
	if err := decoder.Decode(&goldens); err != nil {
		tb.Fatalf("parse %s/golden.json: %v", source, err)
	}
	return goldens
}

// DiffJSON says where JSON differs from what is wanted, a line a difference,
// or nothing. Numbers are compared digit by digit. In what is wanted
// {"$any": "why"} stands for any value, and {"$prefix": "text"} for any string
// that begins so, and {"$either": [a, b]} for one of several: what one compiler says more
// of than another. Nothing at all is wanted, or was got, with nil.
func DiffJSON(want, got []byte) string {
	wanted, err := decodeJSON(want)
	if err != nil {
		return fmt.Sprintf("wanted: %v", err)
	}
	gotten, err := decodeJSON(got)
	if err != nil {
		return fmt.Sprintf("got: %v", err)
	}
	return strings.Join(diff(nil, "$", wanted, gotten), "\n")
}

// absent is a value that isn't there, as opposed to null.
type absent struct{}

// MarshalJSON writes it for messages.
func (absent) MarshalJSON() ([]byte, error) { return []byte(`"(nothing)"`), nil }

func decodeJSON(text []byte) (any, error) {
	if text == nil {
		return absent{}, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("parse %s: %w", text, err)
	}
	return value, nil
}

func diff(found []string, path string, want, got any) []string {
	switch want := want.(type) {
	case map[string]any:
		if _, ok := want["$any"]; ok && got != (absent{}) {
			return found
		}
		if prefix, ok := want["$prefix"].(string); ok {
			if text, ok := got.(string); ok && strings.HasPrefix(text, prefix) {
				return found
			}
			break
		}
		if either, ok := want["$either"].([]any); ok {
			for _, one := range either {
				if diff(nil, path, one, got) == nil {
					return found
				}
			}
			break
		}
		if got, ok := got.(map[string]any); ok {
			for _, key := range keys(want, got) {
				found = diff(found, path+"."+key, field(want, key), field(got, key))
			}
			return found
		}
	case []any:
		if got, ok := got.([]any); ok && len(got) == len(want) {
			for i := range want {
				found = diff(found, fmt.Sprintf("%s[%d]", path, i), want[i], got[i])
			}
			return found
		}
	}
	if reflect.DeepEqual(want, got) {
		return found
	}
	return append(found, fmt.Sprintf("%s: got %s, want %s", path, encodeJSON(got), encodeJSON(want)))
}

func field(object map[string]any, key string) any {
	if value, ok := object[key]; ok {
		return value
	}
	return absent{}
}

func keys(a, b map[string]any) []string {
	var all []string
	for key := range a {
		all = append(all, key)
	}
	for key := range b {
		if _, both := a[key]; !both {
			all = append(all, key)
		}
	}
	sort.Strings(all)
	return all
}

func encodeJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
