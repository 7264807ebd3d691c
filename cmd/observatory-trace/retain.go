package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/query"
	"github.com/observatory-trace/observatory-trace/retention"
	"github.com/observatory-trace/observatory-trace/writer"
)

// keepFlags say how much of what was recorded is kept.
type keepFlags struct{ window, size string }

const (
	sizeAuto = "auto"
	keepOff  = "off"
)

func (f *keepFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.window, "retention", "6h", "keep calls for this `TIME` (7d, 6h, 30m), and statistics longer: by the second for 6h, by the minute for 7d, by the hour for 90d; off: keep everything")
	fl.StringVar(&f.size, "max-db-size", sizeAuto, "delete the oldest calls before their time where the database and its log would be larger than this `SIZE` (2GiB, 500MiB); auto: 10GiB, or half of the space that is free if that is less; off: any size")
}

// policy is what the flags ask for, of a database at path. Its errors are usage errors.
func (f *keepFlags) policy(path string) (retention.Policy, error) {
	window, err := parseWindow(f.window)
	if err != nil {
		return retention.Policy{}, usageError{fmt.Errorf("--retention: %w", err)}
	}
	bytes, err := parseLimit(f.size, path)
	if err != nil {
		return retention.Policy{}, usageError{fmt.Errorf("--max-db-size: %w", err)}
	}
	return retention.For(window, bytes), nil
}

