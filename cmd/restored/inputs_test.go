package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func touch(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func collect(t *testing.T, ctx context.Context, paths []string, out string) ([]target, error) {
	t.Helper()
	targets := make(chan target)
	errc := make(chan error, 1)
	go func() { errc <- walkInputs(ctx, paths, out, targets) }()
	var got []target
	for x := range targets {
		got = append(got, x)
	}
	return got, <-errc
}

func TestWalkInputs(t *testing.T) {
	dir := t.TempDir()
	album, out := filepath.Join(dir, "album"), filepath.Join(dir, "out")
	touch(t, filepath.Join(album, "a.jpg"), filepath.Join(album, "1950", "b.TIF"), filepath.Join(album, ".hidden.jpg"),
		filepath.Join(album, ".git", "c.jpg"), filepath.Join(album, "notes.txt"), filepath.Join(dir, "odd name"))
	if err := os.Mkdir(filepath.Join(album, "folder.jpg"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(album, "loop")); err != nil {
		t.Fatal(err)
	}
	got, err := collect(t, t.Context(), []string{album, filepath.Join(dir, "odd name")}, out)
	if err != nil {
		t.Fatal(err)
	}
	want := []target{
		{filepath.Join(album, "1950", "b.TIF"), filepath.Join(out, "1950", "b.TIF")},
		{filepath.Join(album, "a.jpg"), filepath.Join(out, "a.jpg")},
		{filepath.Join(dir, "odd name"), filepath.Join(out, "odd name")}, // named, so taken as it is
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := collect(t, ctx, []string{album}, out); !errors.Is(err, context.Canceled) {
		t.Errorf("after a cancel: %v", err)
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[2Jb\nc\xffé.jpg"); got != "a?[2Jb c\ufffdé.jpg" {
		t.Errorf("got %q", got)
	}
}
