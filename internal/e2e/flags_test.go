package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

// TestRefusedFlags holds that flags which contradict one another, or would have nothing happen, are refused before
// anything is attached, with the way out in one line.
func TestRefusedFlags(t *testing.T) {
	db := filepath.Join(t.TempDir(), "calls.db")
	for _, c := range []struct {
		flags string
		wants string // on stderr
	}{
		{"--unlimited --max-overhead 5", "leave out one of them"},
		{"--unlimited --max-cpu 100", "--max-cpu 100"},
		{"--max-memory 1GiB --unlimited", "--max-memory 1GiB"},
		{"--stats-only --sample 0.1", "--sample has no effect"},
		{"--stats-only --filter n>1", "--filter has no effect"},
		{"--stats-only --min-duration 1ms", "--min-duration has no effect"},
		{"--stats-only --max-calls 5", "--max-calls has no effect"},
		{"--stats-only --depth 3", "--depth has no effect"},
		{"--stats-only --max-string 9", "--max-string has no effect"},
		{"--stats-only --max-items 9", "--max-items has no effect"},
		{"--stats-only --max-bytes 512", "--max-bytes has no effect"},
		{"--stats-only -o json", "no calls are recorded"},
		{"--stats-only -o tree", "no calls are recorded"},
		{"--sample conservative=1", "--sample conservative, or"},
		{"--sample auto=0.5", "/^auto$/=0.5"},
		{"--sample 0.1 --sample auto", "the same functions"},
		{"--sample f=0.1 --sample f=1", "the same functions"},
		{"--sample 1.5", "0 to 1"},
		{"--sample -1", "0 to 1"},
		{"--sample f=", "0 to 1"},
		{"--max-memory 0", "give at least that, or unlimited"},
		{"--max-memory 1", "take 160 MiB"},
		{"--max-memory 64MiB", "take 160 MiB"},
		{"--ring-buffer 512MiB", "--ring-buffer take 1.6 GiB"},
		{"--max-memory much", "64MiB, or unlimited"},
		{"--max-memory -1GiB", "no size"},
		{"--max-memory 1.5GiB", "no size"},
		{"--max-memory 1KM", "no size"},
		{"--max-memory 9000000TiB", "no size"},
		{"--max-overhead 0", "above 0"},
		{"--max-overhead 1001", "up to 1000, or unlimited"},
		{"--max-overhead -5", "above 0"},
		{"--max-overhead NaN", "above 0"},
		{"--max-cpu 0", "above 0"},
		{"-d -1s", "Ctrl-C"},
		{"-d 0", "Ctrl-C"},
		{"-d 5", "missing unit"},
		{"-n 0", "above 0"},
		{"-n -1", "max-calls"},
		{"--depth 0", "between 1 and 16"},
		{"--depth 17", "between 1 and 16"},
		{"--depth -1", "--depth"},
		{"--max-string 0", "between 1 and 4096"},
		{"--max-items 0", "between 1 and 4096"},
		{"--max-bytes 255", "between 256 and 8192"},
		{"--ring-buffer 0", "between 4KiB and 1GiB"},
		{"--ring-buffer 1TiB", "between 4KiB and 1GiB"},
		{"--ring-buffer -1", "no size"},
		{"--min-duration -1ms", "above 0"},
		{"--retention 0", "or off"},
		{"--retention -1h", "or off"},
		{"--max-db-size 0", "or off"},
		{"--max-db-size -1GiB", "auto or off"},
		{"--max-db-size 1MiB", "at least 2.0 MiB"},
		{"-q -v", "one of them"},
		{"-o xml", "one of table, json, tree, none"},
		{"-p 0", "above 0"},
		{"-p -7", "above 0"},
	} {
		args := append([]string{"attach", "--db", db, "-p", strconv.Itoa(os.Getpid()), "-s", "nothing_of_this_name"}, strings.Fields(c.flags)...)
		got := testenv.Run(t, testenv.Binary(t), args...)
		if got.ExitCode != 2 || !strings.Contains(got.Stderr, c.wants) || strings.Count(got.Stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d; it should say %q: %s", c.flags, got.ExitCode, c.wants, got.Stderr)
		}
		if _, err := os.Stat(db); err == nil {
			t.Fatalf("%s: there is a database", c.flags)
		}
	}
}

