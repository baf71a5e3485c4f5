package config

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestProfiles(t *testing.T) {
	file := write(t, `
profiles:
  archive:
    restore: {blend: 0.7, steps: auto, model: ""}
    video: {quality: 14, segment: 30s, preset: ""}
    photo: {provenance: false}
  quick: {}
restore: {model: other, blend: 0.9, steps: 4}
watch:
  - {in: /a, out: /b, profile: archive}
  - {in: /c, out: /d}
`)
	if _, _, err := Load(file, nil); err == nil {
		t.Fatal("an empty model was accepted")
	}
	file = write(t, `
profiles:
  archive:
    restore: {blend: 0.7, steps: auto}
    video: {quality: 14, segment: 30s, preset: ""}
    photo: {provenance: false}
  quick: {}
restore: {model: other, blend: 0.9, steps: 4}
video: {preset: slow}
watch:
  - {in: /a, out: /b, profile: archive}
  - {in: /c, out: /d}
`)
	t.Setenv("RESTORED_DETECT_MIN_FACE", "50")
	cfg, origins, err := Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, want := cfg.For("archive"), *cfg
	want.Restore.Blend, want.Restore.Steps, want.Photo.Provenance = 0.7, Auto, false
	want.Video.Quality, want.Video.Segment, want.Video.Preset = 14, 30*time.Second, ""
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("with the profile %+v\nwant %+v", *got, want)
	}
	if got.Restore.Model != "other" || got.Detect.MinFace != 50 {
		t.Errorf("what the profile doesn't set: %+v", got)
	}
	for _, name := range []string{"", "quick"} {
		if !reflect.DeepEqual(cfg.For(name), cfg) {
			t.Errorf("profile %q changes something", name)
		}
	}
	if s := (Setting{"profiles.archive.restore.blend", "0.7", "file " + file + ":4"}); !slices.Contains(cfg.Settings(origins), s) {
		t.Errorf("no %+v in %+v", s, cfg.Settings(origins))
	}
	if cfg.Watch[0].Profile != "archive" || cfg.Watch[1].Profile != "" {
		t.Errorf("watched folders: %+v", cfg.Watch)
	}
}
