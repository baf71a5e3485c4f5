package config

import "testing"

func TestBytes(t *testing.T) {
	for _, c := range []struct {
		text string
		want Bytes
		back string // "" = refused
	}{
		{"0", 0, "0"},
		{"1", 1, "1"},
		{"1000", 1000, "1kB"},
		{"1024", 1024, "1KiB"},
		{"1GiB", 1 << 30, "1GiB"},
		{"1 GiB", 1 << 30, "1GiB"},
		{"500MB", 500e6, "500MB"},
		{"1.5GiB", 3 << 29, "1536MiB"},
		{"2TB", 2e12, "2TB"},
		{"1PiB", 1 << 50, "1PiB"},
		{"12345B", 12345, "12345"},
		{"-1", -1, "-1"},
		{"", 0, ""},
		{"GiB", 0, ""},
		{"1gib", 0, ""},
		{"0.3", 0, ""},
		{"1e300", 0, ""},
		{"NaN", 0, ""},
	} {
		got, err := parseBytes(text(c.text))
		if (err != nil) != (c.back == "") || got != c.want || (err == nil && got.String() != c.back) {
			t.Errorf("%q: %d = %s, %v; want %d = %s", c.text, got, got, err, c.want, c.back)
		}
	}
}

func TestBytesRough(t *testing.T) {
	for b, want := range map[Bytes]string{0: "0B", 1023: "1023B", 1024: "1.0KiB", 1<<30 + 1: "1.0GiB", 5e12: "4.5TiB", -5e6: "-4.8MiB"} {
		if got := b.Rough(); got != want {
			t.Errorf("%d: %s, want %s", b, got, want)
		}
	}
}
