// Command valuesdoc writes docs/values.md to standard output: what each function
// of the values targets is declared as, and what a call of it is recorded as. Both
// are what the tests compare traced runs with.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	if err := write(os.Stdout, "."); err != nil {
		fmt.Fprintln(os.Stderr, "valuesdoc:", err)
		os.Exit(1)
	}
}

const head = `# What values look like

Made by ` + "`make docs`" + ` from the targets under ` + "`testdata/targets/*/values`" + `: the declaration of each function beside the
JSON that a call of it is recorded as. Tests trace these programs, built by several compilers with and without
optimisation, and compare (` + "`go test -run TestValues ./internal/e2e`" + `). … stands for what differs from run to run.

Whatever can't be had says so in its place, as ` + "`{\"$unavailable\": \"why\"}`" + `, and the call's ` + "`flags`" + ` say that something is missing:

| reason | of what | why |
|---|---|---|
| in SSE register, in vector register | floating-point arguments and results | the kernel does not show those registers to probes |
| optimised out, may have been optimised out | arguments and results of local functions | the compiler passes something else, or nothing |
| calling convention changed by the optimiser | the same | and the debug information doesn't say what |
| memory not readable | what a pointer leads to | it leads nowhere |
| cut at the limit, value too large, nested too deep | parts of large values | ` + "`--max-bytes`, `--max-string`, `--max-items`, `--depth`" + ` bound what is copied |
| type not described, type not known | values of types that are only declared; what a ` + "`std::any`" + ` holds, unless it is a number; the error inside of Rust's ` + "`io::Error`" + `, unless it was made of a text | the debug information is elsewhere, or there is none |
| flexible array: its length is not known | C's ` + "`T tail[]`" + ` | only the program knows |
| unsized value | Rust's ` + "`Arc<[T]>`, `Rc<[T]>`" + `, structs that end in a slice | the elements lie behind other members |
| variant not known | enums and variants | the tag has a value that no variant has |

A pointer of which nothing is known but where it leads (` + "`void *`" + `, a pointer to a type that is only declared) has the name of the function or variable
there, in whatever file of the process it is: ` + "`{\"$ptr\": \"0x…\", \"$symbol\": \"table+8\"}`" + `. A ` + "`std::weak_ptr`" + ` or ` + "`Weak`" + ` whose last owner is gone is ` + "`null`" + `. Points in time
are in UTC; those of clocks that only run on (` + "`std::chrono::steady_clock`, `Instant`" + `) are the time since the machine was started.

`

const goForms = `Of Go's own types some are shown as what they stand for:

| type | form |
|---|---|
| context.Context | ` + "`deadline`; `error`, once it has ended, and its `cause` where that is another; `values` by the type of their key, with the key where it is a text or a number: `main.userKey(tenant)`; `parent`: where the chain goes on with a context of another package, or could not be followed" + ` |
| function | its symbol, or with what it has captured: ` + "`{\"$func\": \"main.run.func1\", \"total\": 0}`; a method value's `receiver`" + ` |
| sync.Map | its entries; cut: with ` + "`$unavailable`" + `, since it doesn't know how many it has |
| sync.Mutex, RWMutex, Once, WaitGroup, Cond, Pool | whether it is locked, how many read, whether it is done, its counter, how many wait, its ` + "`New`" + ` |
| sync/atomic | what is stored |
| time.Time, time.Duration, net.IP, netip.Addr, url.URL, big.Int, json.RawMessage, UUID, reflect.Type | as they print themselves, JSON as JSON |
| error | its type, its message where it is known how the type makes it (those of the standard library and of github.com/pkg/errors), and its fields. In the message of one that wraps an error of another type, that type stands for what it would say, in angle brackets. As a call's error, one of another type has its fields in place of a message |

`