// TestTakenFlags holds that what looks like those, and makes sense, is taken: what ends it is that nothing matches.
func TestTakenFlags(t *testing.T) {
	testenv.RequireBPF(t)
	for _, flags := range []string{
		"--unlimited --max-overhead unlimited", "--unlimited --sample 0.1", "--stats-only --max-overhead 1", "--stats-only -o none",
		"--sample conservative --sample f=0.1", "--sample auto", "--sample /^auto$/=1", "--sample operator==0.5", "--sample 0",
		"--max-memory 160MiB", "--max-memory 1TiB", "--max-memory 201326592", "--max-memory 1G", "--max-memory 200MB", "--max-memory 900000K",
		"--max-memory 2GiB --ring-buffer 512MiB", "--max-overhead 1000", "--max-overhead 0.1%", "--max-cpu 400", "-d 1ns", "--retention off --max-db-size off", "--max-db-size 1TiB",
	} {
		args := append([]string{"attach", "--db", filepath.Join(t.TempDir(), "calls.db"), "-p", strconv.Itoa(os.Getpid()), "-s", "nothing_of_this_name"}, strings.Fields(flags)...)
		if got := testenv.Run(t, testenv.Binary(t), args...); got.ExitCode != 3 {
			t.Errorf("%s: exit code %d: %s", flags, got.ExitCode, got.Stderr)
		}
	}
}

// TestIdlePatterns holds that patterns which match no traced function are told, by name, and only those.
func TestIdlePatterns(t *testing.T) {
	tr := begin(t, "-s", "in_*", "--sample", "in_c*=1", "--sample", "cache_*=0.5", "--group", "children=in_c*", "--group", "caches=cache_*", "--", testenv.Build(t, testenv.Target{Source: "c/counts"}), "-n", "1")
	if got := tr.end(); strings.Count(got.Stderr, "warning: --sample cache_*=0.5: matches no traced function") != 1 || strings.Contains(got.Stderr, "in_c*=1") ||
		!strings.Contains(got.Stderr, "--group caches=cache_*: matches no traced function") || strings.Contains(got.Stderr, "children") {
		t.Errorf("it said\n%s", got.Stderr)
	}
	// As long as nothing is traced, there is nothing to tell.
	program := filepath.Join(t.TempDir(), "later")
	tr = attach(t, "--exe", program+"*", "-d", "300ms", "--sample", "cache_*=0.5")
	if got := tr.end(); strings.Count(got.Stderr, "cache_*=0.5: matches no traced function") != 1 || strings.Index(got.Stderr, "waiting until one starts") > strings.Index(got.Stderr, "cache_*=0.5") {
		t.Errorf("of a program that never came, it said\n%s", got.Stderr)
	}
}

// TestSingular holds that one is told as one.
func TestSingular(t *testing.T) {
	program := testenv.Build(t, testenv.Target{Source: "c/counts"})
	if got := begin(t, "-s", "main", "--no-follow", "--", program, "-n", "1").end(); !strings.Contains(got.Stderr, "attached: 1 function in 1 process\n") || !strings.Contains(got.Stderr, "recorded 1 call in ") {
		t.Errorf("attach says %q", got.Stderr)
	}
	if got := begin(t, "-s", "main", "--no-follow", "--stats-only", "--", program, "-n", "1").end(); !strings.Contains(got.Stderr, "counted 1 call in ") {
		t.Errorf("attach --stats-only says %q", got.Stderr)
	}
	if got := testenv.Run(t, testenv.Binary(t), "attach", "--dry-run", "-s", "main", "--", program); !strings.Contains(got.Stdout, "\n1 function, 1 traceable\n") || !strings.Contains(got.Stdout, " in 1 function; nothing was attached") {
		t.Errorf("attach --dry-run says %q", got.Stdout)
	}
}