// parseWindow reads how long calls are kept; 0 is for ever.
func parseWindow(text string) (time.Duration, error) {
	if text == keepOff {
		return 0, nil
	}
	window, err := time.ParseDuration(text)
	if number, days := strings.CutSuffix(text, "d"); days {
		var n int64
		if n, err = strconv.ParseInt(number, 10, 16); err == nil {
			window = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil || window < time.Second { // 0 could mean that nothing is kept, or everything
		return 0, fmt.Errorf("%q is no such time: write, for example, 6h, 30m or 7d, at least 1s, or off", text)
	}
	return window, nil
}

// parseLimit reads the size in bytes that a database at path may have; 0 is any.
func parseLimit(text, path string) (int64, error) {
	switch text {
	case keepOff:
		return 0, nil
	case sizeAuto:
		return autoLimit(path), nil
	}
	bytes, err := parseSize(text)
	if err != nil {
		return 0, fmt.Errorf("%w, auto or off", err)
	}
	if bytes < retention.LeastBytes || bytes > 1<<60 {
		return 0, fmt.Errorf("%s: at least %s, or off", text, formatBytes(retention.LeastBytes))
	}
	return int64(bytes), nil
}

// autoLimit leaves half of the free space to others. Where it isn't known, that is no reason to fail.
func autoLimit(path string) int64 {
	room, known := int64(0), false
	for _, name := range []string{path, path + "-wal"} { // what is there already can be used again
		if st, err := os.Stat(name); err == nil {
			room += st.Size()
		}
	}
	for dir := filepath.Dir(path); !known; dir = filepath.Dir(dir) { // the directory may not exist yet
		var fs unix.Statfs_t
		if known = unix.Statfs(dir, &fs) == nil; known {
			room += int64(fs.Bavail) * fs.Bsize
		} else if dir == filepath.Dir(dir) {
			return retention.DefaultBytes
		}
	}
	return max(min(retention.DefaultBytes, room/2), retention.LeastBytes)
}

// sayKept tells what a store could not keep, and what can't be helped.
func sayKept(notes *notes, c writer.Counters, keep retention.Policy) {
	if c.Early > 0 {
		notes.say("%s deleted before their time: the database had reached %s; raise --max-db-size, lower --retention, or record less",
			plural(c.Early, "call"), formatBytes(keep.Bytes))
	}
	if c.Cleared > 0 {
		notes.say("%s deleted before their time: the disk was full, and errors took their place; free space on it", plural(c.Cleared, "call"))
	}
	if c.OverBytes > 0 {
		notes.say("%s", overHint(c.OverBytes))
	}
	if c.LogBytes > longLog {
		notes.say("the database's log has grown to %s: a program that has been reading for long kept it from being shortened", formatBytes(c.LogBytes))
	}
}

func overHint(bytes int64) string {
	return fmt.Sprintf("no calls are left in the database, and it is still %s larger than it may be: what remains is statistics, which time alone deletes; raise --max-db-size", formatBytes(bytes))
}

func newRetainCommand() *cobra.Command {
	var f readFlags
	var keep keepFlags
	var vacuum, dryRun bool
	cmd := &cobra.Command{
		Use:   "retain",
		Short: "Show how much was recorded, delete what is older than is to be kept, and give space back",
		Long: `Show how much was recorded, delete what is older than is to be kept, and give space back.

attach does the same all the while by itself; this is for files that nobody writes to, or
to keep less than before. It can run beside attach. Without --retention and --max-db-size
it keeps what the last session in the file was to keep. Where that session's limit of size
was auto, how much is free is no reason to delete: then at most 10GiB are kept.

What sessions that were killed, or could not write the database, left in spill files comes
into it, and their last calls are counted, as the next attach would do it.

Ages are reckoned from when a call was written, by time since boot: setting the wall clock
deletes nothing. Calls that the size alone deletes are counted in gaps.`,
		Example: `  observatory-trace retain --dry-run
  observatory-trace retain --retention 1h --max-db-size 2GiB
  observatory-trace retain --vacuum`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !dryRun { // which changes nothing
				from, err := writer.Upgrade(cmd.Context(), f.db)
				if err != nil {
					return err
				}
				if from > 0 && from < writer.SchemaVersion {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: its schema was version %d, and is %d now\n", f.db, from, writer.SchemaVersion)
				}
			}
			if err := keep.fromLast(&f, cmd); err != nil {
				return err
			}
			policy, err := keep.policy(f.db)
			if err != nil {
				return err
			}
			ctx, _, stop := untilSignal(cmd.Context(), nil)
			defer stop()
			before, after, removed, err := writer.Retain(ctx, f.db, writer.RetainOptions{
				Policy: policy, Vacuum: vacuum, DryRun: dryRun, Notice: (&notes{w: cmd.ErrOrStderr()}).notice,
			})
			if err != nil {
				return err
			}
			r := retained{DryRun: dryRun, Before: before, After: &after, Removed: removed}
			if dryRun {
				r.After = nil
			}
			r.Policy = kept{windowText(policy.Calls), policy.Bytes, windowText(policy.BySecond), windowText(policy.ByMinute), windowText(policy.ByHour)}
			if f.output == "json" {
				return writeJSON(cmd.OutOrStdout(), r)
			}
			return r.write(newScreen(cmd.OutOrStdout()), f.db)
		},
	}
	f.register(cmd, "table", "json")
	keep.register(cmd)
	fl := cmd.Flags()
	fl.Lookup("db").Usage = "trim this database"
	fl.Lookup("retention").DefValue, fl.Lookup("max-db-size").DefValue = "as the last session", "as the last session"
	fl.BoolVar(&vacuum, "vacuum", false, "give all free space back; a file of an older version is rewritten for that, while nobody else has it open")
	fl.BoolVar(&dryRun, "dry-run", false, "say what would be deleted, about, and change nothing")
	return cmd
}

// fromLast takes what the flags don't say from the last session in the database.
func (f *keepFlags) fromLast(read *readFlags, cmd *cobra.Command) error {
	return read.withDatabase(func(db *query.Database) error {
		rows, err := db.SQL(cmd.Context(), "SELECT settings, command FROM sessions ORDER BY id DESC LIMIT 1")
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Next tells what went wrong
		values, err := rows.Next(cmd.Context())
		if err != nil || values == nil {
			return err
		}
		var last struct {
			Retention string `json:"retention"`
			Size      *int64 `json:"max_db_size"`
			Auto      *bool  `json:"max_db_size_auto"`
		}
		text, _ := values[0].(string)
		command, _ := values[1].(string)
		_ = json.Unmarshal([]byte(text), &last) // an older session's says nothing of it
		if last.Retention != "" && !cmd.Flags().Changed("retention") {
			f.window = last.Retention
			if window, err := time.ParseDuration(f.window); err == nil && window == 0 {
				f.window = keepOff
			}
		}
		if cmd.Flags().Changed("max-db-size") {
			return nil
		}
		switch {
		case last.Size == nil:
		case *last.Size == 0:
			f.size = keepOff
		case last.Auto != nil && *last.Auto, last.Auto == nil && !strings.Contains(command, "--max-db-size"):
			// What was free then says nothing of now, and what is there has its room.
			f.size = strconv.FormatInt(retention.DefaultBytes, 10)
		default:
			f.size = strconv.FormatInt(*last.Size, 10)
		}
		return nil
	})
}

// retained is what retain prints as JSON.
type retained struct {
	DryRun  bool             `json:"dry_run"`
	Policy  kept             `json:"policy"`
	Before  writer.Contents  `json:"before"`
	After   *writer.Contents `json:"after,omitempty"`
	Removed writer.Removed   `json:"removed"`
}

// kept is the policy; times that don't end are "off".
type kept struct {
	Calls   string `json:"retention"`
	Bytes   int64  `json:"max_db_size"` // 0: any
	Seconds string `json:"seconds"`
	Minutes string `json:"minutes"`
	Hours   string `json:"hours"`
}

func windowText(d time.Duration) string {
	switch {
	case d <= 0:
		return keepOff
	case d%(24*time.Hour) == 0:
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	case d%time.Hour == 0:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	}
	return d.String()
}

func (r *retained) write(s screen, path string) error {
	now := r.Before
	if r.After != nil {
		now = *r.After
	}
	g := &grid{columns: []column{{title: "KEPT"}, {title: "FOR"}, {title: "ROWS", right: true}, {title: "OLDEST"}, {title: "NEWEST"}}}
	row := func(name, window string, n int64, oldest, newest string) {
		g.rows = append(g.rows, []string{name, window, formatCount(uint64(n)), oldest, newest})
	}
	row("calls", r.Policy.Calls, now.Calls, now.Oldest, now.Newest)
	for _, of := range []struct {
		name, window string
		writer.StatRows
	}{{"seconds", r.Policy.Seconds, now.Seconds}, {"minutes", r.Policy.Minutes, now.Minutes}, {"hours", r.Policy.Hours, now.Hours}} {
		row("statistics by "+of.name, of.window, of.Rows, of.Oldest, of.Newest)
	}
	row("gaps", r.Policy.Hours, now.Gaps, "", "")
	if err := g.write(s); err != nil {
		return err
	}
	limit := "any size"
	if r.Policy.Bytes > 0 {
		limit = "at most " + formatBytes(r.Policy.Bytes)
	}
	deleted, merged, given := "deleted", "merged or deleted", "given back"
	if r.DryRun {
		deleted, merged, given = "would delete", "merge or delete", "to be given back, about"
	}
	line := fmt.Sprintf("\n%s: %s, of which %s are free; log %s; %s\n%s %s", path, formatBytes(now.FileBytes), formatBytes(now.FreeBytes), formatBytes(now.LogBytes), limit,
		deleted, plural(uint64(r.Removed.Calls), "call"))
	if r.Removed.Early > 0 {
		line += fmt.Sprintf(" (%s before their time, for the size)", formatCount(uint64(r.Removed.Early)))
	}
	line += fmt.Sprintf("; %s %s of statistics, %s; %s %s", merged,
		plural(uint64(r.Removed.Statistics), "row"), plural(uint64(r.Removed.Gaps), "gap"), formatBytes(max(r.Removed.Bytes, 0)), given)
	for _, hint := range r.hints(path) {
		line += "\n" + hint
	}
	_, err := fmt.Fprintln(s.w, line)
	return err
}

// longLog is a log that somebody must be keeping from being shortened, bytes.
const longLog = 256 << 20

// hints say what the figures mean, and the way out.
func (r *retained) hints(path string) (hints []string) {
	now := r.Before
	if r.After != nil {
		now = *r.After
	}
	if r.Removed.Over > 0 {
		hints = append(hints, overHint(r.Removed.Over))
	}
	switch {
	case now.FreeBytes <= 16<<20:
	case !now.Shrinks:
		hints = append(hints, "free space is used again, but not given back, as the file was made by an older version: retain --vacuum changes that; it needs as much space as is in use twice, here and in /var/tmp (or SQLITE_TMPDIR)")
	case now.FreeBytes > now.FileBytes/10:
		hints = append(hints, "free space is used again by what comes next; retain --vacuum gives it back now")
	}
	if now.LogBytes > longLog {
		hints = append(hints, fmt.Sprintf("a program that has been reading for long keeps the log from being folded into the file and shortened: end it, or its query (fuser %s)", path))
	}
	return hints
}

// formatBytes shows a size: 0 B, 1.5 KiB, 20 MiB.
func formatBytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, unit := float64(n), 0
	for v >= 1024 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	digits := 0
	if unit > 0 && v < 10 {
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + units[unit]
}
