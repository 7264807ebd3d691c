package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// TestSecrets holds that no secret of a target is in any file of the database, nor in
// what is printed; and that all of them were there to be found.
func TestSecrets(t *testing.T) {
	testenv.RequireBPF(t)
	for _, target := range []testenv.Target{
		{Source: "go/secrets"},
		{Source: "go/secrets", Opt: "-O0"},
		{Source: "c/secrets"},
		{Source: "c/secrets", Opt: "-O0"},
		{Source: "cpp/secrets"},
		{Source: "cpp/secrets", Opt: "-O0"},
		{Source: "rust/secrets"},
		{Source: "rust/secrets", Opt: "-O0"},
	} {
		t.Run(target.String(), func(t *testing.T) {
			t.Parallel()
			program := testenv.Build(t, target)
			secrets := strings.Split(strings.TrimSuffix(testenv.Run(t, program).Stdout, "\n"), "\n")
			files, out, tr := traceSecrets(t, program)
			if len(secrets) < 6 {
				t.Fatalf("the target tells of %q", secrets)
			}
			for _, s := range append(secrets, "4111111111111111", `"cvv":737`, `"CVV":737`) {
				if bytes.Contains(out, []byte(s)) {
					t.Errorf("%q is printed", s)
				}
				if bytes.Contains(files, []byte(s)) {
					t.Errorf("%q is in the database", s)
				}
			}
			db := tr.open()
			if got := text(t, db, "SELECT process, args, result, flags FROM data_trace WHERE flags LIKE '%redacted%' AND args || coalesce(result, '') NOT LIKE '%$redacted%' AND id NOT IN (SELECT id FROM process_trace WHERE error LIKE '%[redacted: %')"); got != "" {
				t.Errorf("said to be redacted: %s", got)
			}
			if got := text(t, db, "SELECT DISTINCT flags FROM data_trace WHERE args || coalesce(result, '') LIKE '%$redacted%' AND flags NOT LIKE '%redacted%'"); got != "" {
				t.Errorf("not said to be redacted: %s", got)
			}
			if n := number(t, db, "SELECT count(*) FROM data_trace WHERE flags LIKE '%redacted%'"); n < 6 {
				t.Errorf("something was withheld in only %d calls", n)
			}
			if got := text(t, db, "SELECT args FROM data_trace WHERE process LIKE '%harmless'"); got != `{"author":"an author","keyboard":"a keyboard","tokenizer":3}` {
				t.Errorf("harmless: %s", got)
			}
			if target.Source == "go/secrets" {
				for name, want := range map[string]string{
					"main.logIn":     "log in bob: password=[redacted: password] is wrong",
					"main.pay":       "card [redacted: card number] declined",
					"main.panicking": "token=[redacted: token]",
					"main.refuse":    `{"Reason":"no entry for bob","Token":{"$redacted":"token"}}`,
				} {
					if got := text(t, db, "SELECT error FROM process_trace WHERE process = ?", name); got != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
				want := `{"h":{"Accept":["text/html"],"Cookie":{"$redacted":"cookie"},"X-Api-Key":{"$redacted":"api key"}},` +
					`"settings":{"$entries":[[{"$type":"string","$value":"theme"},{"$type":"string","$value":"dark"}],[{"$type":"string","$value":"db_password"},{"$redacted":"password"}]]},` +
					`"byID":{"1":"one","2":{"$redacted":"jwt"}}}`
				if got := text(t, db, "SELECT args FROM data_trace WHERE process = 'main.headers'"); got != want {
					t.Errorf("headers: %s", got)
				}
			}

			files, _, tr = traceSecrets(t, program, "--no-redact")
			if !strings.Contains(tr.Stderr(), "warning: --no-redact") {
				t.Errorf("not said aloud: %s", tr.Stderr())
			}
			for _, s := range secrets {
				if !bytes.Contains(files, []byte(s)) {
					t.Errorf("%q was never there", s)
				}
			}

			files, _, _ = traceSecrets(t, program, "--redact", "auth?r")
			if bytes.Contains(files, []byte("an author")) || !bytes.Contains(files, []byte("a keyboard")) {
				t.Error("--redact made no difference")
			}
		})
	}
}

// traceSecrets traces a program from its first call and gives all the bytes that are in
// the database's files, and what the tracer printed.
func traceSecrets(t *testing.T, program string, flags ...string) (files, printed []byte, tr *tracer) {
	t.Helper()
	p := testenv.Start(t, program, "-wait").Ready()
	tr = attachPID(t, p.PID, append([]string{"-o", "json", "--depth", "4"}, flags...)...)
	p.Go()
	if got := p.Wait(); got.ExitCode != 0 {
		t.Errorf("the target ended with %+v", got)
	}
	result := tr.Wait()
	if result.ExitCode != 0 {
		t.Errorf("tracer: %+v", result)
	}
	paths, err := filepath.Glob(tr.db + "*")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no database: %v", err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, b...)
	}
	return files, []byte(result.Stdout + result.Stderr), tr
}
