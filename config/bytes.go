package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size. In the file it is a number of bytes, or a number with a
// unit: kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB, PiB (of 1024).
type Bytes int64

// units ends in "B", because that ends the names of all others.
var units = []struct {
	name string
	size float64
}{
	{"PiB", 1 << 50}, {"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// String gives the size in the unit in which it is the smallest whole number:
// "1GiB", or "12345" for bytes.
func (b Bytes) String() string {
	least, unit := float64(b), ""
	for _, u := range units[:len(units)-1] {
		if n := float64(b) / u.size; n == math.Trunc(n) && math.Abs(n) < math.Abs(least) {
			least, unit = n, u.name
		}
	}
	return strconv.FormatInt(int64(least), 10) + unit
}

func parseBytes(s text) (Bytes, error) {
	number, size := string(s), 1.0
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, size = strings.TrimRight(rest, " "), u.size
			break
		}
	}
	n, err := parseFloat(text(number))
	if err != nil {
		return 0, err
	}
	if n *= size; n != math.Trunc(n) || math.Abs(n) > 1<<53 {
		return 0, fmt.Errorf("%s is no whole number of bytes", string(s))
	}
	return Bytes(n), nil
}

// Rough gives the size to about three figures, for people.
func (b Bytes) Rough() string {
	for _, u := range units {
		if strings.HasSuffix(u.name, "iB") && math.Abs(float64(b)) >= u.size {
			return strconv.FormatFloat(float64(b)/u.size, 'f', 1, 64) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}