// TestHopelessFilter holds that a filter which can't be true of any call of what is traced is refused before anything is
// recorded, with the nearest name; and that where functions may still come, it is a warning.
func TestHopelessFilter(t *testing.T) {
	testenv.RequireBPF(t)
	program := testenv.Build(t, testenv.Target{Source: "c/sampled"})
	for _, c := range []struct {
		flags []string
		code  int
		says  []string
	}{
		{[]string{"-s", "query", "--filter", "idd > 3"}, 2, []string{"can't be true of any call of what is traced", `no traced function has a parameter "idd"; the nearest is id`}},
		{[]string{"-s", "query", "--filter", "id > 3 && process == 'querry'"}, 2, []string{"can't be true of any call", "list shows their names"}},
		{[]string{"-s", "serve", "-s", "query", "--filter", "idd > 3 || id > 3"}, 0, []string{`warning: --filter: no traced function has a parameter "idd"; the nearest is id`, "recorded 26 calls"}},
		{[]string{"-s", "query", "--filter", "idd > 3 || status == 'ERR'"}, 0, []string{`"idd"`, "recorded 0 calls"}},
		{[]string{"-s", "query", "-l", "libc.so*", "--filter", "idd > 3"}, 0, []string{"warning: --filter \"idd > 3\": it can't be true of any call", "recorded 0 calls"}},
	} {
		db := filepath.Join(t.TempDir(), "calls.db")
		args := append(append([]string{"attach", "--db", db}, c.flags...), "--", program, "9")
		got := testenv.Run(t, testenv.Binary(t), args...)
		if got.ExitCode != c.code {
			t.Errorf("%q: exit code %d: %s", c.flags, got.ExitCode, got.Stderr)
		}
		for _, want := range c.says {
			if !strings.Contains(got.Stderr, want) {
				t.Errorf("%q says nothing of %q: %s", c.flags, want, got.Stderr)
			}
		}
		if _, err := os.Stat(db); (err == nil) != (c.code == 0) {
			t.Errorf("%q: the database: %v", c.flags, err)
		}
	}
}

// TestUnmatched holds that of several patterns the one is told, by list and by attach, which matches nothing, with the nearest
// name, and no other.
func TestUnmatched(t *testing.T) {
	program := testenv.Build(t, testenv.Target{Source: "c/counts"})
	for _, c := range []struct {
		flags []string
		says  []string // all of it
	}{
		{[]string{"-s", "in_*", "-s", "in_chold"}, []string{"-s in_chold: matches no function; the nearest is in_child"}},
		{[]string{"-s", "in_*", "-s", "in_child"}, nil},
		{[]string{"-s", "in_child", "-s", "in_child", "-x", "in_child_", "-x", "main"}, []string{"-x in_child_: matches no function; the nearest is in_child"}},
		{[]string{"-x", "/nothing like it/"}, []string{"-x /nothing like it/: matches no function; list shows what there is"}},
		{[]string{"--file", "main.c", "--file", "mian.c"}, []string{"--file mian.c: matches no source file of a function; the nearest is main.c"}},
		{[]string{"-s", "in_child", "-s", "gnu_get_libc_version", "-l", "libc.so*"}, nil},
		{[]string{"-s", "in_child", "-l", "libc.so*", "-l", "libnothing*"}, []string{"-l libnothing*: matches no shared object"}},
	} {
		for _, args := range [][]string{
			append([]string{"list", program}, c.flags...),
			append(append([]string{"attach", "--db", filepath.Join(t.TempDir(), "calls.db")}, c.flags...), "--", program, "-n", "1"),
		} {
			got := testenv.Run(t, testenv.Binary(t), args...)
			if n := strings.Count(got.Stderr, ": matches no "); n != len(c.says) || got.ExitCode != 0 {
				t.Errorf("%s %q: exit code %d, %d patterns match nothing: %s", args[0], c.flags, got.ExitCode, n, got.Stderr)
			}
			for _, want := range c.says {
				if !strings.Contains(got.Stderr, "warning: "+want) {
					t.Errorf("%s %q says nothing of %q: %s", args[0], c.flags, want, got.Stderr)
				}
			}
		}
	}
}