func write(w io.Writer, root string) error {
	if _, err := io.WriteString(w, head); err != nil {
		return err
	}
	for _, l := range []struct{ title, folder, sources string }{
		{"Go", "go", "*.go"}, {"C", "c", "*.c"}, {"C++", "cpp", "*.cpp"}, {"Rust", "rust", "*.rs"},
	} {
		folder := filepath.Join(root, "testdata", "targets", l.folder, "values")
		source, err := readAll(filepath.Join(folder, l.sources))
		if err != nil {
			return err
		}
		golden, err := os.ReadFile(filepath.Join(folder, "golden.json"))
		if err != nil {
			return err
		}
		if err := section(w, l.title, source, golden); err != nil {
			return fmt.Errorf("%s: %w", folder, err)
		}
	}
	return nil
}

// readAll reads the files that a glob matches, one behind the other.
func readAll(glob string) (string, error) {
	paths, err := filepath.Glob(glob)
	if err != nil || len(paths) == 0 {
		return "", fmt.Errorf("find %s: %w", glob, cmp.Or(err, fs.ErrNotExist))
	}
	var all strings.Builder
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		all.Write(source)
	}
	return all.String(), nil
}

// call is what a golden says of one call.
type call struct {
	Status       string
	Args, Result json.RawMessage
	Error        *struct{ Type, Message json.RawMessage }
}

// section writes one language's table, in the golden's order.
func section(w io.Writer, title, source string, golden []byte) error {
	intro := ""
	if title == "Go" {
		intro = goForms
	}
	fmt.Fprintf(w, "## %s\n\n%s| function | arguments | result | error |\n|---|---|---|---|\n", title, intro)
	d := json.NewDecoder(bytes.NewReader(golden))
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("read golden: %w", err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return fmt.Errorf("read golden: %w", err)
		}
		var c call
		if err := d.Decode(&c); err != nil {
			return fmt.Errorf("read golden of %v: %w", name, err)
		}
		failure := ""
		if c.Error != nil {
			failure = plain(c.Error.Type) + ": " + plain(c.Error.Message)
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", code(declaration(source, name.(string))), code(show(c.Args)), code(show(c.Result)), cell(failure))
	}
	_, err := fmt.Fprintln(w)
	return err
}

// typeArguments are those of a Go name: main.(*pair[string,[]int]).set.
var typeArguments = regexp.MustCompile(`\[.*\]`)

// declaration finds a function in its source, by its qualified name: all up to
// the body, on one line.
func declaration(source, name string) string {
	name = typeArguments.ReplaceAllString(name, "")
	short := name[strings.LastIndexAny(name, ".:")+1:]
	short = short[:strings.IndexByte(short+"<", '<')]
	declared := regexp.MustCompile(`(?m)^[ \t]*((?:TRACED|func|fn|extern|long|static|template)[^\n;{]*\b` + regexp.QuoteMeta(short) + `(?:\[[^\]]*\]|<[^>]*>)?\((?:struct\{\}|\[[^\]{]*\]|[^{;])*?)\s*\{`)
	m := declared.FindStringSubmatch(source)
	if m == nil {
		return name
	}
	return strings.TrimSpace(strings.ReplaceAll(strings.Join(strings.Fields(m[1]), " "), "TRACED ", ""))
}

var (
	anyValue = regexp.MustCompile(`\{"\$any":"[^"]*"\}`)
	prefix   = regexp.MustCompile(`\{"\$prefix":"([^"]*)"\}`)
)

// show is a golden's value on one line.
func show(raw json.RawMessage) string {
	var b bytes.Buffer
	if len(raw) == 0 || json.Compact(&b, raw) != nil {
		return ""
	}
	s := anyValue.ReplaceAllString(firstOf(b.String()), "…")
	s = prefix.ReplaceAllString(s, `"$1…"`)
	const most = 300
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return s
}

// firstOf puts the first of its values in the place of each {"$either":[…]}.
func firstOf(s string) string {
	const begin = `{"$either":[`
	for {
		i := strings.Index(s, begin)
		if i < 0 {
			return s
		}
		rest := json.NewDecoder(strings.NewReader(s[i:]))
		whole := struct {
			Either []json.RawMessage `json:"$either"`
		}{}
		if rest.Decode(&whole) != nil || len(whole.Either) == 0 {
			return s
		}
		s = s[:i] + string(whole.Either[0]) + s[i+int(rest.InputOffset()):]
	}
}

func plain(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return show(raw)
	}
	return s
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + cell(s) + "`"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
