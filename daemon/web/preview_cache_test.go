package web

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The cache keeps what was looked at last, and nothing that is no picture.
func TestPreviewCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "previews")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "old.jpg"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	p, err := openPreviews(dir, func(context.Context, string, int, float64) ([]byte, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	list := func() string {
		found, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range found {
			found[i] = filepath.Base(found[i])
		}
		slices.Sort(found)
		return strings.Join(found, " ")
	}
	if got := list(); got != "" {
		t.Errorf("another version's previews are kept: %s", got)
	}
	if err := p.keep(filepath.Join(dir, "x.jpg"), []byte("<svg onload='x'>")); !errors.Is(err, errNoPreview) {
		t.Errorf("no picture: %v", err)
	}
	data := append([]byte("\xff\xd8\xff"), make([]byte, 997)...)
	for i, name := range []string{"a.jpg", "b.jpg", "c.jpg", "d.jpg"} {
		file := filepath.Join(dir, name)
		at := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := errors.Join(p.keep(file, data), os.Chtimes(file, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	p.prune(2500)
	if got := list(); got != "c.jpg d.jpg" || p.kept.Load() != 2000 {
		t.Errorf("%s are left, %d bytes", got, p.kept.Load())
	}
}
