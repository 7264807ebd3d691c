package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/observatory-trace/observatory-trace/writer"
)

// doctorDatabase says how a database is. Its error says that something is wrong.
func doctorDatabase(ctx context.Context, w io.Writer, path, spillDir, output string) error {
	state := writer.Inspect(ctx, path, spillDir)
	if output == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(state); err != nil {
			return fmt.Errorf("print state: %w", err)
		}
	} else {
		printState(w, state)
	}
	if n := len(state.Problems); n > 0 {
		return fmt.Errorf("%s with %s", plural(uint64(n), "problem"), path)
	}
	return nil
}

func printState(w io.Writer, s writer.State) {
	fmt.Fprintf(w, "database %s\n\n", printable(s.Path))
	fmt.Fprintf(w, "  schema version %d; sound: %s\n", s.Schema, printable(s.Sound))
	fmt.Fprintf(w, "  %s, with a log of %s; the file system has %s left\n", binarySize(uint64(s.Bytes)), binarySize(uint64(s.LogBytes)), binarySize(s.DiskFree))
	switch {
	case s.Limit == 0:
	case s.Room() >= s.Limit:
		fmt.Fprintf(w, "  it may take up to %s (--max-db-size), and there is room for that\n", binarySize(uint64(s.Limit)))
	default:
		fmt.Fprintf(w, "  it may take up to %s (--max-db-size); there is room for %s, which is no problem before that is used up\n", binarySize(uint64(s.Limit)), binarySize(uint64(s.Room())))
	}
	if len(s.Sessions) > 0 {
		fmt.Fprint(w, "\nlast sessions (UTC)\n")
	}
	for _, p := range s.Sessions {
		until := "until " + p.Ended
		switch {
		case p.Runs:
			until = "which runs"
		case p.Ended == "":
			until = "which has ended: it was killed, or could not write the database in the end"
		}
		fmt.Fprintf(w, "  %d: %s %s, process %d, version %s\n", p.ID, p.Started, until, p.PID, printable(p.Version))
	}
	if len(s.Away) > 0 {
		fmt.Fprint(w, "\nwhen it was away or damaged (UTC)\n")
	}
	for _, a := range s.Away {
		fmt.Fprintf(w, "  %s, session %d: %s (%s)\n", a.At, a.Session, printable(a.Reason), printable(a.Detail))
	}
	if len(s.Spills) > 0 {
		fmt.Fprint(w, "\nspill files\n")
	}
	for _, p := range s.Spills {
		whose := "whose session has ended"
		if p.Live {
			whose = "whose session runs and will write them"
		}
		if p.Records == 0 {
			whose = strings.TrimSuffix(whose, " and will write them")
			fmt.Fprintf(w, "  %s: nothing that is not in the database, of process %d, %s\n", printable(p.Path), p.PID, whose)
			continue
		}
		fmt.Fprintf(w, "  %s: %s not in the database, %s among them, of process %d, %s\n", printable(p.Path),
			plural(p.Records, "record"), plural(p.Errors, "error"), p.PID, whose)
	}
	if len(s.Problems) > 0 {
		fmt.Fprint(w, "\nproblems\n")
	}
	for _, p := range s.Problems {
		fmt.Fprintf(w, "  NO  %s\n", printable(p.What))
		if p.Hint != "" {
			fmt.Fprintf(w, "      %s\n", printable(p.Hint))
		}
	}
}

// binarySize is a number of bytes in the largest unit that leaves something before the point.
func binarySize(n uint64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	v, unit := float64(n), 0
	for ; v >= 1024 && unit < len(units)-1; unit++ {
		v /= 1024
	}
	if unit == 0 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[unit])
}
