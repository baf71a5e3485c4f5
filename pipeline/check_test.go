package pipeline

import (
	"bytes"
	"context"
	"errors"
	"image/jpeg"
	"os"
	"path/filepath"
	"testing"

	"restored/media"
)

// TestCheck: whole files are good; cut, spoiled and missing ones aren't.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	var photo bytes.Buffer
	if err := jpeg.Encode(&photo, blurred(t), nil); err != nil {
		t.Fatal(err)
	}
	film, err := os.ReadFile(clip(t, "film.mkv", panned))
	if err != nil {
		t.Fatal(err)
	}
	spoiled := bytes.Clone(film)
	clear(spoiled[len(spoiled)/3 : len(spoiled)*2/3])
	for name, c := range map[string]struct {
		data []byte
		good bool
	}{
		"a.jpg": {photo.Bytes(), true}, "cut.jpg": {photo.Bytes()[:photo.Len()/2], false}, "text.png": {[]byte("text"), false},
		"a.mkv": {film, true}, "cut.mkv": {film[:len(film)/2], false}, "spoiled.mkv": {spoiled, false},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, c.data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := Check(t.Context(), path); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"none.jpg", "none.mp4"} {
		if err := Check(t.Context(), filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Check(stopped, filepath.Join(dir, "a.mkv")); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	if err := Check(t.Context(), filepath.Join(dir, "cut.jpg")); !errors.Is(err, media.ErrDamaged) {
		t.Errorf("the kind of the error is lost: %v", err)
	}
}
