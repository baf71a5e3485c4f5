package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestSettings(t *testing.T) {
	file := write(t, "watch:\n  - in: /a\n    out: /b\nrestore: {blend: 0.5}\n")
	t.Setenv("RESTORED_LOG_LEVEL", "debug")
	cfg, origins, err := Load(file, map[string]string{"workers": "3"})
	if err != nil {
		t.Fatal(err)
	}
	got := cfg.Settings(origins)
	for _, want := range []Setting{
		{"watch[0].in", "/a", "file " + file + ":2"},
		{"watch[0].out", "/b", "file " + file + ":3"},
		{"watch[0].originals", "keep", "default"},
		{"restore.blend", "0.5", "file " + file + ":4"},
		{"log.level", "debug", "environment RESTORED_LOG_LEVEL"},
		{"workers", "3", "flag"},
		{"queue.url", `""`, "default"},
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %+v in %+v", want, got)
		}
	}
	if n := len(Reference()) + len(WatchReference()); len(got) != n {
		t.Errorf("%d settings, want %d", len(got), n)
	}
	cfg = &Config{Queue: Queue{URL: "postgres://me:secret@db/x"}, HTTP: HTTP{Token: "secret"}}
	for _, s := range cfg.Settings(Origins{}) {
		if strings.Contains(s.Value, "secret") {
			t.Errorf("a password is shown: %+v", s)
		}
	}
}

func TestProblems(t *testing.T) {
	_, _, err := Load(write(t, "workers: 1000\nrestore: {blend: 7}\n"), nil)
	if n := len(Problems(err)); n != 2 {
		t.Errorf("%d problems in %v, want 2", n, err)
	}
	for _, e := range Problems(err) {
		var known *Error
		if !errors.As(e, &known) || known.Key == "" || known.Origin == "" {
			t.Errorf("a problem without key and origin: %v", e)
		}
	}
	if Problems(nil) != nil || len(Problems(errors.New("x"))) != 1 {
		t.Error("no error has a problem, or a plain one hasn't one")
	}
}
