package config

// suggest returns "; did you mean NAME?" for the name nearest to a misspelt
// one, or "" if none is near: at most a third of its letters wrong.
func suggest(wrong string, names []string) string {
	best, at := "", len(wrong)/3+1
	for _, name := range names {
		if d := distance(wrong, name); d < at {
			best, at = name, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is the number of letters to insert, delete, change or swap with
// their neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(next[j-1]+1, row[j]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

// Suggest is "; did you mean NAME?" for the name nearest to a misspelt one, or
// "" if none is near.
func Suggest(wrong string, names []string) string { return suggest(wrong, names) }
