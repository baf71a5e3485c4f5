package pipeline

import (
	"errors"
	"strings"
	"testing"
	"time"

	"restored/media"
)

// A video over a limit is refused by its plan, which says which.
func TestVideoLimits(t *testing.T) {
	in := clip(t, "in.mp4", panned) // 30 pictures, 2 s
	for _, c := range []struct {
		frames   int64
		duration time.Duration
		names    string // "" = no error
	}{
		{30, 3 * time.Second, ""},
		{29, 0, "limits.frames"},
		{0, time.Second, "limits.duration"},
	} {
		o := shortSegments()
		o.Video.MaxFrames, o.Video.MaxDuration = c.frames, c.duration
		_, err := engine(t, o).DryPlan(t.Context(), in)
		switch {
		case c.names == "" && err != nil:
			t.Errorf("%+v: %v", c, err)
		case c.names != "" && (!errors.Is(err, media.ErrTooLarge) || !strings.Contains(err.Error(), c.names) || !strings.Contains(err.Error(), in)):
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// What changes the result changes the fingerprint, and nothing else does: a
// machine with more cores doesn't make all outputs anew.
func TestFingerprints(t *testing.T) {
	photo, video := Fingerprints(options(), "abc")
	for name, c := range map[string]struct {
		model        string
		change       func(*Options)
		photo, video bool // whether each is another one
	}{
		"workers":  {"abc", func(o *Options) { o.Workers += 3 }, false, false},
		"cores":    {"abc", func(o *Options) { o.Cores += 3 }, false, false},
		"models":   {"abc", func(o *Options) { o.Detect.Models = "/elsewhere" }, false, false},
		"limits":   {"abc", func(o *Options) { o.Video.MaxFrames, o.Video.MaxDuration = 1, 1 }, false, false},
		"model":    {"abd", func(*Options) {}, true, true},
		"blend":    {"abc", func(o *Options) { o.Blend /= 2 }, true, true},
		"min_face": {"abc", func(o *Options) { o.Detect.MinFace++ }, true, true},
		"no_face":  {"abc", func(o *Options) { o.CopyNoFace = !o.CopyNoFace }, true, false},
		"grain":    {"abc", func(o *Options) { o.Video.Grain = !o.Video.Grain }, false, true},
	} {
		o := options()
		c.change(&o)
		p, v := Fingerprints(o, c.model)
		if (p != photo) != c.photo || (v != video) != c.video {
			t.Errorf("%s: photos' differs %t, want %t; videos' differs %t, want %t", name, p != photo, c.photo, v != video, c.video)
		}
	}
}
