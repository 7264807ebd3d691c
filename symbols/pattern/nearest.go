package pattern

import (
	"iter"
	"slices"
	"strings"
)

// Nearest returns up to n of the names that resemble a pattern most, best
// first: those that contain its text in another case, then those that need
// the fewest edits. Names that don't resemble it are left out.
func Nearest(pattern string, names iter.Seq[string], n int) []string {
	want := strings.ToLower(strings.Trim(pattern, "*/?"))
	if want == "" || n <= 0 {
		return nil
	}
	wantLast := lastPart(want)
	type candidate struct {
		name  string
		score int
	}
	var best []candidate
	worst := len(want)/3 + 2
	for name := range names {
		score := distance(want, wantLast, strings.ToLower(name), worst)
		if score > worst {
			continue
		}
		at, found := slices.BinarySearchFunc(best, candidate{name, score}, func(a, b candidate) int {
			if a.score != b.score {
				return a.score - b.score
			}
			return strings.Compare(a.name, b.name)
		})
		if found || at >= n {
			continue
		}
		best = slices.Insert(best, at, candidate{name, score})
		if len(best) > n {
			best = best[:n]
			worst = min(worst, best[n-1].score)
		}
	}
	out := make([]string, len(best))
	for i, c := range best {
		out[i] = strings.Clone(c.name)
	}
	return out
}

// distance scores a name against a pattern's text, both in lower case: 0 and 1
// for containment, else edits of the whole or of the last part.
func distance(want, wantLast, name string, limit int) int {
	switch {
	case strings.Contains(name, want):
		return 0
	case len(wantLast) > 2 && strings.Contains(name, wantLast):
		return 1
	}
	best := limit + 1
	if d := edits(want, name, limit); d <= limit {
		best = d + 1
	}
	if last := lastPart(name); len(last) > 2 && len(wantLast) > 2 {
		// One more, so that a whole name that is as near comes first.
		near := min(limit, len(wantLast)/3+1)
		if d := edits(wantLast, last, near); d <= near {
			best = min(best, d+2)
		}
	}
	return best
}

func lastPart(name string) string {
	if i := strings.LastIndexAny(name, ".:/"); i >= 0 && i+1 < len(name) {
		return name[i+1:]
	}
	return name
}

// edits is the Levenshtein distance of two texts, or limit+1 when it is larger.
func edits(a, b string, limit int) int {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > limit || len(b) > 512 {
		return limit + 1
	}
	var buf [514]int
	row := buf[:len(a)+1]
	for i := range row {
		row[i] = i
	}
	for j := 1; j <= len(b); j++ {
		diagonal, least := row[0], j
		row[0] = j
		for i := 1; i <= len(a); i++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost = 1 + min(diagonal, row[i], row[i-1])
			}
			diagonal, row[i] = row[i], cost
			least = min(least, cost)
		}
		if least > limit {
			return limit + 1
		}
	}
	return min(row[len(a)], limit+1)
}