// TestNothingOfCommand holds that where nothing of a command's own program matches, it is said how what it starts is traced.
func TestNothingOfCommand(t *testing.T) {
	testenv.RequireBPF(t)
	for args, said := range map[string]bool{"-s nothing_like_it -- /bin/sh -c true": true, "-s nothing_like_it -p " + strconv.Itoa(os.Getpid()): false} {
		db := filepath.Join(t.TempDir(), "calls.db")
		got := testenv.Start(t, testenv.Binary(t), append([]string{"attach", "--db", db}, strings.Fields(args)...)...).Wait()
		if got.ExitCode != 3 || strings.Contains(got.Stderr, "with --exe '*/PROGRAM'") != said {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

// TestNothingMatched holds that a pattern which matches nothing is answered by why, and by the way out, which of a stripped
// file are its symbols.
func TestNothingMatched(t *testing.T) {
	testenv.RequireBPF(t)
	stripped := testenv.Target{Source: "c/counts", Strip: testenv.StripAll, Flags: []string{"-Wl,--build-id"}}
	for _, c := range []struct {
		name    string
		target  testenv.Target
		flags   []string
		says    []string
		unasked string // what it must not say
	}{
		{"stripped", stripped, []string{"-s", "in_child"}, []string{"its functions have no names", "/usr/lib/debug/.build-id/", ".debug)"}, "see the"},
		{"stripped, all", stripped, []string{"-s", "*"}, []string{"its functions have no names"}, "see the"},
		{"stripped, the application's own", stripped, nil, []string{"its functions have no names"}, "see the"},
		{
			"stripped, without a build id",
			testenv.Target{Source: "c/counts", Strip: testenv.StripAll, Flags: []string{"-Wl,--build-id=none"}},
			[]string{"-s", "in_child"},
			[]string{"use the program as it was built, before it was stripped"},
			"/usr/lib/debug",
		},
		{
			"stripped, exporting",
			testenv.Target{Source: "c/counts", Strip: testenv.StripAll, Flags: []string{"-rdynamic", "-Wl,--build-id"}},
			[]string{"-s", "nothing_like_it"},
			[]string{"that it exports", "/usr/lib/debug/.build-id/"},
			"see the",
		},
		{"a misspelt name", testenv.Target{Source: "c/counts"}, []string{"-s", "in_chold"}, []string{"\n  in_child\n"}, "stripped"},
		{"debug information elsewhere", testenv.Target{Source: "c/counts", Split: testenv.SplitLink}, []string{"-s", "in_chold"}, []string{"\n  in_child\n"}, "stripped"},
		{"no such name", testenv.Target{Source: "c/counts"}, []string{"-s", "/nothing like it/"}, []string{"see the ", "list "}, "stripped"},
		{"no sources", testenv.Target{Source: "c/counts", Strip: testenv.StripDebug}, []string{"--file", "counts.c"}, []string{"--file goes by debug information"}, "see the"},
		{"stripped Go", testenv.Target{Source: "go/counts", Strip: testenv.StripAll}, []string{"-s", "main.nothing_like_it"}, []string{"see the "}, "stripped"},
		{"all excluded", testenv.Target{Source: "c/counts"}, []string{"-x", "*"}, []string{"-x excludes all that was chosen of /", " functions: leave it out"}, "own"},
		{"the only one excluded", testenv.Target{Source: "c/counts"}, []string{"-s", "in_child", "-x", "in_*"}, []string{", 1 function: leave it out"}, "nearest"},
		{"no such library", testenv.Target{Source: "c/counts"}, []string{"-l", "libnothing*"}, []string{"-l shared objects by their path"}, "stripped"},
	} {
		t.Run(c.name, func(t *testing.T) {
			program := testenv.Build(t, c.target)
			db := filepath.Join(t.TempDir(), "calls.db")
			for _, args := range [][]string{
				append([]string{"list", program}, c.flags...),
				append(append([]string{"attach", "--db", db}, c.flags...), "--", program, "-n", "1"),
			} {
				got := testenv.Run(t, testenv.Binary(t), args...)
				if got.ExitCode != 3 || c.unasked != "" && strings.Contains(got.Stderr, c.unasked) {
					t.Errorf("%s: exit code %d: %s", args[0], got.ExitCode, got.Stderr)
				}
				for _, want := range c.says {
					if !strings.Contains(got.Stderr, want) {
						t.Errorf("%s says nothing of %q: %s", args[0], want, got.Stderr)
					}
				}
			}
		})
	}
}

// TestUndescribed holds that attach and list tell of functions without debug information, and of the way out.
func TestUndescribed(t *testing.T) {
	program := testenv.Build(t, testenv.Target{Source: "c/counts", Strip: testenv.StripDebug})
	const want = "there is no debug information: their values are registers"
	if got := testenv.Run(t, testenv.Binary(t), "list", program, "-s", "in_*"); got.ExitCode != 0 || !strings.Contains(got.Stderr, want) || strings.Contains(got.Stdout, want) {
		t.Errorf("list says %q", got.Stderr)
	}
	if got := begin(t, "-s", "in_*", "--", program, "-n", "1").end(); !strings.Contains(got.Stderr, want) {
		t.Errorf("attach says %q", got.Stderr)
	}
	if got := testenv.Run(t, testenv.Binary(t), "list", testenv.Build(t, testenv.Target{Source: "c/counts"}), "-s", "in_*"); got.ExitCode != 0 || got.Stderr != "" {
		t.Errorf("of a described program, list says %q", got.Stderr)
	}
}

// TestWaitsForMore holds that who waits for processes to come is told so, and why nothing of those that run is traced.
func TestWaitsForMore(t *testing.T) {
	p := orders(t)
	exe, err := os.Readlink("/proc/" + strconv.Itoa(p.PID) + "/exe")
	if err != nil {
		t.Fatal(err)
	}
	if got := attach(t, "--exe", exe, "-s", "main.hanleOrder", "-d", "300ms").end(); !strings.Contains(got.Stderr, "waiting for others: of what runs no function matched") || !strings.Contains(got.Stderr, "\n  main.handleOrder\n") {
		t.Errorf("it said\n%s", got.Stderr)
	}
	if got := attach(t, "--exe", exe, "-s", "main.handleOrder", "-d", "300ms").end(); strings.Contains(got.Stderr, "waiting") {
		t.Errorf("it said\n%s", got.Stderr)
	}
}

// TestKeptOnSmallDisk holds that what was free when a session began, little, is nothing that retain goes by.
func TestKeptOnSmallDisk(t *testing.T) {
	tr := beginInto(t, filepath.Join(testenv.Filesystem(t, "40m"), "calls.db"), "-s", "in_*", "--", testenv.Build(t, testenv.Target{Source: "c/counts"}), "-n", "1")
	tr.end()
	if got := text(t, openDB(t, tr.db), "SELECT settings ->> 'max_db_size' BETWEEN 2 << 20 AND 20 << 20 FROM sessions"); got != "1" {
		t.Errorf("the session's limit is not half of the disk: %s", text(t, openDB(t, tr.db), "SELECT settings FROM sessions"))
	}
	got := testenv.Run(t, testenv.Binary(t), "retain", "--dry-run", "--db", tr.db)
	if got.ExitCode != 0 || !strings.Contains(got.Stdout, "at most 10 GiB") {
		t.Errorf("retain: exit code %d: %s%s", got.ExitCode, got.Stdout, got.Stderr)
	}
}

// TestKeptForEver holds that retain goes by what the last session was to keep, where that was everything.
func TestKeptForEver(t *testing.T) {
	tr := begin(t, "--retention", "off", "--max-db-size", "off", "-s", "in_*", "--", testenv.Build(t, testenv.Target{Source: "c/counts"}), "-n", "1")
	tr.end()
	got := testenv.Run(t, testenv.Binary(t), "retain", "--dry-run", "--db", tr.db)
	if got.ExitCode != 0 || !strings.Contains(got.Stdout, "calls                  off") || !strings.Contains(got.Stdout, "any size") {
		t.Errorf("retain: exit code %d: %s%s", got.ExitCode, got.Stdout, got.Stderr)
	}
}
